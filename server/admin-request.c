/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/admin-request.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"

/* The members that a request has. */
typedef enum Shape {
    SHAPE_BARE,
    SHAPE_CLIENT,
    SHAPE_INVITE,
    SHAPE_NUMBER,
} Shape;

typedef struct Form {
    const char *name;
    Shape shape;
} Form;

static const Form forms[ADMIN_KIND_MAX_] = {
    [ADMIN_CLIENT_LIST] = {"client-list", SHAPE_BARE},
    [ADMIN_CLIENT_SHOW] = {"client-show", SHAPE_CLIENT},
    [ADMIN_CLIENT_BLOCK] = {"client-block", SHAPE_CLIENT},
    [ADMIN_CLIENT_UNBLOCK] = {"client-unblock", SHAPE_CLIENT},
    [ADMIN_CLIENT_DELETE] = {"client-delete", SHAPE_CLIENT},
    [ADMIN_INVITE_CREATE] = {"invite-create", SHAPE_INVITE},
    [ADMIN_INVITE_LIST] = {"invite-list", SHAPE_BARE},
    [ADMIN_INVITE_REVOKE] = {"invite-revoke", SHAPE_NUMBER},
};

const char *admin_kind_name(AdminKind kind)
{
    return forms[kind].name;
}

static int read_client(const json_t *j, AdminRequest *q)
{
    const char *text = NULL;
    size_t n = 0;
    int r = json_get_text(j, "client", ADDRESS_SIZE_MAX, &text, &n);
    if (r == 0)
        memcpy(q->client, text, n + 1);
    return r;
}

static int read_members(const json_t *j, Shape shape, AdminRequest *q)
{
    static const char *const names[][4] = {
        [SHAPE_BARE] = {"command"},
        [SHAPE_CLIENT] = {"command", "client"},
        [SHAPE_INVITE] = {"command", "uses", "days"},
        [SHAPE_NUMBER] = {"command", "number"},
    };
    int r = json_check_names(j, names[shape]);
    if (r == 0 && shape == SHAPE_CLIENT)
        r = read_client(j, q);
    if (r == 0 && shape == SHAPE_INVITE)
        r = json_get_number(j, "uses", 1, ADMIN_USES_MAX, &q->uses);
    if (r == 0 && shape == SHAPE_INVITE)
        r = json_get_number(j, "days", 1, ADMIN_DAYS_MAX, &q->days);
    if (r == 0 && shape == SHAPE_NUMBER)
        r = json_get_number(j, "number", 1, INT64_MAX, &q->number);
    return r;
}

int admin_request_parse(const char *text, size_t n, AdminRequest *ret)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    AdminRequest q = {};
    int r = n <= ADMIN_REQUEST_MAX ? json_parse_object(text, n, &j) : HMSG_ERROR_INVALID_ARGS;
    if (r != 0)
        return r == -ENOMEM ? r : HMSG_ERROR_INVALID_ARGS;
    while (q.kind < ADMIN_KIND_MAX_ && json_expect_text(j, "command", forms[q.kind].name) != 0)
        q.kind++;
    if (q.kind == ADMIN_KIND_MAX_)
        return HMSG_ERROR_INVALID_ARGS;
    r = read_members(j, forms[q.kind].shape, &q);
    if (r == 0)
        *ret = q;
    return r > 0 ? HMSG_ERROR_INVALID_ARGS : r;
}

int admin_request_write(const AdminRequest *q, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    const Form *f = &forms[q->kind];
    int r = j ? json_put_text(j, "command", f->name) : -ENOMEM;
    if (r == 0 && f->shape == SHAPE_CLIENT)
        r = json_put_text(j, "client", q->client);
    if (r == 0 && f->shape == SHAPE_INVITE)
        r = json_put_number(j, "uses", q->uses);
    if (r == 0 && f->shape == SHAPE_INVITE)
        r = json_put_number(j, "days", q->days);
    if (r == 0 && f->shape == SHAPE_NUMBER)
        r = json_put_number(j, "number", q->number);
    return r == 0 ? json_write(j, ret) : r;
}
