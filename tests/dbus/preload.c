/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A library that another program would have the agent load: it says that it is there. */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void say(void)
{
    const char *path = getenv("HMSG_TEST_PRELOADED");

    if (path)
        (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}
