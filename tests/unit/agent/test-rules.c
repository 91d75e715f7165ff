/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules.h"

#include <glib.h>
#include <string.h>

#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

#define MAIL "flatpak:org.example.Mail"

typedef struct Fixture {
    char *folder;
    Manager m;
} Fixture;

static void open_rules(Fixture *f)
{
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->m.store), ==, 0);
    g_assert_cmpint(rules_new(&f->m, &f->m.rules), ==, 0);
}

static void close_rules(Fixture *f)
{
    f->m.rules = rules_free(f->m.rules);
    f->m.store = store_free(f->m.store);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    open_rules(f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close_rules(f);
    sd_event_unref(f->m.event);
    test_folder_remove(f->folder);
}

static int count_rule(const Rule *rule, void *userdata)
{
    unsigned *n = userdata;

    (*n)++;
    return 0;
}

static unsigned count(const Fixture *f)
{
    unsigned n = 0;

    g_assert_cmpint(rules_each(f->m.rules, count_rule, &n), ==, 0);
    return n;
}

static Verdict find(const Rules *r, const char *app, const char *permission)
{
    char key[RULES_KEY_SIZE];

    rules_key(app, permission, key);
    return rules_find(r, key);
}

static void test_set(Fixture *f, gconstpointer data)
{
    Rules *r = f->m.rules;

    g_assert_cmpint(find(r, MAIL, "decrypt"), ==, VERDICT_NONE);
    g_assert_cmpint(rules_set(r, MAIL, "decrypt", VERDICT_DENY), ==, 0);
    g_assert_cmpint(rules_set(r, MAIL, "decrypt", VERDICT_ALLOW), ==, 0);
    g_assert_cmpint(rules_set(r, "host", "sign", VERDICT_ASK), ==, 0);
    g_assert_cmpuint(count(f), ==, 2);
    close_rules(f);
    open_rules(f);
    r = f->m.rules;
    g_assert_cmpuint(count(f), ==, 2);
    g_assert_cmpint(find(r, MAIL, "decrypt"), ==, VERDICT_ALLOW);
    g_assert_cmpint(find(r, MAIL, "sign"), ==, VERDICT_NONE);
    g_assert_cmpint(find(r, "host", "sign"), ==, VERDICT_ASK);
    g_assert_cmpint(rules_set(r, MAIL, "decrypt", VERDICT_NONE), ==, 0);
    g_assert_cmpint(rules_set(r, MAIL, "decrypt", VERDICT_NONE), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(find(r, MAIL, "decrypt"), ==, VERDICT_NONE);
    g_assert_cmpint(rules_set(r, "mail", "decrypt", VERDICT_ALLOW), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(rules_set(r, MAIL, "manage", VERDICT_ALLOW), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpuint(count(f), ==, 1);
}

static void test_quota(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < RULES_MAX; i++) {
        g_autofree char *app = g_strdup_printf("snap:a%u", i);

        g_assert_cmpint(rules_set(f->m.rules, app, "sign", VERDICT_ALLOW), ==, 0);
    }
    g_assert_cmpint(rules_set(f->m.rules, MAIL, "sign", VERDICT_ALLOW), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(rules_set(f->m.rules, "snap:a0", "sign", VERDICT_DENY), ==, 0);
}

static int write_use(const Use *u, void *userdata)
{
    g_string_append_printf(userdata, "%s %s %s %d %" G_GUINT64_FORMAT "\n", u->app, u->program, u->permission,
                           u->allowed, u->n);
    g_assert_cmpint(u->first, <=, u->last);
    return 0;
}

static char *uses(Fixture *f, unsigned max)
{
    GString *text = g_string_new(NULL);

    g_assert_cmpint(rules_each_use(f->m.rules, max, write_use, text), ==, 0);
    return g_string_free(text, FALSE);
}

static void test_log(Fixture *f, gconstpointer data)
{
    g_autofree char *one = NULL, *both = NULL, *last = NULL;

    rules_note(f->m.rules, MAIL, "mail", "decrypt", true);
    rules_note(f->m.rules, MAIL, "mail", "decrypt", true);
    one = uses(f, 10);
    g_assert_cmpstr(one, ==, MAIL " mail decrypt 1 2\n");
    rules_note(f->m.rules, MAIL, "mail", "decrypt", true);
    rules_note(f->m.rules, MAIL, "mail", "decrypt", false);
    close_rules(f);
    open_rules(f);
    both = uses(f, 10);
    g_assert_nonnull(strstr(both, MAIL " mail decrypt 1 3\n"));
    g_assert_nonnull(strstr(both, MAIL " mail decrypt 0 1\n"));
    last = uses(f, 1);
    g_assert_cmpuint(strlen(last), ==, strlen(both) / 2);
}

/* Many programs at once: what is in memory is bounded, and nothing of it is lost. */
static void test_many(Fixture *f, gconstpointer data)
{
    const unsigned n = 3 * RULES_LOG_GATHERED_MAX;
    g_autofree char *text = NULL;
    unsigned lines = 0;

    for (unsigned i = 0; i < n; i++) {
        g_autofree char *app = g_strdup_printf("snap:a%u", i);

        rules_note(f->m.rules, app, "a", "sign", true);
    }
    text = uses(f, 2 * n);
    for (const char *t = text; (t = strchr(t, '\n')); t++)
        lines++;
    g_assert_cmpuint(lines, ==, n);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/agent/rules/set", test_set},
        {"/agent/rules/quota", test_quota},
        {"/agent/rules/log", test_log},
        {"/agent/rules/many", test_many},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
