/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/mman.h>

#include "libhmsg/base/config.h"
#include "libhmsg/base/file.h"
#include "tests/fuzz/fuzz.h"

static int look(const char *section, const char *key, const char *value, void *userdata)
{
    uint64_t number;
    bool flag;

    fuzz_check(*key != 0, "a key has a name");
    (void)config_get_number(userdata, section, key, 0, 1, 100, &number);
    (void)config_get_seconds(userdata, section, key, 0, &number);
    (void)config_get_bool(userdata, section, key, false, &flag);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_(fd_closep) int fd = memfd_create("config", MFD_CLOEXEC);
    char path[64];
    unsigned line = 0;

    fuzz_check(fd >= 0 && file_write_fd(fd, data, size) == 0, "a file in memory");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (config_load(path, &c, &line) == 0)
        (void)config_each(c, look, c);
    return 0;
}
