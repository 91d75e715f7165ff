/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the interface org.hmsg.Agent1.Identity share. */

#include "agent/bus-util.h"
#include "agent/identity.h"
#include "agent/request.h"
#include "agent/unlocker.h"

/* A call that waits for the TPM. */
typedef struct IdentityCall {
    Manager *m;
    Request *request;
    IdentityWork *work;
    UnlockWait *wait;
    bool force;             /* of Unlock and SetPin */
    IdentityToSign to_sign; /* of ToApprove */
} IdentityCall;

int identity_call_new(Manager *m, sd_bus_message *message, IdentityCall **ret);
IdentityCall *identity_call_free(IdentityCall *c);
DEFINE_CLEANUP(IdentityCall *, identity_call_free)
/* The work has been begun, or not: then the error is the answer. 1, for the vtable. */
int identity_call_begun(IdentityCall *c, int r, const char *detail);

/* The facts of the identity as an a{sv}. -ENOENT: there is none. */
int identity_append(Manager *m, sd_bus_message *reply);
/* The answer to Create, Import and Rotate; userdata is an IdentityCall. */
void identity_call_created(int r, const char *detail, void *userdata);
/* fd -1: there is none. INVALID_ARGS has words. */
int identity_read_pin(int fd, Secret **ret, sd_bus_error *error);
#define GENERATION_COUNTER "counter"
bool identity_is_generation(const char *text);

/* identity-pcr-bus.c: Approve; what Create has of PCRs, and Show. */
typedef struct PolicyOptions {
    const char *pcrs; /* NULL: none */
    int key, password;
} PolicyOptions;
typedef struct PolicySecrets {
    Secret *key, *password;
    uint32_t mask;
} PolicySecrets;
int identity_policy_options_read(const PolicyOptions *o, PolicySecrets *ret, sd_bus_error *error);
int identity_policy_key_read(int key, int password, PolicySecrets *ret, sd_bus_error *error);
void identity_policy_secrets_done(PolicySecrets *s);
int identity_method_approve(sd_bus_message *message, void *userdata, sd_bus_error *error);
int identity_method_to_approve(sd_bus_message *message, void *userdata, sd_bus_error *error);
int identity_method_approve_signed(sd_bus_message *message, void *userdata, sd_bus_error *error);
#define IDENTITY_PCRS_SIZE 72u
void identity_pcrs_text(uint32_t mask, char ret[static IDENTITY_PCRS_SIZE]);

/* identity-recovery-bus.c: what Create and Rotate have of recovery keys, Show, and Recover. */
typedef struct RecoveryOptions {
    struct {
        BusBytes key, sign_key;
    } named[RECOVERY_KEYS_MAX];
    bool none; /* Rotate: no recovery keys any more */
} RecoveryOptions;
#define RECOVERY_OPTIONS(type, member)                                                                       \
    {"recovery_key", 'y', offsetof(type, member.named[0].key)},                                              \
        {"recovery_sign_key", 'y', offsetof(type, member.named[0].sign_key)},                                \
        {"further_recovery_key", 'y', offsetof(type, member.named[1].key)},                                  \
    {                                                                                                        \
        "further_recovery_sign_key", 'y', offsetof(type, member.named[1].sign_key)                           \
    }
/* *ret_given: there is something to name. INVALID_ARGS has words. */
int identity_recovery_read(const RecoveryOptions *o, RecoveryKeys *ret, bool *ret_given, sd_bus_error *error);
/* identity_call_begun, after the recovery keys were named if r is 0. */
int identity_recovery_begun(IdentityCall *c, int r, const char *detail, bool given, const RecoveryKeys *k);
/* The entry "recovery": kids, sorted as named; none when there are no keys. */
int identity_recovery_append(sd_bus_message *m, const RecoveryKeys *k);
int identity_method_recover(sd_bus_message *message, void *userdata, sd_bus_error *error);
/* Why a rotation was not begun, where the error alone does not say it. */
const char *identity_rotation_detail(int r);

/* identity-device-bus.c */
int identity_method_add_device(sd_bus_message *message, void *userdata, sd_bus_error *error);
int identity_method_remove_device(sd_bus_message *message, void *userdata, sd_bus_error *error);
int identity_method_list_devices(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* identity-import-bus.c: Import. */
int identity_method_import(sd_bus_message *message, void *userdata, sd_bus_error *error);
/* identity-export-bus.c: ExportPublic. */
int identity_method_export(sd_bus_message *message, void *userdata, sd_bus_error *error);
