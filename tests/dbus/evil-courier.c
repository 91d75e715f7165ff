/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A courier in the place of ours: what a thief would put there. Its own name says what it does; it notes in
 * files beside it what the agent told it, and what the agent answered. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define AGENT_FD 3
#define COURIER "org.hmsg.Courier1"
#define COURIER_PATH "/org/hmsg/Courier1"
#define AGENT "org.hmsg.Agent1"
#define AGENT_PATH "/org/hmsg/Agent1"
#define ID "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define JWS "eyJhbGciOiJQUzI1NiJ9.e30.AAAA"
#define LARGE 300000u
#define FLOOD 20000u
#define FDS 200

typedef struct Evil {
    sd_bus *bus;
    FILE *told, *answered;
    unsigned n; /* calls */
    int (*reply)(struct Evil *e, sd_bus_message *m);
} Evil;

/* Of its interface (dbus/org.hmsg.Courier1.xml). */
static const char *reply_types(const char *member)
{
    static const struct {
        const char *member, *types;
    } all[] = {
        {"Probe", "Bss"},   {"Relay", "stt"},     {"Nonce", "BB"},        {"Challenge", "BBB"},
        {"Register", "ss"}, {"Rotate", "ss"},     {"LookupName", "ssss"}, {"LookupKid", "ssss"},
        {"Login", "ss"},    {"Submit", "ss"},     {"Status", "s"},        {"List", "Lb"},
        {"Fetch", "t"},     {"Acknowledge", "A"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strcmp(all[i].member, member) == 0)
            return all[i].types;
    return "";
}

/* size 0: nothing; 1: as it should be; 2: far too much. B: bytes; A: ids; L: a list of messages. */
static int append(sd_bus_message *m, char type, unsigned size)
{
    static char large[LARGE + 1];
    static const size_t bytes[] = {0, 32, LARGE};
    const char *text = size == 0 ? "" : size == 1 ? JWS : large;
    const char *id = size == 1 ? ID : text;

    memset(large, 'A', LARGE);
    switch (type) {
    case 'B':
        return sd_bus_message_append_array(m, 'y', large, bytes[size]);
    case 's':
        return sd_bus_message_append(m, "s", text);
    case 't':
        return sd_bus_message_append(m, "t", size == 2 ? UINT64_MAX : (uint64_t)size);
    case 'b':
        return sd_bus_message_append(m, "b", 1);
    case 'A':
        return sd_bus_message_append(m, "as", 2, id, id);
    default:
        return sd_bus_message_append(m, "a(tstst)", 2, UINT64_MAX, id, UINT64_MAX, id, UINT64_MAX,
                                     (uint64_t)0, id, (uint64_t)0, text, (uint64_t)0);
    }
}

static int reply_typed(sd_bus_message *m, unsigned size)
{
    sd_bus_message *reply = NULL;
    int r = sd_bus_message_new_method_return(m, &reply);

    for (const char *t = reply_types(sd_bus_message_get_member(m)); r >= 0 && *t; t++)
        r = append(reply, *t, size);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

/* Another one for each call. */
static int reply_variously(Evil *e, sd_bus_message *m)
{
    static char much[60001];

    switch (e->n % 7) {
    case 0:
        return reply_typed(m, 1);
    case 1:
        return reply_typed(m, 0);
    case 2:
        return reply_typed(m, 2);
    case 3:
        return sd_bus_reply_method_return(m, "u", 1);
    case 4:
        return sd_bus_reply_method_return(m, "");
    case 5:
        memset(much, '\033', sizeof(much) - 1);
        return sd_bus_reply_method_errorf(m, COURIER ".Error.Busy", "retry=99999999999999999999 %s", much);
    default:
        return sd_bus_reply_method_errorf(m, AGENT ".Error.Locked", "pin=");
    }
}

static int reply_unreachable(Evil *e, sd_bus_message *m)
{
    return sd_bus_reply_method_errorf(m, COURIER ".Error.Unreachable", "Nobody answers");
}

/* The connection that the agent asks us by goes both ways. */
static void ask_agent(Evil *e)
{
    static const struct {
        const char *path, *interface, *member;
    } wishes[] = {
        {AGENT_PATH, AGENT, "OpenChannel"},
        {AGENT_PATH, AGENT, "GetStatus"},
        {AGENT_PATH, AGENT ".Identity", "ExportPublic"},
        {AGENT_PATH, AGENT ".Identity", "Delete"},
        {AGENT_PATH, AGENT ".Sessions", "List"},
        {AGENT_PATH, AGENT ".Mail", "List"},
        {AGENT_PATH, AGENT ".Contacts", "List"},
        {COURIER_PATH, AGENT ".Identity", "ExportPublic"},
        {COURIER_PATH, COURIER, "Keys"},
        {"/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(wishes); i++) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        int r = sd_bus_message_new_method_call(e->bus, &m, NULL, wishes[i].path, wishes[i].interface,
                                               wishes[i].member);

        if (r >= 0 && g_str_has_prefix(wishes[i].interface, AGENT))
            r = sd_bus_message_append(m, "a{sv}", 0);
        if (r >= 0)
            r = sd_bus_call(e->bus, m, 0, &error, NULL);
        (void)fprintf(e->answered, "%s %s\n", wishes[i].member, r < 0 ? error.name : "done");
        (void)fflush(e->answered);
        sd_bus_message_unref(m);
        sd_bus_error_free(&error);
    }
}

static int tell(Evil *e, const char *member, const char *types, ...)
{
    sd_bus_message *m = NULL;
    va_list values;
    int r = sd_bus_message_new_signal(e->bus, &m, COURIER_PATH, COURIER, member);

    va_start(values, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, values);
    va_end(values);
    if (r >= 0)
        r = sd_bus_send(e->bus, m, NULL);
    sd_bus_message_unref(m);
    return r;
}

/* Of messages that are not there, for relays that were never asked, of the wrong form, with descriptors. */
static void flood_agent(Evil *e, const char *relay)
{
    static const char foreign[] = "elsewhere.example:7443#" ID;
    int fd = memfd_create("evil", MFD_CLOEXEC);
    int r = 0;

    for (unsigned i = 0; i < FLOOD && r >= 0; i++) {
        const char *which = i % 2 ? relay : foreign;

        switch (i % 8) {
        case 0:
        case 1:
            r = tell(e, "Mail", "ststs", which, (uint64_t)i, ID, UINT64_MAX, "nobody");
            break;
        case 2:
        case 3:
            r = tell(e, "Status", "sss", which, ID, i % 3 ? "delivered" : "lost");
            break;
        case 4:
            r = tell(e, "Listening", "s", relay);
            break;
        case 5:
            r = tell(e, "Disconnected", "ss", relay, "\033[2J");
            break;
        case 6:
            r = tell(e, "Mail", "u", i);
            break;
        default:
            r = tell(e, i % 64 == 7 ? "Mail" : "Keys", "hhhh", fd, fd, fd, fd);
        }
        if (r >= 0 && i % 100 == 0)
            r = sd_bus_flush(e->bus);
    }
    (void)close(fd);
}

/* Names, texts, and what is in files that are handed over. */
static void note(Evil *e, sd_bus_message *m)
{
    char type;

    (void)fprintf(e->told, "%s", sd_bus_message_get_member(m));
    while (sd_bus_message_peek_type(m, &type, NULL) > 0) {
        const char *text = NULL;
        int fd = -1;

        if (type == 's' && sd_bus_message_read_basic(m, 's', &text) > 0) {
            (void)fprintf(e->told, " %s", text);
        } else if (type == 'h' && sd_bus_message_read_basic(m, 'h', &fd) > 0) {
            char content[4096];
            ssize_t n = pread(fd, content, sizeof(content), 0);

            (void)fwrite(content, 1, n > 0 ? (size_t)n : 0, e->told);
        } else if (sd_bus_message_skip(m, NULL) < 0) {
            break;
        }
    }
    (void)fprintf(e->told, "\n");
    (void)fflush(e->told);
    (void)sd_bus_message_rewind(m, true);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Evil *e = userdata;
    int r;

    if (!sd_bus_message_is_method_call(m, COURIER, NULL))
        return 0;
    note(e, m);
    r = e->reply(e, m);
    e->n++;
    return r < 0 ? r : 1;
}

static sd_bus *serve(Evil *e)
{
    sd_id128_t id;
    sd_bus *bus = NULL;
    int r = sd_id128_randomize(&id);

    if (r >= 0)
        r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_fd(bus, AGENT_FD, AGENT_FD);
    if (r >= 0)
        r = sd_bus_set_server(bus, true, id);
    if (r >= 0)
        r = sd_bus_negotiate_fds(bus, true);
    if (r >= 0)
        r = sd_bus_add_filter(bus, NULL, on_message, e);
    if (r >= 0)
        r = sd_bus_start(bus);
    g_assert_cmpint(r, >=, 0);
    return bus;
}

static void run(Evil *e)
{
    e->bus = serve(e);
    while (sd_bus_process(e->bus, NULL) >= 0 && sd_bus_wait(e->bus, UINT64_MAX) >= 0)
        ;
}

static int asking(Evil *e, sd_bus_message *m)
{
    if (e->n == 0)
        ask_agent(e);
    return reply_unreachable(e, m);
}

static int flooding(Evil *e, sd_bus_message *m)
{
    const char *relay = "";

    (void)sd_bus_message_read_basic(m, 's', &relay);
    flood_agent(e, relay);
    return reply_unreachable(e, m);
}

/* No D-Bus at all. */
static void write_garbage(const char *first)
{
    g_autofree char *garbage = g_malloc(LARGE);

    for (size_t i = 0; i < LARGE; i++)
        garbage[i] = (char)(i * 2654435761u >> 7);
    if (write(AGENT_FD, first, strlen(first)) >= 0)
        while (write(AGENT_FD, garbage, LARGE) > 0)
            ;
}

static FILE *open_beside(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    FILE *f = fopen(path, "ae");

    g_assert_nonnull(f);
    return f;
}

int main(int argc, char **argv)
{
    g_autofree char *folder = g_path_get_dirname(argv[0]), *kind = g_path_get_basename(argv[0]);
    static const struct {
        const char *name;
        int (*reply)(Evil *e, sd_bus_message *m);
    } kinds[] = {{"lying", reply_variously}, {"asking", asking}, {"flooding", flooding}};
    Evil e = {.told = open_beside(folder, "told"), .answered = open_beside(folder, "answered")};

    if (strcmp(kind, "silent") == 0)
        for (;;)
            (void)pause();
    if (strcmp(kind, "garbage") == 0)
        write_garbage("");
    if (strcmp(kind, "greeting") == 0)
        write_garbage("OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n");
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kind, kinds[i].name) == 0) {
            e.reply = kinds[i].reply;
            run(&e);
        }
    (void)fclose(e.told);
    (void)fclose(e.answered);
    return 0;
}
