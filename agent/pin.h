/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From the PIN that a user types to the authorization value of a TPM key: scrypt (RFC 7914, r = 8, p = 1 for
 * the TPM) over a salt that is stored with the keys. The TPM counts wrong ones; the work here is for whoever
 * gets the value out of the TPM all the same. */

#include "agent/worker.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/runner.h"

#define PIN_SIZE_MIN 4u   /* bytes */
#define PIN_SIZE_MAX 256u /* bytes: it may be a sentence */
#define PIN_SALT_SIZE 16u
#define PIN_COST_DEFAULT 15u /* log2 of N: 32 MiB, about a tenth of a second */
#define PIN_COST_MIN 14u
#define PIN_COST_MAX 18u
#define PIN_PARALLEL_MAX 16u

typedef struct PinParameters {
    unsigned cost;
    unsigned parallel; /* p; 0: 1 */
    uint8_t salt[PIN_SALT_SIZE];
} PinParameters;

/* With a new salt. */
int pin_parameters_new(PinParameters *ret);

/* Reads min to max bytes out of a memfd (memfd_create(2), which cannot block a reader), from its beginning.
 * INVALID_ARGS: it is none, or has another size. */
int memfd_read(int fd, size_t min, size_t max, Secret **ret);

/* Reads text of min to max bytes without control characters in the same way; *ret ends with a 0 byte more. */
int memfd_read_text(int fd, size_t min, size_t max, Secret **ret);

/* Reads a PIN out of a memfd (memfd_create(2), which cannot block a reader), from its beginning.
 * INVALID_ARGS: none, or no PIN of PIN_SIZE_MIN..PIN_SIZE_MAX bytes without control characters. */
int pin_read_fd(int fd, Secret **ret);

/* TPM_AUTH_SIZE bytes. Takes its time; the event loop uses pin_derive_later. */
int pin_derive(const PinParameters *p, const Secret *pin, Secret **ret);

/* The same in a thread. auth is NULL unless r is 0; the callback may TAKE_PTR it. */
typedef void (*pin_derived_t)(int r, Secret **auth, void *userdata);
/* *ret is for worker_cancel. */
int pin_derive_later(Workers *workers, const PinParameters *p, const Secret *pin, pin_derived_t done,
                     void *userdata, Worker **ret);
