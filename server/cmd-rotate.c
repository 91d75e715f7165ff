/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "server/cmd.h"
#include "server/handlers.h"
#include "server/relay-key-next.h"
#include "server/store-open.h"

typedef struct Rotate {
    const char *config;
    bool now;
} Rotate;

static bool arguments(int argc, char **argv, Rotate *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"now", no_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *ret = (Rotate){.config = cmd_default_config()};
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'c')
            ret->config = optarg;
        else if (c == 'n')
            ret->now = true;
        else {
            (void)cmd_usage(argv[0], NULL);
            return false;
        }
    }
    return cmd_take_operand(argc, argv, NULL, NULL);
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "hmsg-relay: %s: %s\n", what, why);
    return CMD_FAILED;
}

/* While the key changes, the store is kept by both. */
typedef struct Both {
    const RelayKey *key, *next;
} Both;

static int wrap_both(void *userdata, const Secret *secret, Buf *ret)
{
    const Both *b = userdata;
    int r = relay_key_wrap(b->key, secret, ret);

    return r == 0 ? relay_key_wrap(b->next, secret, ret) : r;
}

static int unwrap_first(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    const Both *b = userdata;

    return relay_key_unwrap(b->key, wrapped, n, ret);
}

static int rewrap(const Options *o, const StoreKeeper *keeper)
{
    int r = store_rewrap(o, keeper);

    if (r == 0 || r == -ENOENT)
        return CMD_DONE;
    return fail(store_name(o),
                r == -EBUSY ? "the relay runs: stop it, and start it again afterwards" : store_problem(r));
}

static int change(const Options *o, const RelayKey *key, RelayKey *next)
{
    Both both = {key, next};
    const StoreKeeper by_both = {wrap_both, unwrap_first, &both};
    const StoreKeeper by_next = handlers_keeper(next);
    char pin[HASH_TEXT_SIZE];
    int r = rewrap(o, &by_both);

    if (r != CMD_DONE)
        return r;
    r = relay_key_switch(o->key);
    if (r != 0)
        return fail(o->key, strerror(-r));
    base64url_encode(relay_key_pin(next), PIN_SIZE, pin);
    printf("The relay's pin is %s from its next start on.\n"
           "Make copies of the key and of what is stored: those of before are of the former key.\n",
           pin);
    return rewrap(o, &by_next);
}

static void print_time(const char *before, int64_t when, const char *after)
{
    char text[64] = "";
    time_t t = (time_t)when;
    struct tm tm;

    if (localtime_r(&t, &tm))
        (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
    printf("%s%s%s", before, text, after);
}

/* Is it time? If not, says what there is to wait for. */
static bool is_due(const RelayKey *next, const NextKey *announced, bool made)
{
    int64_t due = announced->since + (int64_t)RELAY_KEY_ANNOUNCE;
    char pin[HASH_TEXT_SIZE];

    if (!made && clock_realtime() >= due)
        return true;
    base64url_encode(relay_key_pin(next), PIN_SIZE, pin);
    printf("The next pin will be %s\n", pin);
    if (made)
        puts("Reload the relay (SIGHUP): it tells its clients, who will follow by themselves.");
    print_time("Change to it with key rotate after ", due, "; key rotate --now does not wait.\n");
    return false;
}

static int rotate(const Options *o, RelayKey *key, bool now)
{
    _cleanup_(relay_key_freep) RelayKey *next = NULL;
    NextKey before, announced;
    const KeyFiles files = cmd_key_files(o);
    unsigned bits = rsa_key_bits(relay_key_public(key));
    int r = relay_key_load_next(key, o->key, clock_realtime(), &before);

    if (r == 0)
        r = relay_key_make_next(key, &files, bits, clock_realtime(), &next, &announced);
    if (r != 0)
        return fail(o->key, relay_key_problem(r));
    if (!now &&
        !is_due(next, &announced, !before.announced || !bytes_equal(before.pin, announced.pin, PIN_SIZE)))
        return CMD_DONE;
    return change(o, key, next);
}

int cmd_key_rotate(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    Rotate a;

    if (!arguments(argc, argv, &a))
        return CMD_USAGE;
    if (!cmd_load_options(a.config, &o) || !cmd_load_key(&o, &key))
        return CMD_FAILED;
    return rotate(&o, key, a.now);
}
