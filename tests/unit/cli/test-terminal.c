/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hmsgctl on a terminal: what others wrote is escaped, what would make a mess is refused, questions are
 * asked. */
#include <glib.h>
#include <string.h>

#include "tests/unit/client/fake.h"

typedef struct Fixture {
    Fake fake;
    char *out;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    fake_set_up(&f->fake, TRUE);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->out);
    fake_tear_down(&f->fake);
}

/* script(1) gives it a terminal and says what was shown there. */
static int run(Fixture *f, const char *input, const char *words)
{
    g_autofree char *command = g_strdup_printf("%s %s", g_getenv("HMSGCTL"), words);
    const char *const argv[] = {"script", "-qec", command, "/dev/null", NULL};

    g_free(f->out);
    return test_run(argv, (const char *const *)f->fake.environment, input, &f->out, NULL);
}

static bool shows(const Fixture *f, const char *text)
{
    return strstr(f->out, text) != NULL;
}

static void test_escaped(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, NULL, "read evil"), ==, 0);
    g_assert_true(shows(f, "Dear Bob\\x1b]0;evil\\x07 \\u{202e}cod.exe"));
    g_assert_true(shows(f, "Plans\\x1b[2J"));
    g_assert_true(shows(f, "From:"));
    g_assert_false(shows(f, "\033"));
    g_assert_cmpint(run(f, NULL, "read evil --raw"), ==, 0);
    g_assert_true(shows(f, "\033]0;evil\007"));
    g_assert_cmpint(run(f, NULL, "inbox"), ==, 0);
    g_assert_true(shows(f, "alice\\x1b[31m@relay.test"));
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run(f, NULL, "read large"), ==, 2);
    g_assert_true(shows(f, "-o FILE"));
    g_assert_false(shows(f, "xxxx"));
    g_assert_cmpint(run(f, NULL, "encrypt -r bob --format stream /proc/self/cmdline"), ==, 2);
}

static void test_questions(Fixture *f, gconstpointer data)
{
    g_autofree char *last = NULL;

    g_assert_cmpint(run(f, "n\n", "identity delete"), ==, 1);
    g_assert_true(shows(f, "[y/N]"));
    last = fake_last_call(&f->fake);
    g_assert_cmpstr(last, ==, "Identity.Show {}");
    g_assert_cmpint(run(f, "y\n", "contact verify bob"), ==, 0);
    g_assert_true(shows(f, "cccc dddd"));
    g_assert_cmpint(run(f, "y\n", "delete X --no-ask"), ==, 2);
    g_assert_cmpint(run(f, "yes\n", "delete X"), ==, 0);
}

#define ADD(name, function) g_test_add("/cli/terminal/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_autofree char *script = g_find_program_in_path("script");

    g_test_init(&argc, &argv, NULL);
    if (!script) {
        g_print("1..0 # SKIP no script(1)\n");
        return 0;
    }
    ADD("escaped", test_escaped);
    ADD("refused", test_refused);
    ADD("questions", test_questions);
    return g_test_run();
}
