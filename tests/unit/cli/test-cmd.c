/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hmsgctl itself, against the fake agent: what each command asks for, its exit status and what it prints. */
#include "cli/cmd.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/content.h"
#include "cli/json-util.h"
#include "tests/unit/client/fake.h"

#define ID "-bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"

typedef struct Fixture {
    Fake fake;
    char *out, *err;
    char *file; /* in a folder of its own */
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    fake_set_up(&f->fake, TRUE);
    f->file = g_build_filename(f->fake.folder, "work", "out", NULL);
    g_autofree char *folder = g_path_get_dirname(f->file);
    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->out);
    g_free(f->err);
    g_free(f->file);
    fake_tear_down(&f->fake);
}

/* Words are separated by "|". */
static int run(Fixture *f, const char *input, const char *line)
{
    g_autofree char *all = g_strdup_printf("%s|%s", g_getenv("HMSGCTL"), line);
    g_auto(GStrv) argv = g_strsplit(all, "|", -1);

    g_free(f->out);
    g_free(f->err);
    return test_run((const char *const *)argv, (const char *const *)f->fake.environment, input, &f->out,
                    &f->err);
}

static void expect_call(Fixture *f, const char *input, const char *line, const char *call)
{
    g_autofree char *last = NULL;
    int status = run(f, input, line);

    if (status != 0)
        g_error("%s: exit %d: %s", line, status, f->err);
    last = fake_last_call(&f->fake);
    g_assert_cmpstr(last, ==, call);
}

static void test_calls(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *line, *call;
    } cases[] = {
        {"identity|create", "Identity.Create {}"},
        {"identity|show", "Identity.Show {}"},
        {"identity|export", "Identity.ExportPublic {}"},
        {"identity|export|--format|pem", "Identity.ExportPublic {format=pem}"},
        {"identity|create|--generation|none", "Identity.Create {generation=none}"},
        {"identity|rotate", "Identity.Rotate {}"},
        {"identity|rotate|--grace|2h|--generation|counter",
         "Identity.Rotate {grace=7200,generation=counter}"},
        {"identity|pin|--pin-fd|0|--remove", "Identity.SetPin {pin=memfd:hello}"},
        {"identity|pin|--pin-fd|0|--remove|--grace|0", "Identity.SetPin {pin=memfd:hello,grace=0}"},
        {"identity|pin|--keep-key|--pin-fd|0|--remove", "Identity.SetPin {pin=memfd:hello,keep_key=true}"},
        {"identity|delete|--yes", "Identity.Delete {confirm=KID}"},
        {"identity|device|list", "Identity.ListDevices {}"},
        {"identity|device|remove|a@b", "Identity.RemoveDevice a@b {}"},
        {"register|alice@relay.test#PIN", "Mail.Register alice@relay.test#PIN {}"},
        {"register|a@b|--trust-relay|--invite-fd|0",
         "Mail.Register a@b {invite_fd=memfd:hello,trust_relay=true}"},
        {"identity|approve|--to-sign|--values|7=00", "Identity.ToApprove {values=7=00}"},
        {"identity|approve|--signature|-|--values|7=00", "Identity.ApproveSigned <5> {values=7=00}"},
        {"register|--list", "Mail.Registrations {}"},
        {"register|--remove|a@b", "Mail.Unregister a@b {}"},
        {"contact|add|bob@relay.test|--name|bob", "Contacts.Add bob@relay.test {name=bob}"},
        {"contact|list", "Contacts.List {}"},
        {"contact|show|bob", "Contacts.List {}"},
        {"contact|show|bob@relay.test#PIN", "Contacts.List {}"},
        {"contact|show|bob@relay.test:7443#PIN", "Contacts.List {}"},
        {"contact|show|BOBKID", "Contacts.List {}"},
        {"contact|show|BOBSKID", "Contacts.List {}"},
        {"contact|verify|bob|--yes", "Contacts.Verify bob {fingerprint=cccc dddd}"},
        {"contact|verify|bob|CCCCdddd", "Contacts.Verify bob {fingerprint=cccc dddd}"},
        {"contact|verify|bob|--fingerprint|cccc-dddd", "Contacts.Verify bob {fingerprint=cccc dddd}"},
        {"mailbox|lifetime", "Mail.Lifetime  {}"},
        {"mailbox|lifetime|a@b", "Mail.Lifetime a@b {}"},
        {"mailbox|lifetime|2d", "Mail.SetLifetime  {seconds=172800}"},
        {"mailbox|lifetime|1h|a@b", "Mail.SetLifetime a@b {seconds=3600}"},
        {"mailbox|lifetime|default", "Mail.SetLifetime  {seconds=0}"},
        {"contact|block|bob", "Contacts.Block bob {}"},
        {"contact|allow|bob", "Contacts.Allow bob {}"},
        {"contact|forget|bob", "Contacts.Forget bob {}"},
        {"contact|capability|create", "Contacts.CreateCapability  {}"},
        {"contact|capability|create|alice@relay.test|--uses|5|--expires|2d|--name|Bob",
         "Contacts.CreateCapability alice@relay.test {name=Bob,uses=5,expires_in=172800}"},
        {"contact|capability|list", "Contacts.ListCapabilities  {}"},
        {"contact|capability|revoke|7|alice@relay.test",
         "Contacts.RevokeCapability alice@relay.test {number=7}"},
        {"encrypt|-r|bob", "Cipher.Encrypt [bob] <5> {}"},
        {"encrypt|-r|bob|-r|al|--no-sign|--fresh", "Cipher.Encrypt [bob,al] <5> {sign=false,fresh=true}"},
        {"encrypt|-r|bob|--format|seed", "Cipher.Encrypt [bob] <5> {format=seed}"},
        {"encrypt|-r|bob|--format|jwe", "Cipher.Encrypt [bob] <5> {format=jwe}"},
        {"encrypt|-r|bob|--format|cms", "Cipher.Encrypt [bob] <5> {sign=false,format=cms}"},
        {"encrypt|-r|bob|--format|cms|--sign", "Cipher.Encrypt [bob] <5> {format=cms}"},
        {"encrypt|-r|bob|--format|cms-der|--no-sign", "Cipher.Encrypt [bob] <5> {sign=false,format=cms-der}"},
        {"encrypt|-r|bob|--format|jwe|--sign", "Cipher.Encrypt [bob] <5> {format=jwe}"},
        {"encrypt|-r|bob|--format|jwe-compact", "Cipher.Encrypt [bob] <5> {format=jwe-compact}"},
        {"convert", "Cipher.Convert <5> {}"},
        {"convert|--to|hmsg", "Cipher.Convert <5> {to=hmsg}"},
        {"encrypt|-r|bob|--format=stream", "Cipher.EncryptFd [bob] fd fd {size=5,job=job-1}"},
        {"send|-r|bob", "Mail.Send [bob] <5> {job=job-1}"},
        {"send|-r|bob|--subject|S|--expires|2h|--fresh",
         "Mail.Send [bob] <5> {subject=S,expires_in=7200,fresh=true,job=job-1}"},
        {"inbox", "Mail.List {box=inbox}"},
        {"outbox", "Mail.List {box=outbox}"},
        {"outbox|retry", "Mail.Retry  {}"},
        {"outbox|retry|" ID, "Mail.Retry " ID " {}"},
        {"outbox|cancel|" ID, "Mail.Cancel " ID " {}"},
        {"read|evil|--allow-unknown", "Mail.Read evil {allow_unknown=true}"},
        {"read|large", "Mail.ReadFd large fd {}"},
        {"inbox|copy|" ID, "Mail.Copy " ID " fd {}"},
        {"inbox|open", "Mail.ReadCopy fd fd {}"},
        {"inbox|open|--allow-unknown", "Mail.ReadCopy fd fd {allow_unknown=true}"},
        {"delete|" ID "|--yes", "Mail.Delete " ID " {}"},
        {"session|list", "Sessions.List {}"},
        {"session|flush", "Sessions.Flush {}"},
        {"session|flush|S1|--direction|in", "Sessions.Flush {direction=in,id=S1}"},
        {"access|list", "Access.List {}"},
        {"access|log", "Access.Log {}"},
        {"access|allow|flatpak:org.example.Mail", "Access.Set flatpak:org.example.Mail allow {}"},
        {"access|ask|snap:mail|decrypt", "Access.Set snap:mail ask {permission=decrypt}"},
        {"access|deny|host|sign", "Access.Set host deny {permission=sign}"},
        {"access|revoke|host", "Access.Revoke host {}"},
        {"lock", "Identity.Lock {}"},
        {"status", ".GetStatus {}"},
        {"doctor", ".Diagnose {}"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        expect_call(f, "hello", cases[i].line, cases[i].call);
}

/* --json prints JSON and nothing else, whatever the command. */
static void test_json(Fixture *f, gconstpointer data)
{
    static const char *const lines[] = {
        "identity|create",
        "identity|show",
        "identity|rotate",
        "identity|export",
        "identity|approve|--to-sign",
        "identity|delete|--yes",
        "identity|device|list",
        "identity|device|remove|a@b",
        "register|a@b",
        "register|--list",
        "register|--remove|a@b",
        "contact|add|a@b",
        "contact|list",
        "contact|show|bob",
        "contact|verify|bob|--yes",
        "mailbox|lifetime",
        "mailbox|lifetime|2d",
        "contact|block|bob",
        "contact|allow|bob",
        "contact|forget|bob",
        "contact|capability|create",
        "contact|capability|list",
        "contact|capability|revoke|7",
        "send|-r|bob",
        "inbox",
        "inbox|--sync",
        "inbox|open",
        "outbox",
        "outbox|retry",
        "outbox|cancel|X",
        "read|evil",
        "delete|X|--yes",
        "session|list",
        "session|flush",
        "access|list",
        "access|log",
        "access|deny|host",
        "access|revoke|host",
        "lock",
        "unlock|--pin-fd|0",
        "status",
        "doctor",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strconcat(lines[i], "|--json", NULL);
        _cleanup_(json_unrefp) json_t *json = NULL;

        g_assert_cmpint(run(f, "hello", line), ==, 0);
        json = json_loads(f->out, JSON_REJECT_DUPLICATES, NULL);
        if (!json)
            g_error("%s: no JSON: %s", line, f->out);
        for (const char *p = f->out; *p; p++) /* nothing in it steers a terminal */
            g_assert_true(*p == '\n' || (*p >= ' ' && *p < 127));
    }
}

/* Each error of the agent has its exit status, prints nothing on standard output, and no raw text of others.
 */
static void test_errors(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *name;
        int status;
    } errors[] = {
        {"NoIdentity", 3},    {"Locked", 3},           {"NotFound", 4},
        {"AlreadyExists", 1}, {"BadPackage", 5},       {"AuthenticationFailed", 5},
        {"NotForUs", 5},      {"Untrusted", 8},        {"TpmUnavailable", 6},
        {"TpmLockedOut", 6},  {"RelayUnavailable", 7}, {"QuotaExceeded", 1},
        {"StorageFull", 1},   {"Denied", 1},           {"Cancelled", 1},
        {"Unheard", 1},
    };
    static const char *const lines[] = {
        "read|error-%s",          "encrypt|-r|error-%s",    "encrypt|-r|error-%s|--format|stream",
        "send|-r|error-%s",       "register|error-%s",      "contact|add|error-%s",
        "contact|block|error-%s", "outbox|cancel|error-%s", "delete|error-%s|--yes",
        "session|flush|error-%s", "access|allow|error-%s",
    };

    for (size_t e = 0; e < G_N_ELEMENTS(errors); e++) {
        for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
            g_auto(GStrv) parts = g_strsplit(lines[i], "%s", 2);
            g_autofree char *line = g_strconcat(parts[0], errors[e].name, parts[1], NULL);
            int status = run(f, "hello", line);

            if (status != errors[e].status || *f->out || !*f->err || strchr(f->err, '\033'))
                g_error("%s: exit %d, not %d; \"%s\"; %s", line, status, errors[e].status, f->out, f->err);
        }
        g_autofree char *package = g_strdup_printf("[\"error-%s\"]", errors[e].name);

        g_assert_cmpint(run(f, package, "decrypt"), ==, errors[e].status);
        g_assert_cmpstr(f->out, ==, "");
    }
}

/* What to do is said once: by the agent, else by us. */
static void test_hints(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, NULL, "read|error-Locked"), ==, 3);
    g_assert_nonnull(strstr(f->err, "\nUnlock with: hmsgctl unlock.\n"));
    g_assert_cmpint(run(f, NULL, "read|error-Untrusted"), ==, 8);
    g_assert_cmpstr(f->err, ==, "hmsgctl: the fake says: hmsgctl help\n");
    g_assert_cmpint(run(f, NULL, "read|error-TpmUnavailable"), ==, 6);
    g_assert_nonnull(strstr(f->err, "\nJoin the group tss\n"));
}

static void test_usage(Fixture *f, gconstpointer data)
{
    static const char *const lines[] = {
        "nonsense",
        "identity",
        "encrypt",
        "encrypt|-r|bob|--format|cms|--sign|--no-sign",
        "encrypt|-r|bob|--format|seed|--sign",
        "encrypt|-r|bob|--format|jwe-compact|--sign",
        "convert|--to",
        "convert|-o|/tmp/",
        "convert|a|b",
        "encrypt|-r|bob|--format|odd",
        "encrypt|-r|bob|-o|/tmp/",
        "send|-r|key:x",
        "send",
        "send|-r|b|--expires|31d",
        "send|-r|b|--expires|0",
        "read",
        "delete|X",
        "identity|delete",
        "contact|verify|bob",
        "register",
        "access",
        "access|allow",
        "access|allow|a|b|c",
        "register|--list|a@b",
        "contact|add",
        "session|flush|--direction|up",
        "identity|export|--format|der",
        "decrypt|-o|/tmp",
        "help|nonsense",
        "status|--help=x",
        "identity|approve",
        "identity|approve|key|--to-sign",
        "identity|approve|--to-sign|--signature|x",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        int status = run(f, "hello", lines[i]);

        if (status != 2 || *f->out || !*f->err)
            g_error("%s: exit %d: %s%s", lines[i], status, f->out, f->err);
    }
    g_assert_cmpint(run(f, NULL, "help"), ==, 0);
    g_assert_nonnull(strstr(f->out, "identity create"));
    g_assert_cmpint(run(f, NULL, "help|contact|add"), ==, 0);
    g_assert_cmpint(run(f, NULL, "send|--help"), ==, 0);
    g_assert_nonnull(strstr(f->out, "--subject"));
    g_assert_cmpint(run(f, NULL, "--version"), ==, 0);
    g_assert_true(g_str_has_prefix(f->out, "hmsgctl "));
}

static void test_round_trip(Fixture *f, gconstpointer data)
{
    g_autofree char *line = g_strdup_printf("encrypt|-r|bob|-o|%s", f->file);
    g_autofree char *again = g_strdup_printf("decrypt|%s", f->file);
    _cleanup_(json_unrefp) json_t *packages = NULL;
    g_autofree char *package = NULL;

    g_assert_cmpint(run(f, "hello", "encrypt|-r|bob"), ==, 0);
    g_assert_cmpstr(f->out, ==, "{\"fake\":\"68656c6c6f\"}");
    package = g_steal_pointer(&f->out);
    g_assert_cmpint(run(f, package, "decrypt"), ==, 0);
    g_assert_cmpstr(f->out, ==, "hello");
    g_assert_cmpint(run(f, "hello", line), ==, 0);
    g_assert_cmpstr(f->out, ==, "");
    g_assert_cmpint(run(f, NULL, again), ==, 0);
    g_assert_cmpstr(f->out, ==, "hello");

    g_assert_cmpint(run(f, "hello", "encrypt|-r|bob|-r|carol"), ==, 0);
    packages = json_loads(f->out, 0, NULL);
    g_assert_cmpuint(json_array_size(packages), ==, 2);
}

static void test_key_file(Fixture *f, gconstpointer data)
{
    g_autofree char *line = g_strdup_printf("encrypt|-r|key:%s|-r|bob", f->file);
    g_autofree char *add = g_strdup_printf("contact|add|--name|bob|key:%s", f->file);
    g_autofree char *other = g_strdup_printf("contact|add|bob@b|--key|%s", f->file);

    g_assert_cmpint(run(f, "hello", line), ==, 4);
    g_assert_true(g_file_set_contents(f->file, "KEY", -1, NULL));
    expect_call(f, "hello", line, "Cipher.Encrypt [bob] <5> {recipient_keys=[<3>]}");
    expect_call(f, "", add, "Contacts.Add  {name=bob,key=<3>}");
    expect_call(f, "", other, "Contacts.Add bob@b {key=<3>}");
}

static void test_decrypt_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *to_file = g_strdup_printf("decrypt|-o|%s", f->file);

    g_assert_cmpint(run(f, "", "decrypt"), ==, 5);
    g_assert_cmpint(run(f, "{\"nothing\":1}", to_file), !=, 0);
    g_assert_cmpstr(f->out, ==, "");
    g_assert_false(g_file_test(f->file, G_FILE_TEST_EXISTS));

    /* a broken stream: standard output holds what was verified, a file does not appear */
    g_assert_cmpint(run(f, "BROKENprefix", "decrypt"), ==, 5);
    g_assert_cmpstr(f->out, ==, "prefix");
    g_assert_true(g_file_set_contents(f->file, "old", -1, NULL));
    g_assert_cmpint(run(f, "BROKENprefix", to_file), ==, 5);
    g_autofree char *kept = NULL;
    g_assert_true(g_file_get_contents(f->file, &kept, NULL, NULL));
    g_assert_cmpstr(kept, ==, "old");
    expect_call(f, "STREAMcontent", "decrypt|--allow-unknown",
                "Cipher.DecryptFd fd fd {allow_unknown=true,size=13,job=job-1}");
    g_assert_cmpstr(f->out, ==, "content");
    expect_call(f, "STREAMcontent", "decrypt|--range|3:4", "Cipher.DecryptFd fd fd {range=3,4,job=job-1}");
    expect_call(f, "STREAMcontent",
                "decrypt|--range=3:", "Cipher.DecryptFd fd fd {range=3,18446744073709551615,job=job-1}");
    g_assert_cmpint(run(f, "STREAMcontent", "decrypt|--range|3"), ==, 2);
    g_assert_cmpint(run(f, "STREAMcontent", "decrypt|--range|3:0"), ==, 2);
    g_assert_cmpint(run(f, "STREAMcontent", "decrypt|--json"), ==, 2);
    expect_call(f, "{\"fake\":\"\"}", "decrypt|--allow-unauthenticated",
                "Cipher.Decrypt <11> {allow_unauthenticated=true}");
}

static void test_large(Fixture *f, gconstpointer data)
{
    const size_t size = CONTENT_MAX + 1;
    g_autofree char *text = g_strnfill(size, 'x');

    expect_call(f, text, "encrypt|-r|bob", "Cipher.EncryptFd [bob] fd fd {size=1048577,job=job-1}");
    g_assert_cmpuint(strlen(f->out), ==, size + 6);
    expect_call(f, text, "send|-r|bob", "Mail.SendFd [bob] fd {job=job-1}");
    g_assert_cmpint(run(f, text, "encrypt|-r|bob|--format|hmsg"), ==, 1);
    g_assert_cmpstr(f->out, ==, "");
    text[size - 1] = 0;
    expect_call(f, text, "encrypt|-r|bob", "Cipher.Encrypt [bob] <1048576> {}");
}

static void test_hostile_names(Fixture *f, gconstpointer data)
{
    g_autofree char *folder = g_path_get_dirname(f->file);
    g_autofree char *line = g_strdup_printf("read|evil|-o|%s/", folder);
    g_autofree char *hidden = g_strdup_printf("read|hidden|-o|%s/", folder);
    g_autofree char *large = g_strdup_printf("read|large|-o|%s/", folder);
    g_autofree char *path = g_build_filename(folder, "pass_x1bwd", NULL);
    g_autofree char *other = g_build_filename(folder, "_bashrc", NULL);
    g_autofree char *third = g_build_filename(folder, "large.bin", NULL);
    struct stat st;

    g_assert_cmpint(run(f, NULL, line), ==, 0);
    g_assert_null(strchr(f->err, '\033'));
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(run(f, NULL, line), ==, 1); /* nothing is replaced */
    g_assert_cmpint(run(f, NULL, hidden), ==, 0);
    g_assert_cmpint(stat(other, &st), ==, 0);
    g_assert_cmpint(run(f, NULL, large), ==, 0);
    g_assert_cmpint(stat(third, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 3 * 1024 * 1024);
    g_assert_cmpint(run(f, NULL, "read|evil"), ==, 0); /* as it is in a pipe */
    g_assert_nonnull(strchr(f->out, '\033'));
}

static void test_file_name_sent(Fixture *f, gconstpointer data)
{
    g_autofree char *line = g_strdup_printf("send|-r|bob|%s", f->file);

    g_assert_true(g_file_set_contents(f->file, "hello", -1, NULL));
    expect_call(f, NULL, line, "Mail.Send [bob] <5> {file_name=out,job=job-1}");
    g_assert_cmpstr(f->out, ==, "NEWID\n");
}

static void test_untrusted_fingerprint(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, NULL, "contact|verify|bob|aaaabbbb"), ==, 8);
    g_assert_cmpint(run(f, NULL, "contact|verify|nobody|aaaabbbb"), ==, 4);
    g_assert_cmpint(run(f, NULL, "contact|show|bo"), ==, 4);
    g_assert_cmpint(run(f, NULL, "contact|show|bob@relay.test:744"), ==, 4);
}

static void test_status(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, NULL, "status"), ==, 0);
    g_assert_nonnull(strstr(f->out, "FORMER KEY"));
    g_assert_nonnull(strstr(f->out, "FORMERKID"));
    g_assert_nonnull(strstr(f->out, "2023-11-1"));
    g_assert_nonnull(strstr(f->out, "relay.test:7443#PIN"));
    g_assert_cmpint(run(f, NULL, "status|--json"), ==, 0);
    g_assert_nonnull(strstr(f->out, "\"held\": true"));
    g_assert_nonnull(strstr(f->out, "\"generation\": 3"));
}

static void test_no_agent(Fixture *f, gconstpointer data)
{
    fake_stop(&f->fake);
    g_assert_cmpint(run(f, NULL, "status"), ==, 1);
    g_assert_cmpstr(f->out, ==, "");
    g_assert_nonnull(strstr(f->err, "hmsg-agent"));
}

static unsigned lines_with(const char *path, const char *word)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        n += strstr(*line, word) != NULL;
    return n;
}

static void check_monitor(Fixture *f, const char *option, const char *word, const char *state)
{
    const char *const argv[] = {g_getenv("HMSGCTL"), "monitor", option, NULL};
    TestProcess *monitor = test_process_start(argv, (const char *const *)f->fake.environment, f->file);

    TEST_AWAIT(lines_with(f->file, "") >= 2);
    g_assert_cmpuint(lines_with(f->file, word), ==, 0); /* what was there before is not news */
    g_assert_cmpint(run(f, NULL, "inbox|--sync"), ==, 0);
    TEST_AWAIT(lines_with(f->file, word) == 1);
    g_assert_cmpint(run(f, NULL, "inbox|--sync"), ==, 0);
    TEST_AWAIT(lines_with(f->file, word) == 2 && lines_with(f->file, state) == 2);
    g_assert_cmpuint(lines_with(f->file, "\033"), ==, 0);
    fake_stop(&f->fake);
    g_assert_cmpint(WEXITSTATUS(test_process_wait(monitor)), ==, 1);
}

static void test_monitor(Fixture *f, gconstpointer data)
{
    check_monitor(f, NULL, "Received ID from alice", "delivered");
}

static void test_monitor_json(Fixture *f, gconstpointer data)
{
    check_monitor(f, "--json", "\"event\":\"received\"", "\"state\":\"delivered\"");
}

#define ADD(name, function) g_test_add("/cli/cmd/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("calls", test_calls);
    ADD("json", test_json);
    ADD("errors", test_errors);
    ADD("hints", test_hints);
    ADD("usage", test_usage);
    ADD("round-trip", test_round_trip);
    ADD("key-file", test_key_file);
    ADD("decrypt-refused", test_decrypt_refused);
    ADD("large", test_large);
    ADD("hostile-names", test_hostile_names);
    ADD("file-name-sent", test_file_name_sent);
    ADD("untrusted-fingerprint", test_untrusted_fingerprint);
    ADD("status", test_status);
    ADD("no-agent", test_no_agent);
    ADD("monitor", test_monitor);
    ADD("monitor-json", test_monitor_json);
    return g_test_run();
}
