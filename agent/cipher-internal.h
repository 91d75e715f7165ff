/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to agent/cipher*.c: what its jobs have in common. */

#include "agent/budget.h"
#include "agent/cipher.h"
#include "agent/contacts.h"
#include "agent/identity.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "agent/unwrap.h"
#include "agent/worker.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/seed.h"
#include "libhmsg/wire/stream.h"

typedef struct CipherJobType {
    /* Calls the job's callback with an error. */
    void (*fail)(CipherJob *j, int r, const char *detail);
    /* Calls it with what there is; for cipher_job_later. */
    void (*succeed)(CipherJob *j);
    void (*free)(CipherJob *j);
} CipherJobType;

/* The first member of each kind of job. */
struct CipherJob {
    CipherJob *prev, *next;
    const CipherJobType *type;
    Cipher *cipher;
    void *userdata;
    uint64_t epoch; /* of the identity when it began */
    sd_event_source *later;
    int later_result;
    char *later_detail;
    bool finished; /* its callback was called */
};

void cipher_job_init(CipherJob *j, const CipherJobType *type, Cipher *c, void *userdata);
/* What every free function ends with. */
void cipher_job_done(CipherJob *j);
/* The callback from the loop, for results that are known already; r == 0: succeed. */
int cipher_job_later(CipherJob *j, int r, const char *detail);
/* The end of what began a job. r of its first steps: -EAGAIN: it goes on; else that is its result. Takes over
 * j: frees it when that cannot be told. */
int cipher_job_begun(CipherJob *j, int r, const char *detail, CipherJob **ret);
/* The callback with a failure that the TPM had a part in, which was asked at this time of clock_boottime():
 * at the end of a whole number of CIPHER_FAILURE_STEPs from then. A TPM answers a bad OAEP sooner than keys
 * that turn out to be wrong. */
#define CIPHER_FAILURE_STEP 100000u /* microseconds */
int cipher_job_fail_in_step(CipherJob *j, int r, const char *detail, uint64_t asked);
/* The callback now; j may be freed afterwards. */
void cipher_job_fail(CipherJob *j, int r, const char *detail);
void cipher_job_succeed(CipherJob *j);
/* False: locked since it began; nothing that it found may be given out. */
bool cipher_job_is_current(const CipherJob *j);

/* cipher_seal of a CMS message; size and n are within the limits. */
int cipher_seal_cms(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret);

/* The sessions for a list of keys, each with a sequence number. */
typedef struct SealSessions SealSessions;
/* From the loop: 0 when all are there. */
typedef void (*seal_sessions_t)(int r, const char *detail, void *userdata);
int seal_sessions_new(Cipher *c, const SealKey *keys, size_t n, const SealOptions *options, uint64_t bytes,
                      seal_sessions_t done, void *userdata, SealSessions **ret);
/* 0: all are there now; -EAGAIN: done will be called. */
int seal_sessions_start(SealSessions *s);
SealSessions *seal_sessions_free(SealSessions *s);
DEFINE_CLEANUP(SealSessions *, seal_sessions_free)
const StreamRecipient *seal_sessions_recipients(const SealSessions *s, size_t *ret_n);

/* cipher_seal for the forms of JWE that know no sessions: one content key for all, or compact. */
int cipher_seal_jwe(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret);

/* One package on its way through the checks, in the order that docs/protocol.md fixes. */
typedef void (*opening_ready_t)(int r, const char *detail, void *userdata);
typedef struct Opening {
    Cipher *c;
    bool allow_unknown;
    bool allow_unauthenticated;
    bool allow_oaep_sha1;
    bool for_store;
    char *relay;
    opening_ready_t ready;
    void *userdata;
    Package *package; /* this, seed, jwe or cms */
    Seed *seed;
    Jwe *jwe; /* one that is no package */
    Cms *cms;
    uint8_t cms_kid[KID_SIZE]; /* of our key that it is encrypted to */
    bool has_signer;           /* of cms */
    uint8_t signer[KID_SIZE];  /* thumbprint of its key */
    int64_t signed_at;
    bool is_jwe;          /* package came as one */
    bool is_range;        /* of the content */
    bool unsigned_stream; /* for several, without a trailer, or not to be read up to it */
    uint8_t cache_id[SHA256_SIZE];
    uint8_t failed_id[SHA256_SIZE];
    SessionStatement statement;
    SenderAnswer sender;
    char sender_kid[HASH_TEXT_SIZE];
    bool cached;
    bool had_keys;  /* OAEP gave some; else keys are random */
    uint64_t asked; /* the TPM, by clock_boottime(); 0: it was not */
    bool replayed;
    Secret *keys;
    ContactsRequest *contacts;
    Unwrap *unwrap;
    const void *client;
    const char *detail; /* of the last error of a stage; NULL: none */
    char words[160];    /* for detail */
} Opening;

struct Cipher {
    Manager *m;
    CipherJob *jobs;
    uint64_t epoch;
    char skid[HASH_TEXT_SIZE]; /* of our own sign key when the sessions were begun; "" without one */
    Secret *keys;              /* room for those of cipher_open_now */
    Opening now;               /* its last one */
    Workers *workers;
    Budget *budget; /* of the TPM */
    Unwraps *unwraps;
};

/* What a ready or finish function says: ends the job, at once or in step. */
void opening_fail(const Opening *o, CipherJob *j, int r, const char *detail);
void opening_init(Opening *o, Cipher *c, const OpenOptions *options);
void opening_done(Opening *o);
/* Size, shape, recipient: of a message or a seed. */
int opening_parse(Opening *o, const void *data, size_t n);
/* The same for the header of a stream. */
int opening_parse_stream(Opening *o, const void *header, size_t n);
/* All that follows until keys are there: 0 (go on with opening_finish or opening_finish_stream), -EAGAIN
 * (ready will be called), or the error. */
int opening_start(Opening *o, opening_ready_t ready, void *userdata);
int opening_finish(Opening *o, Buf *ret);
int opening_finish_stream(Opening *o, const void *header, size_t n, const uint8_t *prefix,
                          StreamReader **ret);
void opening_info(const Opening *o, OpenInfo *ret);
/* Of what is remembered of keys that do not open: more bytes to tell it from others. */
int opening_failed_id(const uint8_t *id, const void *more, size_t n, uint8_t *ret);

/* The stages of a JWE that is no package. */
int opening_parse_jwe(Opening *o, const void *data, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids);
int opening_check_jwe(Opening *o);
int opening_finish_jwe(Opening *o, Buf *ret);

/* Whether the store knows who says to have sent it, and lets that be. */
int opening_ask_sender(Opening *o);

/* The stages of CMS. */
int opening_parse_cms(Opening *o, const void *data, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids);
int opening_check_cms(Opening *o);
int opening_finish_cms(Opening *o, Buf *ret);

/* Its stages that cipher_open_now goes through on its own, for a package_recall whose keys are cached: 0,
 * -EAGAIN (cannot be known at once) or an error. */
int opening_check_sender(Opening *o, SessionInEntry *entry);
int opening_finish_recalled(Opening *o, SessionInEntry *entry, Buf *ret);
