/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/cmd.h"
#include "server/listen.h"
#include "server/options.h"
#include "server/relay-key.h"
#include "server/token.h"

#define LISTEN_DEFAULT "[::]:7443"
#define IN_TPM "tpm2"

typedef struct Init {
    const char *host, *listen, *folder, *key, *pin_fd, *tcti;
    char own_host[HOST_SIZE_MAX + 1];
} Init;

static bool parse_arguments(int argc, char **argv, Init *ret)
{
    static const struct option options[] = {
        {"host", required_argument, NULL, 'h'}, {"listen", required_argument, NULL, 'l'},
        {"key", required_argument, NULL, 'k'},  {"pin-fd", required_argument, NULL, 'p'},
        {"tcti", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
    };
    int c;

    ret->listen = LISTEN_DEFAULT;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'h')
            ret->host = optarg;
        else if (c == 'l')
            ret->listen = optarg;
        else if (c == 'k')
            ret->key = optarg;
        else if (c == 'p')
            ret->pin_fd = optarg;
        else if (c == 't')
            ret->tcti = optarg;
        else {
            (void)cmd_usage(argv[0], NULL);
            return false;
        }
    }
    return cmd_take_operand(argc, argv, "DIR", &ret->folder);
}

static bool take_number(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 6;
}

static bool check_key(const Init *i)
{
    const bool in_token = i->key && token_is_uri(i->key), in_tpm = i->key && strcmp(i->key, IN_TPM) == 0;

    if (i->key && !in_token && !in_tpm) {
        fprintf(stderr, "hmsg-relay: --key: neither a pkcs11: URI nor " IN_TPM ": %s\n", i->key);
        return false;
    }
    if (i->pin_fd && (!in_token || !take_number(i->pin_fd))) {
        fputs("hmsg-relay: --pin-fd: a number, and of use with a token alone\n", stderr);
        return false;
    }
    if (i->tcti && (!in_tpm || strpbrk(i->tcti, "\r\n"))) {
        fputs("hmsg-relay: --tcti: one line, and of use with --key " IN_TPM " alone\n", stderr);
        return false;
    }
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
    return check_key(i);
}

static int append_identity(const Init *i, Buf *ret)
{
    if (!i->key)
        return buf_append_string(
            ret, "# keep copies of both, apart from each other: clients know the relay by this key\n"
                 "key = identity.pem\n"
                 "passphrase = identity.passphrase\n");
    if (strcmp(i->key, IN_TPM) != 0)
        return buf_append_string(ret, "# names the key in the token; the PIN that opens it\n"
                                      "key = identity.pem\n"
                                      "pin = identity.pin\n");
    return buf_printf(ret, "# of use with the TPM of this machine alone\nkey = identity.pem\n%s%s%s",
                      i->tcti ? "tcti = " : "", i->tcti ? i->tcti : "", i->tcti ? "\n" : "");
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
                   "[identity]\n",
                   i->host, i->listen);
    if (r == 0)
        r = append_identity(i, &text);
    if (r == 0)
        r = buf_append_string(&text, "\n[registration]\nguests = yes\n");
    if (r == 0)
        r = file_write_atomic(AT_FDCWD, path, text.data, text.size, 0600, true);
    return r;
}

/* What comes from the descriptor goes where serve reads it. */
static int write_pin(const char *fd, const char *path)
{
    _cleanup_(buf_done) Buf pin = BUF_MAX(TOKEN_PIN_MAX);
    int r = file_read_fd((int)strtol(fd, NULL, 10), &pin);

    return r == 0 ? file_write_atomic(AT_FDCWD, path, pin.data, pin.size, 0600, true) : r;
}

static int make_key(const Init *i, const KeyFiles *files, RelayKey **ret)
{
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    int r = 0;

    if (i->key && strcmp(i->key, IN_TPM) == 0)
        return relay_key_init_tpm(files, ret);
    if (i->key) {
        if (i->pin_fd)
            r = write_pin(i->pin_fd, files->pin);
        if (r != 0)
            return r;
        r = relay_key_init_token(files, i->key, RELAY_KEY_BITS_DEFAULT, ret);
        if (r != 0 && i->pin_fd) /* which may be a wrong one */
            (void)file_wipe(AT_FDCWD, files->pin);
        return r;
    }
    r = relay_key_generate(RELAY_KEY_BITS_DEFAULT, &key);
    if (r == 0)
        r = relay_key_save(key, files->key, files->passphrase);
    if (r == 0)
        *ret = TAKE_PTR(key);
    return r;
}

typedef struct Paths {
    char *config, *data, *key, *passphrase, *pin;
} Paths;

static void paths_done(Paths *p)
{
    free(p->config);
    free(p->data);
    free(p->key);
    free(p->passphrase);
    free(p->pin);
}

static int get_paths(const char *folder, Paths *p)
{
    int r = string_printf(&p->config, "%s/relay.conf", folder);

    if (r == 0)
        r = string_printf(&p->data, "%s/data", folder);
    if (r == 0)
        r = string_printf(&p->key, "%s/identity.pem", folder);
    if (r == 0)
        r = string_printf(&p->passphrase, "%s/identity.passphrase", folder);
    return r == 0 ? string_printf(&p->pin, "%s/identity.pin", folder) : r;
}

static int init(const Init *i, const Paths *p)
{
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    const KeyFiles files = {p->key, p->passphrase, p->pin, i->tcti};
    char pin[HASH_TEXT_SIZE];
    int r = file_make_folders(p->data, 0700);

    if (r == 0 && access(p->config, F_OK) == 0)
        r = -EEXIST;
    if (r == 0)
        r = make_key(i, &files, &key);
    if (r == 0)
        r = write_config(i, p->config);
    if (r != 0)
        return r;
    base64url_encode(relay_key_pin(key), PIN_SIZE, pin);
    printf("The relay's pin is %s\nStart it with: hmsg-relay serve --config %s\n", pin, p->config);
    return 0;
}

int cmd_init(int argc, char **argv)
{
    _cleanup_(paths_done) Paths paths = {0};
    Init i = {0};
    int r;

    if (!parse_arguments(argc, argv, &i))
        return CMD_USAGE;
    if (!check_arguments(&i))
        return CMD_USAGE;
    r = get_paths(i.folder, &paths);
    if (r == 0)
        r = init(&i, &paths);
    if (r == 0)
        return CMD_DONE;
    if (r == -EEXIST)
        fprintf(stderr, "hmsg-relay: there is a relay in %s already\n", i.folder);
    else if (r == HMSG_ERROR_AUTHENTICATION_FAILED && i.key && !i.pin_fd)
        fprintf(stderr,
                "hmsg-relay: %s: the token wants a PIN: give it with --pin-fd, as in --pin-fd 3 3<FILE\n",
                i.folder);
    else
        fprintf(stderr, "hmsg-relay: %s: %s\n", i.folder,
                i.key   ? relay_key_problem(r)
                : r < 0 ? strerror(-r)
                        : error_message(r));
    return CMD_FAILED;
}
