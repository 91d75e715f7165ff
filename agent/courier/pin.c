/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/pin.h"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "libhmsg/base/secret.h"
#include "libhmsg/wire/key.h"

#define CHAIN_LENGTH 2
#define SIGNATURE_BITS_MIN 112 /* of security: SHA-1 and MD5 do not have them */
#define GROUP_NAME_SIZE 32u

/* Signed by key, with an algorithm that is good enough. */
static bool is_signed_by(X509 *certificate, EVP_PKEY *key)
{
    int bits = 0;

    return X509_get_signature_info(certificate, NULL, NULL, &bits, NULL) == 1 && bits >= SIGNATURE_BITS_MIN &&
           X509_verify(certificate, key) == 1;
}

static bool extensions_good(X509 *certificate)
{
    return (X509_get_extension_flags(certificate) & (EXFLAG_INVALID | EXFLAG_CRITICAL)) == 0;
}

static bool is_leaf(X509 *certificate)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    char group[GROUP_NAME_SIZE];
    size_t n;

    return key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), &n) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0 && extensions_good(certificate) &&
           X509_check_ca(certificate) == 0;
}

static bool valid_now(X509 *certificate, int64_t now)
{
    time_t early = (time_t)(now + CLOCK_SKEW_MAX), late = (time_t)(now - CLOCK_SKEW_MAX);

    return X509_cmp_time(X509_get0_notBefore(certificate), &early) < 0 &&
           X509_cmp_time(X509_get0_notAfter(certificate), &late) > 0;
}

PinVerdict pin_check(const STACK_OF(X509) * chain, int64_t now, const uint8_t *pin,
                     uint8_t ret_pin[static PIN_SIZE])
{
    _cleanup_(rsa_key_freep) RsaKey *identity = NULL;
    uint8_t found[PIN_SIZE];
    X509 *leaf, *issuer;
    EVP_PKEY *key;
    int r;

    if (!chain || sk_X509_num(chain) != CHAIN_LENGTH)
        return PIN_BAD_CHAIN;
    leaf = sk_X509_value(chain, 0);
    issuer = sk_X509_value(chain, 1);
    key = X509_get0_pubkey(issuer);
    if (!key || !extensions_good(issuer))
        return PIN_BAD_CHAIN;
    r = rsa_key_from_evp(key, &identity);
    if (r < 0)
        return PIN_FAILED;
    if (r > 0 || !is_signed_by(issuer, key) || !is_leaf(leaf) || !is_signed_by(leaf, key))
        return PIN_BAD_CHAIN;
    if (rsa_key_pin(identity, found) != 0)
        return PIN_FAILED;
    memcpy(ret_pin, found, PIN_SIZE);
    if (!pin || !bytes_equal(found, pin, PIN_SIZE))
        return PIN_OTHER_KEY;
    return valid_now(leaf, now) ? PIN_GOOD : PIN_BAD_TIME;
}

const char *pin_verdict_text(PinVerdict v)
{
    switch (v) {
    case PIN_GOOD:
        return "The relay has the pinned key";
    case PIN_OTHER_KEY:
        return "The relay does not have the pinned key";
    case PIN_BAD_CHAIN:
        return "The relay's certificates are not those of a relay";
    case PIN_BAD_TIME:
        return "The relay's certificate is not valid at this time; is the clock right?";
    default:
        return "The relay's certificates could not be checked";
    }
}
