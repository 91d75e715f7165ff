/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/command.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

/* What was parsed points into the words. */
static int find(const char *line, const Command **ret, Options *o, char **why)
{
    g_auto(GStrv) split = g_strsplit(line, " ", -1);
    const char *words[16];
    int n = 0;

    for (char **word = split; *word; word++)
        words[n++] = g_intern_string(*word);
    g_assert_cmpint(options_parse(o, n, (char *const *)(uintptr_t)words, why), ==, 0);
    return command_find(o, ret, why);
}

static void expect(const char *line, const char *name, const char *verb, size_t operands)
{
    const Command *c = NULL;
    char *why = NULL;
    Options o;

    g_assert_cmpint(find(line, &c, &o, &why), ==, 0);
    g_assert_cmpstr(c->name, ==, name);
    g_assert_cmpstr(c->verb, ==, verb);
    g_assert_cmpuint(o.n_operands, ==, operands);
    g_assert_null(why);
}

static void test_find(void)
{
    expect("x status", "status", NULL, 0);
    expect("x --json identity create", "identity", "create", 0);
    expect("x outbox", "outbox", NULL, 0);
    expect("x outbox retry", "outbox", "retry", 0);
    expect("x outbox cancel ID", "outbox", "cancel", 1);
    expect("x contact verify bob aaaa", "contact", "verify", 2);
    expect("x decrypt", "decrypt", NULL, 0);
    expect("x encrypt -r bob file", "encrypt", NULL, 1);
    expect("x contact show --help", "contact", "show", 0);
}

static void expect_complaint(const char *line, const char *complaint)
{
    const Command *c = NULL;
    char *why = NULL;
    Options o;

    g_assert_cmpint(find(line, &c, &o, &why), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpstr(why, ==, complaint);
    free(why);
}

static void test_complaints(void)
{
    expect_complaint("x contact verify", "CONTACT is missing");
    expect_complaint(
        "x identity device",
        "\"identity device\" must be followed by one of: add ADDRESS [FINGERPRINT] | list | remove ADDRESS");
    expect_complaint("x status more", "one word too many: \"more\"");
}

static void test_refused(void)
{
    static const char *const lines[] = {
        "x",
        "x nonsense",
        "x identity",
        "x identity nonsense",
        "x outbox nonsense",
        "x read",
        "x read a b",
        "x status more",
        "x status --raw",
        "x decrypt -r bob",
        "x encrypt --yes",
        "x contact verify",
        "x inbox --list",
        "x lock --name=x",
        "x send --raw",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        const Command *c = NULL;
        char *why = NULL;
        Options o;

        g_assert_cmpint(find(lines[i], &c, &o, &why), ==, HMSG_ERROR_INVALID_ARGS);
        g_assert_nonnull(why);
        free(why);
    }
}

static void test_table(void)
{
    for (size_t i = 0; i < command_count(); i++) {
        const Command *c = &commands[i];

        g_assert_nonnull(c->run);
        g_assert_false(g_str_has_suffix(c->help, "."));
        g_assert_cmpuint(c->operands_min, <=, c->operands_max);
        g_assert_true((c->operands_max > 0) == (*c->operands != 0));
        for (size_t k = 0; k < i; k++)
            g_assert_false(g_str_equal(commands[k].name, c->name) &&
                           g_strcmp0(commands[k].verb, c->verb) == 0);
    }
    for (OptionId id = 0; id < OPTION_MAX_; id++) {
        g_assert_nonnull(option_infos[id].name);
        g_assert_nonnull(option_infos[id].help);
    }
}

static void test_help(void)
{
    Buf text = BUF_MAX(65536);

    g_assert_cmpint(command_overview(&text), ==, 0);
    for (size_t i = 0; i < command_count(); i++)
        g_assert_nonnull(strstr(buf_text(&text), commands[i].help));
    buf_clear(&text);
    g_assert_cmpint(command_help("encrypt", NULL, &text), ==, 0);
    g_assert_nonnull(strstr(buf_text(&text), "Usage: hmsgctl encrypt [OPTION]... [FILE]\n"));
    g_assert_nonnull(strstr(buf_text(&text), "-r, --recipient RECIPIENT"));
    g_assert_null(strstr(buf_text(&text), "--yes"));
    buf_clear(&text);
    g_assert_cmpint(command_help("contact", NULL, &text), ==, 0);
    g_assert_nonnull(strstr(buf_text(&text), "contact add"));
    g_assert_nonnull(strstr(buf_text(&text), "contact forget"));
    buf_clear(&text);
    g_assert_cmpint(command_help("contact", "block", &text), ==, 0);
    g_assert_null(strstr(buf_text(&text), "contact add"));
    g_assert_cmpint(command_help("nonsense", NULL, &text), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(command_help("contact", "nonsense", &text), ==, HMSG_ERROR_INVALID_ARGS);
    buf_done(&text);
}

static char *source(const char *path)
{
    g_autofree char *name = g_build_filename(g_getenv("HMSG_SOURCE"), path, NULL);
    char *text = NULL;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    return text;
}

/* Manual page and completions know every command and option. */
static void test_documents(void)
{
    static const char *const paths[] = {"cli/completions/hmsgctl.bash", "cli/completions/hmsgctl.zsh",
                                        "cli/completions/hmsgctl.fish"};
    g_autofree char *manual = source("docs/hmsgctl.1");

    for (size_t i = 0; i < command_count(); i++) {
        g_autofree char *heading =
            g_strdup_printf(".It Cm %s%s%s", commands[i].name, commands[i].verb ? " " : "",
                            commands[i].verb ? commands[i].verb : "");
        g_assert_nonnull(strstr(manual, heading));
    }
    for (OptionId id = 0; id < OPTION_MAX_; id++) {
        g_autofree char *option = g_strdup_printf(".It Fl -%s", option_infos[id].name);

        if (!strstr(manual, option) && !strstr(manual, option + 4))
            g_error("hmsgctl(1) lacks --%s", option_infos[id].name);
    }
    for (size_t p = 0; p < G_N_ELEMENTS(paths); p++) {
        g_autofree char *text = source(paths[p]);

        for (size_t i = 0; i < command_count(); i++)
            if (!strstr(text, commands[i].name) || (commands[i].verb && !strstr(text, commands[i].verb)))
                g_error("%s lacks %s", paths[p], commands[i].name);
        for (OptionId id = 0; id < OPTION_MAX_; id++)
            if (!strstr(text, option_infos[id].name))
                g_error("%s lacks --%s", paths[p], option_infos[id].name);
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/command/find", test_find);
    g_test_add_func("/cli/command/complaints", test_complaints);
    g_test_add_func("/cli/command/refused", test_refused);
    g_test_add_func("/cli/command/table", test_table);
    g_test_add_func("/cli/command/help", test_help);
    g_test_add_func("/cli/command/documents", test_documents);
    return g_test_run();
}
