/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The launcher: a process forked by main() before the keyring, threads and sandbox. It starts the programs of
 * a closed list with a clean environment and nothing but fd 3 inherited, unless others than root, the user
 * and the owner of the agent's program may write to them, and ends them when the agent is gone.
 */

#include <sys/types.h>

#include "libhmsg/base/macro.h"

typedef struct Launcher Launcher;

/* Forks. courier and pinentry: the programs' paths. To be called once, while the process has one thread. */
int launcher_new(const char *courier, const char *pinentry, Launcher **ret);
Launcher *launcher_free(Launcher *l); /* ends the process and what it started */
DEFINE_CLEANUP(Launcher *, launcher_free)

/* Starts a courier; *ret_fd is our end of the stream socket that it has as fd 3, non-blocking, close-on-exec.
 * The end of the file there means that the courier is gone (or could not be started). -EPIPE: no launcher. */
int launcher_start_courier(Launcher *l, int *ret_fd);
/* Has a child of the launcher ask for a PIN (pinentry_ask, which says what comes over *ret_fd); it has the
 * environment that the agent was started with, where the screen is named. */
int launcher_ask_pin(Launcher *l, const char *text, int *ret_fd);
/* The same for a question of yes or no (pinentry_confirm). */
int launcher_ask(Launcher *l, const char *text, int *ret_fd);
/* Has a child of the launcher look at a process: an App comes over *ret_fd, or its end before. */
int launcher_look(Launcher *l, pid_t pid, int *ret_fd);
