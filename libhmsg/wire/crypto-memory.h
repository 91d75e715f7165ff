/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From here on whatever OpenSSL frees is wiped first: its readers of keys, among others, leave copies behind
 * that it does not wipe itself. For programs that handle private keys; to be called before OpenSSL has
 * allocated anything. -EBUSY: it has. (CRYPTO_set_mem_functions(3), malloc_usable_size(3)) */
int crypto_memory_wipe_freed(void);
