/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX_MAX 64u

static const char *program_name = "hmsg"; /* lint: global: a process has one log */
static int max_level = LOG_INFO;          /* lint: global: the same */
static bool to_journal;                   /* lint: global: the same */
/* lint: global: the same */
static bool (*to_sink)(int level, const LogField *fields, const char *text);

/* The variable may be there of somebody else's standard error: it names the file that is the journal. */
static bool stderr_is(const char *stream)
{
    struct stat st;
    char name[PREFIX_MAX];

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    (void)snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    return strcmp(name, stream) == 0;
}

void log_init(const char *program, int level)
{
    program_name = program;
    max_level = level;
    to_journal = stderr_is(getenv("JOURNAL_STREAM"));
    to_sink = NULL;
}

bool log_is_journal(void)
{
    return to_journal;
}

void log_set_sink(bool (*sink)(int level, const LogField *fields, const char *text))
{
    to_sink = sink;
}

static void write_line(int level, const char *text)
{
    char line[PREFIX_MAX + LOG_LINE_MAX];
    int n = to_journal ? snprintf(line, sizeof(line), "<%d>%s\n", level, text)
                       : snprintf(line, sizeof(line), "%s[%d]: %s\n", program_name, (int)getpid(), text);

    if (n > 0)
        (void)!write(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void log_clean(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

void log_event(int level, const LogField *fields, const char *format, ...)
{
    char text[LOG_LINE_MAX];
    va_list ap;

    if (level > max_level)
        return;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (n < 0)
        return;
    log_clean(text);
    if (!to_sink || !to_sink(level, fields, text))
        write_line(level, text);
}
