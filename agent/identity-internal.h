/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What identity.c (state, files) and identity-tpm.c (work in the TPM) share. */

#include "agent/identity-files.h"
#include "agent/identity.h"

#define IDENTITY_WATCHERS_MAX 8u

struct Identity {
    Manager *m;
    TpmRunner *runner;
    sd_event_source *io;       /* the runner's answers */
    sd_event_source *deadline; /* the runner's clock */
    sd_event_source *retry;    /* asks a TPM again that was not there */
    uint64_t retry_pause;      /* µs */
    char machine[MACHINE_TEXT_SIZE];
    IdentityKeys *keys; /* of this machine; NULL: none */
    bool damaged;       /* there are keys, but their files cannot be read */
    bool locked;
    Secret *auth; /* of the keys, while they have a PIN and are not locked */
    Workers *workers;
    uint64_t epoch;
    TpmProblem problem; /* why the TPM cannot be used */
    bool asked;         /* it has answered, or could not */
    TpmFacts facts;
    bool has_facts;
    IdentityWork *works;
    IdentityWork *creating;
    IdentityState told; /* what the watchers know */
    struct {
        identity_changed_t changed;
        void *userdata;
    } watchers[IDENTITY_WATCHERS_MAX];
    unsigned n_watchers;
};

/* identity.c */
/* 0 when work may be begun: the keys are there and not locked. The TPM itself says whether it is there. */
int identity_usable(const Identity *i);
/* Notes what an answer says of the TPM; tells nobody yet. */
void identity_note(Identity *i, const TpmAnswer *a);
/* A probe has answered: are these our keys' TPM, or other keys of ours? */
void identity_note_srk(Identity *i, const uint8_t srk_name[static TPM_NAME_SIZE]);
/* Takes k over as the keys of this machine. */
void identity_take_keys(Identity *i, IdentityKeys *k);
/* auth: of keys with a PIN, taken over. */
void identity_unlocked(Identity *i, Secret *auth);
/* Tells the watchers when the state has changed, or in any case. */
void identity_tell(Identity *i, bool always);
/* After each job and each dispatch: the runner's clock. */
void identity_arm(Identity *i);

/* identity-tpm.c */
/* Cuts the works off an identity that is freed. */
void identity_works_drop(Identity *i);
