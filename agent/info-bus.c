/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/info-bus.h"

#include "agent/bus-util.h"

int bus_append_open_info(sd_bus_message *m, const OpenInfo *info, bool counts)
{
    int r;

    r = bus_append_string(m, "sender", info->sender);
    if (r >= 0)
        r = bus_append_string(m, "sender_kid", info->sender_kid);
    if (r >= 0)
        r = bus_append_string(m, "format", info->format);
    if (r >= 0 && info->sender_protection && *info->sender_protection)
        r = bus_append_string(m, "sender_protection", info->sender_protection);
    if (r >= 0 && info->protection && *info->protection)
        r = bus_append_string(m, "protection", info->protection);
    if (r >= 0)
        r = bus_append_bool(m, "verified", info->verified);
    if (r >= 0)
        r = bus_append_bool(m, "trusted", info->trusted);
    if (r >= 0)
        r = bus_append_bool(m, "cached", info->cached);
    if (r >= 0)
        r = bus_append_bool(m, "replayed", info->replayed);
    if (r >= 0)
        r = bus_append_bool(m, "expired", info->expired);
    if (r >= 0)
        r = bus_append_bool(m, "authenticated", info->authenticated);
    if (r >= 0)
        r = bus_append_u64(m, "timestamp", (uint64_t)info->timestamp);
    if (r >= 0 && counts)
        r = bus_append_u64(m, "bytes_in", info->bytes_in);
    if (r >= 0 && counts)
        r = bus_append_u64(m, "bytes_out", info->bytes_out);
    if (r >= 0 && info->is_range)
        r = bus_append_bool(m, "to_end", info->to_end);
    return r;
}
