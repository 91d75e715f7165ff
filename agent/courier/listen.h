/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The stream of events of a relay (GET /v1/events), which becomes signals. */

#include "agent/courier/courier.h"

#define LISTEN_READY_SECONDS 44u   /* until the relay says that it stands */
#define LISTEN_SILENCE_SECONDS 90u /* three of the relay's comments are missing */

typedef struct Listener Listener;

/* Answers the call (taken over in any case) when the stream of its peer stands. 1, or negative with *error
 * set. */
int listen_start(Call *call, sd_bus_error *error);
