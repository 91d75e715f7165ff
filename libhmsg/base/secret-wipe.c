/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/secret.h"

#include <string.h>

/* Apart from the rest: programs that only use buffers, hmsgctl above all, then need no OpenSSL and start
 * faster. */
void bytes_wipe(void *p, size_t n)
{
    if (p && n > 0)
        explicit_bzero(p, n);
}
