/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A D-Bus session bus of the test's own. Unlike GTestDBus it changes nothing in the test's environment, so
 * that one test may have several, one for each user. */

#include <glib.h>

typedef struct TestBus TestBus;

/* Starts dbus-daemon with its socket, log and service files (folder/services) under folder, and waits for it.
 */
TestBus *test_bus_new(const char *folder);
/* Ends it and waits for its end. Takes NULL. */
void test_bus_free(TestBus *b);
/* "unix:path=…" */
const char *test_bus_address(const TestBus *b);
/* The bus starts command (a program and its arguments, with absolute path) when the name is asked for. */
void test_bus_activate(TestBus *b, const char *name, const char *command);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestBus, test_bus_free)
