/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Encryption and decryption as a whole: keys, sessions, contacts, TPM and the format of libhmsg/wire put
 * together. A callback is called once, from the event loop, never inside the call that started it, with 0, an
 * HmsgError or -errno in r and a sentence for people in detail (never NULL). cipher_job_free cancels at any
 * time, also inside the callback: no callback after it. */

#include "agent/manager.h"
#include "libhmsg/base/buf.h"
#include "libhmsg/wire/recovery.h"

typedef struct CipherJob CipherJob;
CipherJob *cipher_job_free(CipherJob *j);
DEFINE_CLEANUP(CipherJob *, cipher_job_free)

int cipher_new(Manager *m, Cipher **ret);
Cipher *cipher_free(Cipher *c);
DEFINE_CLEANUP(Cipher *, cipher_free)

/* One to encrypt to. What it points at is copied. */
typedef struct SealKey {
    const char *kid; /* 43 characters */
    const void *spki;
    size_t spki_size;
    const void *issuer_serial; /* DER, when it came in a certificate; else NULL */
    size_t issuer_serial_size;
    const RecoveryKeys *recovery; /* of its owner, NULL: none; for who gathers keys (agent/seal-keys.h) */
} SealKey;

typedef struct SealOptions {
    bool anonymous;      /* no sender, no signature: no TPM */
    bool fresh;          /* a session for this message alone */
    bool seed;           /* the seed's form, with hmac; implies anonymous */
    bool jwe;            /* the package by the names of JWE; for several one JWE with a key for all */
    bool compact;        /* a JWE in the compact form, for one recipient; implies anonymous */
    bool cms;            /* one CMS message for all, in DER */
    bool pem;            /* cms as a PEM block */
    uint64_t expires_in; /* mail: exp = ts + this many seconds (at most 30 days); 0: none (files) */
} SealOptions;

/* packages[n], in the order of the keys. */
typedef void (*cipher_sealed_t)(int r, const char *detail, const Buf *packages, size_t n, void *userdata);

/* One package for each key; with jwe, compact or cms one for all. TOO_LARGE: over 1 MiB. NO_IDENTITY, LOCKED,
 * TPM_*: when it must be signed. */
int cipher_seal(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret);

/* The same at once, into ret[n] (each empty, of PACKAGE_SIZE_MAX), when every session is there or needs no
 * TPM; -EAGAIN: it does not, call cipher_seal. */
int cipher_seal_now(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, Buf *ret);

/* What is known of a plaintext. Texts are valid during the callback. */
typedef struct OpenInfo {
    const char *sender;            /* address, else kid, "" when anonymous */
    const char *sender_kid;        /* kid of the sign key; "" when anonymous */
    const char *sender_protection; /* what the sender says of its keys; NULL or "": nothing */
    const char *protection;        /* of our keys; "" without */
    const char *format;            /* "hmsg", "jwe", "stream", "seed" or "cms" */
    bool verified, trusted, cached, replayed, expired, authenticated;
    int64_t timestamp;            /* of the package; 0: has none */
    uint64_t bytes_in, bytes_out; /* Fd only */
    bool is_range;
    bool to_end; /* of a range: the end of the content was verified, so nothing is cut off */
} OpenInfo;

typedef struct OpenOptions {
    bool allow_unknown;
    bool allow_unauthenticated;
    bool allow_oaep_sha1; /* JWE of others, with a key in software */
    bool for_store;       /* whoever sent it: what comes out is kept, and judged when it is read */
    const void *client;   /* whose turn it is to have the TPM (unwrap.h); NULL: the agent's own */
    const char *relay;    /* whose directory is asked for an unknown sender; NULL: all of ours */
    /* Of the content, by cipher_open_fd from a file; length 0: all of it, UINT64_MAX: to the end. */
    uint64_t range_offset, range_length;
} OpenOptions;

/* plaintext and info are NULL unless r is 0; both belong to the callback's caller (wiped after it). */
typedef void (*cipher_opened_t)(int r, const char *detail, const Buf *plaintext, const OpenInfo *info,
                                void *userdata);

/* A package, a JWE, CMS, or an array of packages of which one is ours. package is copied. Cached sessions are
 * answered from the event loop as well; cipher_open_now avoids that. */
int cipher_open(Cipher *c, const void *package, size_t size, const OpenOptions *options, cipher_opened_t done,
                void *userdata, CipherJob **ret);

/* The cached path alone, at once: 0 with the plaintext appended, info valid until the next call of cipher; an
 * HmsgError; or -EAGAIN: needs a directory or the TPM, call cipher_open. */
int cipher_open_now(Cipher *c, const void *package, size_t size, const OpenOptions *options,
                    Buf *ret_plaintext, OpenInfo *ret_info);

/* What the last cipher_open_now has to say about its error; NULL: nothing. */
const char *cipher_open_now_detail(const Cipher *c);

/* Must not free the job. */
typedef void (*cipher_progress_t)(uint64_t done, uint64_t total, void *userdata);
typedef void (*cipher_fd_t)(int r, const char *detail, const OpenInfo *info, void *userdata);

/* The stream form, in a worker thread, constant memory. The descriptors are duplicated, read from and written
 * to where they stand. progress may be NULL; at most about five times a second; total is expected_size or
 * what fstat(2) says, else 0. info has bytes_in and bytes_out only. */
int cipher_seal_fd(Cipher *c, const SealKey *keys, size_t n, int source, int destination,
                   const SealOptions *options, uint64_t expected_size, cipher_progress_t progress,
                   cipher_fd_t done, void *userdata, CipherJob **ret);

/* A package, a JWE, an array of packages or a stream. What is written before an error is a verified prefix.
 * With a range: INVALID_ARGS when source is no file, or the range begins behind the end. Then only the chunks
 * that it touches are read, and nothing tells whether others are missing; the sender of a stream for several
 * is not known, since the signature is over the whole, so that it takes allow_unknown. */
int cipher_open_fd(Cipher *c, int source, int destination, const OpenOptions *options, uint64_t expected_size,
                   cipher_progress_t progress, cipher_fd_t done, void *userdata, CipherJob **ret);
