/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/sealed-body.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "tests/lib/process.h"

static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 32768, 65536, 100000};

static uint8_t *make_body(size_t n)
{
    uint8_t *b = g_malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(i * 7 + i / 256);
    return b;
}

static void make_key(uint8_t ret[static BODY_KEY_SIZE])
{
    g_assert_cmpint(crypto_random(ret, BODY_KEY_SIZE), ==, 0);
}

static void test_memory(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        size_t n = sizes[i];
        g_autofree uint8_t *body = make_body(n);
        uint8_t key[BODY_KEY_SIZE];
        _cleanup_(buf_done) Buf sealed = BUF_MAX(body_sealed_size(n)), opened = BUF_MAX(n);
        make_key(key);
        g_assert_cmpint(body_seal(key, body, n, &sealed), ==, 0);
        g_assert_cmpuint(sealed.size, ==, body_sealed_size(n));
        g_assert_cmpint(body_open(key, sealed.data, sealed.size, n, &opened), ==, 0);
        g_assert_cmpuint(opened.size, ==, n);
        g_assert_true(n == 0 || memcmp(opened.data, body, n) == 0);
    }
}

static void test_refusal(void)
{
    const size_t n = 40000;
    g_autofree uint8_t *body = make_body(n);
    uint8_t key[BODY_KEY_SIZE], wrong[BODY_KEY_SIZE];
    _cleanup_(buf_done) Buf sealed = BUF_MAX(body_sealed_size(n)), opened = BUF_MAX(n);
    make_key(key);
    make_key(wrong);
    g_assert_cmpint(body_seal(key, body, n, &sealed), ==, 0);
    g_assert_cmpint(body_open(wrong, sealed.data, sealed.size, n, &opened), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* another size, chunks in another order, a chunk of less */
    g_assert_cmpint(body_open(key, sealed.data, sealed.size, n - 1, &opened), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(body_open(key, sealed.data, body_sealed_size(32768), 32768 - 1, &opened), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_autofree uint8_t *moved = g_memdup2(sealed.data, sealed.size);
    memcpy(moved, sealed.data + BODY_SEALED_CHUNK_SIZE, BODY_SEALED_CHUNK_SIZE);
    memcpy(moved + BODY_SEALED_CHUNK_SIZE, sealed.data, BODY_SEALED_CHUNK_SIZE);
    g_assert_cmpint(body_open(key, moved, sealed.size, n, &opened), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    for (size_t at = 0; at < sealed.size; at += 997) {
        sealed.data[at] ^= 0x80;
        g_assert_cmpint(body_open(key, sealed.data, sealed.size, n, &opened), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpuint(opened.size, ==, 0); /* also not of the chunks that were good */
        sealed.data[at] ^= 0x80;
    }
}

static int write_file(const char *path, const uint8_t *key, const uint8_t *body, size_t n)
{
    BodyWriter *w = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(body_writer_new(key, fd, &w), ==, 0);
    for (size_t at = 0; at < n;) {
        size_t part = MIN(n - at, 1 + at * 3 % 20000);
        g_assert_cmpint(body_writer_append(w, body + at, part), ==, 0);
        at += part;
    }
    g_assert_cmpint(body_writer_finish(w), ==, 0);
    w = body_writer_free(w);
    return fd;
}

static void test_file(void)
{
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "body", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        size_t n = sizes[i];
        g_autofree uint8_t *body = make_body(n), *got = g_malloc(n + 1);
        uint8_t key[BODY_KEY_SIZE];
        BodyReader *r = NULL;
        size_t at = 0;
        make_key(key);
        int fd = write_file(path, key, body, n);
        g_assert_cmpint(lseek(fd, 0, SEEK_END), ==, body_sealed_size(n));
        g_assert_cmpint(body_reader_new(key, fd, n, &r), ==, 0);
        for (ssize_t k = 1; k > 0; at += (size_t)k) {
            k = body_reader_read(r, at, got + at, 5000);
            g_assert_cmpint(k, >=, 0);
        }
        g_assert_cmpuint(at, ==, n);
        g_assert_true(n == 0 || memcmp(got, body, n) == 0);
        if (n > 10) { /* back again */
            g_assert_cmpint(body_reader_read(r, 5, got, 3), ==, 3);
            g_assert_cmpmem(got, 3, body + 5, 3);
        }
        r = body_reader_free(r);
    }
    test_folder_remove(folder);
}

static void test_bad_file(void)
{
    const size_t n = 40000;
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "body", NULL);
    g_autofree uint8_t *body = make_body(n);
    uint8_t key[BODY_KEY_SIZE], byte = 0, piece[100];
    BodyReader *r = NULL;
    make_key(key);
    int fd = write_file(path, key, body, n), other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    g_assert_cmpint(body_reader_new(key, fd, n, &r), ==, 0);
    g_assert_cmpint(pread(other, &byte, 1, 20000), ==, 1);
    byte ^= 1;
    g_assert_cmpint(pwrite(other, &byte, 1, 20000), ==, 1);
    g_assert_cmpint(body_reader_read(r, 0, piece, sizeof(piece)), ==, sizeof(piece));
    g_assert_cmpint(body_reader_read(r, 16384, piece, sizeof(piece)), ==, -EBADMSG);
    g_assert_cmpint(body_reader_read(r, 16384, piece, sizeof(piece)), ==, -EBADMSG);
    g_assert_cmpint(ftruncate(other, 33000), ==, 0);
    g_assert_cmpint(body_reader_read(r, 32768, piece, sizeof(piece)), ==, -EBADMSG);
    r = body_reader_free(r);
    (void)fd_close(other);
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sealed-body/memory", test_memory);
    g_test_add_func("/sealed-body/refusal", test_refusal);
    g_test_add_func("/sealed-body/file", test_file);
    g_test_add_func("/sealed-body/bad-file", test_bad_file);
    return g_test_run();
}
