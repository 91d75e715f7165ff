/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/file.h"

typedef struct Entry {
    char *section;
    char *key;
    char *value;
    unsigned line;
} Entry;

struct Config {
    Entry *entries;
    size_t n;
};

static Entry *find(const Config *c, const char *section, const char *key)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->entries[i].section, section) == 0 && strcmp(c->entries[i].key, key) == 0)
            return &c->entries[i];
    return NULL;
}

static int add(Config *c, const char *section, const char *key, const char *value, unsigned line)
{
    Entry *entries = reallocarray(c->entries, c->n + 1, sizeof(Entry));
    if (!entries)
        return -ENOMEM;
    c->entries = entries;
    Entry e = {strdup(section), strdup(key), strdup(value), line};
    if (!e.section || !e.key || !e.value) {
        free(e.section);
        free(e.key);
        free(e.value);
        return -ENOMEM;
    }
    c->entries[c->n++] = e;
    return 0;
}

static char *strip(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n > 0 && isspace((unsigned char)s[n - 1]))
        s[--n] = 0;
    return s;
}

/* section is the current one, taken over from line to line. */
static int parse_line(Config *c, char *line, unsigned number, char **section)
{
    line = strip(line);
    if (*line == 0 || *line == '#' || *line == ';')
        return 0;
    size_t n = strlen(line);
    if (*line == '[') {
        if (n < 3 || line[n - 1] != ']')
            return -EBADMSG;
        line[n - 1] = 0;
        free(*section);
        *section = strdup(strip(line + 1));
        return *section ? 0 : -ENOMEM;
    }
    char *equals = strchr(line, '=');
    if (!equals || !*section)
        return -EBADMSG;
    *equals = 0;
    char *key = strip(line), *value = strip(equals + 1);
    if (*key == 0 || find(c, *section, key))
        return -EBADMSG;
    return add(c, *section, key, value, number);
}

int config_new(Config **ret)
{
    *ret = calloc(1, sizeof(Config));
    return *ret ? 0 : -ENOMEM;
}

int config_load(const char *path, Config **ret, unsigned *ret_line)
{
    Buf text = BUF_MAX(CONFIG_SIZE_MAX);
    int r = file_read(AT_FDCWD, path, &text);
    if (r < 0) {
        buf_done(&text);
        return r;
    }
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_(freep) char *section = NULL;
    unsigned line_number = 0;
    r = config_new(&c);
    if (r == 0 && text.size > 0 && memchr(text.data, 0, text.size))
        r = -EBADMSG;
    char *next = (char *)text.data;
    while (r == 0 && next) {
        char *line = strsep(&next, "\n");
        line_number++;
        r = parse_line(c, line, line_number, &section);
    }
    buf_done(&text);
    if (r < 0) {
        if (ret_line)
            *ret_line = line_number;
        return r;
    }
    *ret = TAKE_PTR(c);
    return 0;
}

Config *config_free(Config *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n; i++) {
        free(c->entries[i].section);
        free(c->entries[i].key);
        free(c->entries[i].value);
    }
    free(c->entries);
    free(c);
    return NULL;
}

int config_merge(Config *c, const Config *over)
{
    for (size_t i = 0; i < over->n; i++) {
        const Entry *o = &over->entries[i];
        Entry *e = find(c, o->section, o->key);
        if (!e) {
            int r = add(c, o->section, o->key, o->value, o->line);
            if (r < 0)
                return r;
            continue;
        }
        char *value = strdup(o->value);
        if (!value)
            return -ENOMEM;
        free(e->value);
        e->value = value;
        e->line = o->line;
    }
    return 0;
}

const char *config_get(const Config *c, const char *section, const char *key, const char *fallback)
{
    const Entry *e = find(c, section, key);
    return e ? e->value : fallback;
}

unsigned config_line(const Config *c, const char *section, const char *key)
{
    const Entry *e = find(c, section, key);
    return e ? e->line : 0;
}

typedef struct Unit {
    const char *suffix;
    uint64_t factor;
} Unit;

static int get_scaled(const Config *c, const char *section, const char *key, uint64_t fallback,
                      const Unit *units, uint64_t *ret)
{
    const char *text = config_get(c, section, key, NULL);
    if (!text) {
        *ret = fallback;
        return 0;
    }
    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    char *end;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (errno != 0)
        return -EINVAL;
    end = strip(end);
    for (; units->suffix; units++)
        if (strcmp(end, units->suffix) == 0) {
            if (v > UINT64_MAX / units->factor)
                return -EINVAL;
            *ret = v * units->factor;
            return 0;
        }
    return -EINVAL;
}

int config_get_number(const Config *c, const char *section, const char *key, uint64_t fallback, uint64_t min,
                      uint64_t max, uint64_t *ret)
{
    static const Unit units[] = {{"", 1}, {"K", 1u << 10}, {"M", 1u << 20}, {"G", 1u << 30}, {0}};
    uint64_t v;
    int r = get_scaled(c, section, key, fallback, units, &v);
    if (r < 0)
        return r;
    if (v < min || v > max)
        return -EINVAL;
    *ret = v;
    return 0;
}

int config_get_seconds(const Config *c, const char *section, const char *key, uint64_t fallback,
                       uint64_t *ret)
{
    static const Unit units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}, {0}};
    return get_scaled(c, section, key, fallback, units, ret);
}

int config_get_bool(const Config *c, const char *section, const char *key, bool fallback, bool *ret)
{
    const char *text = config_get(c, section, key, fallback ? "yes" : "no");
    if (strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *ret = true;
    else if (strcmp(text, "no") == 0 || strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *ret = false;
    else
        return -EINVAL;
    return 0;
}

int config_each(const Config *c,
                int (*f)(const char *section, const char *key, const char *value, void *userdata),
                void *userdata)
{
    for (size_t i = 0; i < c->n; i++) {
        int r = f(c->entries[i].section, c->entries[i].key, c->entries[i].value, userdata);
        if (r != 0)
            return r;
    }
    return 0;
}
