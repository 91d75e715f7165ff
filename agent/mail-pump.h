/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Copies from one descriptor to another in a thread of its own, where streams of mail get their head put
 * before the content or taken off it; descriptors of clients may block for ever. The callback is called once,
 * from the event loop; freeing stops the thread, also while it waits. */

#include <systemd/sd-event.h>

#include "agent/mail-content.h"
#include "libhmsg/base/macro.h"

typedef struct MailPump MailPump;
MailPump *mail_pump_free(MailPump *p);
DEFINE_CLEANUP(MailPump *, mail_pump_free)

/* head: what was parsed (split); size: bytes of content copied. */
typedef void (*mail_pump_t)(int r, const MailHead *head, uint64_t size, void *userdata);

/* prefix, then all of source. prefix is copied, both descriptors are duplicated and read from and written to
 * where they stand. */
int mail_pump_join(sd_event *event, const Buf *prefix, int source, int destination, mail_pump_t done,
                   void *userdata, MailPump **ret);
/* Reads a head from source and writes what is behind it. BAD_PACKAGE: no head. */
int mail_pump_split(sd_event *event, int source, int destination, mail_pump_t done, void *userdata,
                    MailPump **ret);
/* Both ends of a pipe, close-on-exec. */
int mail_pipe(int ret_fds[static 2]);
