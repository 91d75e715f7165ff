/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Copies from one descriptor to another in a thread of its own, where streams of mail get their head put
 * before the content or taken off it; descriptors of clients may block for ever. The callback is called once,
 * from the event loop; freeing cancels, also inside it. */

#include "agent/mail-content.h"
#include "agent/worker.h"

typedef struct MailPump MailPump;
MailPump *mail_pump_free(MailPump *p);
DEFINE_CLEANUP(MailPump *, mail_pump_free)

/* head: what was parsed (split); size: bytes of content that came from the source. */
typedef void (*mail_pump_t)(int r, const MailHead *head, uint64_t size, void *userdata);

/* begin (copied), then all of source. Descriptors are duplicated, used from where they stand, and closed here
 * when the copying has ended. */
int mail_pump_join(Workers *workers, const Buf *begin, int source, int destination, mail_pump_t done,
                   void *userdata, MailPump **ret);
/* Reads a head from source and writes what is behind it. BAD_PACKAGE: there is none. */
int mail_pump_split(Workers *workers, int source, int destination, mail_pump_t done, void *userdata,
                    MailPump **ret);
/* Reads source to its end, or until there are max bytes of it; the rest stays for mail_pump_join. content is
 * the callback's to change. */
typedef void (*mail_gathered_t)(int r, Buf *content, bool end, void *userdata);
int mail_pump_gather(Workers *workers, int source, size_t max, mail_gathered_t done, void *userdata,
                     MailPump **ret);
/* Both ends of a pipe, close-on-exec. */
int mail_pipe(int ret_fds[static 2]);
