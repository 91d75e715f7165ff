/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a user can do about an error. */

#include "cli/command.h"

/* A sentence, or NULL when there is nothing to say. command may be NULL: the command line was wrong. */
const char *hint_for(const Command *command, int r);
