/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* By what clients see that a relay has gone back to a former state. At each start, and twice a day, the relay
 * counts one further and draws an id; number and the newest ids stand in the file ticks of the data folder,
 * and in the relay's statement. Whoever puts a copy of the folder in its place takes both back with it: the
 * numbers are smaller then, or come with other ids. A copy by store backup holds no ticks. */

#include "libhmsg/wire/statement.h"

/* The next tick, on disk when it returns; ret: with it. A file that is damaged is an error: -EBADMSG. */
int ticks_advance(const char *folder, Ticks *ret);
