/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An agent for the tests of its clients: fake-agent BUS-ADDRESS. It prints each call with its arguments as
 * one line on standard output, and what it answers depends on the arguments alone: a recipient, address,
 * contact or id "error-NAME", and content "error NAME", give org.hmsg.Agent1.Error.NAME; a "package" is
 * {"fake":"HEX"} of its plaintext, a "stream" begins with STREAM, a broken one with BROKEN. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"

#define CHANNELS_MAX 64
#define BODY_MAX (16u * 1024u * 1024u)
#define STREAM "STREAM"
#define BROKEN "BROKEN"
#define LARGE_SIZE (3u * 1024u * 1024u)

typedef struct Agent {
    sd_event *event;
    sd_bus *bus;
    sd_bus *channels[CHANNELS_MAX];
    size_t n_channels;
    unsigned arrived;
    char trigger[64]; /* NAME of the error that the call asks for */
    char first[256];  /* its first string */
    Buf content;      /* its first byte array */
    int fds[2];
    size_t n_fds;
    size_t n_recipients;
    bool job;
} Agent;

static int handle(sd_bus_message *m, void *userdata, sd_bus_error *error);

static void note_string(Agent *a, const char *text)
{
    if (strncmp(text, "error-", 6) == 0)
        (void)snprintf(a->trigger, sizeof(a->trigger), "%s", text + 6);
    if (!*a->first)
        (void)snprintf(a->first, sizeof(a->first), "%s", text);
}

static void note_bytes(Agent *a, const void *data, size_t size)
{
    if (a->content.size > 0)
        return;
    (void)buf_append(&a->content, data, size);
    if (size > 10 && strncmp(buf_text(&a->content), "[\"error-", 8) == 0)
        (void)snprintf(a->trigger, sizeof(a->trigger), "%.*s", (int)(size - 10), buf_text(&a->content) + 8);
}

static void dump(Agent *a, sd_bus_message *m, unsigned depth);

static void dump_container(Agent *a, sd_bus_message *m, char type, const char *contents, unsigned depth)
{
    const char *marks = type == 'a' ? (*contents == '{' ? "{}" : "[]") : type == 'e' ? "=" : "";

    if (type == 'a' && strcmp(contents, "y") == 0) {
        const void *data;
        size_t size;

        if (sd_bus_message_read_array(m, 'y', &data, &size) >= 0) {
            note_bytes(a, data ? data : "", size);
            (void)printf("<%zu>", size);
        }
        return;
    }
    if (*marks && type == 'a')
        (void)printf("%c", marks[0]);
    if (sd_bus_message_enter_container(m, type, contents) < 0)
        return;
    for (unsigned i = 0; sd_bus_message_at_end(m, 0) == 0; i++) {
        if (i > 0)
            (void)printf("%s", type == 'e' ? "=" : ",");
        dump(a, m, depth + 1);
        if (depth == 0 && type == 'a' && strcmp(contents, "s") == 0)
            a->n_recipients++;
        if (depth > 0 && strcmp(contents, "ay") == 0)
            a->n_recipients++;
    }
    (void)sd_bus_message_exit_container(m);
    if (*marks && type == 'a')
        (void)printf("%c", marks[1]);
}

/* A memfd in an option with what is in it. */
static void dump_fd(int fd, unsigned depth)
{
    char text[300];
    ssize_t n = depth == 0 || fcntl(fd, F_GET_SEALS) < 0 ? -1 : pread(fd, text, sizeof(text), 0);

    if (n < 0)
        (void)printf("fd");
    else
        (void)printf("memfd:%.*s", (int)n, text);
}

static void dump(Agent *a, sd_bus_message *m, unsigned depth)
{
    const char *contents;
    union {
        const char *s;
        int b;
        uint32_t u;
        uint64_t t;
    } v;
    char type;

    if (sd_bus_message_peek_type(m, &type, &contents) <= 0)
        return;
    if (strchr("aver", type)) {
        dump_container(a, m, type, contents, depth);
        return;
    }
    if (sd_bus_message_read_basic(m, type, &v) < 0)
        return;
    if (type == 's') {
        note_string(a, v.s);
        a->job |= strcmp(v.s, "job") == 0;
        (void)printf("%s", v.s);
    } else if (type == 'b') {
        (void)printf("%s", v.b ? "true" : "false");
    } else if (type == 'h') {
        if (a->n_fds < 2)
            a->fds[a->n_fds++] = v.b;
        dump_fd(v.b, depth);
    } else {
        (void)printf("%llu", (unsigned long long)(type == 'u' ? v.u : v.t));
    }
}

static int hex_value(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static int package(const Buf *plain, Buf *ret)
{
    int r = buf_append_string(ret, "{\"fake\":\"");

    for (size_t i = 0; r == 0 && i < plain->size; i++)
        r = buf_printf(ret, "%02x", plain->data[i]);
    return r < 0 ? r : buf_append_string(ret, "\"}");
}

/* The first in an array too. */
static int plaintext(const Buf *from, Buf *ret)
{
    const char *p = strstr(buf_text(from), "\"fake\":\"");
    int r = 0;

    if (!p)
        return -EBADMSG;
    for (p += 8; r == 0 && p[0] != '"' && p[1]; p += 2) {
        uint8_t byte = (uint8_t)(hex_value(p[0]) * 16 + hex_value(p[1]));
        r = buf_append(ret, &byte, 1);
    }
    return r;
}

static int append_info(sd_bus_message *reply, const char *file_name)
{
    return sd_bus_message_append(reply, "a{sv}", 9, "sender", "s", "alice@relay.test", "sender_kid", "s",
                                 "KID", "verified", "b", 1, "trusted", "b", 0, "cached", "b", 1, "timestamp",
                                 "t", UINT64_C(1700000000), "subject", "s", "Plans\033[2J", "file_name", "s",
                                 file_name, "id", "s", "ID");
}

static int answer_encrypt(Agent *a, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(BODY_MAX);
    int r = package(&a->content, &text);

    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "ay");
    for (size_t i = 0; r >= 0 && i < a->n_recipients; i++)
        r = sd_bus_message_append_array(reply, 'y', text.data, text.size);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int answer_content(Agent *a, sd_bus_message *reply)
{
    static const char evil[] = "Dear Bob\033]0;evil\007 \xe2\x80\xae"
                               "cod.exe\n";
    _cleanup_(buf_done) Buf plain = BUF_MAX(BODY_MAX);
    bool reads = strcmp(a->first, "evil") == 0 || strcmp(a->first, "hidden") == 0;
    int r = reads ? buf_append(&plain, evil, sizeof(evil) - 1) : plaintext(&a->content, &plain);

    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', plain.data, plain.size);
    return r < 0 ? r
                 : append_info(reply, strcmp(a->first, "hidden") == 0 ? "x/.bashrc" : "../../tmp/pass\033wd");
}

static int progress(Agent *a, sd_bus_message *call)
{
    return a->job ? sd_bus_emit_signal(sd_bus_message_get_bus(call), "/org/hmsg/Agent1", "org.hmsg.Agent1",
                                       "Progress", "stt", "job-1", UINT64_C(5), UINT64_C(10))
                  : 0;
}

static int answer_encrypt_fd(Agent *a, sd_bus_message *call, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(BODY_MAX);
    int r = buf_append_string(&body, STREAM);

    if (r >= 0)
        r = file_read_fd(a->fds[0], &body);
    if (r >= 0)
        r = file_write_fd(a->fds[1], body.data, body.size);
    if (r >= 0)
        r = progress(a, call);
    return r < 0 ? r : sd_bus_message_append(reply, "a{sv}", 1, "bytes_in", "t", (uint64_t)body.size);
}

static int answer_decrypt_fd(Agent *a, sd_bus_message *reply, sd_bus_error *error)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(BODY_MAX);
    int r = file_read_fd(a->fds[0], &body);

    if (r >= 0 && body.size > strlen(STREAM))
        r = file_write_fd(a->fds[1], body.data + strlen(STREAM), body.size - strlen(STREAM));
    if (r >= 0 && strncmp(buf_text(&body), STREAM, strlen(STREAM)) != 0)
        return sd_bus_error_set(error, "org.hmsg.Agent1.Error.AuthenticationFailed", "chunk 7");
    return r < 0 ? r : append_info(reply, "plans");
}

static int answer_read_fd(Agent *a, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(BODY_MAX);
    int r = buf_reserve(&body, LARGE_SIZE);

    if (r < 0)
        return r;
    memset(body.data, 'x', LARGE_SIZE);
    r = file_write_fd(a->fds[0], body.data, LARGE_SIZE);
    return r < 0 ? r : append_info(reply, "large.bin");
}

static int append_identity(sd_bus_message *reply)
{
    return sd_bus_message_append(reply, "a{sv}", 7, "addresses", "as", 1, "alice@relay.test", "kid", "s",
                                 "KID", "skid", "s", "SKID", "fingerprint", "s", "1234 abcd", "protection",
                                 "s", "tpm", "pin", "b", 1, "state", "s", "locked");
}

static int append_contact(sd_bus_message *reply)
{
    return sd_bus_message_append(reply, "a{sv}", 7, "name", "s", "bob", "address", "s", "bob@relay.test",
                                 "kid", "s", "BOBKID", "skid", "s", "BOBSKID", "fingerprint", "s",
                                 "aaaa bbbb", "new_fingerprint", "s", "cccc dddd", "trust", "s", "changed");
}

static int append_messages(Agent *a, sd_bus_message *reply)
{
    int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

    for (unsigned i = 1; r >= 0 && i <= a->arrived + 1; i++)
        r = sd_bus_message_append(reply, "a{sv}", 6, "id", "s", "ID", "serial", "t", (uint64_t)i, "sender",
                                  "s", "alice\033[31m@relay.test", "size", "t", UINT64_C(1536), "state", "s",
                                  "new", "verified", "b", 1);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int tell_all(Agent *a)
{
    int r = 0;

    a->arrived++;
    for (size_t i = 0; r >= 0 && i < a->n_channels; i++) {
        r = sd_bus_emit_signal(a->channels[i], "/org/hmsg/Agent1", "org.hmsg.Agent1.Mail", "Received", "s",
                               "ID");
        if (r >= 0)
            r = sd_bus_emit_signal(a->channels[i], "/org/hmsg/Agent1", "org.hmsg.Agent1.Mail", "StateChanged",
                                   "sssa{sv}", "ID2", "KID", "delivered", 0);
        if (r == -ENOTCONN || r == -ECONNRESET)
            r = 0; /* that client has left */
    }
    return r;
}

static int on_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    sd_bus *channel = sd_bus_message_get_bus(m);
    Agent *a = userdata;

    for (size_t i = 0; i < a->n_channels; i++)
        if (a->channels[i] == channel) {
            a->channels[i] = a->channels[--a->n_channels];
            sd_bus_detach_event(channel);
            sd_bus_close_unref(channel);
            break;
        }
    return 0;
}

static int open_channel(Agent *a, sd_bus_message *reply)
{
    sd_bus *channel = NULL;
    sd_id128_t id;
    int pair[2], r;

    if (a->n_channels == CHANNELS_MAX)
        return -EMFILE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = sd_bus_new(&channel);
    if (r >= 0)
        r = sd_bus_set_fd(channel, pair[0], pair[0]);
    if (r >= 0)
        r = sd_id128_randomize(&id);
    if (r >= 0)
        r = sd_bus_set_server(channel, true, id);
    if (r >= 0)
        r = sd_bus_negotiate_fds(channel, true);
    if (r >= 0)
        r = sd_bus_start(channel);
    if (r >= 0)
        r = sd_bus_attach_event(channel, a->event, 0);
    if (r >= 0)
        r = sd_bus_add_object(channel, NULL, "/org/hmsg/Agent1", handle, a);
    if (r >= 0)
        r = sd_bus_match_signal(channel, NULL, NULL, "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_gone, a);
    if (r >= 0)
        r = sd_bus_message_append(reply, "h", pair[1]);
    close(pair[1]);
    a->channels[a->n_channels++] = channel;
    return r;
}

static bool is(const char *name, const char *other)
{
    return strcmp(name, other) == 0;
}

static int append_card(sd_bus_message *reply)
{
    static const char card[] = "alice@relay.test#PIN CODE\n";
    int fd = memfd_create("card", MFD_CLOEXEC), r;

    if (fd < 0 || write(fd, card, sizeof(card) - 1) < 0)
        return -errno;
    r = sd_bus_message_append(reply, "ha{sv}", fd, 4, "address", "s", "alice@relay.test#PIN", "number", "t",
                              UINT64_C(7), "uses", "t", UINT64_C(5), "expires", "t", UINT64_C(1700000000));
    close(fd);
    return r;
}

static int answer_other(Agent *a, const char *name, sd_bus_message *reply)
{
    if (is(name, ".GetStatus"))
        return sd_bus_message_append(reply, "a{sv}", 5, "former_keys", "a(sttb)", 1, "FORMERKID", UINT64_C(3),
                                     UINT64_C(1700000000), 1, "version", "s", "1", "tpm", "s", "no access",
                                     "tpm_help", "s", "Join the group tss", "relays", "a(sss)", 1,
                                     "relay.test:7443#PIN", "connected", "");
    if (is(name, ".Diagnose"))
        return sd_bus_message_append(reply, "a(ssss)", 2, "keyring", "ok", "fine", "", "tpm", "ok", "slow",
                                     "wait");
    if (is(name, "Identity.Create") || is(name, "Identity.Rotate") || is(name, "Identity.Show"))
        return append_identity(reply);
    if (is(name, "Identity.ToApprove")) {
        int r = sd_bus_message_append_array(reply, 'y', "0123456789abcdef0123456789abcdef", 32);

        return r < 0 ? r : sd_bus_message_append(reply, "a{sv}", 1, "values", "s", "7=00");
    }
    if (is(name, "Identity.ExportPublic") || is(name, "Cipher.Convert"))
        return sd_bus_message_append_array(reply, 'y', "-----KEY-----\n", 14);
    if (is(name, "Identity.ListDevices"))
        return sd_bus_message_append(reply, "aa{sv}", 1, 2, "address", "s", "\033[2J", "agrees", "b", 1);
    if (is(name, "Contacts.Add") || is(name, "Contacts.Verify") || is(name, "Contacts.Lookup"))
        return append_contact(reply);
    if (is(name, "Contacts.List")) {
        int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

        if (r >= 0)
            r = append_contact(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
    }
    if (is(name, "Contacts.CreateCapability"))
        return append_card(reply);
    if (is(name, "Contacts.ListCapabilities"))
        return sd_bus_message_append(reply, "aa{sv}", 1, 3, "number", "t", UINT64_C(7), "name", "s",
                                     "\033[2J", "uses", "t", UINT64_C(9));
    if (is(name, "Mail.Register"))
        return sd_bus_message_append(reply, "a{sv}", 1, "address", "s", a->first);
    if (is(name, "Mail.Lifetime"))
        return sd_bus_message_append(reply, "a{sv}", 1, "lifetime", "t", UINT64_C(7200));
    if (is(name, "Mail.Registrations"))
        return sd_bus_message_append(reply, "a(sss)", 1, "alice@relay.test", "relay.test:7443#PIN",
                                     "connected");
    if (is(name, "Mail.Send") || is(name, "Mail.SendFd"))
        return sd_bus_message_append(reply, "s", "NEWID");
    if (is(name, "Mail.List"))
        return append_messages(a, reply);
    if (is(name, "Access.List"))
        return sd_bus_message_append(reply, "aa{sv}", 1, 4, "app", "s", "host", "permission", "s", "sign",
                                     "verdict", "s", "deny", "since", "t", UINT64_C(1700000000));
    if (is(name, "Access.Log"))
        return sd_bus_message_append(reply, "aa{sv}", 1, 3, "app", "s", "host", "program", "s", "\033[2J",
                                     "allowed", "b", 1);
    if (is(name, "Sessions.List"))
        return sd_bus_message_append(reply, "aa{sv}", 1, 2, "id", "s", "S1", "uses", "t", UINT64_C(3));
    if (is(name, "Sessions.Flush"))
        return sd_bus_message_append(reply, "u", 3);
    return 0;
}

static int answer(Agent *a, const char *name, sd_bus_message *call, sd_bus_message *reply,
                  sd_bus_error *error)
{
    if (is(name, ".OpenChannel"))
        return open_channel(a, reply);
    if (is(name, "Cipher.Encrypt"))
        return answer_encrypt(a, reply);
    if (is(name, "Cipher.Decrypt") || is(name, "Mail.Read"))
        return answer_content(a, reply);
    if (is(name, "Cipher.EncryptFd"))
        return answer_encrypt_fd(a, call, reply);
    if (is(name, "Cipher.DecryptFd"))
        return answer_decrypt_fd(a, reply, error);
    if (is(name, "Mail.ReadFd") || is(name, "Mail.ReadCopy") || is(name, "Mail.Copy"))
        return answer_read_fd(a, reply);
    if (is(name, "Mail.Sync")) {
        int r = tell_all(a);

        return r < 0 ? r : sd_bus_message_append(reply, "a{sv}", 1, "fetched", "u", 1);
    }
    return answer_other(a, name, reply);
}

static int handle(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *interface = sd_bus_message_get_interface(m);
    Agent *a = userdata;
    char name[128];
    int r;

    if (!interface || sd_bus_message_is_method_call(m, NULL, NULL) <= 0)
        return 0;
    (void)snprintf(name, sizeof(name), "%s.%s", strlen(interface) > 15 ? interface + 16 : "",
                   sd_bus_message_get_member(m));
    buf_clear(&a->content);
    a->trigger[0] = a->first[0] = 0;
    a->n_fds = a->n_recipients = 0;
    a->job = false;
    (void)printf("%s%s", name,
                 sd_bus_message_get_allow_interactive_authorization(m) > 0 ? " " : " (no-ask) ");
    while (sd_bus_message_at_end(m, 1) == 0) {
        dump(a, m, 0);
        (void)printf(" ");
    }
    (void)printf("\n");
    (void)fflush(stdout);
    if (is(name, "Mail.Read") && is(a->first, "large"))
        (void)snprintf(a->trigger, sizeof(a->trigger), "TooLarge");
    if (is(a->trigger, "Exit"))
        _exit(0);
    if (*a->trigger) {
        (void)snprintf(name, sizeof(name), "org.hmsg.Agent1.Error.%s", a->trigger);
        return sd_bus_error_set(error, name,
                                is(a->trigger, "Untrusted") ? "the fake says: hmsgctl help"
                                                            : "the fake says no\033[2J");
    }
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = answer(a, name, m, reply, error);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    return r < 0 ? r : 1;
}

int main(int argc, char *argv[])
{
    Agent a = {.content = BUF_MAX(BODY_MAX)};
    int r;

    r = argc == 2 ? sd_event_default(&a.event) : -EINVAL;
    if (r >= 0)
        r = sd_bus_new(&a.bus);
    if (r >= 0)
        r = sd_bus_set_address(a.bus, argv[1]);
    if (r >= 0)
        r = sd_bus_set_bus_client(a.bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(a.bus, true);
    if (r >= 0)
        r = sd_bus_start(a.bus);
    if (r >= 0)
        r = sd_bus_attach_event(a.bus, a.event, 0);
    if (r >= 0)
        r = sd_bus_add_object(a.bus, NULL, "/org/hmsg/Agent1", handle, &a);
    if (r >= 0)
        r = sd_bus_request_name(a.bus, "org.hmsg.Agent1", 0);
    if (r >= 0)
        r = sd_event_loop(a.event);
    (void)fprintf(stderr, "fake-agent: %s\n", strerror(-r));
    return 1;
}
