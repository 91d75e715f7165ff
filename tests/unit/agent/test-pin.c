/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libhmsg/base/error.h"

static Secret *pin_of(const char *text)
{
    Secret *pin = NULL;

    g_assert_cmpint(secret_new_copy(text, strlen(text), &pin), ==, 0);
    return pin;
}

static void test_derive(void)
{
    const PinParameters p = {.cost = PIN_COST_MIN, .salt = "0123456789abcde"};
    PinParameters q = p;
    _cleanup_(secret_freep) Secret *pin = pin_of("1234"), *auth = NULL, *other = NULL, *salted = NULL;
    uint8_t expected[TPM_AUTH_SIZE];

    g_assert_cmpint(pin_derive(&p, pin, &auth), ==, 0);
    g_assert_cmpint(EVP_PBE_scrypt("1234", 4, p.salt, PIN_SALT_SIZE, UINT64_C(1) << PIN_COST_MIN, 8, 1,
                                   UINT64_C(1) << 30, expected, sizeof(expected)),
                    ==, 1);
    g_assert_cmpmem(secret_bytes(auth), secret_size(auth), expected, sizeof(expected));
    g_assert_cmpint(pin_derive(&(PinParameters){.cost = PIN_COST_MIN + 1}, pin, &other), ==, 0);
    g_assert_false(secret_equal(auth, other));
    q.salt[PIN_SALT_SIZE - 1] = 1;
    g_assert_cmpint(pin_derive(&q, pin, &salted), ==, 0);
    g_assert_false(secret_equal(auth, salted));
}

static void test_cost(void)
{
    _cleanup_(secret_freep) Secret *pin = pin_of("1234"), *auth = NULL;

    g_assert_cmpint(pin_derive(&(PinParameters){.cost = PIN_COST_MIN - 1}, pin, &auth), ==, -EINVAL);
    g_assert_cmpint(pin_derive(&(PinParameters){.cost = PIN_COST_MAX + 1}, pin, &auth), ==, -EINVAL);
    g_assert_null(auth);
}

static void test_salt(void)
{
    PinParameters p, q;

    g_assert_cmpint(pin_parameters_new(&p), ==, 0);
    g_assert_cmpint(pin_parameters_new(&q), ==, 0);
    g_assert_cmpint(memcmp(p.salt, q.salt, PIN_SALT_SIZE), !=, 0);
    g_assert_cmpuint(p.cost, ==, PIN_COST_DEFAULT);
}

static int read_memfd(const void *data, size_t n, Secret **ret)
{
    _cleanup_(fd_closep) int fd = memfd_create("pin", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, data, n), ==, n); /* the position stays at the end */
    return pin_read_fd(fd, ret);
}

static void test_read(void)
{
    _cleanup_(secret_freep) Secret *pin = NULL, *none = NULL;
    g_autofree char *large = g_strnfill(PIN_SIZE_MAX + 1, '1');
    int ends[2];

    g_assert_cmpint(read_memfd("Schl\xc3\xbcssel", 10, &pin), ==, 0);
    g_assert_cmpmem(secret_bytes(pin), secret_size(pin), "Schl\xc3\xbcssel", 10);
    g_assert_cmpint(read_memfd("123", 3, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(read_memfd("", 0, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(read_memfd(large, PIN_SIZE_MAX + 1, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(read_memfd("1234\n", 5, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(read_memfd("12\0004", 4, &none), ==, HMSG_ERROR_INVALID_ARGS);

    _cleanup_(secret_freep) Secret *text = NULL;
    _cleanup_(fd_closep) int fd = memfd_create("text", MFD_CLOEXEC);
    g_assert_cmpint(write(fd, "code", 4), ==, 4);
    g_assert_cmpint(memfd_read_text(fd, 1, 3, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(memfd_read_text(fd, 5, 9, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(memfd_read_text(fd, 1, 4, &text), ==, 0);
    g_assert_cmpmem(secret_bytes(text), secret_size(text), "code", 5);
    g_assert_cmpint(write(fd, "\t", 1), ==, 1);
    g_assert_cmpint(memfd_read_text(fd, 1, 9, &none), ==, HMSG_ERROR_INVALID_ARGS);

    /* what a reader may have to wait for */
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    g_assert_cmpint(write(ends[1], "1234", 4), ==, 4);
    g_assert_cmpint(pin_read_fd(ends[0], &none), ==, HMSG_ERROR_INVALID_ARGS);
    close(ends[0]);
    close(ends[1]);
    g_assert_cmpint(pin_read_fd(-1, &none), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_null(none);
}

typedef struct Waiting {
    bool done;
    int r;
    Secret *auth;
} Waiting;

static void on_derived(int r, Secret **auth, void *userdata)
{
    Waiting *w = userdata;

    w->done = true;
    w->r = r;
    w->auth = TAKE_PTR(*auth);
}

static void test_later(void)
{
    const PinParameters p = {.cost = PIN_COST_MIN};
    _cleanup_(secret_freep) Secret *pin = pin_of("a sentence of several words"), *auth = NULL;
    Waiting w = {0}, cancelled = {0};
    Workers *workers = NULL;
    Worker *one = NULL, *two = NULL;
    sd_event *event = NULL;

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    g_assert_cmpint(workers_new(event, &workers), ==, 0);
    g_assert_cmpint(pin_derive(&p, pin, &auth), ==, 0);
    g_assert_cmpint(pin_derive_later(workers, &p, pin, on_derived, &w, &one), ==, 0);
    g_assert_cmpint(pin_derive_later(workers, &p, pin, on_derived, &cancelled, &two), ==, 0);
    worker_cancel(two);
    while (!w.done)
        g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
    g_assert_cmpint(w.r, ==, 0);
    g_assert_true(secret_equal(w.auth, auth));
    secret_free(w.auth);
    workers_free(workers);
    g_assert_false(cancelled.done);
    sd_event_unref(event);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/pin/derive", test_derive);
    g_test_add_func("/agent/pin/cost", test_cost);
    g_test_add_func("/agent/pin/salt", test_salt);
    g_test_add_func("/agent/pin/read", test_read);
    g_test_add_func("/agent/pin/later", test_later);
    return g_test_run();
}
