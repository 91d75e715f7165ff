/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The real hmsg-agent on a bus of its own, with a TPM of its own. */

#include <gio/gio.h>

#include "tests/lib/bus.h"
#include "tests/lib/process.h"
#include "tests/lib/swtpm.h"

#define AGENT_NAME "org.hmsg.Agent1"
#define AGENT_PATH "/org/hmsg/Agent1"
#define AGENT AGENT_NAME
#define IDENTITY AGENT_NAME ".Identity"
#define ERROR(name) AGENT_NAME ".Error." name

typedef struct TestAgent {
    char *folder, *data, *program, *log;
    char *courier; /* NULL: the real one */
    TestSwtpm *tpm;
    TestBus *bus;
    TestProcess *process;
    GDBusConnection *client;
} TestAgent;

/* For g_test_add: everything but the agent itself, which agent_start starts. */
void agent_set_up(TestAgent *a, gconstpointer data);
void agent_tear_down(TestAgent *a, gconstpointer data);

/* tcti: NULL for the TPM of a. Waits until it has its name. */
void agent_start(TestAgent *a, const char *tcti);
/* SIGTERM; it must end well. */
void agent_stop(TestAgent *a);
/* Its environment; to be freed with g_strfreev. */
char **agent_environment(const TestAgent *a, const char *tcti);

GDBusConnection *agent_connect(const TestAgent *a);

/* options: of type a{sv} or NULL for none. Fails the test on an error. The reply's tuple. */
GVariant *agent_call(TestAgent *a, const char *interface, const char *method, GVariant *options);
/* The D-Bus name of the error that it must give; to be freed. *ret_message (may be NULL) too. */
char *agent_call_error(TestAgent *a, const char *interface, const char *method, GVariant *options,
                       char **ret_message);
void agent_expect_error(TestAgent *a, const char *interface, const char *method, GVariant *options,
                        const char *name);
/* {key: value} */
GVariant *agent_option(const char *key, GVariant *value);
/* A string of the a{sv} that a method without options answers; to be freed. */
char *agent_fact(TestAgent *a, const char *interface, const char *method, const char *key);
/* The property Identity.State; to be freed. */
char *agent_state(TestAgent *a);
void agent_expect_state(TestAgent *a, const char *expected);
/* name: of an error, which is freed; NULL: none. */
void agent_expect_named(char *name, const char *expected);

/* As a PIN is handed over; owned by the caller. */
int agent_memfd(const char *text);
/* Create with the protection "software" and this password (NULL: none). The name of the error, to be freed;
 * NULL: none. */
char *agent_create_software(TestAgent *a, const char *password);
/* A method of Identity with the option pin. The name of the error, to be freed; NULL: none. Takes over fd. */
char *agent_call_with_fd(TestAgent *a, const char *method, int fd);
