/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/journal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/base/log.h"

#define EVENT_MAX 8192u

static int journal = -1;         /* lint: global: a process has one log */
static const char *program_name; /* lint: global: the same */

static int put(Buf *event, const char *name, const char *value)
{
    char text[LOG_LINE_MAX];
    (void)snprintf(text, sizeof(text), "%s", value);
    log_clean(text); /* a line break would begin another field */
    return buf_printf(event, "%s=%s\n", name, text);
}

static bool send_event(int level, const LogField *fields, const char *text)
{
    _cleanup_(buf_done) Buf event = BUF_MAX(EVENT_MAX);
    int r = put(&event, "MESSAGE", text);
    if (r == 0)
        r = buf_printf(&event, "PRIORITY=%d\n", level);
    if (r == 0)
        r = put(&event, "SYSLOG_IDENTIFIER", program_name);
    for (; r == 0 && fields && fields->name; fields++)
        if (fields->value)
            r = put(&event, fields->name, fields->value);
    return r == 0 && send(journal, event.data, event.size, MSG_NOSIGNAL) == (ssize_t)event.size;
}

int journal_open(const char *path, const char *program)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(name.sun_path))
        return -ENAMETOOLONG;
    memcpy(name.sun_path, path, strlen(path) + 1);
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&name, sizeof(name)) < 0)
        return -errno;
    journal_close();
    journal = fd;
    fd = -1;
    program_name = program;
    log_set_sink(send_event);
    return 0;
}

void journal_close(void)
{
    log_set_sink(NULL);
    journal = fd_close(journal);
}
