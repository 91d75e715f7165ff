/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The key folders of one home: keys/<start of the SRK Name>/ (mode 0700) with decrypt.pem, sign.pem (TSS2
 * PRIVATE KEY) and identity.json, each of mode 0600. A folder appears and goes as a whole. A home that
 * several machines share has a folder for each TPM; identity.json names the machine, so that another TPM in
 * this machine is not taken for another machine. */

#include "agent/identity.h"
#include "agent/pin.h"
#include "libhmsg/tpm/keyfile.h"

#define MACHINE_TEXT_SIZE 33u /* 128 bits in hex and the final 0; "" when the machine has no id */
#define KEY_FOLDERS_MAX 64u   /* machines that share a home */

typedef struct IdentityKeys {
    TpmKeyFile *decrypt, *sign;
    IdentityPublic public;
    uint8_t srk_name[TPM_NAME_SIZE];
    char machine[MACHINE_TEXT_SIZE];
    PinParameters pin; /* when the keys need an authorization value: public.has_pin */
} IdentityKeys;

/* A hash of /etc/machine-id that is used for nothing else (machine-id(5)). */
void identity_machine(char ret[static MACHINE_TEXT_SIZE]);

/* Takes references of its own. -EBADMSG: not a decrypt key and a sign key, both with an authorization value
 * or both without; the caller sets pin when they have one. */
int identity_keys_new(TpmKeyFile *decrypt, TpmKeyFile *sign, const uint8_t srk_name[static TPM_NAME_SIZE],
                      const char *machine, int64_t created, IdentityKeys **ret);
IdentityKeys *identity_keys_free(IdentityKeys *k);
DEFINE_CLEANUP(IdentityKeys *, identity_keys_free)

/* -EEXIST: this TPM has a folder already. */
int identity_keys_store(int data_fd, const IdentityKeys *k);
/* The folder there is, by another of the same keys: a reader finds one or the other, whole. */
int identity_keys_replace(int data_fd, const IdentityKeys *k);
/* -ENOENT: there is none for this TPM. -EBADMSG: it is damaged. */
int identity_keys_load(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], IdentityKeys **ret);
/* The newest that this machine made, or may have made when it or the folder has no machine id. -ENOENT: none.
 * -EBADMSG: none that can be read, and one that is damaged. */
int identity_keys_load_machine(int data_fd, const char *machine, IdentityKeys **ret);
int identity_keys_remove(int data_fd, const IdentityKeys *k);
/* Removes what a crash left of a folder that was being made or removed. */
int identity_keys_tidy(int data_fd);
