/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* References of jansson, released by scope. */

#include <jansson.h>

#include "libhmsg/base/macro.h"

static inline void json_unrefp(json_t **p)
{
    json_decref(*p);
}
