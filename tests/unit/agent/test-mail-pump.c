/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/mail-pump.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "tests/lib/process.h"

typedef struct Fixture {
    sd_event *event;
    Workers *workers;
    bool done;
    int r;
    MailHead head;
    uint64_t size;
    bool end;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(sd_event_new(&f->event), >=, 0);
    g_assert_cmpint(workers_new(f->event, &f->workers), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)workers_free(f->workers);
    sd_event_unref(f->event);
}

static void on_done(int r, const MailHead *head, uint64_t size, void *userdata)
{
    Fixture *f = userdata;

    f->done = true;
    f->r = r;
    if (head)
        f->head = *head;
    f->size = size;
}

static void run(Fixture *f)
{
    while (!f->done)
        g_assert_cmpint(sd_event_run(f->event, UINT64_MAX), >=, 0);
}

static int memory(const void *data, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(file_write_fd(fd, data, n), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    return fd;
}

static void on_gathered(int r, Buf *content, bool end, void *userdata)
{
    Fixture *f = userdata;

    f->done = true;
    f->r = r;
    f->size = content->size;
    f->end = end;
    g_strlcpy(f->head.subject, buf_text(content), sizeof(f->head.subject));
}

/* So much of a source, the rest stays; and one that gives nothing holds nobody up. */
static void test_gather(Fixture *f, gconstpointer data)
{
    static const struct {
        size_t max, size;
        bool end;
    } cases[] = {{4, 4, false}, {10, 10, false}, {11, 10, true}, {1000, 10, true}};
    int silent[2];
    char rest[16];
    MailPump *p = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(fd_closep) int fd = memory("0123456789", 10);

        f->done = false;
        g_assert_cmpint(mail_pump_gather(f->workers, fd, cases[i].max, on_gathered, f, &p), ==, 0);
        run(f);
        p = mail_pump_free(p);
        g_assert_cmpint(f->r, ==, 0);
        g_assert_cmpuint(f->size, ==, cases[i].size);
        g_assert_true(f->end == cases[i].end);
        g_assert_true(strncmp(f->head.subject, "0123456789", cases[i].size) == 0);
        g_assert_cmpint(read(fd, rest, sizeof(rest)), ==, (ssize_t)(10 - cases[i].size));
    }
    g_assert_cmpint(pipe(silent), ==, 0);
    f->done = false;
    g_assert_cmpint(mail_pump_gather(f->workers, silent[0], 100, on_gathered, f, &p), ==, 0);
    g_assert_cmpint(sd_event_run(f->event, 1000), ==, 0);
    p = mail_pump_free(p);
    g_assert_false(f->done);
    g_assert_cmpint(mail_pump_gather(f->workers, silent[1], 100, on_gathered, f, &p), ==, -EBADF);
    close(silent[0]);
    close(silent[1]);
}

/* A head is put before a content that is read from a file, and taken off it again. */
static void test_there_and_back(Fixture *f, gconstpointer data)
{
    enum { SIZE = 200001 };
    g_autofree uint8_t *content = g_malloc0(SIZE);
    _cleanup_(buf_done) Buf head = BUF_MAX(8192), out = BUF_MAX(2 * SIZE);
    _cleanup_(fd_closep) int source = -1, joined = memory("", 0), split = memory("", 0);
    MailPump *p = NULL;

    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 7);
    source = memory(content, SIZE);
    g_assert_cmpint(mail_head_build("Plans", "plans.pdf", &head), ==, 0);
    g_assert_cmpint(mail_pump_join(f->workers, &head, source, joined, on_done, f, &p), ==, 0);
    run(f);
    (void)mail_pump_free(p);
    g_assert_cmpint(f->r, ==, 0);
    g_assert_cmpuint(f->size, ==, SIZE);
    g_assert_cmpint(lseek(joined, 0, SEEK_SET), ==, 0);

    f->done = false;
    g_assert_cmpint(mail_pump_split(f->workers, joined, split, on_done, f, &p), ==, 0);
    run(f);
    (void)mail_pump_free(p);
    g_assert_cmpint(f->r, ==, 0);
    g_assert_cmpstr(f->head.subject, ==, "Plans");
    g_assert_cmpstr(f->head.file_name, ==, "plans.pdf");
    g_assert_cmpuint(f->size, ==, SIZE);
    g_assert_cmpint(lseek(split, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(file_read_fd(split, &out), ==, 0);
    g_assert_cmpmem(out.data, out.size, content, SIZE);
}

static void test_no_head(Fixture *f, gconstpointer data)
{
    static const char *const bad[] = {"", "hmsgmail", "Just a text that is long enough for a preamble"};

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        _cleanup_(fd_closep) int source = memory(bad[i], strlen(bad[i])), out = memory("", 0);
        MailPump *p = NULL;

        f->done = false;
        g_assert_cmpint(mail_pump_split(f->workers, source, out, on_done, f, &p), ==, 0);
        run(f);
        (void)mail_pump_free(p);
        g_assert_cmpint(f->r, ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpint(lseek(out, 0, SEEK_END), ==, 0); /* nothing was written */
    }
}

static void test_full(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf head = BUF_MAX(8192);
    _cleanup_(fd_closep) int source = memory("x", 1), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    MailPump *p = NULL;

    g_assert_cmpint(mail_head_build(NULL, NULL, &head), ==, 0);
    g_assert_cmpint(mail_pump_join(f->workers, &head, source, full, on_done, f, &p), ==, 0);
    run(f);
    (void)mail_pump_free(p);
    g_assert_cmpint(f->r, ==, HMSG_ERROR_STORAGE_FULL);
}

/* A client's pipe that nobody writes to: freeing the pump must not wait for it. */
static void test_cancel(Fixture *f, gconstpointer data)
{
    _cleanup_(fd_closep) int out = memory("", 0);
    _cleanup_(buf_done) Buf head = BUF_MAX(8192);
    MailPump *p = NULL;
    int ends[2];

    g_assert_cmpint(mail_pipe(ends), ==, 0);
    g_assert_cmpint(mail_head_build(NULL, NULL, &head), ==, 0);
    g_assert_cmpint(mail_pump_join(f->workers, &head, ends[0], out, on_done, f, &p), ==, 0);
    (void)mail_pump_free(p);
    f->workers = workers_free(f->workers);
    g_assert_false(f->done);
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/mail-pump/there-and-back", Fixture, NULL, set_up, test_there_and_back, tear_down);
    g_test_add("/mail-pump/no-head", Fixture, NULL, set_up, test_no_head, tear_down);
    g_test_add("/mail-pump/full", Fixture, NULL, set_up, test_full, tear_down);
    g_test_add("/mail-pump/cancel", Fixture, NULL, set_up, test_cancel, tear_down);
    g_test_add("/mail-pump/gather", Fixture, NULL, set_up, test_gather, tear_down);
    return g_test_run();
}
