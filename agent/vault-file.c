/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/vault-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/identity-files-internal.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "libhmsg/db/seal.h"

#define VERSION 1
#define OLD_SUFFIX ".old" /* a second name of the file that is being replaced */
#define NAME_SIZE_MAX 64u

void vault_key_done(VaultKey *k)
{
    k->key = secret_free(k->key);
    sealed_key_done(&k->by);
    k->is_sealed = false;
}

void vault_keys_done(VaultKeys *k)
{
    for (unsigned i = 0; i < k->n; i++)
        vault_key_done(&k->keys[i]);
    k->n = 0;
}

static int put_counter(const TpmCounter *c, json_t *entry)
{
    json_t *j = json_object();
    int r = j ? identity_counter_put(c, j) : -ENOMEM;

    if (r != 0) {
        json_decref(j);
        return r;
    }
    return json_put(entry, "counter", j);
}

static int put_sealed(const SealedKey *k, json_t *entry)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    int r = tpm_keyfile_to_der(k->sealed, &der);

    if (r == 0)
        r = json_put_bytes(entry, "sealed", der.data, der.size);
    if (r == 0)
        r = json_put_bytes(entry, "srk", k->srk_name, TPM_NAME_SIZE);
    if (r == 0)
        r = json_put_bytes(entry, "kid", k->kid, KID_SIZE);
    return r == 0 && k->has_counter ? put_counter(&k->counter, entry) : r;
}

static int put_key(const VaultKey *k, json_t *list)
{
    json_t *entry = json_object();

    if (!entry || json_array_append_new(list, entry) < 0)
        return -ENOMEM;
    if (k->is_sealed)
        return put_sealed(&k->by, entry);
    return json_put_bytes(entry, "key", secret_bytes(k->key), secret_size(k->key));
}

static int write_keys(const VaultKeys *k, Buf *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    json_t *list = json_array();
    int r = json_put(j, "keys", list);

    if (r == 0)
        r = json_put_number(j, "version", VERSION);
    for (unsigned i = 0; r == 0 && i < k->n; i++)
        r = put_key(&k->keys[i], list);
    return r == 0 ? json_write(j, ret) : r;
}

static int get_counter(const json_t *entry, SealedKey *k)
{
    static const char *const names[] = {"index", "auth", NULL};
    json_t *j = NULL;
    int r;

    k->has_counter = json_has(entry, "counter");
    if (!k->has_counter)
        return 0;
    r = json_get_object(entry, "counter", &j);
    if (r == 0)
        r = json_check_names(j, names);
    return r == 0 ? identity_counter_get(j, &k->counter) : r;
}

/* What is bound has the counter that it is bound to. */
static bool fits(const SealedKey *k)
{
    const TpmKeyPolicy *p = tpm_keyfile_policy(k->sealed);

    return p ? k->has_counter && k->counter.index == p->index : !k->has_counter;
}

static int get_sealed(const json_t *entry, SealedKey *k)
{
    static const char *const names[] = {"sealed", "srk", "kid", "counter", NULL};
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    int r = json_check_names(entry, names);

    if (r == 0)
        r = json_get_buf(entry, "sealed", &der);
    if (r == 0)
        r = tpm_sealed_from_der(der.data, der.size, &k->sealed);
    if (r == 0)
        r = json_get_bytes(entry, "srk", k->srk_name, TPM_NAME_SIZE);
    if (r == 0)
        r = json_get_bytes(entry, "kid", k->kid, KID_SIZE);
    if (r == 0)
        r = get_counter(entry, k);
    return r == 0 && !fits(k) ? -EBADMSG : r;
}

static int get_key(const json_t *entry, VaultKey *k)
{
    static const char *const names[] = {"key", NULL};
    int r;

    k->is_sealed = json_has(entry, "sealed");
    if (k->is_sealed)
        return get_sealed(entry, &k->by);
    r = json_check_names(entry, names);
    if (r == 0)
        r = secret_new(DB_SEAL_KEY_SIZE, &k->key);
    return r == 0 ? json_get_bytes(entry, "key", secret_data(k->key), DB_SEAL_KEY_SIZE) : r;
}

static int read_keys(const json_t *j, VaultKeys *ret)
{
    static const char *const names[] = {"version", "keys", NULL};
    int64_t version = 0;
    json_t *list = NULL;
    int r = json_check_names(j, names);

    if (r == 0)
        r = json_get_number(j, "version", VERSION, VERSION, &version);
    if (r == 0)
        r = json_get_array(j, "keys", &list);
    if (r == 0 && (json_array_size(list) == 0 || json_array_size(list) > VAULT_KEYS_MAX))
        r = -EBADMSG;
    while (r == 0 && ret->n < json_array_size(list)) {
        const json_t *entry = json_array_get(list, ret->n);

        r = json_is_object(entry) ? get_key(entry, &ret->keys[ret->n++]) : -EBADMSG;
    }
    return r;
}

static void old_name(const char *name, char ret[static NAME_SIZE_MAX])
{
    (void)snprintf(ret, NAME_SIZE_MAX, "%s" OLD_SUFFIX, name);
}

/* What a crash may have left. */
static int wipe_old(int data_fd, const char *name)
{
    char old[NAME_SIZE_MAX];
    int r;

    old_name(name, old);
    r = file_wipe(data_fd, old);
    return r == -ENOENT ? 0 : r;
}

int vault_file_load(int data_fd, const char *name, VaultKeys *ret)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(VAULT_FILE_SIZE_MAX);
    VaultKeys keys = {.n = 0};
    int r = wipe_old(data_fd, name);

    if (r == 0)
        r = file_read(data_fd, name, &text);
    if (r == 0)
        r = json_parse_object(buf_text(&text), text.size, &j);
    if (r == 0)
        r = read_keys(j, &keys);
    if (text.data)
        bytes_wipe(text.data, text.size);
    if (r == 0)
        *ret = keys;
    else
        vault_keys_done(&keys);
    return r > 0 || r == -EMSGSIZE ? -EBADMSG : r;
}

int vault_file_store(int data_fd, const char *name, const VaultKeys *k)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(VAULT_FILE_SIZE_MAX);
    char old[NAME_SIZE_MAX];
    int r = write_keys(k, &text);

    old_name(name, old);
    if (r == 0)
        r = wipe_old(data_fd, name);
    if (r == 0) {
        if (linkat(data_fd, name, data_fd, old, 0) < 0 && errno != ENOENT)
            log_debug("%s is replaced without being overwritten: %s", name, strerror(errno));
        r = file_write_atomic(data_fd, name, text.data, text.size, 0600, false);
    }
    if (text.data)
        bytes_wipe(text.data, text.size);
    if (r != 0)
        (void)unlinkat(data_fd, old, 0); /* that is the file still, by another name */
    else
        (void)wipe_old(data_fd, name); /* else the next start does */
    return r;
}
