/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/config.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/listen.h"
#include "server/options.h"

#define LOOPS_MAX 64u
#define CONNECTIONS_DEFAULT 10000u
#define CONNECTIONS_MAX 1000000u
#define MAILBOX_SIZE_DEFAULT (1024ull * 1024 * 1024)
#define MAILBOX_MESSAGES_DEFAULT 10000u
#define SENDER_RATE_DEFAULT 600u
#define STRANGER_RATE_DEFAULT 120u
#define STRANGER_SHARE_DEFAULT                                                                               \
    25u /* of mailbox-size that is the default, an attachment of the largest size */
#define STRANGER_SHARE_MAX 50u
#define ADDRESS_CONNECTIONS_DEFAULT 1000u
#define STORE_SIZE_DEFAULT 0u
#define SIZE_LIMIT_MAX (1ull << 50)
#define COUNT_LIMIT_MAX (1ull << 32)
#define LIFETIME_MIN 60u
#define ROTATION_GRACE_DEFAULT (30u * 86400u)
#define ROTATION_GRACE_MAX (366u * 86400u)
#define KEY_DAYS_DEFAULT 90u
#define KEY_DAYS_MAX 36500u
#define DAY 86400u
#define CREDENTIAL "credential:" /* a file of systemd's LoadCredential=, see systemd.exec(5) */

typedef struct Known {
    const char *section, *key;
} Known;

static const Known known[] = {
    {"relay", "host"},
    {"relay", "listen"},
    {"relay", "data"},
    {"relay", "store"},
    {"postgres", "connection"},
    {"postgres", "passfile"},
    {"postgres", "certificate"},
    {"postgres", "quorum"},
    {"identity", "key"},
    {"identity", "passphrase"},
    {"identity", "pin"},
    {"identity", "tcti"},
    {"identity", "rotate-days"},
    {"registration", "mode"},
    {"registration", "guests"},
    {"monitor", "listen"},
    {"store", "data-key-days"},
    {"limits", "threads"},
    {"limits", "connections"},
    {"limits", "connections-per-address"},
    {"limits", "attachment-size"},
    {"limits", "mailbox-size"},
    {"limits", "mailbox-messages"},
    {"limits", "store-size"},
    {"limits", "sender-rate"},
    {"limits", "stranger-rate"},
    {"limits", "stranger-share"},
    {"limits", "message-lifetime"},
    {"limits", "rotation-grace"},
};

/* What is read, and where to say what is wrong with it. */
typedef struct Reader {
    const Config *config;
    char *error;
} Reader;

static int wrong(const Reader *r, const char *section, const char *key, const char *why)
{
    unsigned line = config_line(r->config, section, key);

    if (line > 0)
        (void)snprintf(r->error, OPTIONS_ERROR_SIZE, "line %u: [%.100s] %.100s: %s", line, section, key, why);
    else
        (void)snprintf(r->error, OPTIONS_ERROR_SIZE, "[%s] %s: %s", section, key, why);
    return HMSG_ERROR_INVALID_ARGS;
}

static int check_known(const char *section, const char *key, const char *value, void *userdata)
{

    for (size_t i = 0; i < ELEMENTSOF(known); i++)
        if (strcmp(section, known[i].section) == 0 && strcmp(key, known[i].key) == 0)
            return 0;
    return wrong(userdata, section, key, "no such setting");
}

static int get_path(const Config *c, const char *folder, const char *section, const char *key,
                    const char *fallback, char **ret)
{
    const char *value = config_get(c, section, key, fallback);
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");

    if (!value)
        return 0;
    if (strncmp(value, CREDENTIAL, strlen(CREDENTIAL)) == 0)
        return string_printf(ret, "%s/%s", credentials ? credentials : "/nonexistent",
                             value + strlen(CREDENTIAL));
    return value[0] == '/' ? string_printf(ret, "%s", value) : string_printf(ret, "%s/%s", folder, value);
}

static int get_paths(const Config *c, const char *path, Options *o)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    int r;

    if (!folder)
        return -ENOMEM;
    r = get_path(c, folder, "relay", "data", "data", &o->data);
    if (r == 0)
        r = get_path(c, folder, "identity", "key", "identity.pem", &o->key);
    if (r == 0)
        r = get_path(c, folder, "identity", "passphrase", "identity.passphrase", &o->passphrase);
    if (r == 0 && config_get(c, "identity", "tcti", NULL))
        r = string_printf(&o->tcti, "%s", config_get(c, "identity", "tcti", NULL));
    if (r == 0)
        r = get_path(c, folder, "identity", "pin", "identity.pin", &o->pin);
    if (r == 0)
        r = get_path(c, folder, "postgres", "passfile", NULL, &o->postgres.passfile);
    if (r == 0)
        r = get_path(c, folder, "postgres", "certificate", NULL, &o->postgres.certificate);
    return r;
}

static int get_store(const Reader *reader, Options *o)
{
    const Config *c = reader->config;
    const char *store = config_get(c, "relay", "store", "sqlite");
    const char *connection = config_get(c, "postgres", "connection", NULL);

    if (strcmp(store, "sqlite") != 0 && strcmp(store, "postgres") != 0)
        return wrong(reader, "relay", "store", "is neither sqlite nor postgres");
    o->store = strcmp(store, "postgres") == 0 ? STORE_POSTGRES : STORE_SQLITE;
    if (config_get_bool(c, "postgres", "quorum", false, &o->postgres.quorum) != 0)
        return wrong(reader, "postgres", "quorum", "is neither yes nor no");
    if (o->store == STORE_POSTGRES && !connection)
        return wrong(reader, "postgres", "connection", "is missing: where the database is");
    if (connection) {
        o->postgres.connection = strdup(connection);
        return o->postgres.connection ? 0 : -ENOMEM;
    }
    return 0;
}

static int get_mode(const Reader *reader, OptionMode *ret)
{
    static const char *const names[] = {
        [REGISTRATION_OPEN] = "open", [REGISTRATION_INVITE] = "invite", [REGISTRATION_CLOSED] = "closed"};
    const char *mode = config_get(reader->config, "registration", "mode", names[REGISTRATION_OPEN]);

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (strcmp(mode, names[i]) == 0) {
            *ret = (OptionMode)i;
            return 0;
        }
    return wrong(reader, "registration", "mode", "is neither open nor invite nor closed");
}

static int get_relay(const Reader *reader, Options *o)
{
    const Config *c = reader->config;
    const char *host = config_get(c, "relay", "host", NULL);
    const char *listen = config_get(c, "relay", "listen", "[::]:7443");
    const char *monitor = config_get(c, "monitor", "listen", NULL);

    if (!host)
        return wrong(reader, "relay", "host", "is missing: the part behind @ of the relay's addresses");
    if (relay_parse(host, &o->relay) != 0 || o->relay.has_pin)
        return wrong(reader, "relay", "host", "is not HOST or HOST:PORT");
    o->host_has_port = options_host_has_port(host);
    if (!listen_address_valid(listen))
        return wrong(reader, "relay", "listen", "is not ADDRESS:PORT, with an IPv6 address in brackets");
    o->listen = strdup(listen);
    if (monitor && !listen_address_valid(monitor))
        return wrong(reader, "monitor", "listen", "is not ADDRESS:PORT, with an IPv6 address in brackets");
    if (monitor) {
        o->monitor = strdup(monitor);
        if (!o->monitor)
            return -ENOMEM;
    }
    if (o->listen && !o->host_has_port) /* port 0 is known once it listens */
        o->relay.port = (uint16_t)strtoul(strrchr(listen, ':') + 1, NULL, 10);
    return o->listen ? 0 : -ENOMEM;
}

/* Numbers: where, how many. */
static int get_limits(const Reader *reader, Options *o)
{
    const Config *c = reader->config;
    char why[100];
    uint64_t loops = 0, connections = 0, of_address = 0, key_days = 0, identity_days = 0;
    const struct {
        const char *key;
        uint64_t fallback, min, max;
        uint64_t *where;
    } numbers[] = {
        {"threads", 0, 0, LOOPS_MAX, &loops},
        {"connections", CONNECTIONS_DEFAULT, 1, CONNECTIONS_MAX, &connections},
        {"connections-per-address", ADDRESS_CONNECTIONS_DEFAULT, 0, CONNECTIONS_MAX, &of_address},
        {"attachment-size", ATTACHMENT_SIZE_MAX, MESSAGE_SIZE_MAX, SIZE_LIMIT_MAX, &o->attachment_size},
        {"mailbox-size", MAILBOX_SIZE_DEFAULT, MESSAGE_SIZE_MAX, SIZE_LIMIT_MAX, &o->mailbox_size},
        {"mailbox-messages", MAILBOX_MESSAGES_DEFAULT, 1, COUNT_LIMIT_MAX, &o->mailbox_messages},
        {"store-size", STORE_SIZE_DEFAULT, 0, SIZE_LIMIT_MAX, &o->store_size},
        {"sender-rate", SENDER_RATE_DEFAULT, 1, COUNT_LIMIT_MAX, &o->sender_rate},
        {"stranger-rate", STRANGER_RATE_DEFAULT, 1, COUNT_LIMIT_MAX, &o->stranger_rate},
        {"stranger-share", STRANGER_SHARE_DEFAULT, 1, STRANGER_SHARE_MAX, &o->stranger_share},
    };

    for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
        if (config_get_number(c, "limits", numbers[i].key, numbers[i].fallback, numbers[i].min,
                              numbers[i].max, numbers[i].where) != 0) {
            (void)snprintf(why, sizeof(why), "is not a number from %" PRIu64 " to %" PRIu64, numbers[i].min,
                           numbers[i].max);
            return wrong(reader, "limits", numbers[i].key, why);
        }
    if (config_get_seconds(c, "limits", "message-lifetime", MESSAGE_EXPIRY_MAX, &o->message_lifetime) != 0 ||
        o->message_lifetime < LIFETIME_MIN || o->message_lifetime > MESSAGE_EXPIRY_MAX)
        return wrong(reader, "limits", "message-lifetime", "is not a time between 1min and 30d");
    if (config_get_seconds(c, "limits", "rotation-grace", ROTATION_GRACE_DEFAULT, &o->rotation_grace) != 0 ||
        o->rotation_grace > ROTATION_GRACE_MAX)
        return wrong(reader, "limits", "rotation-grace", "is not a time of at most 366d");
    if (config_get_number(c, "store", "data-key-days", KEY_DAYS_DEFAULT, 0, KEY_DAYS_MAX, &key_days) != 0)
        return wrong(reader, "store", "data-key-days", "is not a number from 0 to 36500");
    o->key_age = key_days * DAY;
    if (config_get_number(c, "identity", "rotate-days", KEY_DAYS_DEFAULT, 0, KEY_DAYS_MAX, &identity_days) !=
        0)
        return wrong(reader, "identity", "rotate-days", "is not a number from 0 to 36500");
    o->identity_age = identity_days * DAY;
    if (config_get_bool(c, "registration", "guests", true, &o->guests) != 0)
        return wrong(reader, "registration", "guests", "is neither yes nor no");
    o->loops = (unsigned)loops;
    o->connections = (unsigned)connections;
    o->address_connections = (unsigned)of_address;
    return 0;
}

bool options_host_has_port(const char *host)
{
    const char *bracket = strrchr(host, ']');

    return strchr(bracket ? bracket : host, ':') != NULL;
}

int options_load(const char *path, Options *ret, char error[static OPTIONS_ERROR_SIZE])
{
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_(options_done) Options o = {0};
    unsigned line = 0;
    int r;

    r = config_load(path, &c, &line);
    if (r == -EBADMSG)
        (void)snprintf(error, OPTIONS_ERROR_SIZE,
                       "line %u is not of the form key = value, or sets a key again", line);
    else if (r != 0)
        (void)snprintf(error, OPTIONS_ERROR_SIZE, "%s", strerror(-r));
    if (r != 0)
        return r == -ENOMEM ? r : HMSG_ERROR_INVALID_ARGS;
    Reader reader = {c, error};
    r = config_each(c, check_known, &reader);
    if (r == 0)
        r = get_relay(&reader, &o);
    if (r == 0)
        r = get_paths(c, path, &o);
    if (r == 0)
        r = get_mode(&reader, &o.registration);
    if (r == 0)
        r = get_store(&reader, &o);
    if (r == 0)
        r = get_limits(&reader, &o);
    if (r != 0)
        return r;
    o.config = strdup(path);
    if (!o.config)
        return -ENOMEM;
    *ret = o;
    o = (Options){0};
    return 0;
}

void options_done(Options *o)
{
    free(o->config);
    free(o->listen);
    free(o->monitor);
    free(o->data);
    free(o->key);
    free(o->passphrase);
    free(o->pin);
    free(o->postgres.connection);
    free(o->postgres.passfile);
    free(o->postgres.certificate);
    free(o->tcti);
    *o = (Options){0};
}
