/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The log of a program; libraries never call it. One line per event on standard error, with the "<N>"
 * priority prefix of sd-daemon(3) when standard error is the journal. Never a secret, a plaintext or a
 * client's id. */

#include <syslog.h>

#include "libhmsg/base/macro.h"

void log_init(const char *program, int max_level);
void log_at(int level, const char *format, ...) _printf_(2, 3);

#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERR, __VA_ARGS__)
