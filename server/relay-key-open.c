/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who holds a key, and how it is got there. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/relay-key-internal.h"
#include "server/token.h"

/* What a key's file says, when it is the URI of a key in a token. false: it is no such thing. */
static bool take_uri(Buf *text)
{
    while (text->size > 0 && (text->data[text->size - 1] == '\n' || text->data[text->size - 1] == '\r'))
        buf_truncate(text, text->size - 1);
    return text->size > 0 && strlen(buf_text(text)) == text->size && token_is_uri(buf_text(text));
}

/* NULL when there is no such file: some tokens ask for it by themselves. */
static int read_pin(const char *path, Secret **ret)
{
    _cleanup_(buf_done) Buf pin = BUF_MAX(TOKEN_PIN_MAX);
    int r = path ? relay_key_read_passphrase(path, &pin) : -ENOENT;

    if (r == -ENOENT)
        return 0;
    return r == 0 ? secret_new_copy(pin.data, pin.size, ret) : r;
}

static int open_token(const KeyFiles *f, const char *uri, const char **ret_file, RelayKey **ret)
{
    _cleanup_(secret_freep) Secret *pin = NULL;
    int r = read_pin(f->pin, &pin);

    if (r == 0) {
        r = relay_key_token_open(uri, pin, NULL, ret);
        if (r != HMSG_ERROR_AUTHENTICATION_FAILED)
            return r;
    }
    if (ret_file)
        *ret_file = f->pin;
    return r == HMSG_ERROR_AUTHENTICATION_FAILED && !pin ? -ENOENT : r;
}

int relay_key_open(const KeyFiles *f, const char **ret_file, RelayKey **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r = relay_key_read_private(f->key, &text);

    if (ret_file)
        *ret_file = f->key;
    if (r != 0)
        return r;
    if (take_uri(&text))
        return open_token(f, buf_text(&text), ret_file, ret);
    if (relay_key_is_tpm_text(&text))
        return relay_key_tpm_open(&text, f->tcti, ret);
    return relay_key_load(f->key, f->passphrase, ret_file, ret);
}

KeyPlace relay_key_place(const KeyFiles *f)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);

    if (relay_key_read_private(f->key, &text) != 0)
        return KEY_IN_FILE;
    if (take_uri(&text))
        return KEY_IN_TOKEN;
    return relay_key_is_tpm_text(&text) ? KEY_IN_TPM : KEY_IN_FILE;
}

static int write_uri(const char *path, const Buf *uri)
{
    _cleanup_(buf_done) Buf line = BUF_MAX(TOKEN_URI_MAX + 1);
    int r = buf_printf(&line, "%s\n", buf_text(uri));

    return r == 0 ? file_write_atomic(AT_FDCWD, path, line.data, line.size, 0600, true) : r;
}

/* The file is there before the key, so that no key is in the token that nobody knows of. */
static int make_in_token(const KeyFiles *f, const char *uri, const char *path, unsigned bits, RelayKey **ret)
{
    _cleanup_(buf_done) Buf there = BUF_MAX(KEY_FILE_SIZE_MAX), next = BUF_MAX(TOKEN_URI_MAX);
    _cleanup_(secret_freep) Secret *pin = NULL;
    int r = read_pin(f->pin, &pin);

    if (r == 0)
        r = relay_key_read_private(path, &there);
    if (r == 0)
        r = take_uri(&there) ? buf_append(&next, there.data, there.size) : -EEXIST;
    else if (r == -ENOENT) {
        r = token_uri_renew(uri, false, &next);
        if (r == 0)
            r = write_uri(path, &next);
    }
    return r == 0 ? relay_key_token_make(buf_text(&next), pin, bits, ret) : r;
}

static int make_in_tpm(const KeyFiles *f, const char *path, RelayKey **ret)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r = access(path, F_OK) == 0 ? -EEXIST : relay_key_tpm_make(f->tcti, &text, &k);

    if (r == 0)
        r = file_write_atomic(AT_FDCWD, path, text.data, text.size, 0600, true);
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

int relay_key_init_tpm(const KeyFiles *f, RelayKey **ret)
{
    return make_in_tpm(f, f->key, ret);
}

int relay_key_make_beside(const KeyFiles *f, const char *path, unsigned bits, RelayKey **ret)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r = relay_key_read_private(f->key, &text);

    if (r != 0)
        return r;
    if (take_uri(&text))
        return make_in_token(f, buf_text(&text), path, bits, ret);
    if (relay_key_is_tpm_text(&text))
        return make_in_tpm(f, path, ret);
    r = relay_key_generate(bits, &k);
    if (r == 0)
        r = relay_key_save_under(k, path, f->passphrase);
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

int relay_key_init_token(const KeyFiles *f, const char *uri, unsigned bits, RelayKey **ret)
{
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(TOKEN_URI_MAX);
    _cleanup_(secret_freep) Secret *pin = NULL;
    int r = read_pin(f->pin, &pin);

    if (r == 0)
        r = relay_key_token_open(uri, pin, &text, &k);
    if (r == 0)
        r = write_uri(f->key, &text);
    else if (r == HMSG_ERROR_NOT_FOUND) {
        r = token_uri_renew(uri, true, &text);
        if (r == 0)
            r = write_uri(f->key, &text);
        if (r == 0)
            r = relay_key_token_make(buf_text(&text), pin, bits, &k);
    }
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}
