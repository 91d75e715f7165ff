/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/bus.h"
#include "tests/lib/process.h"

#define CONFIG                                                                                               \
    "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"                   \
    " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"                                    \
    "<busconfig>\n"                                                                                          \
    "  <type>session</type>\n"                                                                               \
    "  <listen>unix:path=%s</listen>\n"                                                                      \
    "  <servicedir>%s</servicedir>\n"                                                                        \
    "  <policy context=\"default\">\n"                                                                       \
    "    <allow user=\"*\"/>\n"                                                                              \
    "    <allow send_destination=\"*\" eavesdrop=\"true\"/>\n"                                               \
    "    <allow eavesdrop=\"true\"/>\n"                                                                      \
    "    <allow own=\"*\"/>\n"                                                                               \
    "  </policy>\n"                                                                                          \
    "  <limit name=\"max_replies_per_connection\">50000</limit>\n"                                           \
    "</busconfig>\n"

struct TestBus {
    TestProcess *daemon;
    char *address;
    char *services;
};

static bool accepts(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(g_strlcpy(name.sun_path, path, sizeof(name.sun_path)), <, sizeof(name.sun_path));
    bool connected = connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
    close(fd);
    return connected;
}

TestBus *test_bus_new(const char *folder)
{
    TestBus *b = g_new0(TestBus, 1);
    g_autofree char *path = g_build_filename(folder, "bus", NULL);
    g_autofree char *log = g_build_filename(folder, "bus.log", NULL);
    g_autofree char *config = g_build_filename(folder, "bus.conf", NULL);
    g_autofree char *option = g_strdup_printf("--config-file=%s", config);

    b->services = g_build_filename(folder, "services", NULL);
    b->address = g_strdup_printf("unix:path=%s", path);
    g_autofree char *text = g_strdup_printf(CONFIG, path, b->services);
    g_autoptr(GError) error = NULL;
    if (g_mkdir_with_parents(b->services, 0700) < 0 || !g_file_set_contents(config, text, -1, &error))
        g_error("%s: %s", folder, error ? error->message : g_strerror(errno));
    const char *const argv[] = {"dbus-daemon", option, "--nofork", "--nopidfile", NULL};
    b->daemon = test_process_start(argv, NULL, log);
    TEST_AWAIT(accepts(path));
    return b;
}

void test_bus_free(TestBus *b)
{
    if (!b)
        return;
    (void)test_process_stop(b->daemon);
    g_free(b->address);
    g_free(b->services);
    g_free(b);
}

const char *test_bus_address(const TestBus *b)
{
    return b->address;
}

void test_bus_activate(TestBus *b, const char *name, const char *command)
{
    g_autofree char *file = g_strdup_printf("%s/%s.service", b->services, name);
    g_autofree char *text = g_strdup_printf("[D-BUS Service]\nName=%s\nExec=%s\n", name, command);
    g_autoptr(GError) error = NULL;
    g_autofree char *option = g_strdup_printf("--bus=%s", b->address);
    const char *const argv[] = {"dbus-send",
                                option,
                                "--print-reply",
                                "--dest=org.freedesktop.DBus",
                                "/org/freedesktop/DBus",
                                "org.freedesktop.DBus.ReloadConfig",
                                NULL};

    if (!g_file_set_contents(file, text, -1, &error))
        g_error("%s: %s", file, error->message);
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
}
