/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* While agents, launchers, couriers and a relay run and hold keys: what another program of the same user gets
 * at, and where secrets are found. To root everything is permitted, so this test becomes an ordinary user,
 * who starts it all; a child that stays root looks into memory. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/export.h"
#include "libhmsg/wire/package.h"
#include "tests/integration/looker.h"
#include "tests/integration/mail.h"
#include "tests/integration/proc.h"
#include "tests/lib/child.h"
#include "tests/lib/person.h"
#include "tests/lib/user.h"

#define TEXT "In the boathouse behind the mill at half past eleven"
#define SUBJECT "Our meeting of the second of November"
#define FILE_NAME "where-we-meet.txt"
#define LARGE_SIZE (2 * 1024 * 1024)

/* The user may not be able to read the build: the programs are copied. */
static char *become_user(void)
{
    static const char *const programs[] = {"agent/hmsg-agent", "agent/courier/hmsg-courier", "cli/hmsgctl",
                                           "server/hmsg-relay"};
    g_autofree char *contents[G_N_ELEMENTS(programs)] = {0};
    gsize sizes[G_N_ELEMENTS(programs)];
    g_autoptr(GError) error = NULL;

    if (geteuid() != 0)
        return NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *path = g_build_filename(g_getenv("HMSG_BUILD"), programs[i], NULL);

        if (!g_file_get_contents(path, &contents[i], &sizes[i], &error))
            g_error("%s", error->message);
    }
    test_user_become_nobody();
    char *folder = test_folder_new();
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *path = g_build_filename(folder, programs[i], NULL);
        g_autofree char *parent = g_path_get_dirname(path);

        if (g_mkdir_with_parents(parent, 0755) < 0 ||
            !g_file_set_contents_full(path, contents[i], (gssize)sizes[i], G_FILE_SET_CONTENTS_NONE, 0755,
                                      &error))
            g_error("%s: %s", path, error ? error->message : g_strerror(errno));
        g_free(g_steal_pointer(&contents[i]));
    }
    g_setenv("HMSG_BUILD", folder, TRUE);
    return folder;
}

typedef struct Fixture {
    Scene *scene;
    SceneUser *alice, *bob;
    char *own; /* the test's own folder: plaintexts are here */
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->own = test_folder_new();
    f->scene = scene_new();
    scene_relay_start(f->scene);
    f->alice = scene_user_new(f->scene, "alice");
    f->bob = scene_user_new(f->scene, "bob");
    scene_user_register(f->alice);
    scene_user_register(f->bob);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    scene_free(f->scene);
    test_folder_remove(f->own);
}

static void write_file(const char *path, const void *data, gsize n)
{
    g_autoptr(GError) error = NULL;

    if (!g_file_set_contents(path, data, (gssize)n, &error))
        g_error("%s", error->message);
}

/* Some secret in the forms in which it may lie about. */
static void add_forms(GPtrArray *needles, const char *secret, gsize n)
{
    GString *hex = g_string_new(NULL);

    g_ptr_array_add(needles, g_bytes_new(secret, n));
    for (gsize i = 0; i < n; i++)
        g_string_append_printf(hex, "%02x", (guint8)secret[i]);
    g_ptr_array_add(needles, g_string_free_to_bytes(hex));
    /* base64 depends on what stands before; the letters at both ends depend on what stands around */
    for (gsize skip = 0; skip < 3; skip++) {
        g_autofree char *text = g_base64_encode((const guchar *)secret + skip, (n - skip) / 3 * 3);
        g_autofree char *url = g_strdelimit(g_strdelimit(g_strdup(text), "+", '-'), "/", '_');

        g_ptr_array_add(needles, g_bytes_new(text, strlen(text)));
        g_ptr_array_add(needles, g_bytes_new(url, strlen(url)));
    }
}

/* Which of the forms is in the file; -1: none, or it cannot be read. */
static int find_in_file(const char *path, const GPtrArray *needles)
{
    g_autofree char *bytes = NULL;
    struct stat st;
    gsize n;

    /* sockets have no content; a journal may have gone in between */
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || !g_file_get_contents(path, &bytes, &n, NULL))
        return -1;
    for (guint i = 0; i < needles->len; i++) {
        gsize size;
        const void *needle = g_bytes_get_data(g_ptr_array_index(needles, i), &size);

        if (memmem(bytes, n, needle, size))
            return (int)i;
    }
    return -1;
}

static void check_file(const char *path, const GPtrArray *needles)
{
    int form = find_in_file(path, needles);

    if (form >= 0)
        g_error("%s holds a secret, form %d", path, form);
}

/* How many files there were. */
static size_t check_folder(const char *folder, const GPtrArray *needles)
{
    g_autoptr(GDir) all = g_dir_open(folder, 0, NULL);
    const char *name;
    size_t n = 0;

    while (all && (name = g_dir_read_name(all))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
            n += check_folder(path, needles);
        } else {
            check_file(path, needles);
            n++;
        }
    }
    return n;
}

/* What the process was started with, as far as we may see. */
static void check_arguments(int pid, const GPtrArray *needles)
{
    static const char *const files[] = {"cmdline", "environ", "comm"};

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, files[i]);

        check_file(path, needles);
    }
}

static TestProcess *start_eavesdropper(const Fixture *f, const SceneUser *u, char **ret_log)
{
    g_autofree char *program = g_find_program_in_path("dbus-monitor");
    g_autofree char *log = g_strdup_printf("%s/%p.pcap", f->own, (const void *)u);
    const char *const argv[] = {program, "--address", scene_bus_address(u), "--pcap", NULL};
    gsize n = 0;

    if (!program)
        return NULL;
    TestProcess *monitor = test_process_start(argv, NULL, log);
    TEST_AWAIT((g_free(g_steal_pointer(ret_log)), g_file_get_contents(log, ret_log, &n, NULL)) && n > 24);
    g_free(*ret_log);
    *ret_log = g_steal_pointer(&log);
    return monitor;
}

/* It has seen that there was talk, not what it was about. */
static void stop_eavesdropper(TestProcess *monitor, const char *log, const GPtrArray *needles)
{
    g_autofree char *bytes = NULL;
    gsize n;

    if (!monitor) {
        g_test_message("dbus-monitor is not installed: nobody listens on the bus");
        return;
    }
    (void)test_process_stop(monitor);
    g_assert_true(g_file_get_contents(log, &bytes, &n, NULL));
    g_assert_nonnull(memmem(bytes, n, "OpenChannel", strlen("OpenChannel")));
    check_file(log, needles);
}

/* A package from Eve, whose session keys we know, that Bob's agent has opened and keeps the session of. */
static Secret *open_session(const Fixture *f)
{
    _cleanup_(wire_session_freep) WireSession *s = NULL;
    _cleanup_(buf_done) Buf out = BUF_MAX(PACKAGE_SIZE_MAX), exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autoptr(TestPerson) eve = test_person_new();
    TestPerson bob = {0};
    Secret *keys = NULL;

    g_autofree char *statement = test_person_statement(eve, "eve@relay.example");
    g_autofree char *path = g_build_filename(f->own, "eve", NULL);
    g_autofree char *pem = NULL;
    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    write_file(path, exported.data, exported.size);
    scene_ctl_expect(f->bob, 0, "contact", "add", "--key", path, NULL);
    g_assert_cmpint(scene_ctl(f->bob, NULL, &pem, NULL, "identity", "export", "--format", "pem", NULL), ==,
                    0);
    g_assert_cmpint(rsa_key_from_pem(pem, strlen(pem), &bob.decrypt), ==, 0);
    s = test_session_new(eve, &bob, clock_realtime());
    g_assert_cmpint(package_build(s, 0, clock_realtime(), 0, TEXT, strlen(TEXT), &out), ==, 0);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *text = NULL;

        g_assert_cmpint(scene_ctl(f->bob, buf_text(&out), &text, NULL, "decrypt", "--json", NULL), ==, 0);
        g_assert_nonnull(strstr(text, TEXT));
    }
    g_assert_cmpint(secret_new_copy(secret_bytes(s->keys), secret_size(s->keys), &keys), ==, 0);
    (void)rsa_key_free(bob.decrypt);
    return keys;
}

static void check_memory(int looker, int pid, const GPtrArray *needles)
{
    if (looker >= 0)
        g_assert_cmpuint(looker_find(looker, pid, needles), ==, 1);
    else
        g_test_message("only root may look into the memory of process %d", pid);
}

#ifdef __SANITIZE_ADDRESS__
#define KEEPS_WHAT_WAS_FREED true /* to find who uses it: stack frames, too */
#else
#define KEEPS_WHAT_WAS_FREED false
#endif

/* What was sent, read, encrypted and decrypted, and the keys for it, are gone from the agents' memory. */
static void check_agents(Fixture *f, int looker, const Secret *keys)
{
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    SceneUser *const both[] = {f->alice, f->bob};
    g_autofree char *package = NULL;

    (void)scene_ctl(f->alice, TEXT, &package, NULL, "encrypt", "-r", scene_address(f->bob), NULL);
    g_assert_nonnull(strstr(package, "protected"));
    g_ptr_array_add(needles, g_bytes_new_static(TEXT, strlen(TEXT)));
    for (size_t i = 0; i < 2; i++)
        g_ptr_array_add(needles, g_bytes_new(secret_bytes(keys) + 32 * i, 32));
    if (looker < 0 || KEEPS_WHAT_WAS_FREED) {
        g_test_message("nobody looks into the memory of the agents");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) /* soon after the answer */
        TEST_AWAIT(looker_find(looker, scene_agent_pid(both[i]), needles) == 1);
}

/* Through outbox, relay and inbox, and after it was read: no file has it, and neither has a process that is
 * not to see it. */
static void test_places(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_autofree char *small = g_build_filename(f->own, FILE_NAME, NULL);
    g_autofree char *large = g_build_filename(f->own, "large", NULL);
    g_autofree char *got = g_build_filename(f->own, "got", NULL);
    g_autofree char *much = g_strnfill(LARGE_SIZE, ' ');
    g_autofree char *alices_log = NULL;
    g_autofree char *bobs_log = NULL;
    TestProcess *alices = start_eavesdropper(f, f->alice, &alices_log);
    TestProcess *bobs = start_eavesdropper(f, f->bob, &bobs_log);

    add_forms(needles, TEXT, strlen(TEXT));
    add_forms(needles, SUBJECT, strlen(SUBJECT));
    add_forms(needles, FILE_NAME, strlen(FILE_NAME));
    memcpy(much + LARGE_SIZE / 2, TEXT, strlen(TEXT));
    write_file(large, much, LARGE_SIZE);
    write_file(small, TEXT, strlen(TEXT));

    scene_ctl_expect(f->alice, 0, "contact", "add", scene_address(f->bob), NULL);
    scene_relay_stop(f->scene);
    scene_ctl_expect(f->alice, 0, "send", "-r", scene_address(f->bob), "--subject", SUBJECT, small, NULL);
    scene_ctl_expect(f->alice, 0, "send", "-r", scene_address(f->bob), large, NULL);
    g_assert_true(mail_states_are(f->alice, "queued,queued"));
    g_assert_cmpuint(check_folder(scene_folder(f->scene), needles), >, 10);
    scene_agent_stop(f->bob);
    scene_relay_start(f->scene);
    scene_ctl_expect(f->alice, 0, "outbox", "retry", NULL);
    TEST_AWAIT(mail_states_are(f->alice, "accepted,accepted"));
    (void)check_folder(scene_folder(f->scene), needles);
    scene_agent_start(f->bob);
    TEST_AWAIT(mail_count(f->bob, "new") == 2);
    (void)check_folder(scene_folder(f->scene), needles);
    g_auto(GStrv) ids = mail_ids(f->bob);
    for (size_t i = 0; ids[i]; i++)
        scene_ctl_expect(f->bob, 0, "read", ids[i], "-o", got, NULL);
    g_assert_cmpuint(mail_count(f->bob, "read"), ==, 2);
    TEST_AWAIT(mail_states_are(f->alice, "delivered,delivered"));

    _cleanup_(secret_freep) Secret *keys = open_session(f);
    add_forms(needles, (const char *)secret_bytes(keys), 32);
    add_forms(needles, (const char *)secret_bytes(keys) + 32, 32);
    (void)check_folder(scene_folder(f->scene), needles);
    SceneUser *const both[] = {f->alice, f->bob};
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
        int agent = scene_agent_pid(both[i]), courier = proc_find(agent, "hmsg-courier");

        check_arguments(agent, needles);
        check_arguments(courier, needles);
        check_memory(*(const int *)data, courier, needles);
    }
    check_memory(*(const int *)data, scene_relay_pid(f->scene), needles);
    check_agents(f, *(const int *)data, keys);
    stop_eavesdropper(alices, alices_log, needles);
    stop_eavesdropper(bobs, bobs_log, needles);
}

/* That what the other tests look for would be found. */
static void test_search(void)
{
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "file", NULL);

    add_forms(needles, TEXT, strlen(TEXT));
    write_file(path, TEXT, strlen(TEXT) - 1);
    g_assert_cmpint(find_in_file(path, needles), ==, -1);
    write_file(path, "a" TEXT "b", strlen(TEXT) + 2);
    g_assert_cmpint(find_in_file(path, needles), ==, 0);
    for (gsize before = 0; before < 3; before++) {
        g_autofree char *text = g_strconcat("xyz" + before, TEXT, "xyz", NULL);
        g_autofree char *encoded = g_base64_encode((const guchar *)text, strlen(text));

        write_file(path, encoded, strlen(encoded));
        g_assert_cmpint(find_in_file(path, needles), >, 1);
    }
    test_folder_remove(folder);
}

/* Files and folders of agents and relay are their owner's alone. */
static void check_modes(const char *folder)
{
    g_autoptr(GDir) all = g_dir_open(folder, 0, NULL);
    const char *name;

    if (!all)
        g_error("%s cannot be read", folder);
    while ((name = g_dir_read_name(all))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        struct stat st;

        if (lstat(path, &st) < 0 || strcmp(name, "address") == 0) /* the relay's, for everybody */
            continue;
        if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
            g_error("%s has the mode %o", path, st.st_mode & 07777);
        if (S_ISDIR(st.st_mode))
            check_modes(path);
    }
}

static void test_modes(Fixture *f, gconstpointer data)
{
    g_autofree char *alice = scene_path(f->scene, "alice/data");
    g_autofree char *relay = scene_path(f->scene, "relay/data");
    g_autofree char *phrase_file = scene_path(f->scene, "relay/identity.passphrase");
    g_autofree char *phrase = NULL;
    g_autoptr(GPtrArray) needles = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    struct stat st;

    scene_ctl_expect(f->alice, 0, "send", "-r", scene_address(f->bob), NULL);
    TEST_AWAIT(mail_states_are(f->alice, "delivered"));
    check_modes(alice);
    check_modes(relay);
    g_assert_cmpint(stat(phrase_file, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0600);

    /* the passphrase is nowhere but in its file, and no private key is in the clear */
    g_assert_true(g_file_get_contents(phrase_file, &phrase, NULL, NULL));
    g_strstrip(phrase);
    g_assert_cmpuint(strlen(phrase), >, 10);
    g_assert_cmpint(unlink(phrase_file), ==, 0);
    add_forms(needles, phrase, strlen(phrase));
    static const char *const clear[] = {"BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE KEY", "BEGIN EC PRIVATE KEY"};
    for (size_t i = 0; i < G_N_ELEMENTS(clear); i++)
        g_ptr_array_add(needles, g_bytes_new_static(clear[i], strlen(clear[i])));
    (void)check_folder(scene_folder(f->scene), needles);
    check_arguments(scene_relay_pid(f->scene), needles);
}

/* What the kernel offers for looking into a process, tried from an ancestor of it, to which also Yama gives
 * leave. How many of it succeeded. */
static void attack(int pid, unsigned *ret_opened, unsigned *ret_traced)
{
    static const char *const files[] = {"mem",     "environ",   "maps",  "smaps",      "auxv",
                                        "pagemap", "map_files", "exe",   "cwd",        "root",
                                        "fd/0",    "syscall",   "stack", "personality"};
    char byte[1];
    struct iovec here = {byte, 1}, there = {byte, 1};

    *ret_opened = *ret_traced = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
            continue;
        if ((fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) || read(fd, byte, 1) >= 0)
            (*ret_opened)++;
        close(fd);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int stolen = (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0);
    *ret_traced += stolen >= 0;
    close(stolen);
    close(pidfd);
    /* no such address, or not permitted */
    *ret_traced += process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
    *ret_traced += process_vm_writev(pid, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
    *ret_traced += ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
}

/* In a child: what it has seized is let go when it ends. */
static void attack_in_vain(void *pid)
{
    unsigned opened, traced;

    attack(*(const int *)pid, &opened, &traced);
    g_assert_cmpuint(opened, ==, 0);
    g_assert_cmpuint(traced, ==, 0);
    g_assert_cmpint(ptrace(PTRACE_ATTACH, *(const int *)pid, NULL, NULL), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
}

static void attack_with_success(void *pid)
{
    unsigned opened, traced;

    attack(*(const int *)pid, &opened, &traced);
    g_assert_cmpuint(opened, >, 6);
    if (traced == 0)
        g_test_message("this kernel lets nobody trace: that part shows nothing");
    else
        g_assert_cmpuint(traced, ==, 4);
}

static void expect_hardened(int pid, bool locked)
{
    g_autofree char *limits = proc_read(pid, "limits", NULL);
    g_autofree char *status = proc_read(pid, "status", NULL);

    g_assert_cmpint(pid, >, 0);
    test_in_child(attack_in_vain, &pid);
    g_assert_nonnull(limits);
    g_assert_true(
        g_regex_match_simple("^Max core file size +0 +0 ", limits, G_REGEX_MULTILINE, G_REGEX_MATCH_DEFAULT));
    if (locked)
        g_assert_true(
            g_regex_match_simple("^VmLck:\\s+[1-9]", status, G_REGEX_MULTILINE, G_REGEX_MATCH_DEFAULT));
}

static void test_processes(Fixture *f, gconstpointer data)
{
    const char *const argv[] = {"sleep", "1000", NULL};
    TestProcess *victim = test_process_start(argv, NULL, NULL);
    int pid = test_process_pid(victim);
    SceneUser *const both[] = {f->alice, f->bob};

    _cleanup_(secret_freep) Secret *keys = open_session(f);
    TEST_AWAIT(proc_find(getpid(), "sleep") == pid);
    test_in_child(attack_with_success, &pid);
    (void)test_process_stop(victim);
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
        int agent = scene_agent_pid(both[i]);

        expect_hardened(agent, true);
        expect_hardened(proc_child(agent, "hmsg-launcher"), false);
        expect_hardened(proc_find(agent, "hmsg-courier"), false);
    }
    expect_hardened(scene_relay_pid(f->scene), true);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"/secrecy/places", test_places},
        {"/secrecy/modes", test_modes},
        {"/secrecy/processes", test_processes},
    };
    int looker, status;
    char *programs;

    g_test_init(&argc, &argv, NULL);
    looker = looker_start();
    programs = become_user();
    umask(022); /* whatever is private is so by the programs' own doing */
    g_test_add_func("/secrecy/search", test_search);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, &looker, set_up, tests[i].test, tear_down);
    status = g_test_run();
    test_folder_remove(programs);
    (void)close(looker);
    return status;
}
