/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The log of a program; libraries never call it. One line per event on standard error, with the "<N>"
 * priority prefix of sd-daemon(3) when standard error is the journal (JOURNAL_STREAM, systemd.exec(5)). Never
 * a secret, a plaintext or a client's id. */

#include <syslog.h>

#include "libhmsg/base/macro.h"

#define LOG_LINE_MAX 1024u

/* What a program may look for; name: capital letters and _. Ends with a name of NULL. */
typedef struct LogField {
    const char *name, *value;
} LogField;
#define LOG_FIELDS(...) ((const LogField[]){__VA_ARGS__, {NULL, NULL}})

void log_init(const char *program, int max_level);
/* Whether standard error is the journal, after log_init. */
bool log_is_journal(void);
/* Another place for events than standard error: takes the text, a line without controls, and the fields,
 * which may be NULL. False: it could not, and standard error gets the text. */
void log_set_sink(bool (*sink)(int level, const LogField *fields, const char *text));
void log_event(int level, const LogField *fields, const char *format, ...) _printf_(3, 4);
/* What others sent may be part of a text: controls become question marks, so that it stays one line. */
void log_clean(char *text);

#define log_at(level, ...) log_event(level, NULL, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERR, __VA_ARGS__)
