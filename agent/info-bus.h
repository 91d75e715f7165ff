/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of a plaintext, as Cipher.Decrypt and Mail.Read tell it. */

#include <systemd/sd-bus.h>

#include "agent/cipher.h"

/* Appends the entries to an open a{sv}; counts: with bytes_in and bytes_out. */
int bus_append_open_info(sd_bus_message *m, const OpenInfo *info, bool counts);
