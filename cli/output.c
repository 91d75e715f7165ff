/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cli/render.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"

#define RANDOM_SIZE 8u
#define NAMELESS "message"

struct Output {
    int fd;
    int folder;      /* -1: standard output or a device */
    char *name;      /* in the folder; NULL: given at the end */
    char *path;      /* of the folder, with the slash, or "" */
    char *temporary; /* in the folder, where it is not possible to have none; NULL */
    bool is_stdout;
};

static int random_name(char **ret)
{
    uint8_t random[RANDOM_SIZE];
    char text[RANDOM_SIZE * 2 + 1];

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return -EIO;
    hex_encode(random, sizeof(random), text);
    return string_printf(ret, ".hmsg.%s", text);
}

static int open_folder(Output *out, const char *path)
{
    const char *slash = strrchr(path, '/');

    out->path = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("");
    if (!out->path)
        return -ENOMEM;
    if (!slash || slash[1]) {
        out->name = strdup(slash ? slash + 1 : path);
        if (!out->name)
            return -ENOMEM;
    }
    out->folder = open(*out->path ? out->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return out->folder < 0 ? -errno : 0;
}

static int open_nameless(Output *out, mode_t mode)
{
    int r;

    out->fd = openat(out->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
    if (out->fd >= 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return -errno;
    r = random_name(&out->temporary);
    if (r < 0)
        return r;
    out->fd = openat(out->folder, out->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
    if (out->fd >= 0)
        return 0;
    r = -errno;
    free(TAKE_PTR(out->temporary));
    return r;
}

int output_open(const char *path, mode_t mode, Output **ret)
{
    _cleanup_(output_freep) Output *out = calloc(1, sizeof(*out));
    _cleanup_(freep) char *target = NULL;
    struct stat st;
    int r;

    if (!out)
        return -ENOMEM;
    out->fd = out->folder = -1;
    /* a link stays, what it leads to is replaced */
    if (path && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && (target = realpath(path, NULL)))
        path = target;
    if (!path || strcmp(path, "-") == 0) {
        out->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        out->is_stdout = true;
        r = out->fd < 0 ? -errno : 0;
    } else if (!*path) {
        r = -ENOENT;
    } else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && path[strlen(path) - 1] != '/') {
        out->fd = S_ISDIR(st.st_mode) ? -1 : open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        r = S_ISDIR(st.st_mode) ? -EISDIR : out->fd < 0 ? -errno : 0;
    } else {
        r = open_folder(out, path);
        if (r == 0)
            r = open_nameless(out, mode);
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(out);
    return 0;
}

Output *output_free(Output *out)
{
    if (!out)
        return NULL;
    if (out->temporary)
        (void)unlinkat(out->folder, out->temporary, 0);
    (void)fd_close(out->fd);
    (void)fd_close(out->folder);
    free(out->temporary);
    free(out->name);
    free(out->path);
    free(out);
    return NULL;
}

int output_fd(const Output *out)
{
    return out->fd;
}

bool output_is_stdout(const Output *out)
{
    return out->is_stdout;
}

bool output_is_terminal(const Output *out)
{
    return out->folder < 0 && isatty(out->fd);
}

bool output_wants_name(const Output *out)
{
    return out->folder >= 0 && !out->name;
}

/* linkat(2): the only way for a file without a name that needs no capability is through /proc */
static int link_to(const Output *out, const char *name)
{
    char self[64];

    if (out->temporary)
        return linkat(out->folder, out->temporary, out->folder, name, 0) < 0 ? -errno : 0;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", out->fd);
    return linkat(AT_FDCWD, self, out->folder, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* A link does not replace, a rename does. */
static int replace(Output *out)
{
    int r;

    if (!out->temporary) {
        _cleanup_(freep) char *temporary = NULL;

        r = random_name(&temporary);
        if (r == 0)
            r = link_to(out, temporary);
        if (r < 0)
            return r;
        out->temporary = TAKE_PTR(temporary);
    }
    if (renameat(out->folder, out->temporary, out->folder, out->name) < 0)
        return -errno;
    free(TAKE_PTR(out->temporary));
    return 0;
}

int output_commit(Output *out, const char *name, char **ret_path)
{
    _cleanup_(freep) char *safe = NULL;
    int r;

    if (out->folder < 0) {
        if (ret_path)
            *ret_path = NULL;
        return 0;
    }
    if (out->name) {
        r = replace(out);
    } else {
        r = output_safe_name(name ? name : "", &safe);
        if (r == 0)
            r = link_to(out, safe);
    }
    if (r < 0 || !ret_path)
        return r;
    return string_printf(ret_path, "%s%s", out->path, safe ? safe : out->name);
}

int output_safe_name(const char *hostile, char **ret)
{
    _cleanup_(buf_done) Buf escaped = BUF_MAX(RENDER_SIZE_MAX);
    const char *last = strrchr(hostile, '/');
    char *name;
    size_t n;
    int r;

    last = last ? last + 1 : hostile;
    r = render_text(&escaped, last, strlen(last), false);
    if (r < 0)
        return r;
    n = escaped.size;
    if (n > OUTPUT_NAME_MAX)
        for (n = OUTPUT_NAME_MAX; n > 0 && (escaped.data[n] & 0xc0) == 0x80; n--)
            ;
    name = n > 0 ? strndup(buf_text(&escaped), n) : strdup(NAMELESS);
    if (!name)
        return -ENOMEM;
    for (char *p = name; *p; p++)
        if (*p == '\\' || *p == ':')
            *p = '_';
    if (*name == '.' || *name == '-' || *name == '~')
        *name = '_';
    *ret = name;
    return 0;
}
