/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The holder's own process. */

#include <errno.h>
#include <libgen.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/base/error.h"
#include "libhmsg/sandbox/sandbox.h"
#include "server/key-holder-internal.h"
#include "server/relay-key-internal.h"

#define TPM_DEVICE "/dev/tpmrm0"

/* A key in memory needs nothing but its files, one in a TPM its device, or the socket of one that is
 * emulated. What a token's module needs nobody knows but who made it: it is left to the unit, and starts no
 * program with more rights. */
static int enter_sandbox(const KeyFiles *f, KeyPlace place)
{
    _cleanup_(freep) char *key = strdup(f->key), *passphrase = strdup(f->passphrase);
    SandboxPath paths[] = {{NULL, false, false},         {NULL, false, false},
                           {"/etc", false, false},       {"/usr", false, false},
                           {"/proc/self", false, false}, {"/dev/urandom", false, false},
                           {"/dev/null", false, false},  {TPM_DEVICE, true, false}};
    const size_t n = place == KEY_IN_TPM ? ELEMENTSOF(paths) : ELEMENTSOF(paths) - 1;
    int r;

    if (!key || !passphrase)
        return -ENOMEM;
    paths[0].path = dirname(key);
    paths[1].path = dirname(passphrase);
    r = sandbox_files(paths, n);
    if (r == 0)
        r = sandbox_capabilities(1u << CAP_DAC_OVERRIDE);
    return r == 0 ? sandbox_calls(place == KEY_IN_TPM ? SANDBOX_WRITE_FILES | SANDBOX_UNIX : 0) : r;
}

static int append_spki(Buf *b, const RsaKey *k)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(k, &n);
    const uint8_t size[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    int r = buf_append(b, size, sizeof(size));

    return r == 0 ? buf_append(b, spki, n) : r;
}

static int open_key(Holder *h, Buf *answer)
{
    const char *file = h->files->key;
    RelayKey *key = NULL;
    int r = relay_key_open(h->files, &file, &key);
    uint8_t which = file == h->files->pin          ? HOLDER_FILE_PIN
                    : file == h->files->passphrase ? HOLDER_FILE_PASSPHRASE
                                                   : HOLDER_FILE_KEY;

    if (buf_append(answer, &which, 1) != 0 || r != 0)
        return r != 0 ? r : -ENOMEM;
    (void)relay_key_free(h->key);
    h->key = key;
    r = append_spki(answer, relay_key_public(key));
    return r == 0 ? append_spki(answer, relay_key_keeper(key)) : r;
}

static int unwrap(const Holder *h, const void *wrapped, size_t n, Buf *answer)
{
    _cleanup_(secret_freep) Secret *secret = NULL;
    int r = relay_key_unwrap(h->key, wrapped, n, &secret);

    return r == 0 ? buf_append(answer, secret_bytes(secret), secret_size(secret)) : r;
}

static int run(Holder *h, const HolderMessage *m, size_t n, Buf *answer)
{
    switch ((HolderCommand)m->what) {
    case HOLDER_OPEN:
        return open_key(h, answer);
    case HOLDER_SIGN:
        return h->key && n == SHA256_SIZE ? relay_key_sign(h->key, m->data, answer, NULL) : -EINVAL;
    case HOLDER_UNWRAP:
        return h->key ? unwrap(h, m->data, n, answer) : -EINVAL;
    default:
        return -EINVAL;
    }
}

size_t key_holder_answer(Holder *h, HolderMessage *m, size_t n)
{
    _cleanup_(buf_done) Buf answer = BUF_MAX(HOLDER_DATA_MAX);

    m->what = run(h, m, n - HOLDER_HEADER_SIZE, &answer);
    memcpy(m->data, answer.data ? answer.data : m->data, answer.size);
    if (answer.data)
        bytes_wipe(answer.data, answer.size);
    return HOLDER_HEADER_SIZE + answer.size;
}

int key_holder_serve(int fd, const KeyFiles *f)
{
    Holder h = {f, NULL};
    HolderMessage m;
    ssize_t n;
    int r = secret_init();

    const KeyPlace place = relay_key_place(f);
    if (r == 0 && place != KEY_IN_TOKEN)
        r = enter_sandbox(f, place);
    while (r == 0 && (n = read(fd, &m, sizeof(m))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)HOLDER_HEADER_SIZE)
            r = n < 0 ? -errno : -EBADMSG;
        if (r != 0)
            break;
        if (write(fd, &m, key_holder_answer(&h, &m, (size_t)n)) < 0)
            r = -errno;
        bytes_wipe(&m, sizeof(m));
    }
    (void)relay_key_free(h.key);
    return r;
}
