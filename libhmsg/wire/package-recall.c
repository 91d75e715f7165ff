/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The short way for the second and every later package of a session. */

#include <errno.h>

#include "libhmsg/wire/flat.h"
#include "libhmsg/wire/package-internal.h"

int package_recall_id(const Flat *j, const Package *p, uint8_t ret[static SHA256_SIZE])
{
    static const char *const names[] = {"encrypted_aes_key", "sender_public_key", "signature"};
    Chunk chunks[2 * ELEMENTSOF(names)];
    size_t n = 0;
    for (size_t i = 0; i < (p->has_sender ? ELEMENTSOF(names) : 1); i++) {
        const char *text = NULL;
        size_t size = 0;
        int r = flat_get_text(j, names[i], PACKAGE_SIZE_MAX, &text, &size);
        if (r != 0)
            return r;
        chunks[n++] = (Chunk){text, size};
        chunks[n++] = (Chunk){"", 1}; /* a byte that is in none of them */
    }
    return crypto_sha256_chunks(chunks, n, ret);
}

static int recall(const Flat *j, Package *p, package_remember_t remember, void *userdata)
{
    if (package_read_protected(j, p) != 0 || package_recall_id(j, p, p->recall_id) != 0)
        return -ENOENT;
    /* nothing but what the hash covers: a sender's members without skid */
    if (!p->has_sender && (flat_has(j, "sender_public_key") || flat_has(j, "signature")))
        return -ENOENT;
    const SessionStatement *s = remember(p->recall_id, userdata);
    if (!s || !package_is_of(p, s) || package_read_content(j, p) != 0)
        return -ENOENT;
    p->recalled = true;
    p->stage = PACKAGE_SENDER_CHECKED;
    return 0;
}

int package_recall(const char *text, size_t n, package_remember_t remember, void *userdata, Package **ret)
{
    _cleanup_(flat_done) Flat j = {.n = 0};
    _cleanup_(package_freep) Package *p = package_new(PACKAGE_MESSAGE);
    if (!p)
        return -ENOMEM;
    if (n > PACKAGE_SIZE_MAX || flat_parse(text, n, &j) != 0)
        return -ENOENT;
    int r = recall(&j, p, remember, userdata);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}
