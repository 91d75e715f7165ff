/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/relay-key-next.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"

/* The relay's account must be able to read what root makes. */
static int give_to_owner(const char *path, const char *name)
{
    struct stat st;

    if (geteuid() != 0)
        return 0;
    return stat(path, &st) < 0 || lchown(name, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int read_successions(const char *path, json_t **ret)
{
    _cleanup_(freep) char *name = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(SUCCESSIONS_SIZE_MAX);
    int r = string_printf(&name, "%s.successions", path);

    if (r == 0)
        r = file_read(AT_FDCWD, name, &text);
    if (r == -ENOENT) {
        *ret = json_array();
        return *ret ? 0 : -ENOMEM;
    }
    return r == 0 ? json_parse_array(buf_text(&text), text.size, ret) : r;
}

/* The statement of the key with this pin, if there is one. */
static int find(const json_t *all, const uint8_t *pin, int64_t now, NextKey *ret, size_t *ret_index)
{
    *ret = (NextKey){0};
    for (size_t i = 0; i < json_array_size(all); i++) {
        _cleanup_(succession_done) Succession s = {0};
        const json_t *one = json_array_get(all, i);
        const char *text = json_string_value(one);

        if (!text)
            return HMSG_ERROR_BAD_PACKAGE;
        if (succession_parse(text, json_string_length(one), pin, now, &s) != 0)
            continue;
        ret->announced = true;
        ret->since = s.iat;
        memcpy(ret->pin, s.next_pin, PIN_SIZE);
        *ret_index = i;
    }
    return 0;
}

int relay_key_load_next(RelayKey *k, const char *path, int64_t now, NextKey *ret)
{
    _cleanup_(json_decrefp) json_t *all = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(SUCCESSIONS_SIZE_MAX);
    NextKey next;
    size_t index = 0;
    int r = read_successions(path, &all);

    if (r == 0 && json_array_size(all) > SUCCESSIONS_MAX)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = find(all, relay_key_pin(k), now, &next, &index);
    if (r == 0)
        r = json_write(all, &text);
    if (r == 0)
        r = relay_key_set_next(k, next.announced ? next.pin : NULL, buf_text(&text));
    if (r == 0 && ret)
        *ret = next;
    return r;
}

static int sign(const RelayKey *k, const RelayKey *next, int64_t now, json_t **ret)
{
    Succession s = {.identity = (RsaKey *)(uintptr_t)relay_key_public(k), .iat = now};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    int r;

    memcpy(s.next_pin, relay_key_pin(next), PIN_SIZE);
    r = succession_prepare(&s, &draft);
    if (r == 0)
        r = relay_key_sign_draft(k, &draft, &jws);
    if (r == 0)
        *ret = json_stringn(buf_text(&jws), jws.size);
    return r == 0 && !*ret ? -ENOMEM : r;
}

static int write_successions(const char *path, const json_t *all)
{
    _cleanup_(freep) char *name = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(SUCCESSIONS_SIZE_MAX);
    int r = string_printf(&name, "%s.successions", path);

    if (r == 0)
        r = json_write(all, &text);
    if (r == 0)
        r = buf_append_string(&text, "\n");
    if (r == 0)
        r = file_write_atomic(AT_FDCWD, name, text.data, text.size, 0644, false);
    return r == 0 ? give_to_owner(path, name) : r;
}

/* Unless it stands there already. */
static int announce(const RelayKey *k, const char *path, const RelayKey *next, int64_t now, NextKey *ret)
{
    _cleanup_(json_decrefp) json_t *all = NULL, *statement = NULL;
    size_t index = 0;
    int r = read_successions(path, &all);

    if (r == 0)
        r = find(all, relay_key_pin(k), now, ret, &index);
    if (r != 0 || (ret->announced && bytes_equal(ret->pin, relay_key_pin(next), PIN_SIZE)))
        return r;
    r = sign(k, next, now, &statement);
    if (r != 0)
        return r;
    if (ret->announced)
        (void)json_array_remove(all, index);
    while (json_array_size(all) >= SUCCESSIONS_MAX)
        (void)json_array_remove(all, 0);
    if (json_array_append(all, statement) < 0)
        return -ENOMEM;
    r = write_successions(path, all);
    *ret = (NextKey){.announced = r == 0, .since = now};
    memcpy(ret->pin, relay_key_pin(next), PIN_SIZE);
    return r;
}

int relay_key_make_next(RelayKey *k, const KeyFiles *f, unsigned bits, int64_t now, RelayKey **ret,
                        NextKey *ret_next)
{
    _cleanup_(relay_key_freep) RelayKey *next = NULL;
    _cleanup_(freep) char *name = NULL;
    KeyFiles with_name = *f;
    int r = string_printf(&name, "%s.next", f->key);

    with_name.key = name;
    if (r == 0)
        r = relay_key_open(&with_name, NULL, &next);
    if (r == -ENOENT || r == HMSG_ERROR_NOT_FOUND)
        r = relay_key_make_beside(f, name, bits, &next);
    if (r == 0)
        r = give_to_owner(f->key, name);
    if (r == 0)
        r = announce(k, f->key, next, now, ret_next);
    if (r == 0)
        *ret = TAKE_PTR(next);
    return r;
}

int relay_key_made(const char *path, int64_t *ret)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    *ret = (int64_t)st.st_mtime;
    return 0;
}

int relay_key_switch(const char *path)
{
    _cleanup_(freep) char *name = NULL, *copy = strdup(path);
    _cleanup_(fd_closep) int folder = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int r = copy ? string_printf(&name, "%s.next", path) : -ENOMEM;

    if (r == 0 && folder < 0)
        r = -errno;
    if (r != 0)
        return r;
    return rename(name, path) < 0 || fsync(folder) < 0 ? -errno : 0;
}
