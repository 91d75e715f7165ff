/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/problem.h"

static void test_table(void)
{
    for (Problem p = PROBLEM_BAD_REQUEST; p < PROBLEM_MAX_; p++) {
        g_assert_cmpuint(problem_status(p), >=, 400);
        g_assert_cmpstr(problem_name(p), !=, "");
        g_assert_true(problem_retry(p) ==
                      (problem_status(p) == 429 || problem_status(p) == 503 || problem_status(p) == 507));
    }
    g_assert_cmpstr(problem_name(PROBLEM_MAX_), ==, "internal"); /* out of range */
    g_assert_cmpuint(problem_status((Problem)0), ==, 500);
}

static void test_errors(void)
{
    g_assert_cmpint(problem_from_error(HMSG_ERROR_NOT_FOUND), ==, PROBLEM_NOT_FOUND);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_ALREADY_EXISTS), ==, PROBLEM_CONFLICT);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_BAD_PACKAGE), ==, PROBLEM_BAD_REQUEST);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_AUTHENTICATION_FAILED), ==, PROBLEM_REFUSED);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_QUOTA_EXCEEDED), ==, PROBLEM_FULL);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_STORAGE_FULL), ==, PROBLEM_FULL);
    g_assert_cmpint(problem_from_error(HMSG_ERROR_TOO_LARGE), ==, PROBLEM_TOO_LARGE);
    g_assert_cmpint(problem_from_error(-ENOSPC), ==, PROBLEM_FULL);
    g_assert_cmpint(problem_from_error(-EAGAIN), ==, PROBLEM_UNAVAILABLE);
    g_assert_cmpint(problem_from_error(-EIO), ==, PROBLEM_UNAVAILABLE);
    g_assert_cmpint(problem_from_error(-EROFS), ==, PROBLEM_UNAVAILABLE);
    g_assert_cmpint(problem_from_error(-EMFILE), ==, PROBLEM_UNAVAILABLE);
    g_assert_cmpint(problem_from_error(-ENOMEM), ==, PROBLEM_UNAVAILABLE);
    g_assert_cmpint(problem_from_error(-EBADMSG), ==, PROBLEM_INTERNAL);
}

static void test_document(void)
{
    Buf b = BUF_MAX(1000), little = BUF_MAX(10);

    g_assert_cmpint(problem_write(PROBLEM_CONFLICT, "say \"why\"", &b), ==, 0);
    g_assert_cmpstr(
        buf_text(&b), ==,
        "{\"type\":\"urn:hmsg:problem:conflict\",\"title\":\"It belongs to someone else already\","
        "\"status\":409,\"detail\":\"say \\\"why\\\"\"}");
    buf_clear(&b);
    g_assert_cmpint(problem_write(PROBLEM_NOT_FOUND, NULL, &b), ==, 0);
    g_assert_null(strstr(buf_text(&b), "detail"));
    g_assert_cmpint(problem_write(PROBLEM_NOT_FOUND, NULL, &little), !=, 0);
    buf_done(&b);
    buf_done(&little);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/problem/table", test_table);
    g_test_add_func("/server/problem/errors", test_errors);
    g_test_add_func("/server/problem/document", test_document);
    return g_test_run();
}
