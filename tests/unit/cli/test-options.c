/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/options.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

#define ID "-bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"

static int parse(Options *o, const char *line, char **why)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    int r = options_parse(o, (int)g_strv_length(words), words, why);

    /* what was parsed points into the words */
    for (size_t i = 0; i < o->n_operands; i++)
        o->operands[i] = g_intern_string(o->operands[i]);
    for (size_t i = 0; i < o->n_recipients; i++)
        o->recipients[i] = g_intern_string(o->recipients[i]);
    for (size_t i = 0; i < OPTION_RECOVERY_MAX; i++) {
        o->recovery[i].key = g_intern_string(o->recovery[i].key);
        o->recovery[i].sign_key = g_intern_string(o->recovery[i].sign_key);
    }
    for (size_t i = 0; i < OPTION_MAX_; i++)
        o->values[i] = o->values[i] ? g_intern_string(o->values[i]) : NULL;
    return r;
}

static void test_words(void)
{
    Options o;
    char *why = NULL;

    g_assert_cmpint(
        parse(&o, "x encrypt -r bob -ralice --recipient=carol --recipient dave --json -o out --fresh file",
              &why),
        ==, 0);
    g_assert_cmpuint(o.n_recipients, ==, 4);
    g_assert_cmpstr(o.recipients[0], ==, "bob");
    g_assert_cmpstr(o.recipients[1], ==, "alice");
    g_assert_cmpstr(o.recipients[2], ==, "carol");
    g_assert_cmpstr(o.recipients[3], ==, "dave");
    g_assert_cmpuint(o.n_operands, ==, 2);
    g_assert_cmpstr(o.operands[1], ==, "file");
    g_assert_cmpstr(o.values[OPTION_OUTPUT], ==, "out");
    g_assert_true(option_given(&o, OPTION_JSON) && option_given(&o, OPTION_FRESH));
    g_assert_false(option_given(&o, OPTION_RAW));
    g_assert_null(why);
}

/* A sign key goes with the recovery key before it, wherever it stands when there is one only. */
static void test_recovery(void)
{
    Options o;
    char *why = NULL;

    g_assert_cmpint(
        parse(&o, "x identity create --recovery-key A --recovery-key=B --recovery-sign-key S", &why), ==, 0);
    g_assert_cmpuint(o.n_recovery, ==, 2);
    g_assert_cmpstr(o.recovery[0].key, ==, "A");
    g_assert_null(o.recovery[0].sign_key);
    g_assert_cmpstr(o.recovery[1].key, ==, "B");
    g_assert_cmpstr(o.recovery[1].sign_key, ==, "S");
    g_assert_cmpint(parse(&o, "x identity create --recovery-sign-key S --recovery-key A", &why), ==, 0);
    g_assert_cmpuint(o.n_recovery, ==, 1);
    g_assert_cmpstr(o.recovery[0].sign_key, ==, "S");
    g_assert_null(why);
    g_assert_cmpint(parse(&o, "x --recovery-key A --recovery-sign-key S --recovery-sign-key T", &why), ==,
                    HMSG_ERROR_INVALID_ARGS);
    g_clear_pointer(&why, free);
    g_assert_cmpint(parse(&o, "x --recovery-key A --recovery-key B --recovery-key C", &why), ==,
                    HMSG_ERROR_INVALID_ARGS);
    g_assert_nonnull(strstr(why, "\"C\""));
    free(why);
}

static void test_operands(void)
{
    Options o;
    char *why = NULL;

    g_assert_cmpint(parse(&o, "x decrypt - -- --json -x", &why), ==, 0);
    g_assert_cmpuint(o.n_operands, ==, 4);
    g_assert_cmpstr(o.operands[1], ==, "-");
    g_assert_cmpstr(o.operands[2], ==, "--json");
    g_assert_false(option_given(&o, OPTION_JSON));

    /* an id may begin with a dash */
    g_assert_cmpint(parse(&o, "x read " ID " --json", &why), ==, 0);
    g_assert_cmpstr(o.operands[1], ==, ID);
    g_assert_true(option_given(&o, OPTION_JSON));
    g_assert_cmpint(parse(&o, "x", &why), ==, 0);
    g_assert_cmpuint(o.n_operands, ==, 0);
}

static void test_refused(void)
{
    static const char *const lines[] = {
        "x --nonsense",        "x -z",        "x --json=1", "x -o",      "x --output", "x --jso",
        "x -o a -o b",         "x --subject", "x -",        "x " ID "a", "x -hx",      "x a b c d e f g h i",
        "x --name=a --name=b",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        char *why = NULL;
        Options o;
        int r = parse(&o, lines[i], &why);

        if (strcmp(lines[i], "x -") == 0) {
            g_assert_cmpint(r, ==, 0);
            continue;
        }
        g_assert_cmpint(r, ==, HMSG_ERROR_INVALID_ARGS);
        g_assert_nonnull(why);
        free(why);
    }
}

static void test_many_recipients(void)
{
    const char *words[2 + 2 * (OPTION_RECIPIENTS_MAX + 1)] = {"x", "send"};
    Options o;
    char *why = NULL;
    int n = 2;

    for (unsigned i = 0; i < OPTION_RECIPIENTS_MAX; i++) {
        words[n++] = "-r";
        words[n++] = "bob";
    }
    g_assert_cmpint(options_parse(&o, n, (char *const *)(uintptr_t)words, &why), ==, 0);
    words[n++] = "-r";
    words[n++] = "bob";
    g_assert_cmpint(options_parse(&o, n, (char *const *)(uintptr_t)words, &why), ==, HMSG_ERROR_INVALID_ARGS);
    free(why);
}

static void test_seconds(void)
{
    static const struct {
        const char *text;
        uint64_t seconds;
    } good[] = {{"0", 0}, {"90", 90}, {"90s", 90}, {"15min", 900}, {"12h", 43200}, {"7d", 604800}};
    static const char *const bad[] = {
        "", "s", "-1", "+1", " 1", "1 s", "1m", "31d", "99999999999999999999", "1h1", "0x1"};
    uint64_t seconds;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_cmpint(option_seconds(good[i].text, 30 * 86400, &seconds), ==, 0);
        g_assert_cmpuint(seconds, ==, good[i].seconds);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(option_seconds(bad[i], 30 * 86400, &seconds), ==, HMSG_ERROR_INVALID_ARGS);
}

static void test_range(void)
{
    static const struct {
        const char *text;
        uint64_t offset, length;
    } good[] = {{"0:1", 0, 1},
                {"16384:16384", 16384, 16384},
                {"7:", 7, UINT64_MAX},
                {"18446744073709551615:2", UINT64_MAX, 2}};
    static const char *const bad[] = {"",
                                      ":",
                                      "1",
                                      ":1",
                                      "1:0",
                                      "1-2",
                                      "-1:2",
                                      "+1:2",
                                      " 1:2",
                                      "1: 2",
                                      "1:2x",
                                      "1:-2",
                                      "1::",
                                      "1:2:",
                                      "x:2",
                                      "0x1:2",
                                      "1,2",
                                      "18446744073709551616:1",
                                      "1:18446744073709551616"};
    uint64_t offset, length;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_cmpint(option_range(good[i].text, &offset, &length), ==, 0);
        g_assert_cmpuint(offset, ==, good[i].offset);
        g_assert_cmpuint(length, ==, good[i].length);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(option_range(bad[i], &offset, &length), ==, HMSG_ERROR_INVALID_ARGS);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/options/recovery", test_recovery);
    g_test_add_func("/cli/options/words", test_words);
    g_test_add_func("/cli/options/operands", test_operands);
    g_test_add_func("/cli/options/refused", test_refused);
    g_test_add_func("/cli/options/many-recipients", test_many_recipients);
    g_test_add_func("/cli/options/seconds", test_seconds);
    g_test_add_func("/cli/options/range", test_range);
    return g_test_run();
}
