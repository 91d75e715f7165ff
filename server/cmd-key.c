/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/cmd.h"
#include "server/handlers.h"
#include "server/relay-key-backup.h"
#include "server/store-open.h"

typedef struct Backup {
    RsaKey *to[RELAY_KEY_RECIPIENTS_MAX];
    size_t n;
    const char *config;
} Backup;

static void backup_done(Backup *b)
{
    for (size_t i = 0; i < b->n; i++)
        (void)rsa_key_free(b->to[i]);
}

static bool add_recipient(Backup *b, const char *path)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r = file_read(AT_FDCWD, path, &text);

    if (r == 0)
        r = rsa_key_from_pem(buf_text(&text), text.size, &b->to[b->n]);
    if (r == 0) {
        b->n++;
        return true;
    }
    fprintf(stderr, "hmsg-relay: %s: %s\n", path,
            r < 0 && r != -EMSGSIZE ? strerror(-r)
                                    : "not a public RSA key of 2048, 3072 or 4096 bits in PEM");
    return false;
}

/* CMD_DONE, or the exit status: said what is wrong. */
static int backup_arguments(int argc, char **argv, Backup *b)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"to", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    int c;

    b->config = cmd_default_config();
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'c')
            b->config = optarg;
        else if (c != 't')
            return cmd_usage(argv[0], NULL);
        else if (b->n == RELAY_KEY_RECIPIENTS_MAX)
            return cmd_usage(argv[0], "more than %u times --to", (unsigned)RELAY_KEY_RECIPIENTS_MAX);
        else if (!add_recipient(b, optarg))
            return CMD_FAILED;
    }
    if (!cmd_take_operand(argc, argv, NULL, NULL))
        return CMD_USAGE;
    return b->n > 0 ? CMD_DONE
                    : cmd_usage(argv[0], "--to is missing: a file with the public key to encrypt to");
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "hmsg-relay: %s: %s\n", what, why);
    return CMD_FAILED;
}

int cmd_key_backup(int argc, char **argv)
{
    _cleanup_(backup_done) Backup b = {};
    _cleanup_(options_done) Options o = {};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(CMS_TEXT_SIZE_MAX);
    int r = backup_arguments(argc, argv, &b);

    if (r != CMD_DONE)
        return r;
    if (!cmd_load_options(b.config, &o) || !cmd_load_key(&o, &key))
        return CMD_FAILED;
    r = relay_key_backup(key, b.to, b.n, &text);
    if (r != 0)
        return fail("key backup", relay_key_problem(r));
    if (fwrite(text.data, 1, text.size, stdout) != text.size || fflush(stdout) != 0)
        return fail("standard output", strerror(errno));
    return CMD_DONE;
}

/* What is stored would not open with another key. */
static int check_store(const Options *o, RelayKey *key)
{
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    const StoreKeeper keeper = handlers_keeper(key);
    int r = store_open_reader(o, &keeper, &reader);

    return r == -ENOENT || r == -ESTALE ? 0 : r;
}

/* A passphrase that is there, as from a credential, is used; else a random one is made. */
static int write_key(const Options *o, const RelayKey *key)
{
    if (access(o->passphrase, F_OK) == 0)
        return relay_key_save_under(key, o->key, o->passphrase);
    return relay_key_save(key, o->key, o->passphrase);
}

static int restore(const Options *o, RelayKey *key)
{
    char pin[HASH_TEXT_SIZE];
    int r;

    if (access(o->key, F_OK) == 0)
        return fail(o->key, "there is a key already");
    r = check_store(o, key);
    if (r != 0)
        return fail(store_name(o), store_problem(r));
    r = write_key(o, key);
    if (r != 0)
        return fail(o->key, relay_key_problem(r));
    base64url_encode(relay_key_pin(key), PIN_SIZE, pin);
    printf("The relay's pin is %s\n", pin);
    return CMD_DONE;
}

int cmd_key_restore(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    CmdArguments a;
    int r;

    if (!cmd_arguments(argc, argv, false, NULL, &a))
        return CMD_USAGE;
    if (!cmd_load_options(a.config, &o))
        return CMD_FAILED;
    r = file_read_fd(STDIN_FILENO, &text);
    if (r == 0)
        r = relay_key_read(buf_text(&text), text.size, &key);
    if (r == -EBADMSG)
        return fail("standard input", "the key is damaged");
    if (r != 0)
        return fail("standard input",
                    r < 0 ? strerror(-r) : "not a private RSA key of 2048, 3072 or 4096 bits in PEM");
    return restore(&o, key);
}
