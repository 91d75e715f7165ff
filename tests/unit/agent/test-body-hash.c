/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/body-hash.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/secret.h"

static const uint8_t kid[KID_SIZE] = {1, 2, 3};

typedef struct Outcome {
    bool done;
    int r;
    uint8_t id[ID_SIZE], sha256[SHA256_SIZE];
    uint64_t size;
} Outcome;

static void on_hashed(int r, const uint8_t *id, const uint8_t *sha256, uint64_t size, void *userdata)
{
    Outcome *o = userdata;

    o->done = true;
    o->r = r;
    if (r != 0)
        return;
    memcpy(o->id, id, ID_SIZE);
    memcpy(o->sha256, sha256, SHA256_SIZE);
    o->size = size;
}

static int memory(const void *data, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(file_write_fd(fd, data, n), ==, 0); /* and stands at its end */
    return fd;
}

static void test_sizes(void)
{
    static const size_t sizes[] = {0, 1, 65536, 5000001};
    sd_event *event = NULL;

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree uint8_t *body = g_malloc0(sizes[i] + 1);
        memset(body, (int)i + 1, sizes[i]);
        _cleanup_(fd_closep) int fd = memory(body, sizes[i]);
        uint8_t id[ID_SIZE], sha256[SHA256_SIZE];
        BodyHash *h = NULL;
        Outcome o = {0};

        g_assert_cmpint(body_hash_start(event, kid, fd, -1, UINT64_MAX, on_hashed, &o, &h), ==, 0);
        g_assert_false(o.done);
        while (!o.done)
            g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
        (void)body_hash_free(h);
        g_assert_cmpint(o.r, ==, 0);
        g_assert_cmpuint(o.size, ==, sizes[i]);
        g_assert_cmpint(message_id(kid, body, sizes[i], id), ==, 0);
        g_assert_cmpint(crypto_sha256(body, sizes[i], sha256), ==, 0);
        g_assert_true(bytes_equal(o.id, id, ID_SIZE));
        g_assert_true(bytes_equal(o.sha256, sha256, SHA256_SIZE));
    }
    sd_event_unref(event);
}

/* The copy is of what was hashed, whatever becomes of the original; and there is an end to it. */
static void test_copy(void)
{
    static const size_t size = 3000000;
    g_autofree uint8_t *body = g_malloc0(size), *copied = g_malloc0(size);
    sd_event *event = NULL;

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    for (uint64_t max = size - 1; max <= size; max++) {
        _cleanup_(fd_closep) int fd = memory(body, size);
        _cleanup_(fd_closep) int copy = memory("", 0);
        uint8_t id[ID_SIZE];
        BodyHash *h = NULL;
        Outcome o = {0};

        g_assert_cmpint(body_hash_start(event, kid, fd, copy, max, on_hashed, &o, &h), ==, 0);
        for (off_t at = 0; !o.done; at += 100000) {
            g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
            if (at < (off_t)size)
                g_assert_cmpint(pwrite(fd, "x", 1, at), ==, 1);
        }
        (void)body_hash_free(h);
        g_assert_cmpint(o.r, ==, max < size ? HMSG_ERROR_TOO_LARGE : 0);
        if (o.r != 0)
            continue;
        g_assert_cmpint(pread(copy, copied, size, 0), ==, (ssize_t)size);
        g_assert_cmpint(message_id(kid, copied, size, id), ==, 0);
        g_assert_true(bytes_equal(o.id, id, ID_SIZE));
    }
    sd_event_unref(event);
}

static void test_cancel(void)
{
    sd_event *event = NULL;
    _cleanup_(fd_closep) int fd = memory("x", 1);
    BodyHash *h = NULL;
    Outcome o = {0};

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    g_assert_cmpint(body_hash_start(event, kid, fd, -1, UINT64_MAX, on_hashed, &o, &h), ==, 0);
    (void)body_hash_free(h);
    g_assert_cmpint(sd_event_run(event, 0), ==, 0);
    g_assert_false(o.done);
    sd_event_unref(event);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/body-hash/sizes", test_sizes);
    g_test_add_func("/body-hash/copy", test_copy);
    g_test_add_func("/body-hash/cancel", test_cancel);
    return g_test_run();
}
