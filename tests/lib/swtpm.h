/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A TPM of the test's own: swtpm with its state, sockets and log in a folder of its own. It serves one
 * connection at a time; what opens a second one waits. All of it fails the test by g_error() when it cannot
 * be done. */

#include <glib.h>
#include <stdbool.h>

typedef struct TestSwtpm TestSwtpm;

/* Is swtpm installed? Tests that need it are skipped where it is not. */
bool test_swtpm_available(void);

/* Makes a new TPM, starts it and waits for it. folder: where its own folder goes (NULL: a temporary one). */
TestSwtpm *test_swtpm_new(const char *folder);
/* Ends it and removes its folder. Takes NULL. */
void test_swtpm_free(TestSwtpm *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestSwtpm, test_swtpm_free)

/* "swtpm:path=…", for --tcti and HMSG_TCTI; stays the same over restarts. */
const char *test_swtpm_tcti(const TestSwtpm *t);
/* The server's socket; the control socket has ".ctrl" behind it. */
const char *test_swtpm_path(const TestSwtpm *t);
int test_swtpm_pid(const TestSwtpm *t);

/* TPM Init, as at power-on: what was loaded is gone; connections stay. TPM2_Startup is left to the one who
 * holds the connection. */
void test_swtpm_reset(TestSwtpm *t);
/* Ends the emulator, as power-off does; its state stays for test_swtpm_start. */
void test_swtpm_stop(TestSwtpm *t);
void test_swtpm_start(TestSwtpm *t);
/* It hangs: connections are made, commands are not answered. */
void test_swtpm_freeze(TestSwtpm *t);
void test_swtpm_thaw(TestSwtpm *t);
