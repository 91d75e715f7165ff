/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that holds the relay's identity key, so that the one that faces the network does not: it is
 * forked before that opens anything, opens the key that the configuration names, and does with it what it is
 * asked for over a socket pair: sign a digest, and open what the key keeps of the relay's own
 * (relay_key_unwrap). A PKCS#11 module, which is somebody else's code, is loaded there alone. It ends when
 * the other end is closed. Whoever takes over the relay can have it sign as long as they are there, and does
 * not get the key. */

#include "server/relay-key.h"

/* Seconds that one command may take; those in which the machine stood still do not count. */
#define KEY_HOLDER_TIMEOUT 60

typedef struct KeyHolder KeyHolder;

/* Before any thread, secret_init and the sandbox. What f points to must live while it does. */
int key_holder_start(const KeyFiles *f, KeyHolder **ret);
/* The key of f->key as the holder has it; it must be freed before the holder. Errors as relay_key_open has
 * them, -EPIPE when the holder has ended, -ETIMEDOUT. */
int key_holder_open(KeyHolder *h, const char **ret_file, RelayKey **ret);
/* To be watched: it hangs up when the holder has ended. */
int key_holder_fd(const KeyHolder *h);
KeyHolder *key_holder_free(KeyHolder *h);
DEFINE_CLEANUP(KeyHolder *, key_holder_free)
