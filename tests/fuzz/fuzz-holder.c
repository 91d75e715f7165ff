/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes between a relay and the process that holds its key, should one of the two be taken over: requests
 * that the holder answers, and its answers. The first byte says which. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/key-holder-internal.h"
#include "server/relay-key-internal.h"
#include "tests/fuzz/fuzz.h"

static Holder *holder(void)
{
    static const KeyFiles files = {"/nonexistent/key", "/nonexistent/passphrase", "/nonexistent/pin", NULL};
    static Holder h = {.files = &files};

    if (!h.key)
        fuzz_check(relay_key_generate(RSA_BITS_MIN, &h.key) == 0, "a key");
    return &h;
}

/* The message: what it asks for, then its data. */
static void ask(const uint8_t *data, size_t size)
{
    const size_t n = size < HOLDER_DATA_MAX ? size : HOLDER_DATA_MAX;
    const RelayKey *key = holder()->key;
    HolderMessage m = {.number = 7};

    if (n == 0)
        return;
    m.what = (int8_t)(data[0] - '0');
    memcpy(m.data, data + 1, n - 1);
    bool signs = m.what == HOLDER_SIGN && n - 1 == SHA256_SIZE;
    size_t answered = key_holder_answer(holder(), &m, HOLDER_HEADER_SIZE + n - 1);
    fuzz_must(answered >= HOLDER_HEADER_SIZE && answered <= sizeof(m), "an answer fits into a message");
    fuzz_must(m.number == 7, "and is of its request");
    fuzz_must(holder()->key == key, "the key stays");
    fuzz_check((m.what == 0) == signs, "nothing but signatures is given");
    fuzz_must(m.what != 0 || answered == HOLDER_HEADER_SIZE + RSA_BITS_MIN / 8, "and of those one");
    fuzz_must(m.what == 0 || answered <= HOLDER_HEADER_SIZE + 1, "with an error goes the file that it is of");
}

/* A secret is given to who has what the key keeps of it, and what was changed in it is noticed. */
static void keep(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(HOLDER_DATA_MAX);
    _cleanup_(secret_freep) Secret *secret = NULL;
    HolderMessage m = {.what = HOLDER_UNWRAP};

    if (size < 3)
        return;
    fuzz_check(secret_new(SHA256_SIZE, &secret) == 0, "memory");
    memset(secret_data(secret), data[0], SHA256_SIZE);
    fuzz_check(relay_key_wrap(holder()->key, secret, &wrapped) == 0, "it is wrapped");
    wrapped.data[(size_t)(data[1] << 8 | data[2]) % wrapped.size] ^= size > 3 ? data[3] : 0;
    memcpy(m.data, wrapped.data, wrapped.size);
    size_t n = key_holder_answer(holder(), &m, HOLDER_HEADER_SIZE + wrapped.size);
    if (size > 3 && data[3] != 0) {
        fuzz_must(m.what != 0 && n == HOLDER_HEADER_SIZE, "what was changed is refused");
        return;
    }
    fuzz_check(m.what == 0, "what was not is opened");
    fuzz_must(n == HOLDER_HEADER_SIZE + SHA256_SIZE && bytes_equal(m.data, secret_bytes(secret), SHA256_SIZE),
              "it is the secret");
}

static void read_answer(const uint8_t *data, size_t size)
{
    _cleanup_(buf_done) Buf answer = BUF_MAX(HOLDER_DATA_MAX);
    _cleanup_(rsa_key_freep) RsaKey *identity = NULL, *keeper = NULL;

    if (size > HOLDER_DATA_MAX)
        return;
    fuzz_check(buf_append(&answer, data, size) == 0, "memory");
    int r = key_holder_read_keys(&answer, &identity, &keeper);
    fuzz_must(r <= 0, "its errors");
    fuzz_must((r == 0) == (identity != NULL) && (r == 0) == (keeper != NULL), "two keys, or none");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'a':
        read_answer(data + 1, size - 1);
        break;
    case 'k':
        keep(data + 1, size - 1);
        break;
    default:
        ask(data, size);
    }
    return 0;
}
