/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/admin-socket.h"
#include "server/cmd.h"
#include "server/handlers.h"
#include "server/store-open.h"

#define DAYS_DEFAULT 7
#define ERROR_MAX 512u

/* What was typed. */
typedef struct Words {
    AdminRequest request;
    const char *name; /* of the command */
    const char *config;
    bool json;
} Words;

static bool read_number(const char *text, int64_t max, int64_t *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && errno == 0 && *ret >= 1 && *ret <= max;
}

/* false: said what is wrong. */
static bool take_number(const Words *w, const char *what, const char *text, int64_t max, int64_t *ret)
{
    if (read_number(text, max, ret))
        return true;
    (void)cmd_usage(w->name, "%s: not a number from 1 to %" PRIi64 ": %s", what, max, text);
    return false;
}

static bool take_option(int c, Words *w)
{
    bool creates = w->request.kind == ADMIN_INVITE_CREATE;

    if (c == 'c')
        w->config = optarg;
    else if (c == 'j')
        w->json = true;
    else if (c == 'u' && creates)
        return take_number(w, "--uses", optarg, ADMIN_USES_MAX, &w->request.uses);
    else if (c == 'd' && creates)
        return take_number(w, "--days", optarg, ADMIN_DAYS_MAX, &w->request.days);
    else {
        (void)cmd_usage(w->name, c == '?' ? NULL : "--uses and --days are of invite create");
        return false;
    }
    return true;
}

static bool take_operand(const char *word, Words *w)
{
    AdminRequest *q = &w->request;

    if (q->kind == ADMIN_INVITE_REVOKE)
        return take_number(w, "NUMBER", word, INT64_MAX, &q->number);
    if (strlen(word) > ADDRESS_SIZE_MAX) {
        (void)cmd_usage(w->name, "CLIENT is longer than any address");
        return false;
    }
    memcpy(q->client, word, strlen(word) + 1);
    return true;
}

static bool read_words(int argc, char **argv, Words *w)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"uses", required_argument, NULL, 'u'},
        {"days", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    static const char *const operands[] = {
        [ADMIN_CLIENT_SHOW] = "CLIENT",   [ADMIN_CLIENT_BLOCK] = "CLIENT",  [ADMIN_CLIENT_UNBLOCK] = "CLIENT",
        [ADMIN_CLIENT_DELETE] = "CLIENT", [ADMIN_INVITE_REVOKE] = "NUMBER",
    };
    AdminKind kind = w->request.kind;
    const char *what = (size_t)kind < ELEMENTSOF(operands) ? operands[kind] : NULL, *word = NULL;
    int c;

    optind = 0; /* begins anew: glibc */
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (!take_option(c, w))
            return false;
    return cmd_take_operand(argc, argv, what, &word) && (!what || take_operand(word, w));
}

static void print_time(const char *name, int64_t seconds)
{
    char text[sizeof("YYYYYY-MM-DDThh:mm:ssZ")] = "";
    const time_t t = (time_t)seconds;
    struct tm parts;
    if (gmtime_r(&t, &parts) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) > 0)
        printf("%s: %s\n", name, text);
}

/* Facts for people, an empty line behind each. */
static int print_fact(void *userdata, json_t *fact)
{
    _cleanup_(buf_done) Buf line = BUF_MAX(ADMIN_ANSWER_MAX);
    const Words *w = userdata;
    const char *name;
    json_t *value;
    if (w->json) {
        int r = json_write(fact, &line);
        if (r == 0)
            puts(buf_text(&line));
        return r;
    }
    json_object_foreach ((json_t *)fact, name, value) {
        int64_t number = json_integer_value(value);
        if (strcmp(name, "created") == 0 || strcmp(name, "expires") == 0)
            print_time(name, number);
        else if (json_is_integer(value))
            printf("%s: %" PRIi64 "\n", name, number);
        else if (json_is_boolean(value))
            printf("%s: %s\n", name, json_is_true(value) ? "yes" : "no");
        else if (json_string_value(value) && *json_string_value(value))
            printf("%s: %s\n", name, json_string_value(value));
    }
    putchar('\n');
    return 0;
}

static int ask(int fd, Words *w)
{
    _cleanup_(buf_done) Buf error = BUF_MAX(ERROR_MAX);
    int r = admin_socket_ask(fd, &w->request, print_fact, w, &error);
    if (r == 0)
        return CMD_DONE;
    fprintf(stderr, "hmsg-relay: %s\n",
            error.size > 0 ? buf_text(&error) : "the relay did not answer, or ended meanwhile");
    return CMD_FAILED;
}

/* Of a relay that is stopped. */
static int run(const Options *o, Words *w)
{
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    _cleanup_(store_freep) Store *store = NULL;
    StoreLimits limits;
    if (!cmd_load_key(o, &key))
        return CMD_FAILED;
    const StoreKeeper keeper = handlers_keeper(key);
    store_limits_init(&limits);
    int r = store_open(o, &limits, &keeper, &store);
    if (r != 0) {
        fprintf(stderr, "hmsg-relay: %s: %s\n", store_name(o), store_problem(r));
        return CMD_FAILED;
    }
    Admin a = {.store = store, .relay = &o->relay};
    r = store_reader_new(store, &a.reader);
    if (r == 0)
        r = admin_run(&a, &w->request, print_fact, w);
    (void)store_reader_free(a.reader);
    if (r != 0)
        fprintf(stderr, "hmsg-relay: %s\n", admin_problem(r));
    return r == 0 ? CMD_DONE : CMD_FAILED;
}

static int administer(AdminKind kind, int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(fd_closep) int fd = -1;
    Words w = {.request = {.kind = kind, .uses = 1, .days = DAYS_DEFAULT},
               .name = argv[0],
               .config = cmd_default_config()};
    if (!read_words(argc, argv, &w))
        return CMD_USAGE;
    if (!cmd_load_options(w.config, &o))
        return CMD_FAILED;
    int r = admin_socket_connect(o.data, &fd);
    if (r == 0)
        return ask(fd, &w);
    if (r == -ENOENT || r == -ECONNREFUSED || r == -ENAMETOOLONG)
        return run(&o, &w);
    fprintf(stderr, "hmsg-relay: %s/" ADMIN_SOCKET_NAME ": %s\n", o.data, strerror(-r));
    return CMD_FAILED;
}

int cmd_client_list(int argc, char **argv)
{
    return administer(ADMIN_CLIENT_LIST, argc, argv);
}

int cmd_client_show(int argc, char **argv)
{
    return administer(ADMIN_CLIENT_SHOW, argc, argv);
}

int cmd_client_block(int argc, char **argv)
{
    return administer(ADMIN_CLIENT_BLOCK, argc, argv);
}

int cmd_client_unblock(int argc, char **argv)
{
    return administer(ADMIN_CLIENT_UNBLOCK, argc, argv);
}

int cmd_client_delete(int argc, char **argv)
{
    return administer(ADMIN_CLIENT_DELETE, argc, argv);
}

int cmd_invite_create(int argc, char **argv)
{
    return administer(ADMIN_INVITE_CREATE, argc, argv);
}

int cmd_invite_list(int argc, char **argv)
{
    return administer(ADMIN_INVITE_LIST, argc, argv);
}

int cmd_invite_revoke(int argc, char **argv)
{
    return administer(ADMIN_INVITE_REVOKE, argc, argv);
}
