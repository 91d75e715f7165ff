/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "libhmsg/base/file.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

/* A relay that is killed while it accepts has everything that it answered. */

#define ROUNDS 50
#define IN_FLIGHT 32
#define BODY_SIZE 3000
#define BLOB_SIZE 70000
#define BLOB_EVERY 8

/* What the victim accepted, numbered. */
static size_t make_body(unsigned number, uint8_t *ret)
{
    size_t n = number % BLOB_EVERY == 0 ? BLOB_SIZE : BODY_SIZE;
    for (size_t i = 0; i < n; i++)
        ret[i] = (uint8_t)(i * 17 + number);
    memcpy(ret, &number, sizeof(number));
    return n;
}

typedef struct Accept {
    StoreWrite write;
    Store *store;
    int report;
    unsigned number, step;
    uint8_t body[BLOB_SIZE];
} Accept;

static void accept_next(Accept *a);

static void tell(StoreWrite *w)
{
    Accept *a = w->userdata;
    if (w->result != 0 || !w->put.created)
        _exit(3);
    if (write(a->report, &a->number, sizeof(a->number)) != (ssize_t)sizeof(a->number))
        _exit(4);
    a->number += a->step;
    accept_next(a);
}

static void accept_next(Accept *a)
{
    size_t n = make_body(a->number, a->body);
    test_put_init(&a->write, 1, 2, 3, (const char *)a->body, n, 1000);
    a->write.done = tell;
    a->write.userdata = a;
    if (n > MESSAGE_SIZE_MAX) {
        a->write.put.body = NULL;
        if (store_blob_new(a->store, &a->write.put.blob) != 0 ||
            store_blob_append(a->write.put.blob, a->body, n) != 0)
            _exit(5);
    }
    if (store_write(a->store, &a->write) != 0)
        _exit(6);
}

static void be_victim(const char *folder, const StoreLimits *limits, unsigned first, int report)
{
    Store *store = NULL;
    if (store_sqlite_open(folder, limits, test_store_keeper(), &store) != 0)
        _exit(2);
    Accept *all = g_new0(Accept, IN_FLIGHT);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        all[i] = (Accept){.store = store, .report = report, .number = first + i, .step = IN_FLIGHT};
        accept_next(&all[i]);
    }
    for (;;)
        pause();
}

static void check_message(StoreReader *reader, unsigned number)
{
    static uint8_t body[BLOB_SIZE];
    _cleanup_(buf_done) Buf got = BUF_MAX(BLOB_SIZE);
    StoreWrite w;
    StoreFile *file = NULL;
    uint64_t size = 0;
    size_t n = make_body(number, body);
    test_put_init(&w, 1, 2, 3, (const char *)body, n, 1000);
    g_assert_cmpint(store_fetch(reader, test_kid(1), w.put.id, &got, &file, &size), ==, 0);
    test_read_file(file, &got);
    g_assert_cmpuint(size, ==, n);
    g_assert_cmpmem(got.data, got.size, body, n);
}

/* Returns the highest number that was answered. */
static unsigned kill_once(const char *folder, const StoreLimits *limits, unsigned first, GArray *answered)
{
    int report[2];
    unsigned number = 0, highest = first, kill_after = (unsigned)g_random_int_range(1, 150);
    g_assert_cmpint(pipe(report), ==, 0);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        (void)close(report[0]);
        be_victim(folder, limits, first, report[1]);
    }
    (void)close(report[1]);
    for (unsigned n = 0; read(report[0], &number, sizeof(number)) == (ssize_t)sizeof(number); n++) {
        g_array_append_val(answered, number);
        highest = MAX(highest, number);
        if (n == kill_after)
            g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    }
    (void)close(report[0]);
    int status = 0;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return highest;
}

static void test_kill(void)
{
    char *folder = test_folder_new();
    StoreLimits limits;
    store_limits_init(&limits);
    limits.mailbox_messages = limits.sender_messages = 1000000;
    limits.space_reserve = 0;
    Store *store = NULL;
    StoreReader *reader = NULL;
    g_assert_cmpint(store_sqlite_open(folder, &limits, test_store_keeper(), &store), ==, 0);
    g_assert_cmpint(test_register(store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(store, 2, "bob"), ==, 0);
    store = store_free(store);
    unsigned first = 0;
    size_t all = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        g_autoptr(GArray) answered = g_array_new(FALSE, FALSE, sizeof(unsigned));
        /* Numbers that were perhaps stored without being answered are not used again. */
        first = kill_once(folder, &limits, first, answered) + 3 * IN_FLIGHT;
        g_assert_cmpint(store_sqlite_open(folder, &limits, test_store_keeper(), &store), ==, 0);
        g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
        for (guint i = 0; i < answered->len; i++)
            check_message(reader, g_array_index(answered, unsigned, i));
        all += answered->len;
        StoreCounts c = {};
        g_assert_cmpint(store_counts(reader, &c), ==, 0);
        g_assert_cmpuint(c.messages, >=, all);
        g_assert_cmpuint(test_count_files(folder, "blobs"), ==, c.blobs);
        if (round + 1 == ROUNDS)
            g_assert_cmpint(store_sqlite_check(reader), ==, 0);
        reader = store_reader_free(reader);
        store = store_free(store);
    }
    g_test_message("%zu messages answered and kept over %d kills", all, ROUNDS);
    test_folder_remove(folder);
}

/* When a message is answered every reader sees it: the commit came first. */
static void look(StoreWrite *w)
{
    StoreReader *reader = ((gpointer *)w->userdata)[0];
    GMutex *order = ((gpointer *)w->userdata)[1];
    StoreState state = STORE_EXPIRED;
    g_mutex_lock(order);
    g_assert_cmpint(store_status(reader, test_skid(2), w->put.id, &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_ACCEPTED);
    g_mutex_unlock(order);
    g_atomic_int_inc((gint *)((gpointer *)w->userdata)[2]);
}

static void test_order(void)
{
    char *folder = test_folder_new();
    StoreLimits limits;
    store_limits_init(&limits);
    Store *store = NULL;
    StoreReader *reader = NULL;
    GMutex order;
    gint n = 0;
    g_mutex_init(&order);
    g_assert_cmpint(store_sqlite_open(folder, &limits, test_store_keeper(), &store), ==, 0);
    g_assert_cmpint(test_register(store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(store, 2, "bob"), ==, 0);
    g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
    gpointer context[] = {reader, &order, &n};
    g_autofree StoreWrite *many = g_new0(StoreWrite, 100);
    for (unsigned i = 0; i < 100; i++) {
        test_put_init(&many[i], 1, 2, 3, test_body(i, 100), 100, 1000);
        many[i].done = look;
        many[i].userdata = context;
        g_assert_cmpint(store_write(store, &many[i]), ==, 0);
    }
    TEST_AWAIT(g_atomic_int_get(&n) == 100);
    reader = store_reader_free(reader);
    store = store_free(store);
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/store/kill", test_kill);
    g_test_add_func("/store/order", test_order);
    return g_test_run();
}
