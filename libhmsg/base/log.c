/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_SIZE 1024

static const char *program_name = "hmsg"; /* lint: global: a process has one log */
static int max_level = LOG_INFO;          /* lint: global: the same */
static bool to_journal;                   /* lint: global: the same */

void log_init(const char *program, int level)
{
    program_name = program;
    max_level = level;
    to_journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_at(int level, const char *format, ...)
{
    if (level > max_level)
        return;
    char line[LINE_SIZE];
    int n = to_journal ? snprintf(line, sizeof(line), "<%d>", level)
                       : snprintf(line, sizeof(line), "%s[%d]: ", program_name, (int)getpid());
    if (n < 0)
        return;
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, ap);
    va_end(ap);
    /* What others sent may be part of the text: one event is one line without controls. */
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    size_t length = strlen(line);
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
}
