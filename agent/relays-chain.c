/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Coming back to a relay that has forgotten us, for we unregistered or were deleted, by other keys than we
 * had there: the chain that leads to them is told with the registration, so that contacts follow. For that
 * the statements of each pair of keys at an address are kept, as the former sign key makes none any more. */

#include <errno.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/rotation.h"

#define KEPT_MAX 256u                                         /* pairs of keys, at all addresses together */
#define CHAIN_SIZE_MAX (ROTATION_BODY_SIZE_MAX - 32u * 1024u) /* the registration is in the body as well */

int chain_note(Relays *r, const char *address, const uint8_t skid[static KID_SIZE], const char *statement,
               bool follows)
{
    DbStatement *put = r->sql.statement_put, *trim = r->sql.statements_trim;
    char text[HASH_TEXT_SIZE];
    int e;

    base64url_encode(skid, KID_SIZE, text);
    db_bind_text(put, 1, address);
    db_bind_text(put, 2, text);
    db_bind_text(put, 3, statement);
    db_bind_number(put, 4, clock_realtime());
    db_bind_number(put, 5, follows);
    e = db_run(put);
    if (e == 0) {
        db_bind_number(trim, 1, KEPT_MAX);
        e = db_run(trim);
    }
    return e;
}

/* A pair of keys that we had at the address. */
typedef struct Former {
    IdentityStatement last; /* that was made with them there */
    char *last_text, *first_text;
    const RsaKey *signer; /* of what comes next: theirs, or a recovery key */
    size_t next;          /* its rotation */
} Former;

typedef struct FormerList {
    Former all[ROTATION_CHAIN_MAX]; /* the oldest first */
    size_t n;
} FormerList;

static void former_done(Former *f)
{
    identity_statement_done(&f->last);
    free(f->last_text);
    free(f->first_text);
    *f = (Former){0};
}

static FormerList *former_list_free(FormerList *l)
{
    for (size_t i = 0; l && i < l->n; i++)
        former_done(&l->all[i]);
    free(l);
    return NULL;
}
DEFINE_CLEANUP(FormerList *, former_list_free)

/* Of one that leads nowhere it is not said. */
static int read_former(const Relays *r, DbStatement *row, Former *ret)
{
    Former f = {0};
    size_t n = 0;
    const char *text = db_column_text(row, 1, &n);
    int e = identity_statement_parse(text, n, clock_realtime(), &f.last);

    if (e == 0) {
        f.next = rotate_find_first(r, &f.last, &f.signer);
        e = f.next == SIZE_MAX ? HMSG_ERROR_NOT_FOUND : 0;
    }
    if (e == 0)
        e = string_printf(&f.last_text, "%s", text);
    if (e == 0)
        e = string_printf(&f.first_text, "%s", db_column_text(row, 0, NULL));
    if (e == 0) {
        *ret = f;
        f = (Former){0};
    }
    former_done(&f);
    return e;
}

/* In the order in which they were given up; of too many the newest. */
static void insert(FormerList *l, Former *f)
{
    size_t at = l->n;

    while (at > 0 && l->all[at - 1].next >= f->next)
        at--;
    if ((at < l->n && l->all[at].next == f->next) || (l->n == ROTATION_CHAIN_MAX && at == 0)) {
        former_done(f);
        return;
    }
    if (l->n == ROTATION_CHAIN_MAX) {
        former_done(&l->all[0]);
        memmove(l->all, l->all + 1, --at * sizeof(*l->all));
        l->n--;
    }
    memmove(l->all + at + 1, l->all + at, (l->n - at) * sizeof(*l->all));
    l->all[at] = *f;
    l->n++;
}

static int list_former(const Relays *r, const char *address, const char *skid, FormerList *l)
{
    _cleanup_(db_resetp) DbStatement *find = r->sql.statements;
    bool row = false;
    int e;

    db_bind_text(find, 1, address);
    db_bind_text(find, 2, skid);
    while ((e = db_step(find, &row)) == 0 && row) {
        Former f;

        e = read_former(r, find, &f);
        if (e < 0)
            return e;
        if (e == 0)
            insert(l, &f);
    }
    return e;
}

/* next: what comes after it at this address; NULL: the keys of now. */
static int make_link(const Relays *r, const Former *f, const Former *next, json_t **ret)
{
    json_t *link = json_object(), *steps = json_array();
    int e = link && steps ? rotate_put_steps(r, f->next, next ? next->next : SIZE_MAX, f->signer, steps)
                          : -ENOMEM;

    if (e == 0)
        e = json_put_text(link, "from", f->last_text);
    if (e == 0)
        e = json_put(link, "steps", json_incref(steps));
    if (e == 0 && next)
        e = json_put_text(link, "to", next->first_text);
    json_decref(steps);
    if (e == 0)
        *ret = link;
    else
        json_decref(link);
    return e;
}

/* Does the first statement of next say that it follows? It does not when the relay had forgotten f by then.
 */
static bool is_followed(const Former *f, const Former *next)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0};

    return identity_statement_parse(next->first_text, strlen(next->first_text), clock_realtime(), &s) == 0 &&
           s.has_previous && bytes_equal(s.previous, f->last.sha256, SHA256_SIZE);
}

/* From the newest back, as far as they follow on each other and there is room. */
static int write_chain(const Relays *r, const FormerList *l, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *chain = json_array();
    size_t size = 2;
    int e = chain ? 0 : -ENOMEM;

    for (size_t i = l->n; e == 0 && i-- > 0;) {
        const Former *f = &l->all[i], *next = i + 1 < l->n ? f + 1 : NULL;
        _cleanup_(buf_done) Buf text = BUF_MAX(CHAIN_SIZE_MAX);
        json_t *link = NULL;

        if (next && !is_followed(f, next))
            break;
        e = make_link(r, f, next, &link);
        if (e == 0 && json_write(link, &text) != 0)
            size = CHAIN_SIZE_MAX;
        size += text.size + 1;
        if (e != 0 || size > CHAIN_SIZE_MAX) {
            json_decref(link);
            break;
        }
        e = json_array_insert_new(chain, 0, link) == 0 ? 0 : -ENOMEM;
    }
    if (e > 0)
        e = 0; /* a step whose key is not known any more: from here on */
    return e == 0 && json_array_size(chain) > 0 ? json_write(chain, ret) : e;
}

int chain_prepare(RelaysRequest *q)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    _cleanup_(former_list_freep) FormerList *l = calloc(1, sizeof(*l));
    int e;

    buf_done(&q->chain);
    q->chain = BUF_MAX(ROTATION_BODY_SIZE_MAX);
    q->has_previous = false;
    if (!l)
        return -ENOMEM;
    if (!p || q->chainless)
        return 0;
    e = list_former(q->owner, q->stored_address, p->skid, l);
    if (e == 0)
        e = write_chain(q->owner, l, &q->chain);
    if (e == 0 && q->chain.size > 0) {
        memcpy(q->previous, l->all[l->n - 1].last.sha256, SHA256_SIZE);
        q->has_previous = true;
    }
    return e;
}
