/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/progress.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/json-util.h"
#include "cli/render.h"
#include "libhmsg/base/clock.h"

#define SHOW_AFTER 500000u /* microseconds */
#define SHOW_EVERY 100000u
#define LINE_SIZE_MAX 256u

Progress progress_begin(void)
{
    return (Progress){.began = isatty(STDERR_FILENO) ? clock_boottime() : 0};
}

static int add_size(Buf *out, uint64_t n)
{
    _cleanup_(json_unrefp) json_t *number = json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);

    return render_value(out, number, RENDER_SIZE);
}

int progress_text(Buf *out, uint64_t done, uint64_t total)
{
    int r = 0;

    if (total > 0)
        r = buf_printf(out, "%3u %%  ", (unsigned)(done >= total ? 100 : (double)done * 100 / (double)total));
    if (r == 0)
        r = add_size(out, done);
    if (r == 0 && total > 0)
        r = buf_append_string(out, " of ");
    if (r == 0 && total > 0)
        r = add_size(out, total);
    return r;
}

void progress_show(uint64_t done, uint64_t total, void *userdata)
{
    _cleanup_(buf_done) Buf line = BUF_MAX(LINE_SIZE_MAX);
    uint64_t now = clock_boottime();
    Progress *p = userdata;

    if (p->began == 0 || now - p->began < SHOW_AFTER || now - p->drawn < SHOW_EVERY)
        return;
    if (progress_text(&line, done, total) == 0)
        (void)fprintf(stderr, "\r%s\033[K", buf_text(&line));
    p->drawn = now;
}

void progress_end(Progress *p)
{
    if (p->drawn > 0)
        (void)fputs("\r\033[K", stderr);
    p->drawn = 0;
}
