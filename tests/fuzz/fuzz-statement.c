/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Statements: the self-signed ones whole, the shape of the others, and what is read of those that were
 * verified when they were kept. */

#include "libhmsg/wire/jws.h"
#include "libhmsg/wire/statement.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1900000000

static void look_at_kept(const char *text, size_t size)
{
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {.n = 0};
    Devices devices = {.n = 0};
    RotateStatement rotate;
    int64_t iat = 0;

    fuzz_must(identity_statement_protection(text, size) != NULL, "a text, or none");
    if (identity_statement_recovery(text, size, &recovery) == 0)
        fuzz_must(recovery.n <= RECOVERY_KEYS_MAX, "not too many keys");
    if (identity_statement_devices(text, size, &devices, &iat) == 0)
        fuzz_must(devices.n <= DEVICES_MAX, "not too many devices");
    (void)rotate_statement_peek(text, size, &rotate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t pin[PIN_SIZE];
    _cleanup_(identity_statement_done) IdentityStatement identity = {0};
    _cleanup_(relay_statement_done) RelayStatement relay = {0};
    _cleanup_(succession_done) Succession succession = {0};
    const char *text = (const char *)data;
    uint8_t skid[KID_SIZE];

    if (identity_statement_parse(text, size, NOW, &identity) == 0)
        fuzz_must(identity.sign && identity.decrypt, "a statement has its keys");
    fuzz_must(relay_statement_parse(text, size, pin, NOW, &relay) != 0, "no key has this pin");
    fuzz_must(succession_parse(text, size, pin, NOW, &succession) != 0, "no key has this pin");
    for (JwsType type = 0; type < JWS_TYPE_MAX_; type++)
        for (JwsAlg alg = JWS_PS256; alg <= JWS_ES256; alg++) {
            _cleanup_(jws_done) Jws jws = {0};

            (void)jws_parse(text, size, alg, type, &jws);
        }
    look_at_kept(text, size);
    (void)login_request_peek(text, size, skid);
    (void)register_request_peek(text, size, skid);
    return 0;
}
