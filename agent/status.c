/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/bus-util.h"
#include "agent/keyring.h"
#include "agent/status.h"
#include "hmsg-build.h"

int status_reply(Manager *m, sd_bus_message *call)
{
    sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(call, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(reply, "version", HMSG_VERSION);
    if (r >= 0)
        r = bus_append_u32(reply, "session_keys_hot", keyring_count_hot(m->keyring));
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

int diagnose_start(Manager *m, sd_bus_message *call)
{
    return sd_bus_reply_method_return(call, "a(ssss)", 1, "keyring", "ok",
                                      "The kernel keyring keeps session keys", "");
}
