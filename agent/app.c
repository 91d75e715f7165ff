/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/app.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/file.h"

#define INFO_SIZE_MAX (64u * 1024u)
#define MOUNTS_SIZE_MAX (1024u * 1024u)
#define LABEL_SIZE_MAX 4096u
#define FLATPAK_INFO ".flatpak-info"

static const char *const kinds[] = {
    [APP_UNKNOWN] = "unknown", [APP_HOST] = "host",       [APP_SELINUX] = "selinux",
    [APP_SNAP] = "snap",       [APP_FLATPAK] = "flatpak",
};

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

static bool is_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_name_char(s[i]))
            return false;
    return n > 0 && n < APP_NAME_SIZE;
}

static bool set_name(App *a, AppKind kind, const char *name, size_t n)
{
    if (!is_name(name, n))
        return false;
    a->kind = kind;
    memcpy(a->name, name, n);
    a->name[n] = '\0';
    return true;
}

/* The value of key in the first [section] of a key file (Desktop Entry Specification). */
static const char *find_value(const char *text, const char *section, const char *key, size_t *ret_size)
{
    size_t n = strlen(key), size;
    bool inside = false;

    for (const char *line = text; *line; line += size + (line[size] == '\n')) {
        size = strcspn(line, "\n");
        if (line[0] == '[')
            inside = size == strlen(section) && strncmp(line, section, size) == 0;
        else if (inside && size > n && strncmp(line, key, n) == 0 && line[n] == '=') {
            *ret_size = size - n - 1;
            return line + n + 1;
        }
    }
    return NULL;
}

/* flatpak-metadata(5). 0, also when it is no Flatpak; else what kept us from knowing. */
static int look_for_flatpak(int process, App *a)
{
    _cleanup_(buf_done) Buf info = BUF_MAX(INFO_SIZE_MAX);
    const char *name;
    size_t n = 0;
    int r;

    r = file_read(process, "root/" FLATPAK_INFO, &info);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    name = find_value(buf_text(&info), "[Application]", "name", &n);
    return name && set_name(a, APP_FLATPAK, name, n) ? 0 : -EBADMSG;
}

/* A process that lets nobody trace it has its mounts seen still: among them that file, in the sandbox of a
 * Flatpak. */
static int look_at_mounts(int process)
{
    _cleanup_(buf_done) Buf mounts = BUF_MAX(MOUNTS_SIZE_MAX);
    int r = file_read(process, "mountinfo", &mounts);

    if (r < 0)
        return r;
    return strstr(buf_text(&mounts), " /" FLATPAK_INFO " ") ? -EACCES : 0;
}

/* The label of AppArmor that snapd gives: "snap.NAME.APP (enforce)". */
static void look_for_snap(int process, App *a)
{
    _cleanup_(buf_done) Buf label = BUF_MAX(LABEL_SIZE_MAX);
    const char *name, *end;

    if (file_read(process, "attr/current", &label) < 0 ||
        strncmp(buf_text(&label), "snap.", strlen("snap.")) != 0)
        return;
    name = buf_text(&label) + strlen("snap.");
    end = strchr(name, '.');
    if (!end || !set_name(a, APP_SNAP, name, (size_t)(end - name)))
        a->kind = APP_UNKNOWN;
}

static void look_at_program(int process, App *a)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(LABEL_SIZE_MAX);
    size_t n = 0;

    if (file_read(process, "comm", &text) < 0)
        return;
    for (const char *c = buf_text(&text); *c && *c != '\n' && n < sizeof(a->program) - 1; c++)
        a->program[n++] = *c >= ' ' && *c <= '~' ? *c : '?';
}

void app_look(const char *proc_folder, pid_t pid, App *ret)
{
    _cleanup_(fd_closep) int process = -1;
    char path[64];
    int r;

    *ret = (App){.kind = APP_UNKNOWN};
    if (pid <= 0 || (size_t)snprintf(path, sizeof(path), "%s/%d", proc_folder, (int)pid) >= sizeof(path))
        return;
    process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process < 0)
        return;
    look_at_program(process, ret);
    r = look_for_flatpak(process, ret);
    if (r == -EACCES || r == -EPERM)
        r = look_at_mounts(process);
    if (r < 0 || ret->kind == APP_FLATPAK)
        return;
    ret->kind = APP_HOST;
    look_for_snap(process, ret);
}

static bool kind_has_name(AppKind kind)
{
    return kind == APP_SELINUX || kind == APP_SNAP || kind == APP_FLATPAK;
}

bool app_is_valid(const App *a)
{
    size_t n = strnlen(a->name, sizeof(a->name));

    if (a->kind < APP_UNKNOWN || a->kind > APP_FLATPAK || memchr(a->program, 0, sizeof(a->program)) == NULL)
        return false;
    return kind_has_name(a->kind) ? is_name(a->name, n) : n == 0;
}

void app_set_context(App *a, const char *context)
{
    const char *type = context;

    for (unsigned i = 0; type && i < 2; i++) {
        type = strchr(type, ':');
        type = type ? type + 1 : NULL;
    }
    if (a->kind == APP_HOST && type)
        (void)set_name(a, APP_SELINUX, type, strcspn(type, ":"));
}

bool app_is_sandboxed(const App *a)
{
    return a->kind != APP_HOST && a->kind != APP_SELINUX;
}

void app_id(const App *a, char ret[static APP_ID_SIZE])
{
    const char *kind = a->kind == APP_NOT_ASKED ? kinds[APP_UNKNOWN] : kinds[a->kind];

    (void)snprintf(ret, APP_ID_SIZE, "%s%s%s", kind, *a->name ? ":" : "", a->name);
}

bool app_id_is_valid(const char *id)
{
    const char *colon = strchr(id, ':');
    size_t n = colon ? (size_t)(colon - id) : strlen(id);

    for (AppKind k = APP_UNKNOWN; k <= APP_FLATPAK; k++)
        if (strlen(kinds[k]) == n && strncmp(id, kinds[k], n) == 0 && kind_has_name(k) == (colon != NULL))
            return !colon || is_name(colon + 1, strlen(colon + 1));
    return false;
}
