/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls of org.hmsg.Agent1.Cipher. */

#include <gio/gunixfdlist.h>

#include "tests/dbus/agent.h"

#define CIPHER AGENT_NAME ".Cipher"

GVariant *cipher_bytes(const void *data, gsize n);
GByteArray *cipher_array(GVariant *v);

/* The reply, or NULL with the error's name and text, to be freed. ret_name NULL: the test fails on an error.
 */
GVariant *cipher_call(TestAgent *a, const char *method, GVariant *arguments, GUnixFDList *fds,
                      char **ret_name, char **ret_text);
/* PEM, of the decrypt key. */
GByteArray *cipher_public_key(TestAgent *a);
/* Ends options, with the agent's own key as the recipient. */
GVariant *cipher_to_self(TestAgent *a, GVariantDict *options);
/* "text", signed, encrypted to itself. */
GByteArray *cipher_package(TestAgent *a);
/* For a->client: the same interfaces, without the bus. */
GDBusConnection *cipher_channel(TestAgent *a);
