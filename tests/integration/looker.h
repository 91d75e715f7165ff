/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A child that stays root when the test becomes an ordinary user, and looks into the memory of processes. */

#include <glib.h>
#include <stdint.h>

/* The socket to it; -1: the test was not root, or root may not look. */
int looker_start(void);
/* A bit for each needle (GBytes) that is in the memory of pid, behind that of one which always is: 1 when
 * none is there. */
uint64_t looker_find(int looker, int pid, const GPtrArray *needles);
