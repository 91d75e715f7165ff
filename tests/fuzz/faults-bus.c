/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For faults.c: what reads D-Bus messages allocates within sd-bus, and hardly itself. So the calls of sd-bus
 * fail in its place, as they do when it has no memory. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "tests/fuzz/fuzz.h"

#define READER(name, parameters, arguments)                                                                  \
    int real_##name parameters __asm__("__real_sd_bus_message_" #name);                                      \
    int our_##name parameters __asm__("__wrap_sd_bus_message_" #name);                                       \
    int our_##name parameters                                                                                \
    {                                                                                                        \
        return fuzz_fails() ? -ENOMEM : real_##name arguments;                                               \
    }

READER(at_end, (sd_bus_message * m, int complete), (m, complete))
READER(enter_container, (sd_bus_message * m, char type, const char *contents), (m, type, contents))
READER(exit_container, (sd_bus_message * m), (m))
READER(peek_type, (sd_bus_message * m, char *type, const char **contents), (m, type, contents))
READER(read_array, (sd_bus_message * m, char type, const void **data, size_t *n), (m, type, data, n))
READER(read_basic, (sd_bus_message * m, char type, void *value), (m, type, value))

int our_read(sd_bus_message *m, const char *types, ...) __asm__("__wrap_sd_bus_message_read");
int our_read(sd_bus_message *m, const char *types, ...)
{
    va_list ap;
    int r;

    if (fuzz_fails())
        return -ENOMEM;
    va_start(ap, types);
    r = sd_bus_message_readv(m, types, ap);
    va_end(ap);
    return r;
}

int real_error_set(sd_bus_error *e, const char *name, const char *text) __asm__("__real_sd_bus_error_set");
int our_error_set(sd_bus_error *e, const char *name, const char *text) __asm__("__wrap_sd_bus_error_set");
int our_error_set(sd_bus_error *e, const char *name, const char *text)
{
    return fuzz_fails() ? sd_bus_error_set_const(e, SD_BUS_ERROR_NO_MEMORY, "Out of memory")
                        : real_error_set(e, name, text);
}

int real_vasprintf(char **ret, const char *format, va_list ap) __asm__("__real_vasprintf");
int our_vasprintf(char **ret, const char *format, va_list ap) __asm__("__wrap_vasprintf");
int our_vasprintf(char **ret, const char *format, va_list ap)
{
    return fuzz_fails() ? -1 : real_vasprintf(ret, format, ap);
}
