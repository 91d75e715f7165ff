/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/base/error.h"
#include "libhmsg/client/client-internal.h"

#define BUS_ADDRESS_MAX 4096u

int hmsg_client_new(HmsgClient **ret)
{
    HmsgClient *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->interactive = true;
    *ret = c;
    return 0;
}

HmsgClient *hmsg_client_free(HmsgClient *c)
{
    if (!c)
        return NULL;
    sd_bus_close_unref(c->bus);
    free(c->error_text);
    free(c);
    return NULL;
}

sd_bus *hmsg_client_bus(HmsgClient *c)
{
    return c->bus;
}

void hmsg_client_set_interactive(HmsgClient *c, bool interactive)
{
    c->interactive = interactive;
}

const char *hmsg_client_error_text(const HmsgClient *c)
{
    return c->error_text ? c->error_text : "";
}

int client_fail(HmsgClient *c, int r, const sd_bus_error *error)
{
    int ours = error ? error_from_dbus_name(error->name) : 0;

    free(c->error_text);
    c->error_text = error && error->message ? strdup(error->message) : NULL;
    if (ours > 0)
        return ours;
    if (error && sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) && c->bus &&
        sd_bus_is_open(c->bus) <= 0) {
        free(c->error_text);
        c->error_text = strdup("The agent ended before it answered");
        return -ECONNRESET;
    }
    if (error && sd_bus_error_is_set(error))
        return -sd_bus_error_get_errno(error);
    return r;
}

/* D-Bus specification, "Server Addresses": what a value may hold as it is */
static bool address_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-_/.\\*", c);
}

static int address_default(Buf *ret)
{
    const char *folder = getenv("XDG_RUNTIME_DIR");
    int r;

    if (!folder || *folder != '/')
        return -ENOMEDIUM;
    r = buf_append_string(ret, "unix:path=");
    for (const char *p = folder; r == 0 && *p; p++)
        r = address_plain(*p) ? buf_append(ret, p, 1) : buf_printf(ret, "%%%02x", (unsigned char)*p);
    return r < 0 ? r : buf_append_string(ret, "/bus");
}

/* Not sd_bus_open_user(): it ignores the environment of a process with AT_SECURE. */
static int open_session_bus(sd_bus **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(BUS_ADDRESS_MAX);
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    const char *address = getenv("DBUS_SESSION_BUS_ADDRESS");
    int r;

    if (!address || !*address) {
        r = address_default(&text);
        if (r < 0)
            return r;
        address = buf_text(&text);
    }
    r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, address);
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

/* Takes fd over. */
static int open_channel(int fd, sd_bus **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_fd(bus, fd, fd);
    if (r < 0) {
        fd_close(fd);
        return r;
    }
    r = sd_bus_negotiate_fds(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

int hmsg_client_connect(HmsgClient *c)
{
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int fd, r;

    if (c->bus)
        return 0;
    r = open_session_bus(&bus);
    if (r < 0)
        return client_fail(c, r, NULL);
    r = sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, AGENT_NAME, "OpenChannel", &error, &reply, "a{sv}",
                           0);
    if (r < 0)
        return client_fail(c, r, &error);
    r = sd_bus_message_read_basic(reply, 'h', &fd);
    if (r >= 0) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the message owns its own */
        r = fd < 0 ? -errno : open_channel(fd, &c->bus);
    }
    return r < 0 ? client_fail(c, r, NULL) : 0;
}
