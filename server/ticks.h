/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* By what clients see that a relay has gone back to a former state. At each start, and twice a day, the relay
 * counts one further and draws an id; number and the newest ids stand in the file ticks of the data folder,
 * and in the relay's statement. Whoever puts a copy of the folder in its place takes both back with it: the
 * numbers are smaller then, or come with other ids.
 *
 * A copy by store backup holds the ticks without the last one: whoever was there since that, and may have
 * been answered what the copy does not have, sees another one in its place once the copy is the relay.
 * Whoever was not has missed nothing of theirs, and is told nothing. */

#include "libhmsg/wire/statement.h"

/* The next tick, on disk when it returns; ret: with it. A file that is damaged is an error: -EBADMSG. */
int ticks_advance(const char *folder, Ticks *ret);

/* Those of a copy of the folder that is begun after this: n is 0 when it is to have none. */
int ticks_before(const char *folder, Ticks *ret);
/* Those that were told last; number 0: none yet. */
int ticks_last(const char *folder, Ticks *ret);
/* What ticks_set_time said last, or when the last tick was told, in seconds since 1970; 0: neither. */
int64_t ticks_time(const char *folder);
/* What time it is, for the next start to know: the time of the file ticks, or of a file clock where there is
 * none. */
int ticks_set_time(const char *folder, int64_t time);
/* The file of a folder that has none. */
int ticks_save(const char *folder, const Ticks *t);
/* Goes on from t, which relays have told clients when they shared a store, unless the folder is further. */
int ticks_take(const char *folder, const Ticks *t);
