/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "server/store-sqlite-internal.h"

static Prepared *prepared_free(Prepared *p)
{
    (void)secret_free(p->plain);
    buf_done(&p->body);
    free(p->ids);
    free(p);
    return NULL;
}
DEFINE_CLEANUP(Prepared *, prepared_free)

void store_sqlite_unprepare(StoreWrite *w)
{
    if (w->prepared)
        w->prepared = prepared_free(w->prepared);
}

static int index_put(const AtRest *a, const StoreWrite *w, Prepared *p)
{
    const Chunk receipt[] = {{w->put.id, ID_SIZE}, {p->submitter, sizeof(p->submitter)}};
    int r = identity_index(a, INDEX_MESSAGE, w->put.id, ID_SIZE, p->id);
    if (r == 0)
        r = identity_index(a, INDEX_KEY, w->put.submitter, KID_SIZE, p->submitter);
    if (r == 0 && w->put.has_capability)
        r = identity_index(a, INDEX_CAPABILITY, w->put.capability, SHA256_SIZE, p->capability);
    return r == 0 ? at_rest_index(a, INDEX_SUBMITTER, receipt, ELEMENTSOF(receipt), p->receipt) : r;
}

static int prepare_put(const SqliteStore *s, const StoreWrite *w, Prepared *p)
{
    int r = index_put(s->at_rest, w, p);
    if (r == 0)
        r = secret_new(MESSAGE_PLAIN_SIZE, &p->plain);
    if (r != 0)
        return r;
    uint8_t *plain = secret_data(p->plain);
    memcpy(plain, w->put.id, ID_SIZE);
    memcpy(plain + MESSAGE_AT_SUBMITTER, w->put.submitter, KID_SIZE);
    if (w->put.blob) {
        memcpy(plain + MESSAGE_AT_KEY, secret_bytes(((const SqliteBlob *)w->put.blob)->key), BODY_KEY_SIZE);
        return 0;
    }
    /* what is too large is refused later */
    if (w->put.size > MESSAGE_SIZE_MAX)
        return 0;
    p->body = BUF_MAX((size_t)body_sealed_size(w->put.size));
    r = crypto_random(plain + MESSAGE_AT_KEY, BODY_KEY_SIZE);
    return r == 0 ? body_seal(plain + MESSAGE_AT_KEY, w->put.body, w->put.size, &p->body) : r;
}

static int prepare_ids(const SqliteStore *s, const StoreWrite *w, Prepared *p)
{
    int r = 0;
    size_t n = w->acknowledge.n;
    if (n > ACKNOWLEDGE_IDS_MAX) /* refused later */
        return 0;
    p->ids = calloc(n + 1, AT_REST_INDEX_SIZE);
    if (!p->ids)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = identity_index(s->at_rest, INDEX_MESSAGE, w->acknowledge.ids + i * ID_SIZE, ID_SIZE,
                           p->ids + i * AT_REST_INDEX_SIZE);
    return r;
}

int store_sqlite_prepare_write(SqliteStore *s, StoreWrite *w)
{
    w->prepared = NULL;
    if (w->kind != STORE_PUT && w->kind != STORE_ACKNOWLEDGE)
        return 0;
    _cleanup_(prepared_freep) Prepared *p = calloc(1, sizeof(*p));
    const uint8_t *mailbox = w->kind == STORE_PUT ? w->put.mailbox : w->acknowledge.mailbox;
    if (!p)
        return -ENOMEM;
    int r = identity_index(s->at_rest, INDEX_KEY, mailbox, KID_SIZE, p->mailbox);
    if (r == 0)
        r = w->kind == STORE_PUT ? prepare_put(s, w, p) : prepare_ids(s, w, p);
    if (r == 0)
        w->prepared = TAKE_PTR(p);
    return r;
}
