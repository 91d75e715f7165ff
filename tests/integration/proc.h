/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes as /proc shows them. */

#include <glib.h>
#include <stdbool.h>

/* The process of that name (as in /proc/PID/comm) that descends from pid; 0: there is none. */
int proc_find(int pid, const char *name);
/* The process whose parent is pid and that has this name; 0. */
int proc_child(int pid, const char *name);
/* A file of /proc/PID, with its size (may hold zero bytes); NULL when it cannot be read. */
char *proc_read(int pid, const char *file, gsize *ret_size);
