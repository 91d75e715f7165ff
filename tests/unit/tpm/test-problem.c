/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/problem.h"

#include <glib.h>
#include <string.h>

static void test_errors(void)
{
    g_assert_cmpint(tpm_reason_error(TPM_REASON_NONE), ==, 0);
    for (TpmReason reason = TPM_REASON_NO_ACCESS; reason < TPM_REASON_MAX_; reason++)
        g_assert_cmpint(tpm_reason_error(reason), ==,
                        reason == TPM_REASON_LOCKED_OUT   ? HMSG_ERROR_TPM_LOCKED_OUT
                        : reason == TPM_REASON_WRONG_AUTH ? HMSG_ERROR_LOCKED
                        : reason == TPM_REASON_DESTROYED  ? HMSG_ERROR_NOT_FOUND
                                                          : HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(tpm_reason_error(TPM_REASON_MAX_), ==, HMSG_ERROR_TPM_UNAVAILABLE);
}

static void test_help(void)
{
    const char *help = tpm_reason_help(TPM_REASON_NO_ACCESS);
    g_assert_nonnull(strstr(help, "group tss"));
    g_assert_nonnull(strstr(help, "sudo usermod -aG tss $USER"));
    g_assert_null(tpm_reason_help(TPM_REASON_NONE));
    g_assert_null(tpm_reason_help(TPM_REASON_MAX_));
}

static void test_text(void)
{
    TpmProblem p;
    g_assert_cmpint(tpm_problem_set(&p, TPM_REASON_ABSENT, "device:/dev/tpmrm0", 0), ==,
                    HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpstr(p.text, ==, "there is no TPM here: device:/dev/tpmrm0");
    g_assert_cmpint(tpm_problem_set(&p, TPM_REASON_LOCKED_OUT, NULL, 0x921), ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_cmpuint(p.rc, ==, 0x921);
    g_assert_nonnull(strstr(p.text, "0x921"));
    for (TpmReason reason = TPM_REASON_NO_ACCESS; reason < TPM_REASON_MAX_; reason++) {
        (void)tpm_problem_set(&p, reason, NULL, 0);
        g_assert_cmpint(p.reason, ==, reason);
        g_assert_cmpuint(strlen(p.text), >, 0);
        g_assert_false(g_str_has_suffix(p.text, "."));
    }
    g_assert_cmpint(tpm_problem_set(&p, TPM_REASON_NONE, NULL, 0), ==, 0);
    g_assert_cmpstr(p.text, ==, "");
}

static void test_long(void)
{
    TpmProblem p;
    g_autofree char *where = g_strnfill(1000, 'x');
    (void)tpm_problem_set(&p, TPM_REASON_OTHER, where, 0xfffffffful);
    g_assert_cmpuint(strlen(p.text), ==, TPM_PROBLEM_TEXT_SIZE - 1);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tpm/problem/errors", test_errors);
    g_test_add_func("/tpm/problem/help", test_help);
    g_test_add_func("/tpm/problem/text", test_text);
    g_test_add_func("/tpm/problem/long", test_long);
    return g_test_run();
}
