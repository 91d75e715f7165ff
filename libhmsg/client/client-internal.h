/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What client.c shares with call.c. */

#include <stdint.h>

#include "libhmsg/client/client.h"

#define AGENT_NAME "org.hmsg.Agent1"
#define AGENT_PATH "/org/hmsg/Agent1"

struct HmsgClient {
    sd_bus *bus;
    char *error_text;
    uint64_t jobs; /* named so far */
    bool interactive;
};

/* Keeps the text of a failure and gives its code: an HmsgError for our names, else a negative errno. */
int client_fail(HmsgClient *c, int r, const sd_bus_error *error);
