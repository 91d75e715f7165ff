/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/integration/proc.h"

#include <stdio.h>
#include <string.h>

char *proc_read(int pid, const char *file, gsize *ret_size)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, file);
    char *text = NULL;

    return g_file_get_contents(path, &text, ret_size, NULL) ? text : NULL;
}

/* A line "Key:\tvalue" of /proc/PID/status; to be freed. */
static char *status_of(int pid, const char *key)
{
    g_autofree char *text = proc_read(pid, "status", NULL);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    size_t n = strlen(key);

    for (size_t i = 0; lines[i]; i++)
        if (strncmp(lines[i], key, n) == 0 && lines[i][n] == ':')
            return g_strdup(g_strstrip(lines[i] + n + 1));
    return NULL;
}

static int parent_of(int pid)
{
    g_autofree char *parent = status_of(pid, "PPid");

    return parent ? (int)g_ascii_strtoll(parent, NULL, 10) : 0;
}

static bool is_called(int pid, const char *name)
{
    g_autofree char *called = status_of(pid, "Name");
    g_autofree char *state = status_of(pid, "State");

    return called && strcmp(called, name) == 0 && state && *state != 'Z';
}

static int find(int ancestor, const char *name, bool direct)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) all = g_dir_open("/proc", 0, &error);
    const char *entry;

    if (!all)
        g_error("/proc: %s", error->message);
    while ((entry = g_dir_read_name(all))) {
        int pid = (int)g_ascii_strtoll(entry, NULL, 10);
        int parent = pid > 0 && is_called(pid, name) ? parent_of(pid) : 0;

        while (!direct && parent > 1 && parent != ancestor)
            parent = parent_of(parent);
        if (parent == ancestor)
            return pid;
    }
    return 0;
}

int proc_find(int pid, const char *name)
{
    return find(pid, name, false);
}

int proc_child(int pid, const char *name)
{
    return find(pid, name, true);
}
