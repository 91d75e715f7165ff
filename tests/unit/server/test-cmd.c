/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "server/cmd.h"
#include "server/store-sqlite-internal.h"
#include "tests/lib/process.h"

/* Runs hmsg-relay with these words; what it prints on standard output, when the status is as expected. */
static char *run(const char *input, int expected, ...)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *argv[16] = {relay};
    char *out = NULL;
    g_autofree char *err = NULL;
    va_list ap;

    va_start(ap, expected);
    for (size_t i = 1; i < G_N_ELEMENTS(argv) - 1 && (argv[i] = va_arg(ap, const char *)); i++)
        ;
    va_end(ap);
    int status = test_run(argv, NULL, input, &out, &err);
    if (status != expected)
        g_error("hmsg-relay %s exits with %d, not %d: %s%s", argv[1], status, expected, out, err);
    if (expected != CMD_DONE)
        g_assert_cmpstr(err, !=, "");
    return out;
}

#define RUN(...) g_free(run(NULL, __VA_ARGS__, NULL))

static void test_usage(void)
{
    g_autofree char *help = run(NULL, CMD_DONE, "--help", NULL);
    g_autofree char *version = run(NULL, CMD_DONE, "--version", NULL);

    g_assert_true(g_str_has_prefix(help, "Usage: hmsg-relay"));
    g_assert_true(g_str_has_prefix(version, "hmsg-relay "));
    RUN(CMD_USAGE, "nothing");
    RUN(CMD_USAGE, "config");
    RUN(CMD_USAGE, "config", "show");
    RUN(CMD_USAGE, "serve", "--json");
    RUN(CMD_USAGE, "store", "check", "more");
    RUN(CMD_USAGE, "store", "rekey", "--json");
    RUN(CMD_USAGE, "store", "backup");
    RUN(CMD_USAGE, "store", "backup", "--config", "/nonexistent");
    RUN(CMD_FAILED, "store", "backup", "--config", "/nonexistent", "/nonexistent/a");
    RUN(CMD_USAGE, "store", "backup", "/nonexistent/a", "/nonexistent/b");
    RUN(CMD_USAGE, "client", "show");
    RUN(CMD_USAGE, "client", "list", "more");
    RUN(CMD_USAGE, "client", "block", "a@b", "--uses", "1");
    RUN(CMD_USAGE, "invite", "create", "--uses", "0");
    RUN(CMD_USAGE, "invite", "create", "--days", "1000");
    RUN(CMD_USAGE, "invite", "revoke", "x");
    RUN(CMD_USAGE, "init");
    RUN(CMD_USAGE, "init", "--port", "1", "/nonexistent");
    RUN(CMD_USAGE, "init", "--host", "a b", "/nonexistent");
    RUN(CMD_USAGE, "init", "--listen", "80", "/nonexistent");
}

/* Each command says how it is used, and what was wrong with how it was. */
static void test_help(void)
{
    static const char *const commands[] = {"init",          "serve",        "config check",   "key show",
                                           "key backup",    "key restore",  "key rotate",     "store backup",
                                           "store check",   "store rekey",  "store migrate",  "client list",
                                           "client show",   "client block", "client unblock", "client delete",
                                           "invite create", "invite list",  "invite revoke"};
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    g_autofree char *overview = run(NULL, CMD_DONE, "--help", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_auto(GStrv) words = g_strsplit(commands[i], " ", 2);
        g_autofree char *begin = g_strdup_printf("Usage: hmsg-relay %s ", commands[i]);
        const char *wrong[] = {relay, words[0], words[1] ? words[1] : "--wrong", "--wrong", NULL};
        g_autofree char *help = words[1] ? run(NULL, CMD_DONE, words[0], words[1], "--help", NULL)
                                         : run(NULL, CMD_DONE, words[0], "--help", NULL);
        g_autofree char *err = NULL;
        g_assert_true(g_str_has_prefix(help, begin));
        g_assert_nonnull(strstr(overview, words[0]));
        g_assert_cmpint(test_run(wrong, NULL, NULL, NULL, &err), ==, CMD_USAGE);
        g_assert_nonnull(strstr(err, "--wrong"));
        g_assert_nonnull(strstr(err, begin));
    }
}

static void expect_complaint(const char *complaint, ...)
{
    g_autofree char *relay = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *argv[16] = {relay};
    g_autofree char *err = NULL;
    va_list ap;

    va_start(ap, complaint);
    for (size_t i = 1; i < G_N_ELEMENTS(argv) - 1 && (argv[i] = va_arg(ap, const char *)); i++)
        ;
    va_end(ap);
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, &err), ==, CMD_USAGE);
    if (!strstr(err, complaint))
        g_error("it does not say \"%s\": %s", complaint, err);
}

static void test_complaints(void)
{
    expect_complaint("a command is missing", NULL);
    expect_complaint("there is no command \"keys\"", "keys", NULL);
    expect_complaint("key show, key backup, key restore, key rotate", "key", "shown", NULL);
    expect_complaint("DIR is missing", "store", "backup", NULL);
    expect_complaint("one word too many: b", "store", "backup", "--config", "x", "a", "b", NULL);
    expect_complaint("neither postgres nor sqlite: mysql", "store", "migrate", "mysql", NULL);
    expect_complaint("--to is missing", "key", "backup", NULL);
    expect_complaint("--uses: not a number from 1 to 10000: 0", "invite", "create", "--uses", "0", NULL);
    expect_complaint("NUMBER: not a number from 1", "invite", "revoke", "x", NULL);
    expect_complaint("CLIENT is missing", "client", "delete", NULL);
    expect_complaint("there is no --json here", "store", "rekey", "--json", NULL);
}

/* What a shell makes of: hmsg-relay WORDS REDIRECTION. */
static int run_redirected(const char *words, const char *config, const char *redirection)
{
    g_autofree char *line =
        g_strdup_printf("exec \"$0/server/hmsg-relay\" %s --config \"$1\" %s", words, redirection);
    const char *argv[] = {"/bin/sh", "-c", line, g_getenv("HMSG_BUILD"), config, NULL};
    g_autofree char *err = NULL;

    return test_run(argv, NULL, NULL, NULL, &err);
}

/* A command whose answer nobody gets has failed; nor does the answer get into any other file. */
static void test_output(void)
{
    static const char *const commands[] = {"key show", "store check", "client list --json", "config check"};
    char *folder = test_folder_new();
    g_autofree char *relay = g_build_filename(folder, "relay", NULL);
    g_autofree char *config = g_build_filename(relay, "relay.conf", NULL);

    RUN(CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:0", relay);
    RUN(CMD_DONE, "invite", "create", "--config", config);
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_assert_cmpint(run_redirected(commands[i], config, ""), ==, CMD_DONE);
        if (strstr(commands[i], "client")) /* there is none, so that nothing is printed */
            continue;
        g_assert_cmpint(run_redirected(commands[i], config, ">/dev/full"), ==, CMD_FAILED);
        g_assert_cmpint(run_redirected(commands[i], config, ">&-"), ==, CMD_FAILED);
        g_assert_cmpint(run_redirected(commands[i], config, "<&- >&- 2>&-"), ==, CMD_FAILED);
    }
    RUN(CMD_DONE, "store", "check", "--config", config);
    test_folder_remove(folder);
}

/* Each thing that does not open is named, and the rest is counted. */
static void test_damage(void)
{
    static const char sql[] =
        "INSERT INTO identities(skid, kid, generation, created, root, key, since, wrapped, sealed)"
        " VALUES(x'01', x'02', 1, 1, 1, 1, 1, x'03', x'04');"
        "INSERT INTO mailboxes(number, next, bytes, count) VALUES(1, 2, 5, 1);"
        "INSERT INTO messages(number, mailbox, seq, id, submitter, size, accepted, expires, state, key)"
        " VALUES(7, 1, 1, x'05', x'06', 5, 1, 9999999999, 0, 1)";
    char *folder = test_folder_new();
    g_autofree char *relay = g_build_filename(folder, "relay", NULL), *err = NULL, *out = NULL;
    g_autofree char *config = g_build_filename(relay, "relay.conf", NULL);
    g_autofree char *store = g_build_filename(relay, "data", "relay.sqlite", NULL);
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "server/hmsg-relay", NULL);
    const char *argv[] = {program, "store", "check", "--config", config, NULL};
    Db *db = NULL;

    RUN(CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:0", relay);
    RUN(CMD_DONE, "store", "rekey", "--config", config);
    g_assert_cmpint(db_open(store, &store_sqlite_schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_exec(db, sql), ==, 0);
    (void)db_close(db);
    g_assert_cmpint(test_run(argv, NULL, NULL, &out, &err), ==, CMD_FAILED);
    g_assert_nonnull(strstr(err, "damaged: client 1\n"));
    g_assert_nonnull(strstr(err, "damaged: message 7 to client 1\n"));
    g_assert_nonnull(strstr(err, ": 2 damaged"));
    g_assert_nonnull(strstr(out, "messages: 1\n"));
    g_autofree char *json = run(NULL, CMD_FAILED, "store", "check", "--json", "--config", config, NULL);
    g_assert_nonnull(strstr(json, "{\"kind\":\"client\",\"number\":1,"));
    g_assert_nonnull(strstr(json, "{\"kind\":\"message\",\"number\":7,\"client\":1}"));
    g_assert_nonnull(strstr(json, "\"messages\":1"));
    /* a copy is as good as what there is */
    g_autofree char *copy = g_build_filename(folder, "copy", NULL);
    RUN(CMD_FAILED, "store", "backup", copy, "--config", config);
    g_assert_true(g_file_test(copy, G_FILE_TEST_IS_DIR));
    /* a name that would do something to a terminal */
    g_assert_cmpint(db_open(store, &store_sqlite_schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_exec(db, "CREATE TABLE \"evil\x1b[31m\xff\"(a REFERENCES roots(number));"
                                "PRAGMA foreign_keys=OFF; INSERT INTO \"evil\x1b[31m\xff\" VALUES(99)"),
                    ==, 0);
    (void)db_close(db);
    g_clear_pointer(&err, g_free);
    g_clear_pointer(&out, g_free);
    g_assert_cmpint(test_run(argv, NULL, NULL, &out, &err), ==, CMD_FAILED);
    g_assert_nonnull(strstr(err, "row 1 of evil?[31m"));
    g_assert_null(strchr(err, '\x1b'));
    g_autofree char *clean = run(NULL, CMD_FAILED, "store", "check", "--json", "--config", config, NULL);
    g_assert_nonnull(strstr(clean, "row 1 of evil?[31m"));
    g_assert_cmpint(db_open(store, &store_sqlite_schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_exec(db, "DROP TABLE \"evil\x1b[31m\xff\""), ==, 0);
    (void)db_close(db);
    g_autofree char *list = run(NULL, CMD_DONE, "client", "list", "--json", "--config", config, NULL);
    g_assert_cmpstr(list, ==, "{\"damaged\":true,\"number\":1}\n");
    RUN(CMD_FAILED, "client", "block", "1", "--config", config);
    RUN(CMD_FAILED, "client", "delete", "2", "--config", config);
    RUN(CMD_DONE, "client", "show", "1", "--config", config);
    RUN(CMD_DONE, "client", "delete", "1", "--config", config);
    RUN(CMD_DONE, "store", "check", "--config", config);
    test_folder_remove(folder);
}

/* With a configuration that is behind, no command takes the store that was moved for none. */
static void test_moved(void)
{
    char *folder = test_folder_new();
    g_autofree char *relay = g_build_filename(folder, "relay", NULL);
    g_autofree char *config = g_build_filename(relay, "relay.conf", NULL);
    g_autofree char *store = g_build_filename(relay, "data", "relay.sqlite", NULL);
    g_autofree char *moved = g_strconcat(store, ".migrated", NULL);

    RUN(CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:0", relay);
    RUN(CMD_DONE, "store", "rekey", "--config", config);
    g_autofree char *before = run(NULL, CMD_DONE, "key", "show", "--config", config, NULL);
    g_assert_cmpint(g_rename(store, moved), ==, 0);
    RUN(CMD_FAILED, "serve", "--config", config);
    RUN(CMD_FAILED, "store", "check", "--config", config);
    RUN(CMD_FAILED, "client", "list", "--config", config);
    RUN(CMD_FAILED, "key", "rotate", "--now", "--config", config);
    g_assert_false(g_file_test(store, G_FILE_TEST_EXISTS));
    g_assert_cmpint(g_rename(moved, store), ==, 0);
    g_autofree char *after = run(NULL, CMD_DONE, "key", "show", "--config", config, NULL);
    g_assert_true(g_str_has_prefix(after, before)); /* and the pin that is announced */
    RUN(CMD_DONE, "store", "check", "--config", config);
    test_folder_remove(folder);
}

/* A store opens with the identity key that it was made with alone. */
static void expect_other_key(const char *folder, const char *config)
{
    g_autofree char *other = g_build_filename(folder, "other", NULL);
    g_autofree char *other_config = g_build_filename(other, "relay.conf", NULL);
    g_autofree char *other_data = g_build_filename(other, "data", NULL);
    g_autofree char *data = g_build_filename(folder, "relay", "data", NULL);

    RUN(CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:0", other);
    g_assert_cmpint(g_rmdir(other_data), ==, 0);
    g_assert_cmpint(g_rename(data, other_data), ==, 0);
    RUN(CMD_FAILED, "store", "check", "--config", other_config);
    RUN(CMD_FAILED, "store", "rekey", "--config", other_config);
    RUN(CMD_FAILED, "serve", "--config", other_config);
    g_assert_cmpint(g_rename(other_data, data), ==, 0);
    RUN(CMD_DONE, "store", "check", "--config", config);
}

/* The copy serves in the place of the data folder. */
static void expect_backup(const char *folder, const char *config)
{
    g_autofree char *data = g_build_filename(folder, "relay", "data", NULL);
    g_autofree char *lost = g_build_filename(folder, "lost", NULL);
    g_autofree char *backup = g_build_filename(folder, "backup", NULL);

    RUN(CMD_DONE, "store", "backup", backup, "--config", config);
    RUN(CMD_FAILED, "store", "backup", backup, "--config", config);
    g_autofree char *before = run(NULL, CMD_DONE, "store", "check", "--config", config, NULL);
    g_assert_cmpint(g_rename(data, lost), ==, 0);
    g_assert_cmpint(g_rename(backup, data), ==, 0);
    g_autofree char *after = run(NULL, CMD_DONE, "store", "check", "--config", config, NULL);
    g_assert_cmpstr(after, ==, before);
}

/* Of a relay that is stopped. */
static void expect_invites(const char *config)
{
    g_autofree char *made =
        run(NULL, CMD_DONE, "invite", "create", "--uses", "2", "--days", "3", "--config", config, NULL);
    g_assert_nonnull(strstr(made, "\ncode: "));
    g_autofree char *list = run(NULL, CMD_DONE, "invite", "list", "--json", "--config", config, NULL);
    g_assert_true(g_str_has_prefix(list, "{\"number\":1,\"uses\":2,"));
    RUN(CMD_DONE, "invite", "revoke", "1", "--config", config);
    RUN(CMD_FAILED, "invite", "revoke", "1", "--config", config);
    RUN(CMD_DONE, "client", "list", "--config", config);
    RUN(CMD_FAILED, "client", "show", "alice@relay.example:443", "--config", config);
}

static void test_init(void)
{
    char *folder = test_folder_new();
    g_autofree char *relay = g_build_filename(folder, "relay", NULL);
    g_autofree char *config = g_build_filename(relay, "relay.conf", NULL);
    g_autofree char *key = g_build_filename(relay, "identity.pem", NULL);
    g_autofree char *words =
        run(NULL, CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:443", relay, NULL);
    g_autofree char *shown = run(NULL, CMD_DONE, "key", "show", "--config", config, NULL);
    g_autofree char *json = run(NULL, CMD_DONE, "key", "show", "--json", "--config", config, NULL);
    GStatBuf st;

    g_assert_true(g_str_has_prefix(shown, "relay.example:443#"));
    g_assert_nonnull(strstr(shown, "3072 bits"));
    g_autofree char *pin = g_strndup(shown + strlen("relay.example:443#"), 43);
    g_assert_nonnull(strstr(words, pin));
    g_assert_nonnull(strstr(json, pin));
    g_assert_cmpint(g_stat(key, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    RUN(CMD_DONE, "config", "check", "--config", config);

    /* what is there stays */
    RUN(CMD_FAILED, "init", "--host", "other.example", relay);
    g_autofree char *again = run(NULL, CMD_DONE, "key", "show", "--config", config, NULL);
    g_assert_cmpstr(again, ==, shown);

    RUN(CMD_FAILED, "store", "check", "--config", config); /* it never ran */
    g_autofree char *rekey = run(NULL, CMD_DONE, "store", "rekey", "--config", config, NULL);
    g_assert_nonnull(strstr(rekey, "changed"));
    g_autofree char *store = run(NULL, CMD_DONE, "store", "check", "--config", config, NULL);
    g_assert_nonnull(strstr(store, "\nkey: 2\n"));
    g_assert_nonnull(strstr(store, "\nkey-pending: 0\n"));
    expect_invites(config);
    expect_backup(folder, config);
    expect_other_key(folder, config);
    g_assert_cmpint(g_chmod(key, 0644), ==, 0);
    RUN(CMD_FAILED, "config", "check", "--config", config);
    RUN(CMD_FAILED, "key", "show", "--config", config);
    RUN(CMD_FAILED, "config", "check", "--config", key);
    test_folder_remove(folder);
}

static char *openssl(const char *first, ...)
{
    const char *argv[16] = {"openssl", first};
    char *out = NULL;
    g_autofree char *err = NULL;
    va_list ap;

    va_start(ap, first);
    for (size_t i = 2; i < G_N_ELEMENTS(argv) - 1 && (argv[i] = va_arg(ap, const char *)); i++)
        ;
    va_end(ap);
    if (test_run(argv, NULL, NULL, &out, &err) != 0)
        g_error("openssl %s: %s", first, err);
    return out;
}
#define OPENSSL(...) g_free(openssl(__VA_ARGS__, NULL))

typedef struct Lost {
    char *folder, *config, *key, *passphrase, *data;
    char *plain; /* the key, as its backup's recipient gets it */
    char *shown;
} Lost;

/* A relay with a store and a backup, the key of which openssl has decrypted. */
static Lost lost_new(void)
{
    Lost l = {.folder = test_folder_new()};
    g_autofree char *private = g_build_filename(l.folder, "offline.key", NULL);
    g_autofree char *public = g_build_filename(l.folder, "offline.pub", NULL);
    g_autofree char *file = g_build_filename(l.folder, "backup", NULL);
    g_autofree char *relay = g_build_filename(l.folder, "relay", NULL);

    l.config = g_build_filename(relay, "relay.conf", NULL);
    l.key = g_build_filename(relay, "identity.pem", NULL);
    l.passphrase = g_build_filename(relay, "identity.passphrase", NULL);
    l.data = g_build_filename(relay, "data", NULL);
    OPENSSL("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private);
    OPENSSL("pkey", "-in", private, "-pubout", "-out", public);
    RUN(CMD_DONE, "init", "--host", "relay.example", "--listen", "127.0.0.1:443", relay);
    RUN(CMD_DONE, "store", "rekey", "--config", l.config);
    l.shown = run(NULL, CMD_DONE, "key", "show", "--config", l.config, NULL);
    g_autofree char *backup =
        run(NULL, CMD_DONE, "key", "backup", "--config", l.config, "--to", public, "--to", public, NULL);
    g_assert_null(strstr(backup, "PRIVATE KEY"));
    g_assert_true(g_file_set_contents(file, backup, -1, NULL));
    l.plain = openssl("cms", "-decrypt", "-inform", "PEM", "-in", file, "-inkey", private, NULL);
    RUN(CMD_USAGE, "key", "backup", "--config", l.config);
    RUN(CMD_FAILED, "key", "backup", "--config", l.config, "--to", private);
    RUN(CMD_FAILED, "key", "backup", "--config", l.config, "--to", "/nonexistent");
    return l;
}

static void lost_done(Lost *l)
{
    test_folder_remove(l->folder);
    g_free(l->config);
    g_free(l->key);
    g_free(l->passphrase);
    g_free(l->data);
    g_free(l->plain);
    g_free(l->shown);
}

static void expect_shown(const Lost *l)
{
    g_autofree char *shown = run(NULL, CMD_DONE, "key", "show", "--config", l->config, NULL);

    g_assert_cmpstr(shown, ==, l->shown);
    RUN(CMD_DONE, "store", "check", "--config", l->config);
}

static void test_restore(void)
{
    Lost l = lost_new();
    g_autofree char *other_key = NULL;
    GStatBuf st;

    /* what is there stays */
    g_free(run(l.plain, CMD_FAILED, "key", "restore", "--config", l.config, NULL));
    expect_shown(&l);

    /* the key is lost, its passphrase is not: it comes from elsewhere */
    g_assert_cmpint(g_unlink(l.key), ==, 0);
    g_free(run("nothing", CMD_FAILED, "key", "restore", "--config", l.config, NULL));
    g_assert_cmpint(g_chmod(l.passphrase, 0644), ==, 0);
    g_free(run(l.plain, CMD_FAILED, "key", "restore", "--config", l.config, NULL));
    g_assert_cmpint(g_chmod(l.passphrase, 0600), ==, 0);
    g_assert_false(g_file_test(l.key, G_FILE_TEST_EXISTS));
    g_free(run(l.plain, CMD_DONE, "key", "restore", "--config", l.config, NULL));
    expect_shown(&l);

    /* both are */
    g_assert_cmpint(g_unlink(l.key), ==, 0);
    g_assert_cmpint(g_unlink(l.passphrase), ==, 0);
    g_free(run(l.plain, CMD_DONE, "key", "restore", "--config", l.config, NULL));
    expect_shown(&l);
    g_assert_cmpint(g_stat(l.key, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);

    /* another relay's key for this store is refused before anything is written */
    g_assert_cmpint(g_unlink(l.key), ==, 0);
    other_key = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", NULL);
    g_free(run(other_key, CMD_FAILED, "key", "restore", "--config", l.config, NULL));
    g_assert_false(g_file_test(l.key, G_FILE_TEST_EXISTS));
    lost_done(&l);
}

static char *source(const char *path)
{
    g_autofree char *name = g_build_filename(g_getenv("HMSG_SOURCE"), path, NULL);
    char *text = NULL;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    return text;
}

/* Each word that matches in the synopsis of the manual page is in the completions of all shells. */
static void expect_words(const char *synopsis, const char *pattern)
{
    static const char *const paths[] = {"server/completions/hmsg-relay.bash",
                                        "server/completions/hmsg-relay.zsh",
                                        "server/completions/hmsg-relay.fish"};
    g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_MULTILINE, 0, NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autoptr(GMatchInfo) match = NULL;
        g_autofree char *text = source(paths[i]);
        unsigned n = 0;

        g_regex_match(regex, synopsis, 0, &match);
        for (; g_match_info_matches(match); n++) {
            g_autofree char *words = g_match_info_fetch(match, 1);
            g_auto(GStrv) each = g_strsplit_set(words, " |", -1);

            for (char **word = each; *word; word++)
                if (!strstr(text, *word))
                    g_error("%s lacks %s", paths[i], *word);
            g_match_info_next(match, NULL);
        }
        g_assert_cmpuint(n, >, 5);
    }
}

/* What bash offers behind these words, the last of which has only begun. */
static void expect_offer(const char *words, const char *expected)
{
    g_autofree char *file =
        g_build_filename(g_getenv("HMSG_SOURCE"), "server/completions/hmsg-relay.bash", NULL);
    g_autofree char *script = g_strdup_printf("source %s; COMP_WORDS=(hmsg-relay %s); "
                                              "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hmsg_relay; "
                                              "echo \"${COMPREPLY[*]}\"",
                                              file, words);
    const char *argv[] = {"/bin/bash", "-c", script, NULL};
    g_autofree char *out = NULL;

    g_assert_cmpint(test_run(argv, NULL, NULL, &out, NULL), ==, 0);
    g_assert_cmpstr(g_strchomp(out), ==, expected);
}

static void test_completions(void)
{
    g_autofree char *manual = source("docs/hmsg-relay.8");
    char *end = strstr(manual, ".Sh DESCRIPTION");

    g_assert_nonnull(end);
    *end = 0;
    expect_words(manual, "^\\.Cm (.*)$");
    expect_words(manual, "Fl -([a-z]+)");
    expect_offer("st", "store");
    expect_offer("client ''", "list show block unblock delete");
    expect_offer("invite create --u", "--uses");
    expect_offer("key rotate --", "--config --now");
    expect_offer("store rekey --", "--config");
    expect_offer("invite create --uses ''", "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/cmd/usage", test_usage);
    g_test_add_func("/server/cmd/help", test_help);
    g_test_add_func("/server/cmd/complaints", test_complaints);
    g_test_add_func("/server/cmd/output", test_output);
    g_test_add_func("/server/cmd/damage", test_damage);
    g_test_add_func("/server/cmd/moved", test_moved);
    g_test_add_func("/server/cmd/init", test_init);
    g_test_add_func("/server/cmd/restore", test_restore);
    g_test_add_func("/server/cmd/completions", test_completions);
    return g_test_run();
}
