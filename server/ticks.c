/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/ticks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"

#define FILE_SIZE_MAX 4096u
#define CLOCK_FILE "clock" /* empty; where the ticks are elsewhere */

static int read_ticks(const char *path, Ticks *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(FILE_SIZE_MAX);
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = file_read(AT_FDCWD, path, &text);

    *ret = (Ticks){0};
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = json_parse_object(buf_text(&text), text.size, &j);
    if (r == 0)
        r = ticks_get(j, ret);
    return r > 0 || (r == 0 && ret->number == 0) ? -EBADMSG : r;
}

static int write_ticks(const char *path, const Ticks *t)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(FILE_SIZE_MAX);
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = ticks_put(j, t);

    if (r == 0)
        r = json_write(j, &text);
    return r == 0 ? file_write_atomic(AT_FDCWD, path, text.data, text.size, 0600, false) : r;
}

static int read_of(const char *folder, char **ret_path, Ticks *ret)
{
    int r = string_printf(ret_path, "%s/ticks", folder);

    return r == 0 ? read_ticks(*ret_path, ret) : r;
}

int ticks_advance(const char *folder, Ticks *ret)
{
    _cleanup_(freep) char *path = NULL;
    Ticks t;
    int r = read_of(folder, &path, &t);

    if (r != 0)
        return r;
    r = ticks_next(&t);
    if (r == 0)
        r = write_ticks(path, &t);
    if (r == 0)
        *ret = t;
    return r;
}

int ticks_before(const char *folder, Ticks *ret)
{
    _cleanup_(freep) char *path = NULL;
    Ticks t;
    int r = read_of(folder, &path, &t);

    if (r != 0)
        return r;
    if (t.n > 0) {
        t.n--;
        t.number--;
        memmove(t.ids[0], t.ids[1], t.n * TICK_SIZE);
    }
    *ret = t.n > 0 ? t : (Ticks){0};
    return 0;
}

int ticks_last(const char *folder, Ticks *ret)
{
    _cleanup_(freep) char *path = NULL;

    return read_of(folder, &path, ret);
}

static int64_t time_of(const char *folder, const char *name)
{
    _cleanup_(freep) char *path = NULL;
    struct stat st;

    return string_printf(&path, "%s/%s", folder, name) == 0 && stat(path, &st) == 0 ? st.st_mtim.tv_sec : 0;
}

int64_t ticks_time(const char *folder)
{
    int64_t time = time_of(folder, "ticks");

    return time != 0 ? time : time_of(folder, CLOCK_FILE);
}

int ticks_set_time(const char *folder, int64_t time)
{
    const struct timespec times[] = {{.tv_sec = time}, {.tv_sec = time}};
    _cleanup_(freep) char *ticks = NULL, *clock = NULL;
    int r = string_printf(&ticks, "%s/ticks", folder);

    if (r == 0)
        r = string_printf(&clock, "%s/" CLOCK_FILE, folder);
    if (r != 0 || utimensat(AT_FDCWD, ticks, times, 0) == 0)
        return r;
    if (errno != ENOENT)
        return -errno;
    _cleanup_(fd_closep) int fd = open(clock, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 || utimensat(AT_FDCWD, clock, times, 0) < 0 ? -errno : 0;
}

int ticks_save(const char *folder, const Ticks *t)
{
    _cleanup_(freep) char *path = NULL;
    int r = string_printf(&path, "%s/ticks", folder);

    return r == 0 && t->n > 0 ? write_ticks(path, t) : r;
}

int ticks_take(const char *folder, const Ticks *t)
{
    _cleanup_(freep) char *path = NULL;
    Ticks own = {0};
    int r = string_printf(&path, "%s/ticks", folder);

    if (r == 0)
        r = read_ticks(path, &own);
    return r == 0 && own.number < t->number ? write_ticks(path, t) : r;
}
