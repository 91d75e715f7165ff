/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/db. SQLite writes each page of its log in two pieces, one after the other. Through this
 * layer they are gathered, and written as few large ones at the latest when the log is to be on disk, which
 * with synchronous=FULL is before a commit is seen by anyone. All but the log is as without it. */

#include "libhmsg/db/vfs.h"

int wal_vfs_register(VfsLayer *layer); /* 0 or an SQLite code */
