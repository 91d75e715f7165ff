/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What program a process is, as far as something that the program cannot change by itself tells: its sandbox
 * or its domain of SELinux. Programs of the user outside of any sandbox are one and the same, "host": they
 * can do everything in each other's name (docs/threat-model.md). */

#include <sys/types.h>

#include "libhmsg/base/macro.h"

#define APP_NAME_SIZE 256u                /* of a D-Bus name, which Flatpak ids are, with the final 0 */
#define APP_PROGRAM_SIZE 16u              /* TASK_COMM_LEN of Linux */
#define APP_ID_SIZE (APP_NAME_SIZE + 16u) /* as people type it: "flatpak:org.example.Mail" */
#define APP_LOOK_SECONDS 2u               /* that a look may take */

typedef enum AppKind {
    APP_NOT_ASKED,
    APP_UNKNOWN, /* it is gone, or hides */
    APP_HOST,
    APP_SELINUX, /* name: the type of its context */
    APP_SNAP,    /* name: the snap */
    APP_FLATPAK, /* name: the application's id */
} AppKind;

typedef struct App {
    AppKind kind;
    char name[APP_NAME_SIZE];       /* letters, digits, '.', '-', '_'; "" for the kinds without */
    char program[APP_PROGRAM_SIZE]; /* how the process calls itself, printable ASCII: a hint for people */
} App;

/* Reads proc_folder ("/proc"). A hostile process can make that hang: for a process of its own, which gives up
 * after APP_LOOK_SECONDS. */
void app_look(const char *proc_folder, pid_t pid, App *ret);
/* Is it one that app_look makes? */
bool app_is_valid(const App *a);
/* A program of the host is known better by its context ("user:role:type:level"; NULL: none). */
void app_set_context(App *a, const char *context);

/* Is it kept from the user's other programs, so that rules for it hold? Unknown ones are taken for such. */
bool app_is_sandboxed(const App *a);

/* "host", "unknown", or kind:name. */
void app_id(const App *a, char ret[static APP_ID_SIZE]);
bool app_id_is_valid(const char *id);
