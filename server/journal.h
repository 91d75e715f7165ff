/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The log of a relay whose standard error is the journal goes there with its fields, by the protocol that
 * systemd describes as "Native Journal Protocol", so that programs need not read sentences. Each has at least
 * MESSAGE, PRIORITY and SYSLOG_IDENTIFIER; hmsg-relay(8) names those of ours. None holds an id, a name or an
 * address of a client. */

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* From now on log_event writes to the journal that listens at path; what does not arrive goes to standard
 * error. Before the sandbox. Without a journal nothing changes. -ECONNREFUSED, -ENOENT. */
int journal_open(const char *path, const char *program);
void journal_close(void);
