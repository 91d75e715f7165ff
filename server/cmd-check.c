/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "server/cmd.h"
#include "server/store-postgres.h"
#include "server/relay-key-next.h"

#define OUTPUT_MAX 4096u

bool cmd_load_options(const char *path, Options *ret)
{
    char error[OPTIONS_ERROR_SIZE] = "out of memory";

    if (options_load(path, ret, error) == 0)
        return true;
    fprintf(stderr, "hmsg-relay: %s: %s\n", path, error);
    return false;
}

KeyFiles cmd_key_files(const Options *o)
{
    return (KeyFiles){o->key, o->passphrase, o->pin, o->tcti};
}

bool cmd_load_key(const Options *o, RelayKey **ret)
{
    const KeyFiles files = cmd_key_files(o);
    const char *file = NULL;
    int r = relay_key_open(&files, &file, ret);

    if (r == 0)
        return true;
    fprintf(stderr, "hmsg-relay: %s: %s\n", file, relay_key_problem(r));
    return false;
}

int cmd_begin(int argc, char **argv, bool with_json, const char *operand, CmdArguments *ret,
              Options *ret_options, RelayKey **ret_key)
{
    if (!cmd_arguments(argc, argv, with_json, operand, ret))
        return CMD_USAGE;
    return cmd_load_options(ret->config, ret_options) && cmd_load_key(ret_options, ret_key) ? CMD_DONE
                                                                                            : CMD_FAILED;
}

int cmd_print_json(json_t *j, int r)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(OUTPUT_MAX);

    if (r == 0)
        r = j ? json_write(j, &text) : -ENOMEM;
    json_decref(j);
    if (r != 0)
        return CMD_FAILED;
    puts(buf_text(&text));
    return CMD_DONE;
}

/* Connects, so that what the server is not told is found as well. */
static bool check_database(const Options *o)
{
    _cleanup_(db_closep) Db *db = NULL;
    char error[POSTGRES_ERROR_SIZE] = "out of memory";

    if (o->store != STORE_POSTGRES)
        return true;
    if (postgres_options_check(&o->postgres, error) == 0 && postgres_open(&o->postgres, &db, error) == 0 &&
        store_postgres_ready(db, error))
        return true;
    fprintf(stderr, "hmsg-relay: the database: %s\n", error);
    return false;
}

/* Signs, since a key in a device may be readable without being of use. */
static bool check_key(const Options *o, const RelayKey *key)
{
    static const uint8_t digest[SHA256_SIZE];
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    unsigned salt;
    int r = relay_key_sign(key, digest, &signature, &salt);

    if (r != 0)
        fprintf(stderr, "hmsg-relay: %s: it cannot sign: %s\n", o->key, relay_key_problem(r));
    return r == 0;
}

int cmd_config_check(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    CmdArguments a;
    int r;

    r = cmd_begin(argc, argv, false, NULL, &a, &o, &key);
    if (r != CMD_DONE)
        return r;
    if (access(o.data, W_OK | X_OK) < 0) {
        fprintf(stderr, "hmsg-relay: %s: %s\n", o.data, strerror(errno));
        return CMD_FAILED;
    }
    if (!check_key(&o, key) || !check_database(&o))
        return CMD_FAILED;
    printf("%s is good\n", a.config);
    return CMD_DONE;
}

static int load_next(const Options *o, RelayKey *key, NextKey *ret)
{
    int r = relay_key_load_next(key, o->key, clock_realtime(), ret);

    if (r != 0)
        fprintf(stderr, "hmsg-relay: %s.successions: %s\n", o->key,
                r < 0 ? strerror(-r) : "is not of its form");
    return r;
}

/* For programs, and for people. */
static const char *const places[][2] = {
    [KEY_IN_FILE] = {"file", "in an encrypted file"},
    [KEY_IN_TOKEN] = {"token", "in a PKCS#11 token"},
    [KEY_IN_TPM] = {"tpm2", "in the TPM"},
};

static int print_key_json(const RelayKey *key, KeyPlace place, const NextKey *next, const char *address)
{
    json_t *j = json_object();
    int r = json_put_bytes(j, "pin", relay_key_pin(key), PIN_SIZE);

    if (r == 0)
        r = json_put_number(j, "bits", rsa_key_bits(relay_key_public(key)));
    if (r == 0)
        r = json_put_text(j, "held", places[place][0]);
    if (r == 0)
        r = json_put_text(j, "relay", address);
    if (r == 0 && next->announced)
        r = json_put_bytes(j, "next_pin", next->pin, PIN_SIZE);
    if (r == 0 && next->announced)
        r = json_put_number(j, "next_since", next->since);
    return cmd_print_json(j, r);
}

int cmd_key_show(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    char pin[HASH_TEXT_SIZE];
    NextKey next;
    CmdArguments a;
    int r;

    r = cmd_begin(argc, argv, true, NULL, &a, &o, &key);
    if (r != CMD_DONE)
        return r;
    const KeyFiles files = cmd_key_files(&o);
    const KeyPlace place = relay_key_place(&files);
    o.relay.has_pin = true;
    memcpy(o.relay.pin, relay_key_pin(key), PIN_SIZE);
    if (relay_format(&o.relay, true, &address) != 0)
        return CMD_FAILED;
    if (load_next(&o, key, &next) != 0)
        return CMD_FAILED;
    if (a.json)
        return print_key_json(key, place, &next, buf_text(&address));
    printf("%s\nRSA, %u bits, %s\n", buf_text(&address), rsa_key_bits(relay_key_public(key)),
           places[place][1]);
    if (next.announced) {
        base64url_encode(next.pin, PIN_SIZE, pin);
        printf("The next pin is %s\n", pin);
    }
    return CMD_DONE;
}
