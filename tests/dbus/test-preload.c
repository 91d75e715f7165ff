/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* LD_PRELOAD, and a pinentry that stands first in PATH: what the caller's environment may not do. */

#include <grp.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/dbus/agent.h"

#define USER 64300u  /* no distribution gives these out */
#define GROUP 64301u /* of the device */

typedef struct Fixture {
    char *folder, *program, *said;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_autofree char *built = g_build_filename(g_getenv("HMSG_BUILD"), "agent", "hmsg-agent", NULL);
    g_autofree char *text = NULL;
    gsize n = 0;

    f->folder = test_folder_new();
    f->program = g_build_filename(f->folder, "hmsg-agent", NULL);
    f->said = g_build_filename(f->folder, "said", NULL);
    g_assert_true(g_file_get_contents(built, &text, &n, NULL));
    g_assert_true(g_file_set_contents(f->program, text, (gssize)n, NULL));
    g_assert_cmpint(chmod(f->folder, 0777), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->said);
    g_free(f->program);
    test_folder_remove(f->folder);
}

static void become_user(gpointer data)
{
    if (setgroups(0, NULL) < 0 || setresgid(USER, USER, USER) < 0 || setresuid(USER, USER, USER) < 0)
        _exit(126);
}

/* Does it load the library? */
G_GNUC_UNUSED static bool is_preloaded(const Fixture *f, gid_t group, mode_t mode)
{
    const char *argv[] = {f->program, "--version", NULL};
    g_auto(GStrv) environment = g_get_environ();
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_assert_cmpint(chown(f->program, 0, group), ==, 0);
    g_assert_cmpint(chmod(f->program, mode), ==, 0);
    environment = g_environ_setenv(environment, "LD_PRELOAD", g_getenv("HMSG_TEST_PRELOAD"), TRUE);
    environment = g_environ_setenv(environment, "HMSG_TEST_PRELOADED", f->said, TRUE);
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, environment, G_SPAWN_DEFAULT, become_user,
                               NULL, &out, &err, &status, &error));
    if (status != 0)
        g_error("hmsg-agent --version: %d, %s", status, err);
    g_assert_nonnull(strstr(out, "hmsg-agent"));
    bool said = g_file_test(f->said, G_FILE_TEST_EXISTS);
    (void)unlink(f->said);
    return said;
}

/* Skips the test where no program can be made set-gid. */
static bool may_set_gid(const char *folder)
{
#ifdef __SANITIZE_ADDRESS__
    g_test_skip("a sanitizer cannot look into a program that is set-gid");
    return false;
#else
    struct statvfs fs;

    g_assert_cmpint(statvfs(folder, &fs), ==, 0);
    if (getuid() != 0 || (fs.f_flag & ST_NOSUID) != 0) {
        g_test_skip("only root can make a program set-gid, where the file system lets it");
        return false;
    }
    return true;
#endif
}

static void test_preload(Fixture *f, gconstpointer data)
{
    if (!may_set_gid(f->folder))
        return;
    g_assert_true(is_preloaded(f, 0, 0755)); /* so the library works */
    g_assert_false(is_preloaded(f, GROUP, 02755));
}

/* A program that leaves a file of its name with ".said" behind; its path, to be freed. */
static char *fake(const TestAgent *a, const char *name)
{
    char *path = g_build_filename(a->folder, name, NULL);
    g_autofree char *script = g_strdup_printf("#!/bin/sh\n: >'%s.said'\n", path);

    g_assert_true(g_file_set_contents(path, script, -1, NULL));
    g_assert_cmpint(chmod(path, 0700), ==, 0);
    return path;
}

static bool ran(const char *path)
{
    g_autofree char *said = g_strconcat(path, ".said", NULL);

    return unlink(said) == 0;
}

/* Has the agent start its courier, and a pinentry. */
static void have_them_started(TestAgent *a)
{
    g_autoptr(GVariant) contact = g_dbus_connection_call_sync(
        a->client, AGENT_NAME, AGENT_PATH, AGENT_NAME ".Contacts", "Add",
        g_variant_new("(sa{sv})", "bob@127.0.0.1:1#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", NULL), NULL,
        G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, NULL);
    g_assert_null(contact);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Unlock", g_variant_new("(a{sv})", NULL), NULL,
        G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, TEST_AWAIT_SECONDS * 1000, NULL, NULL);
    g_assert_null(reply);
}

static void expect_tpm(TestAgent *a, bool ok)
{
    g_autofree char *tpm = agent_fact(a, AGENT, "GetStatus", "tpm");

    g_assert_true((strcmp(tpm, "ok") == 0) == ok);
}

/* An agent that is set-gid uses no TPM, starts no courier and no pinentry that its caller's environment
 * names. */
static void test_environment(TestAgent *a, gconstpointer data)
{
    g_autofree char *program = g_build_filename(a->folder, "hmsg-agent", NULL);
    g_autofree char *pinentry = fake(a, "pinentry");
    g_autofree char *text = NULL;
    gsize n = 0;

    if (!may_set_gid(a->folder))
        return;
    g_assert_true(g_file_get_contents(a->program, &text, &n, NULL));
    g_assert_true(g_file_set_contents(program, text, (gssize)n, NULL));
    g_free(a->program);
    a->program = g_steal_pointer(&program);
    a->courier = fake(a, "courier");
    g_setenv("HMSG_PINENTRY", pinentry, TRUE);

    g_assert_cmpint(chmod(a->program, 0755), ==, 0);
    agent_start(a, NULL);
    expect_tpm(a, true);
    agent_expect_named(agent_create_software(a, "a long password of mine"), NULL);
    have_them_started(a);
    g_assert_true(ran(a->courier)); /* so they can be started */
    g_assert_true(ran(pinentry));
    agent_stop(a);

    g_assert_cmpint(chown(a->program, 0, GROUP), ==, 0);
    g_assert_cmpint(chmod(a->program, 02755), ==, 0);
    agent_start(a, NULL);
    have_them_started(a);
    g_assert_false(ran(a->courier));
    g_assert_false(ran(pinentry));
    agent_stop(a);
    g_unsetenv("HMSG_PINENTRY");

    /* without keys in software, and where there is no TPM that it may use */
    if (access("/dev/tpmrm0", F_OK) == 0)
        return;
    g_free(a->data);
    a->data = g_build_filename(a->folder, "other", NULL);
    agent_start(a, NULL);
    expect_tpm(a, false);
    agent_stop(a);
}

/* The TSS can write what it does, with what is secret in it, into a log that the environment names. */
static void test_tss_log(TestAgent *a, gconstpointer data)
{
    g_autofree char *file = g_build_filename(a->folder, "tss.log", NULL);
    g_autofree char *log = NULL;

    g_setenv("TSS2_LOG", "all+trace", TRUE);
    g_setenv("TSS2_LOGFILE", file, TRUE);
    agent_start(a, NULL);
    g_unsetenv("TSS2_LOG");
    g_unsetenv("TSS2_LOGFILE");
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    agent_stop(a);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_get_contents(a->log, &log, NULL, NULL));
    g_assert_null(strstr(log, "trace:"));
    g_assert_null(strstr(log, "debug:"));
}

static void test_pinentry(TestAgent *a, gconstpointer data)
{
    g_autofree char *fake = g_build_filename(a->folder, "pinentry", NULL);
    g_autofree char *said = g_build_filename(a->folder, "said", NULL);
    g_autofree char *script = g_strdup_printf("#!/bin/sh\ntouch '%s'\necho OK\n", said);
    g_autofree char *path = g_strconcat(a->folder, ":", g_getenv("PATH"), NULL);
    g_autofree char *before = g_strdup(g_getenv("PATH"));
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(fake, script, -1, NULL));
    g_assert_cmpint(chmod(fake, 0700), ==, 0);
    g_setenv("PATH", path, TRUE);
    agent_start(a, NULL);
    g_setenv("PATH", before, TRUE);
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Unlock", g_variant_new("(a{sv})", NULL), NULL,
        G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, TEST_AWAIT_SECONDS * 1000, NULL, &error);
    g_assert_null(reply); /* the installed one has no screen here, or there is none */
    g_assert_false(g_file_test(said, G_FILE_TEST_EXISTS));
    agent_expect_state(a, "locked");
    agent_stop(a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/preload/preload", Fixture, NULL, set_up, test_preload, tear_down);
    g_test_add("/dbus/preload/environment", TestAgent, NULL, agent_set_up, test_environment, agent_tear_down);
    g_test_add("/dbus/preload/tss-log", TestAgent, NULL, agent_set_up, test_tss_log, agent_tear_down);
    g_test_add("/dbus/preload/pinentry", TestAgent, NULL, agent_set_up, test_pinentry, agent_tear_down);
    return g_test_run();
}
