/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/options.h"
#include "tests/lib/process.h"

/* Loads this text; returns the error, or NULL. */
static char *load(const char *text, Options *ret)
{
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "relay.conf", NULL);
    char error[OPTIONS_ERROR_SIZE] = "";
    int r;

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    r = options_load(path, ret, error);
    test_folder_remove(folder);
    if (r == 0)
        return NULL;
    g_assert_cmpint(r, ==, HMSG_ERROR_INVALID_ARGS);
    return g_strdup(error);
}

static void test_defaults(void)
{
    Options o = {0};

    g_assert_null(load("[relay]\nhost = relay.example\n", &o));
    g_assert_cmpstr(o.relay.host, ==, "relay.example");
    g_assert_cmpuint(o.relay.port, ==, 7443);
    g_assert_false(o.host_has_port);
    g_assert_cmpstr(o.listen, ==, "[::]:7443");
    g_assert_true(g_str_has_suffix(o.data, "/data"));
    g_assert_true(g_str_has_suffix(o.key, "/identity.pem"));
    g_assert_true(g_str_has_suffix(o.passphrase, "/identity.passphrase"));
    g_assert_cmpint(o.registration, ==, REGISTRATION_OPEN);
    g_assert_true(o.guests);
    g_assert_cmpuint(o.loops, ==, 0);
    g_assert_cmpuint(o.address_connections, ==, 1000);
    g_assert_cmpuint(o.stranger_rate, ==, 120);
    g_assert_cmpuint(o.stranger_share, ==, 25);
    g_assert_cmpuint(o.attachment_size, ==, 256u << 20);
    g_assert_cmpuint(o.message_lifetime, ==, 30 * 86400);
    g_assert_cmpuint(o.rotation_grace, ==, 30 * 86400);
    g_assert_cmpuint(o.key_age, ==, 90 * 86400);
    g_assert_cmpuint(o.identity_age, ==, 90 * 86400);
    g_assert_cmpint(o.store, ==, STORE_SQLITE);
    g_assert_false(o.postgres.quorum);
    options_done(&o);
    g_assert_null(o.data);
}

static void test_all(void)
{
    Options o = {0};

    g_assert_true(g_setenv("CREDENTIALS_DIRECTORY", "/run/credentials/relay", TRUE));
    g_assert_null(load("[relay]\nhost = [2001:db8::1]:443\nlisten = 127.0.0.1:0\ndata = /var/lib/relay\n"
                       "[identity]\nkey = keys/a.pem\npassphrase = credential:word\nrotate-days = 0\n"
                       "[registration]\nmode = invite\nguests = no\n"
                       "[store]\ndata-key-days = 7\n"
                       "[limits]\nthreads = 3\nconnections = 5\nconnections-per-address = 4\nstranger-rate = "
                       "6\nstranger-share = 9\nattachment-size = 1M\nmailbox-size = 2G\n"
                       "mailbox-messages = 7\nstore-size = 9G\nsender-rate = 11\nmessage-lifetime = "
                       "2d\nrotation-grace = 3d\n",
                       &o));
    g_assert_cmpstr(o.relay.host, ==, "[2001:db8::1]");
    g_assert_cmpuint(o.relay.port, ==, 443);
    g_assert_true(o.host_has_port);
    g_assert_cmpstr(o.data, ==, "/var/lib/relay");
    g_assert_true(g_str_has_suffix(o.key, "/keys/a.pem") && o.key[0] == '/');
    g_assert_cmpstr(o.passphrase, ==, "/run/credentials/relay/word");
    g_assert_cmpint(o.registration, ==, REGISTRATION_INVITE);
    g_assert_false(o.guests);
    g_assert_cmpuint(o.key_age, ==, 7 * 86400);
    g_assert_cmpuint(o.identity_age, ==, 0);
    g_assert_cmpuint(o.loops, ==, 3);
    g_assert_cmpuint(o.connections, ==, 5);
    g_assert_cmpuint(o.address_connections, ==, 4);
    g_assert_cmpuint(o.stranger_rate, ==, 6);
    g_assert_cmpuint(o.stranger_share, ==, 9);
    g_assert_cmpuint(o.attachment_size, ==, 1u << 20);
    g_assert_cmpuint(o.mailbox_size, ==, 2ull << 30);
    g_assert_cmpuint(o.mailbox_messages, ==, 7);
    g_assert_cmpuint(o.store_size, ==, 9ull << 30);
    g_assert_cmpuint(o.sender_rate, ==, 11);
    g_assert_cmpuint(o.message_lifetime, ==, 2 * 86400);
    g_assert_cmpuint(o.rotation_grace, ==, 3 * 86400);
    options_done(&o);
}

static void test_port_of_listen(void)
{
    Options o = {0};

    g_assert_null(load("[relay]\nhost = relay.example\nlisten = 0.0.0.0:443\n", &o));
    g_assert_cmpuint(o.relay.port, ==, 443);
    options_done(&o);
    g_assert_true(options_host_has_port("a:1"));
    g_assert_true(options_host_has_port("[::1]:1"));
    g_assert_false(options_host_has_port("[::1]"));
    g_assert_false(options_host_has_port("a"));
}

static void test_postgres(void)
{
    Options o = {0};

    g_assert_true(g_setenv("CREDENTIALS_DIRECTORY", "/run/credentials/relay", TRUE));
    g_assert_null(load("[relay]\nhost = a\nstore = postgres\n[postgres]\n"
                       "connection = host=db1,db2 dbname=hmsg\npassfile = credential:pass\n"
                       "certificate = ca.pem\nquorum = yes\n",
                       &o));
    g_assert_cmpint(o.store, ==, STORE_POSTGRES);
    g_assert_cmpstr(o.postgres.connection, ==, "host=db1,db2 dbname=hmsg");
    g_assert_cmpstr(o.postgres.passfile, ==, "/run/credentials/relay/pass");
    g_assert_true(g_str_has_suffix(o.postgres.certificate, "/ca.pem"));
    g_assert_true(o.postgres.quorum);
    options_done(&o);
}

static void expect_error(const char *text, const char *part)
{
    Options o = {0};
    g_autofree char *error = load(text, &o);

    g_assert_nonnull(error);
    if (!strstr(error, part))
        g_error("\"%s\" does not name %s", error, part);
    g_assert_null(o.data);
}

static void test_errors(void)
{
    expect_error("", "host");
    expect_error("[relay]\nhost = a b\n", "host");
    expect_error("[relay]\nhost = a#3bGXnq_3gDtW9j3KQNC14wvbf5ZI8IeHfxt7_KDiLOM\n", "host");
    expect_error("[relay]\nhost = a\nlisten = 80\n", "listen");
    expect_error("[relay]\nhost = a\nlisten = relay.example:80\n", "listen");
    expect_error("[relay]\nhost = a\nlisten = 127.0.0.1:65536\n", "listen");
    expect_error("[relay]\nhost = a\nhots = a\n", "line 3: [relay] hots");
    expect_error("[relai]\nhost = a\n", "relai");
    expect_error("[relay]\nhost = a\nhost = b\n", "line 3");
    expect_error("[relay]\nhost\n", "line 2");
    expect_error("[relay]\nhost = a\n[limits]\nthreads = 65\n", "threads");
    expect_error("[relay]\nhost = a\n[store]\ndata-key-days = 36501\n", "data-key-days");
    expect_error("[relay]\nhost = a\n[identity]\nrotate-days = -1\n", "rotate-days");
    expect_error("[relay]\nhost = a\n[limits]\nattachment-size = 1\n", "attachment-size");
    expect_error("[relay]\nhost = a\n[limits]\nconnections = many\n",
                 "line 4: [limits] connections: is not a number from 1 to 1000000");
    expect_error("[relay]\nhost = a\n[limits]\nmessage-lifetime = 31d\n", "message-lifetime");
    expect_error("[relay]\nhost = a\n[limits]\nrotation-grace = 367d\n", "rotation-grace");
    expect_error("[relay]\nhost = a\nstore = mysql\n", "line 3: [relay] store");
    expect_error("[relay]\nhost = a\nstore = postgres\n", "[postgres] connection: is missing");
    expect_error("[relay]\nhost = a\n[postgres]\nquorum = 2\n", "line 4: [postgres] quorum");
    expect_error("[relay]\nhost = a\n[registration]\nguests = maybe\n", "line 4: [registration] guests");
}

static void test_no_file(void)
{
    char error[OPTIONS_ERROR_SIZE] = "";
    Options o = {0};

    g_assert_cmpint(options_load("/nonexistent/relay.conf", &o, error), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpstr(error, !=, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/options/defaults", test_defaults);
    g_test_add_func("/server/options/all", test_all);
    g_test_add_func("/server/options/port-of-listen", test_port_of_listen);
    g_test_add_func("/server/options/postgres", test_postgres);
    g_test_add_func("/server/options/errors", test_errors);
    g_test_add_func("/server/options/no-file", test_no_file);
    return g_test_run();
}
