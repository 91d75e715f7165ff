/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/call.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libhmsg/client/client.h"
#include "libhmsg/client/error.h"
#include "tests/unit/client/fake.h"

typedef struct Fixture {
    Fake fake;
    HmsgClient *client;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    fake_set_up(&f->fake, TRUE);
    g_setenv("DBUS_SESSION_BUS_ADDRESS", test_bus_address(f->fake.bus), TRUE);
    g_assert_cmpint(hmsg_client_new(&f->client), ==, 0);
    g_assert_cmpint(hmsg_client_connect(f->client), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    hmsg_client_free(f->client);
    fake_tear_down(&f->fake);
}

static HmsgCall *call_new(Fixture *f, const char *interface, const char *member)
{
    HmsgCall *call = NULL;

    g_assert_cmpint(hmsg_call_new(f->client, interface, member, &call), ==, 0);
    return call;
}

static void expect_call(const Fixture *f, const char *expected)
{
    g_autofree char *line = fake_last_call(&f->fake);

    g_assert_cmpstr(line, ==, expected);
}

static void test_arguments(Fixture *f, gconstpointer data)
{
    const char *const names[] = {"bob", "carol"};
    const void *const keys[] = {"one", "three"};
    const size_t sizes[] = {3, 5};
    HmsgCall *call = call_new(f, "Cipher", "Encrypt");
    sd_bus_message *reply = NULL;

    hmsg_call_strings(call, names, 2);
    hmsg_call_bytes(call, "plain", 5);
    hmsg_call_option_bytes_list(call, "recipient_keys", keys, sizes, 2);
    hmsg_call_option_bool(call, "sign", false);
    hmsg_call_option_string(call, "format", "seed");
    hmsg_call_option_string(call, "absent", NULL);
    hmsg_call_option_fd(call, "absent", -1);
    hmsg_call_option_fd(call, "pin", 0);
    hmsg_call_option_number(call, "size", UINT64_MAX);
    hmsg_call_option_range(call, "range", 7, UINT64_MAX);
    hmsg_call_option_bytes(call, "key", "", 0);
    g_assert_cmpint(hmsg_call_run(call, &reply), ==, 0);
    expect_call(f, "Cipher.Encrypt [bob,carol] <5> {recipient_keys=[<3>,<5>],sign=false,format=seed,pin=fd,"
                   "size=18446744073709551615,range=7,18446744073709551615,key=<0>}");
    g_assert_true(sd_bus_message_has_signature(reply, "aay"));
    sd_bus_message_unref(reply);
    g_assert_cmpint(hmsg_call_run(call, NULL), <, 0); /* once only */
    g_assert_null(hmsg_call_free(call));
    g_assert_null(hmsg_call_free(NULL));
}

static void test_no_arguments(Fixture *f, gconstpointer data)
{
    HmsgCall *call = call_new(f, "", "GetStatus");

    hmsg_client_set_interactive(f->client, false);
    g_assert_cmpint(hmsg_call_run(call, NULL), ==, 0);
    expect_call(f, ".GetStatus {}");
    hmsg_call_free(call);

    call = call_new(f, "Identity", "Show");
    g_assert_cmpint(hmsg_call_run(call, NULL), ==, 0);
    expect_call(f, "Identity.Show (no-ask) {}");
    hmsg_call_free(call);
}

static int run_string(Fixture *f, const char *interface, const char *member, const char *text)
{
    HmsgCall *call = call_new(f, interface, member);
    int r;

    hmsg_call_string(call, text);
    r = hmsg_call_run(call, NULL);
    hmsg_call_free(call);
    return r;
}

static void test_errors(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run_string(f, "Mail", "Delete", "error-NotFound"), ==, HMSG_E_NOT_FOUND);
    g_assert_true(g_str_has_prefix(hmsg_client_error_text(f->client), "the fake says no"));
    g_assert_cmpint(run_string(f, "Mail", "Delete", "error-TpmLockedOut"), ==, HMSG_E_TPM_LOCKED_OUT);
    g_assert_cmpint(run_string(f, "Mail", "Delete", "error-NoSuchErrorAsThis"), <, 0);
    g_assert_cmpint(run_string(f, "Mail", "Delete", "not\xffutf8"), ==, -EINVAL);
    g_assert_cmpint(run_string(f, "Mail", "Delete", "fine"), ==, 0);

    HmsgCall *call = NULL;
    g_autofree char *long_name = g_strnfill(200, 'x');
    g_assert_cmpint(hmsg_call_new(f->client, long_name, "Show", &call), ==, -EINVAL);
    g_assert_null(call);
}

static void test_not_connected(void)
{
    HmsgClient *c;
    HmsgCall *call;

    g_assert_cmpint(hmsg_client_new(&c), ==, 0);
    g_assert_cmpint(hmsg_call_new(c, "", "GetStatus", &call), ==, -ENOTCONN);
    hmsg_client_free(c);
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    g_assert_cmpuint(done, ==, 5);
    g_assert_cmpuint(total, ==, 10);
    ++*(unsigned *)userdata;
}

static void test_descriptors(Fixture *f, gconstpointer data)
{
    HmsgCall *call = call_new(f, "Cipher", "EncryptFd");
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    const char *const names[] = {"bob"};
    unsigned told = 0;
    char got[16] = "";

    g_assert_cmpint(write(in, "content", 7), ==, 7);
    g_assert_cmpint(lseek(in, 0, SEEK_SET), ==, 0);
    hmsg_call_strings(call, names, 1);
    hmsg_call_fd(call, in);
    hmsg_call_fd(call, out);
    hmsg_call_progress(call, on_progress, &told);
    g_assert_cmpint(hmsg_call_run(call, NULL), ==, 0);
    expect_call(f, "Cipher.EncryptFd [bob] fd fd {job=job-1}");
    g_assert_cmpuint(told, ==, 1);
    g_assert_cmpint(pread(out, got, sizeof(got), 0), ==, 13);
    g_assert_cmpstr(got, ==, "STREAMcontent");
    hmsg_call_free(call);
    close(in);
    close(out);
}

static void test_agent_leaves(Fixture *f, gconstpointer data)
{
    fake_stop(&f->fake);
    g_assert_cmpint(run_string(f, "Mail", "Delete", "x"), <, 0);
}

static void test_agent_ends(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(run_string(f, "Mail", "Delete", "error-Exit"), ==, -ECONNRESET);
    g_assert_cmpstr(hmsg_client_error_text(f->client), ==, "The agent ended before it answered");
    (void)test_process_wait(g_steal_pointer(&f->fake.agent));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/client/call/arguments", Fixture, NULL, set_up, test_arguments, tear_down);
    g_test_add("/client/call/no-arguments", Fixture, NULL, set_up, test_no_arguments, tear_down);
    g_test_add("/client/call/errors", Fixture, NULL, set_up, test_errors, tear_down);
    g_test_add_func("/client/call/not-connected", test_not_connected);
    g_test_add("/client/call/descriptors", Fixture, NULL, set_up, test_descriptors, tear_down);
    g_test_add("/client/call/agent-leaves", Fixture, NULL, set_up, test_agent_leaves, tear_down);
    g_test_add("/client/call/agent-ends", Fixture, NULL, set_up, test_agent_ends, tear_down);
    return g_test_run();
}
