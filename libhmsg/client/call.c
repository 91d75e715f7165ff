/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/macro.h"
#include "libhmsg/client/client-internal.h"

#define CALL_TIMEOUT (120u * UINT64_C(1000000)) /* microseconds */
#define INTERFACE_SIZE_MAX 64u
#define JOB_SIZE_MAX 32u

struct HmsgCall {
    HmsgClient *client;
    sd_bus_message *m;
    int error; /* the first of building it */
    bool in_options;
    bool answered;
    sd_bus_message *reply;
    hmsg_progress_t progress;
    void *userdata;
    char job[JOB_SIZE_MAX];
};

int hmsg_call_new(HmsgClient *c, const char *interface, const char *member, HmsgCall **ret)
{
    char name[INTERFACE_SIZE_MAX];
    HmsgCall *call;
    int n, r;

    if (!c->bus)
        return client_fail(c, -ENOTCONN, NULL);
    n = snprintf(name, sizeof(name), "%s%s%s", AGENT_NAME, *interface ? "." : "", interface);
    if (n < 0 || (size_t)n >= sizeof(name))
        return client_fail(c, -EINVAL, NULL);
    call = calloc(1, sizeof(*call));
    if (!call)
        return client_fail(c, -ENOMEM, NULL);
    call->client = c;
    r = sd_bus_message_new_method_call(c->bus, &call->m, NULL, AGENT_PATH, name, member);
    if (r >= 0)
        r = sd_bus_message_sensitive(call->m);
    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(call->m, c->interactive);
    if (r < 0) {
        hmsg_call_free(call);
        return client_fail(c, r, NULL);
    }
    *ret = call;
    return 0;
}

HmsgCall *hmsg_call_free(HmsgCall *call)
{
    if (!call)
        return NULL;
    sd_bus_message_unref(call->m);
    sd_bus_message_unref(call->reply);
    free(call);
    return NULL;
}

static void note(HmsgCall *call, int r)
{
    if (r < 0 && call->error == 0)
        call->error = r;
}

void hmsg_call_string(HmsgCall *call, const char *value)
{
    note(call, sd_bus_message_append_basic(call->m, 's', value));
}

void hmsg_call_strings(HmsgCall *call, const char *const *values, size_t n)
{
    note(call, sd_bus_message_open_container(call->m, 'a', "s"));
    for (size_t i = 0; i < n; i++)
        note(call, sd_bus_message_append_basic(call->m, 's', values[i]));
    note(call, sd_bus_message_close_container(call->m));
}

void hmsg_call_bytes(HmsgCall *call, const void *data, size_t size)
{
    note(call, sd_bus_message_append_array(call->m, 'y', data, size));
}

void hmsg_call_fd(HmsgCall *call, int fd)
{
    note(call, sd_bus_message_append_basic(call->m, 'h', &fd));
}

static void open_options(HmsgCall *call)
{
    if (!call->in_options)
        note(call, sd_bus_message_open_container(call->m, 'a', "{sv}"));
    call->in_options = true;
}

static void open_option(HmsgCall *call, const char *key, const char *type)
{
    open_options(call);
    note(call, sd_bus_message_open_container(call->m, 'e', "sv"));
    note(call, sd_bus_message_append_basic(call->m, 's', key));
    note(call, sd_bus_message_open_container(call->m, 'v', type));
}

static void close_option(HmsgCall *call)
{
    note(call, sd_bus_message_close_container(call->m));
    note(call, sd_bus_message_close_container(call->m));
}

void hmsg_call_option_string(HmsgCall *call, const char *key, const char *value)
{
    if (!value)
        return;
    open_option(call, key, "s");
    note(call, sd_bus_message_append_basic(call->m, 's', value));
    close_option(call);
}

void hmsg_call_option_bool(HmsgCall *call, const char *key, bool value)
{
    int v = value;

    open_option(call, key, "b");
    note(call, sd_bus_message_append_basic(call->m, 'b', &v));
    close_option(call);
}

void hmsg_call_option_number(HmsgCall *call, const char *key, uint64_t value)
{
    open_option(call, key, "t");
    note(call, sd_bus_message_append_basic(call->m, 't', &value));
    close_option(call);
}

void hmsg_call_option_range(HmsgCall *call, const char *key, uint64_t offset, uint64_t length)
{
    open_option(call, key, "(tt)");
    note(call, sd_bus_message_append(call->m, "(tt)", offset, length));
    close_option(call);
}

void hmsg_call_option_fd(HmsgCall *call, const char *key, int fd)
{
    if (fd < 0)
        return;
    open_option(call, key, "h");
    note(call, sd_bus_message_append_basic(call->m, 'h', &fd));
    close_option(call);
}

void hmsg_call_option_bytes(HmsgCall *call, const char *key, const void *data, size_t size)
{
    open_option(call, key, "ay");
    note(call, sd_bus_message_append_array(call->m, 'y', data, size));
    close_option(call);
}

void hmsg_call_option_bytes_list(HmsgCall *call, const char *key, const void *const *data,
                                 const size_t *sizes, size_t n)
{
    open_option(call, key, "aay");
    note(call, sd_bus_message_open_container(call->m, 'a', "ay"));
    for (size_t i = 0; i < n; i++)
        note(call, sd_bus_message_append_array(call->m, 'y', data[i], sizes[i]));
    note(call, sd_bus_message_close_container(call->m));
    close_option(call);
}

void hmsg_call_progress(HmsgCall *call, hmsg_progress_t f, void *userdata)
{
    (void)snprintf(call->job, sizeof(call->job), "job-%" PRIu64, ++call->client->jobs);
    call->progress = f;
    call->userdata = userdata;
    hmsg_call_option_string(call, "job", call->job);
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    HmsgCall *call = userdata;
    uint64_t done, total;
    const char *job;

    if (sd_bus_message_read(m, "stt", &job, &done, &total) >= 0 && strcmp(job, call->job) == 0)
        call->progress(done, total, call->userdata);
    return 0;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    HmsgCall *call = userdata;

    call->reply = sd_bus_message_ref(m);
    call->answered = true;
    return 1;
}

/* What the agent may ask the user for first, or what takes as long as there is content. */
static bool takes_its_time(const char *member)
{
    static const char *const members[] = {"Create", "Decrypt", "Encrypt",   "ExportPublic",
                                          "Read",   "Recover", "Register",  "Send",
                                          "SetPin", "Unlock",  "Unregister"};
    size_t n = strlen(member);

    for (size_t i = 0; i < ELEMENTSOF(members); i++)
        if (strcmp(member, members[i]) == 0)
            return true;
    return n > 2 && strcmp(member + n - 2, "Fd") == 0;
}

static int wait_for_reply(HmsgCall *call)
{
    sd_bus *bus = call->client->bus;

    while (!call->answered) {
        int r = sd_bus_process(bus, NULL);

        if (r == 0 && !call->answered)
            r = sd_bus_wait(bus, UINT64_MAX);
        if (r < 0 && r != -EINTR && !call->answered)
            return r;
    }
    return 0;
}

int hmsg_call_run(HmsgCall *call, sd_bus_message **ret_reply)
{
    _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *answer = NULL, *progress = NULL;
    HmsgClient *c = call->client;
    int r;

    open_options(call);
    note(call, sd_bus_message_close_container(call->m));
    r = call->answered ? -EALREADY : call->error;
    if (r >= 0 && call->progress)
        r = sd_bus_match_signal(c->bus, &progress, NULL, AGENT_PATH, AGENT_NAME, "Progress", on_progress,
                                call);
    if (r >= 0)
        r = sd_bus_call_async(c->bus, &answer, call->m, on_reply, call,
                              takes_its_time(sd_bus_message_get_member(call->m)) ? UINT64_MAX : CALL_TIMEOUT);
    if (r >= 0)
        r = wait_for_reply(call);
    if (r < 0)
        return client_fail(c, r, NULL);
    (void)sd_bus_message_sensitive(call->reply);
    if (sd_bus_message_is_method_error(call->reply, NULL))
        return client_fail(c, -EIO, sd_bus_message_get_error(call->reply));
    if (ret_reply)
        *ret_reply = TAKE_PTR(call->reply);
    return 0;
}
