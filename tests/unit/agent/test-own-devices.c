/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/own-devices.h"

#include <glib.h>
#include <string.h>

#include "agent/store.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder;
    Store *store;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->store), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)store_free(f->store);
    test_folder_remove(f->folder);
}

static int add(Fixture *f, const char *address, uint8_t key)
{
    OwnDevice d = {.added = 1000 + key};
    uint8_t bytes[KID_SIZE];

    g_strlcpy(d.address, address, sizeof(d.address));
    memset(bytes, key, sizeof(bytes));
    base64url_encode(bytes, sizeof(bytes), d.kid);
    memset(bytes, key + 100, sizeof(bytes));
    base64url_encode(bytes, sizeof(bytes), d.skid);
    return own_devices_add(store_db(f->store), &d);
}

static void test_whole(Fixture *f, gconstpointer data)
{
    Db *db = store_db(f->store);
    OwnDevice all[DEVICES_MAX];
    Devices named;
    uint8_t one[SHA256_SIZE], two[SHA256_SIZE];
    size_t n = 9;

    g_assert_cmpint(own_devices_list(db, all, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
    g_assert_cmpint(own_devices_name(db, &named), ==, 0);
    g_assert_cmpuint(named.n, ==, 0);
    g_assert_cmpint(add(f, "laptop@relay.example", 1), ==, 0);
    g_assert_cmpint(add(f, "phone@relay.example", 1), ==, HMSG_ERROR_ALREADY_EXISTS); /* its keys */
    g_assert_cmpint(add(f, "phone@relay.example", 2), ==, 0);
    g_assert_cmpint(add(f, "laptop@relay.example", 3), ==, 0); /* it has others now */
    g_assert_cmpint(own_devices_list(db, all, &n), ==, 0);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(own_devices_name(db, &named), ==, 0);
    g_assert_cmpint(own_devices_digest(&named, two), ==, 0);
    named.n = 1;
    g_assert_cmpint(own_devices_digest(&named, one), ==, 0);
    g_assert_cmpint(memcmp(one, two, sizeof(one)), !=, 0);
    g_assert_cmpstr(all[0].address, ==, "phone@relay.example");
    g_assert_cmpstr(all[1].address, ==, "laptop@relay.example");
    g_assert_cmpint(all[1].added, ==, 1003);
    g_assert_cmpint(own_devices_name(db, &named), ==, 0);
    g_assert_cmpuint(named.n, ==, 2);
    g_assert_cmpuint(named.list[0].kid[0], ==, 2);
    g_assert_cmpuint(named.list[1].skid[31], ==, 103);
    g_assert_cmpint(own_devices_remove(db, "tablet@relay.example"), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(own_devices_remove(db, "phone@relay.example"), ==, 0);
    g_assert_cmpint(own_devices_name(db, &named), ==, 0);
    g_assert_cmpuint(named.n, ==, 1);
}

static void test_many(Fixture *f, gconstpointer data)
{
    Db *db = store_db(f->store);
    Devices named;

    for (uint8_t i = 0; i < DEVICES_MAX; i++) {
        g_autofree char *address = g_strdup_printf("device%u@relay.example", i);

        g_assert_cmpint(add(f, address, (uint8_t)(i + 1)), ==, 0);
    }
    g_assert_cmpint(add(f, "more@relay.example", 50), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(add(f, "device3@relay.example", 50), ==, 0); /* in its own place */
    g_assert_cmpint(own_devices_name(db, &named), ==, 0);
    g_assert_cmpuint(named.n, ==, DEVICES_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/own-devices/whole", Fixture, NULL, set_up, test_whole, tear_down);
    g_test_add("/own-devices/many", Fixture, NULL, set_up, test_many, tear_down);
    return g_test_run();
}
