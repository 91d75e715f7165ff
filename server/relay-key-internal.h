/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "server/relay-key.h"

/* Takes a reference of its own. HMSG_ERROR_BAD_PACKAGE: not RSA of 2048, 3072 or 4096 bits. */
int relay_key_from_evp(struct evp_pkey_st *pkey, RelayKey **ret);
struct pkcs8_priv_key_info_st; /* PKCS8_PRIV_KEY_INFO */
/* The same, for what was read: -EBADMSG when its numbers do not fit together. */
int relay_key_from_pkcs8(const struct pkcs8_priv_key_info_st *info, RelayKey **ret);
