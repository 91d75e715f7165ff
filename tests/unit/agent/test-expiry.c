/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An identity that only remembers whether it is locked, and calls that only have a time. */

#include "agent/expiry.h"

#include <errno.h>
#include <glib.h>

#include "agent/access.h"
#include "agent/identity.h"
#include "libhmsg/base/clock.h"
#include "tests/lib/process.h"

#define SECOND UINT64_C(1000000)

struct Identity {
    IdentityState state;
    IdentityPublic public;
    identity_changed_t changed;
    void *userdata;
    uint64_t locked; /* CLOCK_BOOTTIME; 0: never */
};

struct Access {
    uint64_t last_call;
};

typedef struct Scene {
    Manager m;
    Identity identity;
    Access access;
    char *folder;
    Expiry *expiry;
} Scene;

IdentityState identity_state(const Identity *i)
{
    return i->state;
}

const IdentityPublic *identity_public(const Identity *i)
{
    return i->state == IDENTITY_NONE ? NULL : &i->public;
}

int identity_watch(Identity *i, identity_changed_t changed, void *userdata)
{
    i->changed = changed;
    i->userdata = userdata;
    return 0;
}

static void become(Identity *i, IdentityState state)
{
    i->state = state;
    i->changed(i, i->userdata);
}

int identity_lock(Identity *i)
{
    i->locked = clock_boottime();
    become(i, IDENTITY_LOCKED);
    return 0;
}

uint64_t access_last_call(const Access *a)
{
    return a->last_call;
}

static void set_up(Scene *s, gconstpointer data)
{
    s->folder = test_folder_new();
    g_assert_cmpint(sd_event_new(&s->m.event), >=, 0);
    g_assert_cmpint(config_new(&s->m.config), ==, 0);
    s->m.identity = &s->identity;
    s->m.access = &s->access;
    s->identity.state = IDENTITY_READY;
}

static void tear_down(Scene *s, gconstpointer data)
{
    expiry_free(s->expiry);
    sd_event_unref(s->m.event);
    config_free(s->m.config);
    test_folder_remove(s->folder);
}

static int begin(Scene *s, const char *config)
{
    g_autofree char *path = g_build_filename(s->folder, "agent.conf", NULL);

    g_assert_true(g_file_set_contents(path, config, -1, NULL));
    config_free(s->m.config);
    g_assert_cmpint(config_load(path, &s->m.config, NULL), ==, 0);
    return expiry_new(&s->m, &s->expiry);
}

static void run_until_locked(Scene *s)
{
    while (s->identity.state != IDENTITY_LOCKED)
        g_assert_cmpint(sd_event_run(s->m.event, UINT64_MAX), >=, 0);
}

/* A call puts it off. */
static void test_idle(Scene *s, gconstpointer data)
{
    g_assert_cmpint(begin(s, "[lock]\nidle = 1s\n"), ==, 0);
    uint64_t call = s->access.last_call = clock_boottime() + SECOND / 2;
    run_until_locked(s);
    g_assert_cmpuint(s->identity.locked, >=, call + SECOND);
    /* anew after each unlock, whenever the last call was */
    uint64_t unlocked = clock_boottime();
    become(&s->identity, IDENTITY_READY);
    run_until_locked(s);
    g_assert_cmpuint(s->identity.locked, >=, unlocked + SECOND);
}

/* Nothing puts it off. */
static void test_lifetime(Scene *s, gconstpointer data)
{
    uint64_t unlocked = clock_boottime();

    g_assert_cmpint(begin(s, "[lock]\nlifetime = 1s\nidle = 1h\n"), ==, 0);
    s->access.last_call = unlocked + 100 * SECOND;
    become(&s->identity, IDENTITY_UNAVAILABLE); /* the TPM is away: that does not begin it anew */
    run_until_locked(s);
    g_assert_cmpuint(s->identity.locked, >=, unlocked + SECOND);
}

static void test_never(Scene *s, gconstpointer data)
{
    g_assert_cmpint(begin(s, ""), ==, 0);
    become(&s->identity, IDENTITY_LOCKED);
    become(&s->identity, IDENTITY_READY);
    g_assert_cmpint(sd_event_run(s->m.event, 0), ==, 0); /* there is no timer */
    g_assert_cmpint(sd_event_get_state(s->m.event), ==, SD_EVENT_INITIAL);
    g_assert_cmpuint(s->identity.locked, ==, 0);
}

static void test_nothing_to_lock(Scene *s, gconstpointer data)
{
    s->identity.state = IDENTITY_NONE;
    g_assert_cmpint(begin(s, "[lock]\nlifetime = 1s\n"), ==, 0);
    g_assert_cmpint(sd_event_run(s->m.event, 2 * SECOND), ==, 0);
    g_assert_cmpuint(s->identity.locked, ==, 0);
    become(&s->identity, IDENTITY_READY); /* created */
    run_until_locked(s);
}

static void test_config(Scene *s, gconstpointer data)
{
    g_assert_cmpint(begin(s, "[lock]\nidle = soon\n"), ==, -EINVAL);
    g_assert_cmpint(begin(s, "[lock]\nlifetime = 31d\n"), ==, -EINVAL);
    g_assert_null(s->expiry);
}

#define ADD(path, test) g_test_add("/agent/expiry/" path, Scene, NULL, set_up, test, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("idle", test_idle);
    ADD("lifetime", test_lifetime);
    ADD("never", test_never);
    ADD("nothing-to-lock", test_nothing_to_lock);
    ADD("config", test_config);
    return g_test_run();
}
