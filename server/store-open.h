/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The store that the configuration names. */

#include "server/at-rest.h"
#include "server/options.h"
#include "server/store.h"

/* What a database of another machine says of its errors goes to the log besides. Errors: store_problem. */
int store_open(const Options *o, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret);
/* From another process, while a relay may run. keeper must outlive it. */
int store_open_reader(const Options *o, const StoreKeeper *keeper, StoreReader **ret);
/* Has keeper wrap the keys anew, all or none. -EBUSY: a relay runs. -ENOENT: there is no store. */
int store_rewrap(const Options *o, const StoreKeeper *keeper);
/* Reads and decrypts everything, to the end; -EBADMSG: something is damaged, of which each was told. tell may
 * be NULL. */
int store_check(StoreReader *r, store_damage_t tell, void *userdata);
/* What to call it before a message for people: its folder, or "the database". */
const char *store_name(const Options *o);
