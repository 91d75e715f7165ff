/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/cmd.h"
#include "server/listen.h"
#include "server/options.h"
#include "server/relay-key.h"

#define LISTEN_DEFAULT "[::]:7443"

typedef struct Init {
    const char *host, *listen, *folder;
    char own_host[HOST_SIZE_MAX + 1];
} Init;

static bool parse_arguments(int argc, char **argv, Init *ret)
{
    static const struct option options[] = {
        {"host", required_argument, NULL, 'h'},
        {"listen", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    int c;

    ret->listen = LISTEN_DEFAULT;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'h')
            ret->host = optarg;
        else if (c == 'l')
            ret->listen = optarg;
        else
            return false;
    }
    if (optind + 1 != argc)
        return false;
    ret->folder = argv[optind];
    return true;
}

static bool check_arguments(Init *i)
{
    Relay relay;

    if (!i->host) {
        if (gethostname(i->own_host, sizeof(i->own_host) - 1) < 0)
            i->own_host[0] = '\0';
        i->host = i->own_host;
    }
    if (relay_parse(i->host, &relay) != 0 || relay.has_pin) {
        fprintf(stderr, "hmsg-relay: --host: not HOST or HOST:PORT: %s\n", i->host);
        return false;
    }
    if (!listen_address_valid(i->listen)) {
        fprintf(stderr, "hmsg-relay: --listen: not ADDRESS:PORT, with an IPv6 address in brackets: %s\n",
                i->listen);
        return false;
    }
    return true;
}

static int write_config(const Init *i, const char *path)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(4096);
    int r;

    r = buf_printf(&text,
                   "# See relay.conf(5). Paths are relative to this file.\n"
                   "[relay]\n"
                   "# the part behind @ of the addresses of this relay\n"
                   "host = %s\n"
                   "listen = %s\n"
                   "data = data\n\n"
                   "[identity]\n"
                   "# keep copies of both, apart from each other: clients know the relay by this key\n"
                   "key = identity.pem\n"
                   "passphrase = identity.passphrase\n\n"
                   "[registration]\n"
                   "guests = yes\n",
                   i->host, i->listen);
    if (r == 0)
        r = file_write_atomic(AT_FDCWD, path, text.data, text.size, 0600, true);
    return r;
}

static int make_key(const char *key_path, const char *passphrase_path, char pin[static HASH_TEXT_SIZE])
{
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    int r;

    r = relay_key_generate(RELAY_KEY_BITS_DEFAULT, &key);
    if (r == 0)
        r = relay_key_save(key, key_path, passphrase_path);
    if (r == 0)
        base64url_encode(relay_key_pin(key), PIN_SIZE, pin);
    return r;
}

static int init(const Init *i)
{
    _cleanup_(freep) char *config = NULL;
    _cleanup_(freep) char *data = NULL;
    _cleanup_(freep) char *key = NULL;
    _cleanup_(freep) char *passphrase = NULL;
    char pin[HASH_TEXT_SIZE];
    int r;

    r = string_printf(&config, "%s/relay.conf", i->folder);
    if (r == 0)
        r = string_printf(&data, "%s/data", i->folder);
    if (r == 0)
        r = string_printf(&key, "%s/identity.pem", i->folder);
    if (r == 0)
        r = string_printf(&passphrase, "%s/identity.passphrase", i->folder);
    if (r == 0)
        r = file_make_folders(data, 0700);
    if (r == 0 && access(config, F_OK) == 0)
        r = -EEXIST;
    if (r == 0)
        r = make_key(key, passphrase, pin);
    if (r == 0)
        r = write_config(i, config);
    if (r == 0)
        printf("The relay's pin is %s\nStart it with: hmsg-relay serve --config %s\n", pin, config);
    return r;
}

int cmd_init(int argc, char **argv)
{
    Init i = {0};
    int r;

    if (!parse_arguments(argc, argv, &i)) {
        fputs("Usage: hmsg-relay init [--host HOST] [--listen ADDRESS:PORT] DIR\n", stderr);
        return CMD_USAGE;
    }
    if (!check_arguments(&i))
        return CMD_USAGE;
    r = init(&i);
    if (r == 0)
        return CMD_DONE;
    if (r == -EEXIST)
        fprintf(stderr, "hmsg-relay: there is a relay in %s already\n", i.folder);
    else
        fprintf(stderr, "hmsg-relay: %s: %s\n", i.folder, r < 0 ? strerror(-r) : error_message(r));
    return CMD_FAILED;
}
