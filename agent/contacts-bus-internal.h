/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Methods of org.hmsg.Agent1.Contacts that are in a file of their own, contacts-capability-bus.c. */

#include <systemd/sd-bus.h>

int contacts_method_create_capability(sd_bus_message *message, void *userdata, sd_bus_error *error);
int contacts_method_list_capabilities(sd_bus_message *message, void *userdata, sd_bus_error *error);
int contacts_method_revoke_capability(sd_bus_message *message, void *userdata, sd_bus_error *error);
