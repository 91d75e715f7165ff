/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The relay's certificates against its pin. The chain is exactly two: the short-lived leaf, an ECDSA P-256
 * certificate that is no CA, and the self-signed certificate of the relay's RSA identity key, whose SPKI's
 * SHA-256 is the pin and which signed the leaf itself. Names are not looked at: the pin stands for them. */

#include <openssl/x509.h>

#include "libhmsg/wire/limits.h"
#include "libhmsg/base/macro.h"

typedef enum PinVerdict {
    PIN_GOOD,
    PIN_OTHER_KEY, /* all of the form, but the key is another one (or no pin was given) */
    PIN_BAD_CHAIN, /* not of the form */
    PIN_BAD_TIME,  /* the leaf is not valid now, give or take CLOCK_SKEW_MAX */
    PIN_FAILED,    /* no memory, or OpenSSL failed */
} PinVerdict;

/* chain: leaf first. now: seconds since 1970. pin: PIN_SIZE bytes; NULL when none is known. ret_pin is that
 * of the key which signed the leaf; written with PIN_GOOD, PIN_OTHER_KEY and PIN_BAD_TIME. */
PinVerdict pin_check(const STACK_OF(X509) * chain, int64_t now, const uint8_t *pin,
                     uint8_t ret_pin[static PIN_SIZE]);

/* A sentence for people. */
const char *pin_verdict_text(PinVerdict v);
