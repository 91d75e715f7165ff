/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From here on this process and its threads start no program, touch no other process, write nowhere but in
 * the data folder, and read no files but these, those that the configuration names, and the system's. Under
 * systemd the unit says so as well; this holds for a relay started by hand. */

#include "server/options.h"

/* The data folder is there. Before any thread. */
int relay_sandbox_enter(const Options *o);
