/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another process of the same user tries every way that the kernel offers to reach the keys of an agent. */

#include "agent/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <keyutils.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/lib/child.h"
#include "tests/lib/user.h"

#define SESSIONS 3u
#define SERIALS_MAX 16u
#define NAME_MAX_SIZE 64u
#define LIFETIME 3600u
#define EVERYTHING 0x3f3f3f3fu

/* What even a hostile process could at best guess: all serials and names, and where a key lies in memory. */
typedef struct Facts {
    pid_t pid;
    const void *secret;
    unsigned n;
    key_serial_t serials[SERIALS_MAX];
    char names[SERIALS_MAX][NAME_MAX_SIZE];
} Facts;

typedef struct Victim {
    Facts facts;
    int tell, told; /* one byte: look whether the keys are still there; the answer */
} Victim;

static void fill(uint8_t key[static KEYRING_KEY_SIZE], unsigned n)
{
    memset(key, (int)('A' + n), KEYRING_KEY_SIZE);
}

/* Its own keys and ring, as /proc/keys shows them to itself: "SERIAL flags uses timeout perm uid gid type
 * name". */
static void collect(Facts *f)
{
    FILE *keys = fopen("/proc/keys", "re");
    char line[512], type[32], name[NAME_MAX_SIZE];
    unsigned serial, permissions;

    g_assert_nonnull(keys);
    while (fgets(line, sizeof(line), keys))
        if (sscanf(line, "%x %*s %*s %*s %x %*s %*s %31s %63[^:]", &serial, &permissions, type, name) == 4 &&
            (permissions & 0x00ffffff) == 0) {
            g_assert_cmpuint(f->n, <, SERIALS_MAX);
            f->serials[f->n] = (key_serial_t)serial;
            (void)g_strlcpy(f->names[f->n], name, NAME_MAX_SIZE);
            f->n++;
        }
    (void)fclose(keys);
}

static void check_keys(Keyring *k, KeyringEntry *const e[static SESSIONS])
{
    _cleanup_(secret_freep) Secret *out = NULL;
    uint8_t key[KEYRING_KEY_SIZE];

    g_assert_cmpint(secret_new(KEYRING_KEY_SIZE, &out), ==, 0);
    for (unsigned i = 0; i < SESSIONS; i++) {
        fill(key, i);
        g_assert_cmpint(keyring_get(k, e[i], out), ==, 0);
        g_assert_cmpmem(secret_bytes(out), secret_size(out), key, sizeof(key));
    }
}

/* The agent, as its main() begins. */
G_NORETURN static void be_victim(int to_test, int from_test)
{
    KeyringEntry *e[SESSIONS];
    _cleanup_(secret_freep) Secret *memory = NULL;
    uint8_t key[KEYRING_KEY_SIZE];
    Keyring *k = NULL;
    Facts f = {.pid = getpid()};
    char byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    test_user_become(TEST_USER_SECRECY);
    g_assert_cmpint(process_harden(), ==, 0);
    g_assert_cmpint(keyring_new(&k), ==, 0);
    for (unsigned i = 0; i < SESSIONS; i++) {
        fill(key, i);
        g_assert_cmpint(keyring_put(k, key, LIFETIME, &e[i]), ==, 0);
        g_assert_true(keyring_entry_is_hot(e[i]));
    }
    g_assert_cmpint(secret_new_copy(key, sizeof(key), &memory), ==, 0);
    f.secret = secret_bytes(memory);
    collect(&f);
    g_assert_cmpint(write(to_test, &f, sizeof(f)), ==, sizeof(f));
    while (read(from_test, &byte, 1) == 1) {
        check_keys(k, e);
        g_assert_cmpint(write(to_test, &byte, 1), ==, 1);
    }
    keyring_free(k);
    _exit(0);
}

static pid_t start_victim(Victim *v)
{
    int to_test[2], from_test[2];
    pid_t pid;

    g_assert_cmpint(pipe2(to_test, O_CLOEXEC), ==, 0);
    g_assert_cmpint(pipe2(from_test, O_CLOEXEC), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        close(to_test[0]);
        close(from_test[1]);
        be_victim(to_test[1], from_test[0]);
    }
    close(to_test[1]);
    close(from_test[0]);
    v->told = to_test[0];
    v->tell = from_test[1];
    g_assert_cmpint(read(v->told, &v->facts, sizeof(v->facts)), ==, sizeof(v->facts));
    return pid;
}

/* After each attack the agent still has its keys. */
static void finish(Victim *v, pid_t pid)
{
    int status = 0;
    char byte = 'x';

    g_assert_cmpint(write(v->tell, &byte, 1), ==, 1);
    g_assert_cmpint(read(v->told, &byte, 1), ==, 1);
    close(v->tell);
    close(v->told);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static void attack(void (*f)(void *facts))
{
    Victim v = {0};
    pid_t pid = start_victim(&v);

    /* the process keyring, the key-encryption key and the sessions */
    g_assert_cmpuint(v.facts.n, ==, SESSIONS + 2);
    test_in_child(f, &v.facts);
    finish(&v, pid);
}

#define REFUSED(call)                                                                                        \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        if ((call) >= 0)                                                                                     \
            g_error("%s:%d: was let through: %s", __FILE__, __LINE__, #call);                                \
    } while (0)

static void try_reading(void *data)
{
    const Facts *f = data;
    char text[512];

    test_user_become(TEST_USER_SECRECY);
    for (unsigned i = 0; i < f->n; i++) {
        key_serial_t s = f->serials[i];

        REFUSED(keyctl_read(s, text, sizeof(text)));
        REFUSED(keyctl_describe(s, text, sizeof(text)));
        REFUSED(keyctl_get_security(s, text, sizeof(text)));
        REFUSED(keyctl_get_keyring_ID(s, 0));
        REFUSED(keyctl_dh_compute(s, s, s, text, sizeof(text)));
        for (unsigned j = 0; j < f->n; j++)
            REFUSED(keyctl_search(s, "user", f->names[j], 0));
    }
}

static const key_serial_t own_rings[] = {KEY_SPEC_THREAD_KEYRING, KEY_SPEC_PROCESS_KEYRING,
                                         KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING,
                                         KEY_SPEC_USER_SESSION_KEYRING};

static void try_linking(void *data)
{
    const Facts *f = data;
    key_serial_t persistent;

    test_user_become(TEST_USER_SECRECY);
    (void)keyctl_join_session_keyring(NULL);
    for (unsigned i = 0; i < f->n; i++)
        for (size_t r = 0; r < G_N_ELEMENTS(own_rings); r++) {
            g_assert_cmpint(keyctl_get_keyring_ID(own_rings[r], 1), >, 0);
            REFUSED(keyctl_link(f->serials[i], own_rings[r]));
            REFUSED(keyctl_move(f->serials[i], f->serials[0], own_rings[r], 0));
            REFUSED(keyctl_search(own_rings[r], "user", f->names[i], KEY_SPEC_PROCESS_KEYRING));
            REFUSED(request_key("user", f->names[i], NULL, own_rings[r]));
            REFUSED(request_key("user", f->names[i], "", own_rings[r]));
        }
    /* the kernel keeps one for each user; ours has nothing in it */
    persistent = (key_serial_t)keyctl_get_persistent((uid_t)-1, KEY_SPEC_PROCESS_KEYRING);
    for (unsigned i = 0; i < f->n && persistent > 0; i++) {
        REFUSED(keyctl_search(persistent, "user", f->names[i], 0));
        REFUSED(keyctl_link(f->serials[i], persistent));
    }
}

static void try_changing(void *data)
{
    const Facts *f = data;

    test_user_become(TEST_USER_SECRECY);
    for (unsigned i = 0; i < f->n; i++) {
        key_serial_t s = f->serials[i];

        REFUSED(keyctl_setperm(s, EVERYTHING));
        REFUSED(keyctl_chown(s, geteuid(), (gid_t)-1));
        REFUSED(keyctl_chown(s, (uid_t)-1, getegid()));
        REFUSED(keyctl_update(s, "mine", 4));
        REFUSED(keyctl_clear(s));
        REFUSED(keyctl_revoke(s));
        REFUSED(keyctl_invalidate(s));
        REFUSED(keyctl_set_timeout(s, 1));
        REFUSED(keyctl_unlink(s, f->serials[0]));
        REFUSED(keyctl_restrict_keyring(s, NULL, NULL));
        REFUSED(add_key("user", "mine", "mine", 4, s));
    }
}

static void try_instantiating(void *data)
{
    const Facts *f = data;

    test_user_become(TEST_USER_SECRECY);
    for (unsigned i = 0; i < f->n; i++) {
        key_serial_t s = f->serials[i];
        struct iovec part = {(void *)(uintptr_t) "mine", 4};

        REFUSED(keyctl_assume_authority(s));
        REFUSED(keyctl_instantiate(s, "mine", 4, KEY_SPEC_PROCESS_KEYRING));
        REFUSED(keyctl_instantiate_iov(s, &part, 1, KEY_SPEC_PROCESS_KEYRING));
        REFUSED(keyctl_negate(s, 1, KEY_SPEC_PROCESS_KEYRING));
        REFUSED(keyctl_reject(s, 1, ENOKEY, KEY_SPEC_PROCESS_KEYRING));
    }
}

static void try_listing(void *data)
{
    const Facts *f = data;
    char line[512];
    unsigned serial;
    FILE *keys;

    test_user_become(TEST_USER_SECRECY);
    /* that this user can list something at all */
    key_serial_t mine = add_key("user", "mine", "mine", 4, KEY_SPEC_PROCESS_KEYRING);
    bool seen = false;
    keys = fopen("/proc/keys", "re");
    g_assert_nonnull(keys);
    while (fgets(line, sizeof(line), keys)) {
        g_assert_cmpint(sscanf(line, "%x", &serial), ==, 1);
        seen = seen || (key_serial_t)serial == mine;
        for (unsigned i = 0; i < f->n; i++)
            g_assert_cmpint((key_serial_t)serial, !=, f->serials[i]);
    }
    (void)fclose(keys);
    g_assert_true(seen);
}

static void try_memory(void *data)
{
    static const char *const files[] = {"mem", "environ", "auxv", "maps", "syscall", "fd/0"};
    const Facts *f = data;
    char text[KEYRING_KEY_SIZE];
    struct iovec here = {text, sizeof(text)}, there = {(void *)(uintptr_t)f->secret, sizeof(text)};
    int pidfd;

    test_user_become(TEST_USER_SECRECY);
    REFUSED(ptrace(PTRACE_ATTACH, f->pid, NULL, NULL));
    g_assert_cmpint(errno, ==, EPERM);
    REFUSED(ptrace(PTRACE_SEIZE, f->pid, NULL, NULL));
    REFUSED(process_vm_readv(f->pid, &here, 1, &there, 1, 0));
    g_assert_cmpint(errno, ==, EPERM);
    REFUSED(process_vm_writev(f->pid, &here, 1, &there, 1, 0));
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)f->pid, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        /* some open and then have nothing to say */
        g_assert_true(fd < 0 || read(fd, text, sizeof(text)) <= 0);
    }
    g_autofree char *memory = g_strdup_printf("/proc/%d/mem", (int)f->pid);
    REFUSED(open(memory, O_RDWR | O_CLOEXEC));
    pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);
    if (pidfd >= 0)
        REFUSED(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}

static void test(gconstpointer data)
{
    void (*const *f)(void *) = data;

    attack(*f);
}

int main(int argc, char **argv)
{
    static void (*const attacks[])(void *) = {try_reading,       try_linking, try_changing,
                                              try_instantiating, try_listing, try_memory};

    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/agent/keyring/secrecy/reading", &attacks[0], test);
    g_test_add_data_func("/agent/keyring/secrecy/linking", &attacks[1], test);
    g_test_add_data_func("/agent/keyring/secrecy/changing", &attacks[2], test);
    g_test_add_data_func("/agent/keyring/secrecy/instantiating", &attacks[3], test);
    g_test_add_data_func("/agent/keyring/secrecy/listing", &attacks[4], test);
    g_test_add_data_func("/agent/keyring/secrecy/memory", &attacks[5], test);
    return g_test_run();
}
