/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/unlocker.h"

#include <glib.h>
#include <string.h>

#include "agent/prompt.h"
#include "libhmsg/base/error.h"

/* An identity and a user that do what the test says, in place of the agent's own. */
struct Identity {
    IdentityPublic public;
    int check;
    uint64_t epoch;
    TpmFacts facts;
    identity_changed_t changed;
    void *changed_userdata;
    int unlock; /* what identity_unlock returns */
    IdentityWork *work;
    unsigned n_unlocks;
    bool forced;
};

struct IdentityWork {
    Identity *i;
    identity_done_t done;
    void *userdata;
};

struct Prompt {
    prompt_done_t done;
    void *userdata;
};

static struct {
    Prompt *prompt; /* on the screen */
    unsigned n;
    int result; /* of prompt_pin */
    char text[200];
} screen;

int identity_check(const Identity *i)
{
    return i->check;
}

const IdentityPublic *identity_public(const Identity *i)
{
    return i->check == HMSG_ERROR_NO_IDENTITY ? NULL : &i->public;
}

uint64_t identity_epoch(const Identity *i)
{
    return i->epoch;
}

const TpmFacts *identity_tpm_facts(const Identity *i)
{
    return &i->facts;
}

int identity_watch(Identity *i, identity_changed_t changed, void *userdata)
{
    i->changed = changed;
    i->changed_userdata = userdata;
    return 0;
}

IdentityWork *identity_work_free(IdentityWork *w)
{
    if (w && w->i->work == w)
        w->i->work = NULL;
    g_free(w);
    return NULL;
}

int identity_unlock(Identity *i, const Secret *pin, bool force, identity_done_t done, void *userdata,
                    IdentityWork **ret)
{
    g_assert_cmpint(memcmp(secret_bytes(pin), "2580", 4) /* public */, ==, 0);
    g_assert_null(i->work);
    i->n_unlocks++;
    i->forced = force;
    if (i->unlock != 0)
        return i->unlock;
    *ret = i->work = g_new0(IdentityWork, 1);
    **ret = (IdentityWork){i, done, userdata};
    return 0;
}

int prompt_pin(sd_event *event, Launcher *l, const char *text, prompt_done_t done, void *userdata,
               Prompt **ret)
{
    g_assert_null(screen.prompt); /* never two */
    if (screen.result != 0)
        return screen.result;
    screen.n++;
    g_strlcpy(screen.text, text, sizeof(screen.text));
    *ret = screen.prompt = g_new0(Prompt, 1);
    **ret = (Prompt){done, userdata};
    return 0;
}

Prompt *prompt_free(Prompt *p)
{
    if (p)
        screen.prompt = NULL;
    g_free(p);
    return NULL;
}

typedef struct Fixture {
    Identity identity;
    Manager m;
} Fixture;

/* A call that waits, and what it was told. */
typedef struct Waiter {
    Fixture *f;
    UnlockWait *wait;
    unsigned n;
    int r;
    char detail[80];
    struct Waiter *begins, *drops; /* when it is told */
} Waiter;

static void set_up(Fixture *f, gconstpointer data)
{
    memset(&screen, 0, sizeof(screen));
    f->identity.check = HMSG_ERROR_LOCKED;
    f->identity.public.has_pin = true;
    f->m.identity = &f->identity;
    g_assert_cmpint(unlocker_new(&f->m, &f->m.unlocker), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    unlocker_free(f->m.unlocker);
    g_assert_null(screen.prompt);
    g_assert_null(f->identity.work);
}

static void begin(Fixture *f, Waiter *w);

static void on_done(int r, const char *detail, void *userdata)
{
    Waiter *w = userdata;

    w->n++;
    w->r = r;
    g_strlcpy(w->detail, detail, sizeof(w->detail));
    w->wait = unlock_wait_free(w->wait);
    if (w->begins)
        begin(w->f, w->begins);
    if (w->drops)
        w->drops->wait = unlock_wait_free(w->drops->wait);
}

static void begin_with(Fixture *f, Waiter *w, bool force)
{
    w->f = f;
    g_assert_cmpint(unlocker_wait(f->m.unlocker, force, on_done, w, &w->wait), ==, 0);
}

static void begin(Fixture *f, Waiter *w)
{
    begin_with(f, w, false);
}

/* The user answers. */
static void say(int r)
{
    _cleanup_(secret_freep) Secret *pin = NULL;

    g_assert_nonnull(screen.prompt);
    if (r == 0)
        g_assert_cmpint(secret_new_copy("2580", 4, &pin), ==, 0);
    screen.prompt->done(r, pin, screen.prompt->userdata);
}

static void tpm_says(Fixture *f, int r, const char *detail)
{
    g_assert_nonnull(f->identity.work);
    f->identity.work->done(r, detail, f->identity.work->userdata);
}

static void change(Fixture *f, int check)
{
    f->identity.check = check;
    f->identity.changed(&f->identity, f->identity.changed_userdata);
}

static void expect(const Waiter *w, int r, const char *detail)
{
    g_assert_cmpuint(w->n, ==, 1);
    g_assert_cmpint(w->r, ==, r);
    g_assert_cmpstr(w->detail, ==, detail);
}

static void test_one_window(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0}, c = {0};

    f->identity.facts.lockout_counter = 3;
    f->identity.facts.lockout_max = 32;
    begin(f, &a);
    begin(f, &b);
    g_assert_nonnull(strstr(screen.text, "3 failures of 32."));
    say(0);
    g_assert_null(screen.prompt);
    begin(f, &c); /* the PIN is being tried */
    g_assert_cmpuint(a.n + b.n + c.n, ==, 0);
    tpm_says(f, 0, "");
    expect(&a, 0, "");
    expect(&b, 0, "");
    expect(&c, 0, "");
    g_assert_cmpuint(screen.n, ==, 1);
    g_assert_cmpuint(f->identity.n_unlocks, ==, 1);
    g_assert_false(f->identity.forced);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    static const struct {
        int r;
        const char *detail;
    } cases[] = {
        {HMSG_ERROR_CANCELLED, ""},
        {HMSG_ERROR_LOCKED, "No pinentry could ask for the PIN"},
        {HMSG_ERROR_INVALID_ARGS, "The PIN is too short or too long"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        Waiter a = {0}, b = {0};

        begin(f, &a);
        begin(f, &b);
        say(cases[i].r);
        expect(&a, cases[i].r, cases[i].detail);
        expect(&b, cases[i].r, cases[i].detail);
        g_assert_null(screen.prompt); /* nobody is asked again */
        g_assert_cmpuint(screen.n, ==, i + 1);
    }
    g_assert_cmpuint(f->identity.n_unlocks, ==, 0);
}

static void test_wrong_pin(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0}, c = {0};

    begin(f, &a);
    begin_with(f, &b, true);
    say(0);
    g_assert_true(f->identity.forced);
    tpm_says(f, HMSG_ERROR_LOCKED, "wrong");
    expect(&a, HMSG_ERROR_LOCKED, "wrong");
    expect(&b, HMSG_ERROR_LOCKED, "wrong");
    f->identity.unlock = HMSG_ERROR_QUOTA_EXCEEDED;
    begin(f, &c);
    say(0);
    expect(&c, HMSG_ERROR_QUOTA_EXCEEDED, "Another PIN is being tried");
    g_assert_false(f->identity.forced);
}

/* Who leaves stops waiting; the window goes with the last, and so does the try. */
static void test_leave(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0};

    begin(f, &a);
    begin(f, &b);
    a.wait = unlock_wait_free(a.wait);
    g_assert_nonnull(screen.prompt);
    b.wait = unlock_wait_free(b.wait);
    g_assert_null(screen.prompt);
    begin(f, &a);
    say(0);
    g_assert_nonnull(f->identity.work);
    a.wait = unlock_wait_free(a.wait);
    g_assert_null(f->identity.work);
    g_assert_cmpuint(a.n + b.n, ==, 0);
}

/* What happens to the identity meanwhile. */
static void test_changed(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0}, c = {0}, d = {0};

    change(f, HMSG_ERROR_LOCKED);
    begin(f, &a);
    change(f, HMSG_ERROR_LOCKED);
    g_assert_cmpuint(a.n, ==, 0);
    f->identity.epoch++; /* Lock */
    change(f, HMSG_ERROR_LOCKED);
    expect(&a, HMSG_ERROR_LOCKED, "The identity was locked again");
    g_assert_null(screen.prompt);
    begin(f, &b);
    change(f, 0); /* another client's Unlock */
    expect(&b, 0, "");
    g_assert_null(screen.prompt);
    f->identity.check = HMSG_ERROR_LOCKED;
    begin(f, &c);
    say(0);
    change(f, HMSG_ERROR_NO_IDENTITY);
    expect(&c, HMSG_ERROR_NO_IDENTITY, "");
    g_assert_null(f->identity.work);
    g_assert_cmpint(unlocker_wait(f->m.unlocker, false, on_done, &d, &d.wait), ==, HMSG_ERROR_LOCKED);
}

/* What callbacks do: the next question is another one, and a wait that was not told yet can go. */
static void test_in_callback(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0}, c = {0}, d = {0};

    a.begins = &d;
    a.drops = &b;
    begin(f, &a);
    begin(f, &b);
    begin(f, &c);
    say(HMSG_ERROR_CANCELLED);
    expect(&a, HMSG_ERROR_CANCELLED, "");
    g_assert_cmpuint(b.n, ==, 0);
    expect(&c, HMSG_ERROR_CANCELLED, "");
    g_assert_cmpuint(d.n, ==, 0);
    g_assert_cmpuint(screen.n, ==, 2);
    say(0);
    tpm_says(f, 0, "");
    expect(&d, 0, "");
}

static void test_not_begun(Fixture *f, gconstpointer data)
{
    Waiter a = {0}, b = {0};

    screen.result = HMSG_ERROR_LOCKED;
    g_assert_cmpint(unlocker_wait(f->m.unlocker, false, on_done, &a, &a.wait), ==, HMSG_ERROR_LOCKED);
    screen.result = 0;
    f->identity.public.has_pin = false;
    g_assert_cmpint(unlocker_wait(f->m.unlocker, false, on_done, &a, &a.wait), ==, HMSG_ERROR_LOCKED);
    g_assert_null(a.wait);
    f->identity.public.has_pin = true;
    begin(f, &b);
    f->m.unlocker = unlocker_free(f->m.unlocker); /* the agent ends */
    g_assert_null(screen.prompt);
    unlock_wait_free(b.wait);
    g_assert_cmpuint(a.n + b.n, ==, 0);
}

#define ADD(path, test) g_test_add("/agent/unlocker/" path, Fixture, NULL, set_up, test, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("one-window", test_one_window);
    ADD("refused", test_refused);
    ADD("wrong-pin", test_wrong_pin);
    ADD("leave", test_leave);
    ADD("changed", test_changed);
    ADD("in-callback", test_in_callback);
    ADD("not-begun", test_not_begun);
    return g_test_run();
}
