/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/output.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/file.h"
#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder, *path, *inside;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "out", NULL);
    f->inside = g_strconcat(f->folder, "/", NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->inside);
    g_free(f->path);
    test_folder_remove(f->folder);
}

static Output *begin(const char *path, const char *text)
{
    Output *out = NULL;

    g_assert_cmpint(output_open(path, 0600, &out), ==, 0);
    g_assert_cmpint(file_write_fd(output_fd(out), text, strlen(text)), ==, 0);
    return out;
}

static unsigned files(const Fixture *f)
{
    g_autoptr(GDir) dir = g_dir_open(f->folder, 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void expect(const char *path, const char *expected)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, expected);
}

static void test_commit(Fixture *f, gconstpointer data)
{
    _cleanup_(freep) char *path = NULL;
    Output *out = begin(f->path, "new");
    struct stat st;

    g_assert_cmpuint(files(f), ==, 0); /* nothing is seen before */
    g_assert_false(output_is_terminal(out) || output_is_stdout(out) || output_wants_name(out));
    g_assert_cmpint(output_commit(out, "ignored", &path), ==, 0);
    g_assert_cmpstr(path, ==, f->path);
    output_free(out);
    expect(f->path, "new");
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpuint(files(f), ==, 1);
}

static void test_replace(Fixture *f, gconstpointer data)
{
    Output *out;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    out = begin(f->path, "new");
    expect(f->path, "old");
    output_free(out); /* given up */
    expect(f->path, "old");
    g_assert_cmpuint(files(f), ==, 1);

    out = begin(f->path, "new");
    g_assert_cmpint(output_commit(out, NULL, NULL), ==, 0);
    output_free(out);
    expect(f->path, "new");
    g_assert_cmpuint(files(f), ==, 1);
}

static void test_link(Fixture *f, gconstpointer data)
{
    g_autofree char *link = g_build_filename(f->folder, "link", NULL);
    Output *out;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    g_assert_cmpint(symlink("out", link), ==, 0);
    out = begin(link, "new");
    g_assert_cmpint(output_commit(out, NULL, NULL), ==, 0);
    output_free(out);
    g_assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    expect(f->path, "new");
}

static void test_folder(Fixture *f, gconstpointer data)
{
    _cleanup_(freep) char *path = NULL;
    Output *out = begin(f->inside, "new"), *again = begin(f->inside, "other");

    g_assert_true(output_wants_name(out));
    g_assert_cmpint(output_commit(out, "../../out", &path), ==, 0);
    g_assert_cmpstr(path, ==, f->path);
    g_assert_cmpint(output_commit(again, "out", NULL), ==, -EEXIST);
    output_free(out);
    output_free(again);
    expect(f->path, "new");
    g_assert_cmpuint(files(f), ==, 1);

    out = begin(f->inside, "x");
    g_assert_cmpint(output_commit(out, NULL, NULL), ==, 0);
    output_free(out);
    g_autofree char *nameless = g_build_filename(f->folder, "message", NULL);
    expect(nameless, "x");
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *missing = g_build_filename(f->folder, "no", "out", NULL);
    Output *out = NULL;

    g_assert_cmpint(output_open(f->folder, 0600, &out), ==, -EISDIR);
    g_assert_cmpint(output_open(missing, 0600, &out), ==, -ENOENT);
    g_assert_cmpint(output_open("", 0600, &out), ==, -ENOENT);
    g_assert_null(out);
    g_assert_null(output_free(NULL));
}

static void test_direct(Fixture *f, gconstpointer data)
{
    Output *out = begin("/dev/null", "x");
    _cleanup_(freep) char *path = NULL;

    g_assert_cmpint(output_commit(out, "name", &path), ==, 0);
    g_assert_null(path);
    output_free(out);
    g_assert_cmpint(output_open("-", 0600, &out), ==, 0);
    g_assert_true(output_is_stdout(out));
    output_free(out);
}

static void test_safe_name(void)
{
    static const struct {
        const char *hostile, *safe;
    } cases[] = {
        {"plan.pdf", "plan.pdf"},
        {"/etc/passwd", "passwd"},
        {"../../x", "x"},
        {"..", "_."},
        {".", "_"},
        {"", "message"},
        {"a/", "message"},
        {".bashrc", "_bashrc"},
        {"-rf", "_rf"},
        {"~root", "_root"},
        {"a\nb", "a_x0ab"},
        {"a\033[2Jb", "a_x1b[2Jb"},
        {"C:\\x", "C__x"},
        {"\xe2\x80\xae"
         "fdp.exe",
         "_u{202e}fdp.exe"},
        {"Gr\xc3\xbc\xc3\x9f e.txt", "Gr\xc3\xbc\xc3\x9f e.txt"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(freep) char *name = NULL;

        g_assert_cmpint(output_safe_name(cases[i].hostile, &name), ==, 0);
        g_assert_cmpstr(name, ==, cases[i].safe);
    }
    g_autofree char *umlauts = g_malloc0(1000);
    for (size_t i = 0; i + 2 < 1000; i += 2)
        memcpy(umlauts + i, "\xc3\xbc", 2);
    _cleanup_(freep) char *name = NULL;
    g_assert_cmpint(output_safe_name(umlauts, &name), ==, 0);
    g_assert_cmpuint(strlen(name), ==, OUTPUT_NAME_MAX);
    g_assert_true(g_utf8_validate(name, -1, NULL));
    _cleanup_(freep) char *odd = NULL;
    umlauts[0] = 'a';
    umlauts[1] = 'b';
    memmove(umlauts + 1, umlauts + 2, 997); /* now a character straddles the limit */
    g_assert_cmpint(output_safe_name(umlauts, &odd), ==, 0);
    g_assert_cmpuint(strlen(odd), ==, OUTPUT_NAME_MAX - 1);
    g_assert_true(g_utf8_validate(odd, -1, NULL));
}

#define ADD(name, function) g_test_add("/cli/output/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("commit", test_commit);
    ADD("replace", test_replace);
    ADD("link", test_link);
    ADD("folder", test_folder);
    ADD("refused", test_refused);
    ADD("direct", test_direct);
    g_test_add_func("/cli/output/safe-name", test_safe_name);
    return g_test_run();
}
