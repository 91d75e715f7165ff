/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the user by a pinentry program, over the Assuan protocol, which waits: for a process that has nothing
 * else to do, as the launcher's child. */

#include "libhmsg/base/macro.h"

#define PINENTRY_TEXT_MAX 400u /* bytes of what the user is told */

/* What is written to the socket before the end: one of these, and after PINENTRY_PIN the PIN. */
#define PINENTRY_PIN 'P'
#define PINENTRY_YES 'Y'
#define PINENTRY_CANCELLED 'C' /* or no */
#define PINENTRY_FAILED 'F'    /* there is no such program, or it has no screen to ask on */

/* Shows text (without line breaks), writes the answer to fd and returns. Ends the process when the other end
 * of fd is closed meanwhile: then nobody waits for an answer. */
void pinentry_ask(const char *program, const char *text, int fd);
/* The same for a question of yes or no: PINENTRY_YES is the answer, or as above. */
void pinentry_confirm(const char *program, const char *text, int fd);
