/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A copy of the relay's identity key for the day when the relay is lost: CMS (libhmsg/wire/cms.h) around the
 * key as PEM (RFC 7468, PRIVATE KEY), for RSA keys that are kept elsewhere. Any program that decrypts CMS
 * gets the PEM out of it, so the private keys of the recipients never need to be where the relay is. */

#include "server/relay-key.h"

#define RELAY_KEY_RECIPIENTS_MAX RECIPIENTS_MAX

/* to: n public keys, 1..RELAY_KEY_RECIPIENTS_MAX. Appends a PEM block "CMS". -EOPNOTSUPP: the key is in a
 * device that does not give it out. */
int relay_key_backup(const RelayKey *k, RsaKey *const *to, size_t n, Buf *ret);
/* What was in it. HMSG_ERROR_BAD_PACKAGE: no private RSA key of a size that is allowed. -EBADMSG: damaged. */
int relay_key_read(const char *pem, size_t n, RelayKey **ret);
