/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an administrator asks a relay for: one JSON object, as it goes over the socket
 * (server/admin-socket.h). */

#include "libhmsg/base/buf.h"
#include "libhmsg/wire/limits.h"

#define ADMIN_REQUEST_MAX 1024u /* bytes of one */
#define ADMIN_USES_MAX 10000    /* of one invitation */
#define ADMIN_DAYS_MAX 366      /* until one ends */

typedef enum AdminKind {
    ADMIN_CLIENT_LIST,
    ADMIN_CLIENT_SHOW,
    ADMIN_CLIENT_BLOCK,
    ADMIN_CLIENT_UNBLOCK,
    ADMIN_CLIENT_DELETE,
    ADMIN_INVITE_CREATE,
    ADMIN_INVITE_LIST,
    ADMIN_INVITE_REVOKE,
    ADMIN_KIND_MAX_,
} AdminKind;

typedef struct AdminRequest {
    AdminKind kind;
    char client[ADDRESS_SIZE_MAX + 1]; /* of a client: an address, or the thumbprint of a key */
    int64_t uses, days;                /* of a new invitation */
    int64_t number;                    /* of an invitation */
} AdminRequest;

/* As the command is called in a request and in the log, for instance "invite-create". */
const char *admin_kind_name(AdminKind kind);
/* HMSG_ERROR_INVALID_ARGS: not of the form, or out of bounds. */
int admin_request_parse(const char *text, size_t n, AdminRequest *ret);
/* Appends it, without a line break. */
int admin_request_write(const AdminRequest *q, Buf *ret);
