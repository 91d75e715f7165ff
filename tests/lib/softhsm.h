/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A PKCS#11 token of the test's own, made by SoftHSM 2 in a folder of its own; the processes that the test
 * starts see it as well (SOFTHSM2_CONF). */

#include <stdbool.h>

#define TEST_SOFTHSM_PIN "1234567"

/* Is SoftHSM installed? Tests that need it are skipped where it is not. */
bool test_softhsm_available(void);
/* Its module, for dlopen(3). */
const char *test_softhsm_module(void);
/* Makes the tokens that the names say in folder, NULL at their end. */
void test_softhsm_set_up(const char *folder, const char *const *names);
/* A URI; attributes behind "pkcs11:", for instance "token=a;object=b". To be freed with g_free. */
char *test_softhsm_uri(const char *attributes);
