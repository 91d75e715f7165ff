/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* faults FOLDER [PLACES [stay]]: runs a fuzz target over each file of its corpus while one allocation fails:
 * ours, OpenSSL's or jansson's, each in its turn, and then that one and all behind it. When there are more
 * than PLACES of them in one input these are spread. Each run is a process of its own, so that what it leaves
 * behind does not matter to the next; with "stay" all is one process, for a target with threads, which must
 * do its work again after each fault. */

#include <glib.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define PLACES 150u

static struct {
    atomic_bool armed, fired;
    atomic_size_t count;
    bool for_good, stay;
    size_t at, total, places;
} fault = {.places = PLACES};
static _Thread_local bool is_paused;

bool fuzz_fails(void)
{
    if (!atomic_load(&fault.armed) || is_paused)
        return false;
    size_t count = atomic_fetch_add(&fault.count, 1) + 1;
    if (fault.at == 0 || count < fault.at || (count > fault.at && !fault.for_good))
        return false;
    atomic_store(&fault.fired, true);
    return true;
}

bool fuzz_pause(bool paused)
{
    bool before = is_paused;

    is_paused = paused;
    return before;
}

bool fuzz_has_faulted(void)
{
    return atomic_load(&fault.fired);
}

/* The linker's --wrap sends the calls in our code to these instead of libc. */
void *real_malloc(size_t n) __asm__("__real_malloc");
void *real_calloc(size_t n, size_t size) __asm__("__real_calloc");
char *real_strdup(const char *text) __asm__("__real_strdup");
void *our_malloc(size_t n) __asm__("__wrap_malloc");
void *our_calloc(size_t n, size_t size) __asm__("__wrap_calloc");
char *our_strdup(const char *text) __asm__("__wrap_strdup");

void *our_malloc(size_t n)
{
    return fuzz_fails() ? NULL : real_malloc(n);
}

void *our_calloc(size_t n, size_t size)
{
    return fuzz_fails() ? NULL : real_calloc(n, size);
}

char *our_strdup(const char *text)
{
    return fuzz_fails() ? NULL : real_strdup(text);
}

static void *openssl_malloc(size_t n, const char *file, int line)
{
    return fuzz_fails() ? NULL : real_malloc(n);
}

static void *openssl_realloc(void *data, size_t n, const char *file, int line)
{
    return fuzz_fails() ? NULL : realloc(data, n);
}

static void openssl_free(void *data, const char *file, int line)
{
    free(data);
}

/* With the allocation number `at` failing; 0: none. */
static void run(const char *data, size_t n, size_t at, bool for_good)
{
    fault.at = at;
    fault.for_good = for_good;
    atomic_store(&fault.count, 0);
    atomic_store(&fault.fired, false);
    atomic_store(&fault.armed, true);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)data, n);
    atomic_store(&fault.armed, false);
}

static void run_with(const char *data, size_t n, size_t at, bool for_good)
{
    int status = 0;

    if (fault.stay) {
        run(data, n, at, for_good);
        run(data, n, 0, false);
        return;
    }
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        run(data, n, at, for_good);
        _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    if (status != 0)
        g_error("allocation %zu%s: status %#x", at, for_good ? " and all behind it" : "", (unsigned)status);
}

static void test_file(gconstpointer path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize n = 0;

    if (!g_file_get_contents(path, &text, &n, &error))
        g_error("%s", error->message);
    /* In memory of exactly this size, so that AddressSanitizer sees a read behind it. */
    g_autofree char *data = g_memdup2(n > 0 ? text : " ", MAX(n, 1));
    run(data, n, 0, false); /* makes what is made once for a process */
    run(data, n, 0, false);
    size_t all = atomic_load(&fault.count), step = all / fault.places + 1;
    fault.total += all;
    for (size_t at = 1; at <= all; at += step) {
        run_with(data, n, at, false);
        run_with(data, n, at, true);
    }
    g_test_message("%zu allocations", all);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    unsigned count = 0;
    const char *name;

    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    g_test_init(&argc, &argv, NULL);
    if (argc < 2)
        g_error("usage: faults FOLDER [PLACES [stay]]");
    if (argc > 2)
        fault.places = (size_t)g_ascii_strtoull(argv[2], NULL, 10);
    fault.stay = argc > 3;
    if (!fault.stay) /* no process outlives that (libhmsg/wire/json.h) */
        json_set_alloc_funcs(our_malloc, free);
    g_autoptr(GDir) folder = g_dir_open(argv[1], 0, &error);
    if (!folder)
        g_error("%s", error->message);
    while ((name = g_dir_read_name(folder))) {
        g_autofree char *test = g_strdup_printf("/faults/%s", name);

        g_test_add_data_func_full(test, g_build_filename(argv[1], name, NULL), test_file, g_free);
        count++;
    }
    g_assert_cmpuint(count, >, 0);
    int r = g_test_run();
    g_assert_cmpuint(fault.total, >, 0); /* else nothing was tried */
    return r;
}
