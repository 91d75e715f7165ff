/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One call of a method of the agent:
 *
 *     HmsgCall *call;
 *     r = hmsg_call_new(client, "Cipher", "Decrypt", &call);
 *     hmsg_call_bytes(call, package, size);
 *     hmsg_call_option_bool(call, "allow_unknown", true);
 *     r = hmsg_call_run(call, &reply);
 *     hmsg_call_free(call);
 *
 * The methods, their arguments and options are described in org.hmsg.Agent1.xml. Arguments come first and in
 * order, options after them. What fails while a call is built is returned by hmsg_call_run. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HmsgClient HmsgClient;
typedef struct HmsgCall HmsgCall;

/* interface: "Cipher" for org.hmsg.Agent1.Cipher, "" for org.hmsg.Agent1. The client must be connected
 * (-ENOTCONN) and outlive the call. */
int hmsg_call_new(HmsgClient *c, const char *interface, const char *member, HmsgCall **ret);
/* Takes NULL, returns NULL. What the message held is overwritten in memory. */
HmsgCall *hmsg_call_free(HmsgCall *call);

/* The next argument. Everything is copied; fd is duplicated. */
void hmsg_call_string(HmsgCall *call, const char *value);
void hmsg_call_strings(HmsgCall *call, const char *const *values, size_t n);
void hmsg_call_bytes(HmsgCall *call, const void *data, size_t size);
void hmsg_call_fd(HmsgCall *call, int fd);

/* An option; the string NULL is no option. */
void hmsg_call_option_string(HmsgCall *call, const char *key, const char *value);
void hmsg_call_option_bool(HmsgCall *call, const char *key, bool value);
void hmsg_call_option_number(HmsgCall *call, const char *key, uint64_t value);
void hmsg_call_option_range(HmsgCall *call, const char *key, uint64_t offset, uint64_t length); /* (tt) */
void hmsg_call_option_fd(HmsgCall *call, const char *key, int fd); /* -1 is no option */
void hmsg_call_option_bytes(HmsgCall *call, const char *key, const void *data, size_t size);
/* n byte strings, of sizes[i] bytes each */
void hmsg_call_option_bytes_list(HmsgCall *call, const char *key, const void *const *data,
                                 const size_t *sizes, size_t n);

/* Called while the call runs; total is 0 while it is not known. Only for methods with the option job. */
typedef void (*hmsg_progress_t)(uint64_t done, uint64_t total, void *userdata);
void hmsg_call_progress(HmsgCall *call, hmsg_progress_t f, void *userdata);

/* Sends the call once and waits for the answer: without limit for Create, Unlock and the methods that end in
 * Fd, two minutes for others (-ETIMEDOUT). -ECONNRESET: the agent ended meanwhile. Signals that arrive are
 * dispatched to their slots. *ret_reply (may be NULL) is to be freed with sd_bus_message_unref; it is
 * overwritten in memory when it is.
 */
int hmsg_call_run(HmsgCall *call, sd_bus_message **ret_reply);

#ifdef __cplusplus
}
#endif
