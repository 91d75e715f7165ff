/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "agent/courier/answer.h"
#include "libhmsg/base/error.h"

#define ID_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define ID_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"

static json_t *parse(const char *text)
{
    json_t *j = NULL;

    g_assert_cmpint(json_parse_object(text, strlen(text), &j), ==, 0);
    return j;
}

static void test_texts(void)
{
    g_autofree char *longest = g_strnfill(JWS_SIZE_MAX, 'a');
    g_autofree char *longer = g_strnfill(JWS_SIZE_MAX + 1, 'a');

    g_assert_true(text_is_id(ID_A));
    g_assert_false(text_is_id(""));
    g_assert_false(text_is_id(ID_A "A"));
    g_assert_false(text_is_id(ID_A "="));
    g_assert_false(text_is_id("../../../../../../../../../../../../../../.."));
    g_assert_true(text_is_jws("e30.e30.AA-_"));
    g_assert_true(text_is_jws(longest));
    g_assert_false(text_is_jws(longer));
    g_assert_false(text_is_jws(""));
    g_assert_false(text_is_jws("a b"));
    g_assert_false(text_is_jws("a\nb"));
    g_assert_false(text_is_jws("a\xc3\xb6"));
}

static void test_members(void)
{
    json_t *j = parse("{\"jws\":\"a.b.c\",\"bad\":\"a b\",\"id\":\"" ID_A
                      "\",\"n\":5,\"negative\":-1,\"state\":\"expired\"}");
    json_t *lost = parse("{\"state\":\"lost\"}");
    const char *text = NULL;
    uint64_t n = 0;

    g_assert_cmpint(answer_get_jws(j, "jws", &text), ==, 0);
    g_assert_cmpstr(text, ==, "a.b.c");
    g_assert_cmpint(answer_get_jws(j, "bad", &text), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_jws(j, "n", &text), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_jws(j, "none", &text), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_id(j, "id", &text), ==, 0);
    g_assert_cmpint(answer_get_id(j, "jws", &text), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_u64(j, "n", 5, &n), ==, 0);
    g_assert_cmpuint(n, ==, 5);
    g_assert_cmpint(answer_get_u64(j, "n", 4, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_u64(j, "negative", UINT64_MAX, &n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_state(j, &text), ==, 0);
    g_assert_cmpstr(text, ==, "expired");
    g_assert_cmpint(answer_get_state(lost, &text), ==, HMSG_ERROR_BAD_PACKAGE);
    json_decref(j);
    json_decref(lost);
}

static void test_mail(void)
{
    const char *const bad[] = {
        "{\"id\":\"" ID_A "\",\"size\":1,\"submitter\":\"" ID_B "\"}",
        "{\"seq\":-1,\"id\":\"" ID_A "\",\"size\":1,\"submitter\":\"" ID_B "\"}",
        "{\"seq\":1.5,\"id\":\"" ID_A "\",\"size\":1,\"submitter\":\"" ID_B "\"}",
        "{\"seq\":1,\"id\":\"x\",\"size\":1,\"submitter\":\"" ID_B "\"}",
        "{\"seq\":1,\"id\":\"" ID_A "\",\"size\":1,\"submitter\":null}",
        "{\"seq\":1,\"id\":\"" ID_A "\",\"size\":\"1\",\"submitter\":\"" ID_B "\"}",
    };
    json_t *j = parse("{\"seq\":1,\"id\":\"" ID_A "\",\"size\":2,\"submitter\":\"" ID_B "\",\"more\":[]}");
    json_t *list = json_array();
    AnswerMail mail;

    g_assert_cmpint(answer_get_mail(j, false, &mail), ==, 0);
    g_assert_cmpuint(mail.seq, ==, 1);
    g_assert_cmpuint(mail.size, ==, 2);
    g_assert_cmpstr(mail.id, ==, ID_A);
    g_assert_cmpstr(mail.submitter, ==, ID_B);
    g_assert_cmpint(answer_get_mail(j, true, &mail), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(answer_get_mail(list, false, &mail), ==, HMSG_ERROR_BAD_PACKAGE);
    json_decref(list);
    json_decref(j);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        j = parse(bad[i]);
        g_assert_cmpint(answer_get_mail(j, false, &mail), ==, HMSG_ERROR_BAD_PACKAGE);
        json_decref(j);
    }
}

static int collect(const char *id, void *userdata)
{
    g_string_append_c(userdata, id[0]);
    return 0;
}

static int each(const char *list, const char *const *asked, size_t n, const char *expected)
{
    g_autofree char *text = g_strdup_printf("{\"ids\":%s}", list);
    GString *out = g_string_new(NULL);
    json_t *j = parse(text);
    int r = answer_each_id(j, "ids", asked, n, collect, out);

    if (r == 0)
        g_assert_cmpstr(out->str, ==, expected);
    g_string_free(out, TRUE);
    json_decref(j);
    return r;
}

static void test_ids(void)
{
    const char *const asked[] = {ID_A, ID_B};

    g_assert_cmpint(each("[]", asked, 2, ""), ==, 0);
    g_assert_cmpint(each("[\"" ID_B "\",\"" ID_A "\"]", asked, 2, "BA"), ==, 0);
    g_assert_cmpint(each("[\"" ID_B "\",\"" ID_B "\"]", asked, 2, ""), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(each("[\"" ID_B "\"]", asked, 1, ""), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(each("[1]", asked, 2, ""), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(each("{}", asked, 2, ""), ==, HMSG_ERROR_BAD_PACKAGE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/courier/answer/texts", test_texts);
    g_test_add_func("/courier/answer/members", test_members);
    g_test_add_func("/courier/answer/mail", test_mail);
    g_test_add_func("/courier/answer/ids", test_ids);
    return g_test_run();
}
