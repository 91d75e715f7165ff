/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/bus-util.h"
#include "agent/channel.h"
#include "agent/status.h"
#include "agent/vtables.h"
#include "hmsg-build.h"

static int method_open_channel(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    _cleanup_(fd_closep) int fd = -1;
    int r;

    r = bus_read_no_options(call, error);
    if (r == 0)
        r = channels_open(m->channels, call, &fd);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return sd_bus_reply_method_return(call, "h", fd);
}

static int method_get_status(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    int r;

    r = bus_read_no_options(call, error);
    if (r == 0)
        r = status_reply(userdata, call);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return 1;
}

static int method_diagnose(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    int r;

    r = bus_read_no_options(call, error);
    if (r == 0)
        r = diagnose_start(userdata, call);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return 1;
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append_basic(reply, 's', HMSG_VERSION);
}

const sd_bus_vtable agent_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("OpenChannel", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("h", channel),
                            method_open_channel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetStatus", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a{sv}", status),
                            method_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Diagnose", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(ssss)", checks),
                            method_diagnose, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Progress", SD_BUS_ARGS("s", job, "t", done, "t", total), 0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};
