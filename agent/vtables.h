/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The interfaces, one file *-bus.c each; userdata is the Manager. No logic there: read arguments, call,
 * answer. */

#include <systemd/sd-bus.h>

extern const sd_bus_vtable access_vtable[];
extern const sd_bus_vtable agent_vtable[];
extern const sd_bus_vtable cipher_vtable[];
extern const sd_bus_vtable identity_vtable[];
extern const sd_bus_vtable sessions_vtable[];
extern const sd_bus_vtable contacts_vtable[];
extern const sd_bus_vtable mail_vtable[];
