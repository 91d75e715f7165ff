/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A PIN, the password of a key file, or the code of an invitation, on its way from the user to the agent:
 * typed on the terminal, or out of the descriptor that an option names; never an argument or a variable of
 * the environment. It goes to the agent as a memfd. */

#include "cli/ctl.h"
#include "libhmsg/base/secret.h"

/* Up to the first line break. from: the option that names a descriptor. twice: a new PIN, which is typed
 * twice. *ret_fd is for pin_done. INVALID_ARGS: nobody to ask, no such descriptor, too short or too long. */
int pin_get(Ctl *ctl, OptionId from, const char *prompt, bool twice, int *ret_fd);
/* There is a terminal to ask on. */
bool pin_can_ask(void);
/* Overwrites and closes it, or any memfd with a secret. */
void pin_done(int *fd);
