/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/checks.h"

#include <glib.h>
#include <string.h>

static void expect(const char *manufacturer, uint32_t firmware, const char *result)
{
    TpmFacts facts = {.firmware = {firmware}};
    Finding found;

    g_assert_cmpuint(g_strlcpy(facts.manufacturer, manufacturer, sizeof(facts.manufacturer)), <=, 4);
    found = checks_firmware(&facts);
    if (strcmp(found.result, result) != 0)
        g_error("%s %x is %s", manufacturer, firmware, found.result);
    g_assert_true(strcmp(result, "ok") == 0 || found.help);
}

static void test_firmware(void)
{
    expect("IFX", 0x00050000, "error");
    expect("IFX", 0x0005003d, "error"); /* 5.61 */
    expect("IFX", 0x0005003e, "ok");
    expect("IFX ", 0x00070037, "error"); /* 7.55 */
    expect("IFX", 0x0007003d, "error");
    expect("IFX", 0x0007003e, "ok");
    expect("IFX", 0x00070055, "ok"); /* 7.85 */
    expect("IFXY", 0x00070037, "ok");
    expect("IF", 0x00070037, "ok");
    expect("STM", 0x00070037, "ok");
    expect("", 0, "ok");
    expect("IBM", 0x20191023, "ok");
}

/* Nothing is wrong with the old salt here, but others may be told. */
static void test_signature(void)
{
    Finding common = checks_signature(32), large = checks_signature(222);

    g_assert_cmpstr(common.result, ==, "ok");
    g_assert_null(common.help);
    g_assert_cmpstr(large.result, ==, "ok");
    g_assert_nonnull(strstr(large.text, "222"));
    g_assert_nonnull(strstr(large.help, "updated"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/checks/firmware", test_firmware);
    g_test_add_func("/checks/signature", test_signature);
    return g_test_run();
}
