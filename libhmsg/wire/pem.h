/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text armour (RFC 7468, without headers). White space around the block and between its characters is
 * allowed, anything else is not. */

#include "libhmsg/base/buf.h"

/* Does text begin with such a block? Nothing else is checked. */
bool pem_is(const char *text, size_t n, const char *label);
/* Appends the bytes. HMSG_ERROR_BAD_PACKAGE: also when there are more than ret holds. */
int pem_read(const char *text, size_t n, const char *label, Buf *ret);
int pem_append(Buf *b, const char *label, const void *data, size_t n);
