/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* FOLDER/admin: how hmsg-relay's commands reach the relay that serves. A client sends one request
 * (server/admin-request.h) as a line, and gets a line of JSON for each fact, then {"done":true} or
 * {"error":"…"}. Only root and the relay's own account are answered. Some at a time, each on a thread and
 * with a reader of its own, so that one which waits for the store, or for its client, holds up no other. The
 * log gets a line for each: the command, who gave it, and what became of it, but no client's id and no
 * invitation's code.
 */

#include "server/admin.h"

#define ADMIN_SOCKET_NAME "admin"
#define ADMIN_ANSWER_MAX 4096u    /* bytes of one line of an answer */
#define ADMIN_SOCKET_TIMEOUT 5000 /* ms for the request to come, and for a line to be taken */
#define ADMIN_SOCKET_THREADS 8u   /* commands at a time; more wait to be accepted */

typedef struct AdminSocket AdminSocket;

/* The store is locked by us, so what stands there is of a relay that has ended, and is replaced. a is copied,
 * but for its reader, which is not used; what it points to must live until stop. -ENAMETOOLONG: no socket can
 * have such a path. */
int admin_socket_start(const char *folder, const Admin *a, AdminSocket **ret);
/* Ends its threads, whom the store must not keep any more (store_stop); answers that are under way are cut.
 */
AdminSocket *admin_socket_stop(AdminSocket *s);
DEFINE_CLEANUP(AdminSocket *, admin_socket_stop)

/* -ENOENT, -ECONNREFUSED: no relay serves. */
int admin_socket_connect(const char *folder, int *ret_fd);
/* Sends q and hands on the facts as admin_run does. HMSG_ERROR_BAD_PACKAGE: no such answer; error gets what
 * the relay says is wrong then, or "". */
int admin_socket_ask(int fd, const AdminRequest *q, admin_emit_t emit, void *userdata, Buf *ret_error);
