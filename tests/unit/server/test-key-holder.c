/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The identity key in a process of its own. */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "libhmsg/base/error.h"
#include "server/key-holder-internal.h"
#include "server/key-holder.h"
#include "tests/lib/process.h"
#include "tests/lib/softhsm.h"
#include "tests/lib/swtpm.h"

#define NOW 1800000000
#define BITS 2048

typedef struct Fixture {
    char *folder, *key, *passphrase, *pin;
    KeyFiles files;
    RelayKey *made;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->key = g_build_filename(f->folder, "key", NULL);
    f->passphrase = g_build_filename(f->folder, "passphrase", NULL);
    f->pin = g_build_filename(f->folder, "pin", NULL);
    f->files = (KeyFiles){f->key, f->passphrase, f->pin, NULL};
    g_assert_cmpint(relay_key_generate(BITS, &f->made), ==, 0);
    g_assert_cmpint(relay_key_save(f->made, f->key, f->passphrase), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    while (waitpid(-1, NULL, 0) > 0) /* that has ended */
        continue;
    (void)relay_key_free(f->made);
    test_folder_remove(f->folder);
    g_free(f->key);
    g_free(f->passphrase);
    g_free(f->pin);
}

static void expect_works(RelayKey *k, const RelayKey *made)
{
    _cleanup_(secret_freep) Secret *secret = NULL, *got = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(1024), twice = BUF_MAX(1024);
    _cleanup_(relay_key_freep) RelayKey *other = NULL;

    g_assert_cmpmem(relay_key_pin(k), PIN_SIZE, relay_key_pin(made), PIN_SIZE);
    g_assert_cmpint(relay_key_renew(k, NOW), ==, 0);
    g_assert_cmpint(secret_new_random(32, &secret), ==, 0);
    g_assert_cmpint(relay_key_wrap(k, secret, &wrapped), ==, 0);
    g_assert_cmpint(relay_key_unwrap(k, wrapped.data, wrapped.size, &got), ==, 0);
    g_assert_true(secret_equal(secret, got));
    /* for two keys, as while they change */
    got = secret_free(got);
    g_assert_cmpint(relay_key_generate(BITS, &other), ==, 0);
    g_assert_cmpint(relay_key_wrap(other, secret, &twice), ==, 0);
    g_assert_cmpint(relay_key_unwrap(k, twice.data, twice.size, &got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(relay_key_wrap(k, secret, &twice), ==, 0);
    g_assert_cmpint(relay_key_unwrap(k, twice.data, twice.size, &got), ==, 0);
    g_assert_true(secret_equal(secret, got));
}

static bool has_hung_up(const KeyHolder *h)
{
    struct pollfd p = {.fd = key_holder_fd(h)};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

static void test_held(Fixture *f, gconstpointer data)
{
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL;

    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    expect_works(k, f->made);
    g_assert_false(has_hung_up(h));
}

static void test_not_opened(Fixture *f, gconstpointer data)
{
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    const char *file = NULL;

    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_true(g_file_set_contents_full(f->passphrase, "wrong", -1, 0, 0600, NULL));
    g_assert_cmpint(key_holder_open(h, &file, &k), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpstr(file, ==, f->key);
    g_assert_cmpint(g_unlink(f->passphrase), ==, 0);
    g_assert_cmpint(key_holder_open(h, &file, &k), ==, -ENOENT);
    g_assert_cmpstr(file, ==, f->passphrase);
    g_assert_cmpint(g_unlink(f->key), ==, 0);
    g_assert_cmpint(key_holder_open(h, &file, &k), ==, -ENOENT);
    g_assert_cmpstr(file, ==, f->key);
    g_assert_null(k);
}

/* Of the processes that this one has started: the one that lives. */
static pid_t child(void)
{
    g_autofree char *name = g_strdup_printf("/proc/self/task/%d/children", (int)getpid());
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    return (pid_t)g_ascii_strtoll(text, NULL, 10);
}

/* It has nothing open of what its parent has, and outlives the signals that the whole service gets. */
static void test_apart(Fixture *f, gconstpointer data)
{
    int secret = open("/dev/zero", O_RDONLY), count = 0;
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL;

    g_assert_cmpint(secret, >=, 0);
    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    pid_t pid = child();
    g_autofree char *name = g_strdup_printf("/proc/%d/fd", (int)pid);
    GDir *dir = g_dir_open(name, 0, NULL);
    while (dir && g_dir_read_name(dir))
        count++;
    g_assert_cmpint(count, ==, 4);
    g_dir_close(dir);
    g_assert_cmpint(kill(pid, SIGTERM), ==, 0);
    g_assert_cmpint(kill(pid, SIGINT), ==, 0);
    g_assert_cmpint(kill(pid, SIGHUP), ==, 0);
    expect_works(k, f->made);
    (void)close(secret);
}

static void test_killed(Fixture *f, gconstpointer data)
{
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL;

    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    g_assert_cmpint(kill(child(), SIGKILL), ==, 0);
    TEST_AWAIT(has_hung_up(h));
    g_assert_cmpint(relay_key_renew(k, NOW), ==, -EPIPE);
}

/* It ends with the one that it works for. */
static void test_ends(Fixture *f, gconstpointer data)
{
    KeyHolder *h = NULL;
    RelayKey *k = NULL;
    int status = 1;

    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    pid_t pid = child();
    (void)relay_key_free(k);
    (void)key_holder_free(h);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

/* What a relay that was taken over might ask for. */
static void test_hostile(Fixture *f, gconstpointer data)
{
    int fds[2], status = 1;
    HolderMessage m = {.number = 1};
    static const struct {
        int32_t what;
        size_t n;
        int expected;
    } asked[] = {{HOLDER_SIGN, SHA256_SIZE, -EINVAL}, /* nothing is open yet */
                 {HOLDER_UNWRAP, 256, -EINVAL},
                 {HOLDER_OPEN, 0, 0},
                 {HOLDER_SIGN, SHA256_SIZE - 1, -EINVAL},
                 {HOLDER_SIGN, SHA256_SIZE + 1, -EINVAL},
                 {HOLDER_SIGN, 0, -EINVAL},
                 {HOLDER_UNWRAP, 0, HMSG_ERROR_AUTHENTICATION_FAILED},
                 {HOLDER_UNWRAP, HOLDER_DATA_MAX, HMSG_ERROR_AUTHENTICATION_FAILED},
                 {0, 0, -EINVAL},
                 {-1, 7, -EINVAL},
                 {1000, HOLDER_DATA_MAX, -EINVAL},
                 {HOLDER_SIGN, SHA256_SIZE, 0}};

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        _exit(key_holder_serve(fds[1], &f->files) == -EBADMSG ? 0 : 1);
    }
    close(fds[1]);
    for (size_t i = 0; i < G_N_ELEMENTS(asked); i++) {
        m.what = asked[i].what;
        m.number = (uint32_t)i;
        g_assert_cmpint(write(fds[0], &m, HOLDER_HEADER_SIZE + asked[i].n), >, 0);
        g_assert_cmpint(read(fds[0], &m, sizeof(m)), >=, (gint64)HOLDER_HEADER_SIZE);
        g_assert_cmpint(m.what, ==, asked[i].expected);
        g_assert_cmpuint(m.number, ==, i);
    }
    /* no header: the end */
    g_assert_cmpint(write(fds[0], &m, 3), ==, 3);
    g_assert_cmpint(read(fds[0], &m, sizeof(m)), ==, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    close(fds[0]);
}

static void test_token(Fixture *f, gconstpointer data)
{
    static const char *const tokens[] = {"relay", NULL};
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL, *made = NULL;
    g_autofree char *uri = test_softhsm_uri("token=relay");

    if (!test_softhsm_available()) {
        g_test_skip("SoftHSM 2 is not installed");
        return;
    }
    test_softhsm_set_up(f->folder, tokens);
    g_assert_cmpint(g_unlink(f->key), ==, 0);
    g_assert_true(g_file_set_contents_full(f->pin, TEST_SOFTHSM_PIN, -1, 0, 0600, NULL));
    g_assert_cmpint(relay_key_init_token(&f->files, uri, BITS, &made), ==, 0);
    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    expect_works(k, made);
}

/* In its sandbox. */
static void test_tpm(Fixture *f, gconstpointer data)
{
    _cleanup_(key_holder_freep) KeyHolder *h = NULL;
    _cleanup_(relay_key_freep) RelayKey *k = NULL, *made = NULL;

    if (!test_swtpm_available()) {
        g_test_skip("swtpm is not installed");
        return;
    }
    g_autoptr(TestSwtpm) tpm = test_swtpm_new(NULL);
    g_assert_cmpint(g_unlink(f->key), ==, 0);
    f->files.tcti = test_swtpm_tcti(tpm);
    g_assert_cmpint(relay_key_init_tpm(&f->files, &made), ==, 0);
    made = relay_key_free(made);
    g_assert_cmpint(key_holder_start(&f->files, &h), ==, 0);
    g_assert_cmpint(key_holder_open(h, NULL, &k), ==, 0);
    expect_works(k, k);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {{"/server/key-holder/held", test_held},   {"/server/key-holder/not-opened", test_not_opened},
                 {"/server/key-holder/apart", test_apart}, {"/server/key-holder/killed", test_killed},
                 {"/server/key-holder/ends", test_ends},   {"/server/key-holder/hostile", test_hostile},
                 {"/server/key-holder/token", test_token}, {"/server/key-holder/tpm", test_tpm}};

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
