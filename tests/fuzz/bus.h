/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* A connection on which nothing is sent; messages need one, of the process itself. */
sd_bus *fuzz_bus(void);
