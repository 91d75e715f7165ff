/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From the call of Send to the signal Received of another user's agent, by way of a relay, all on one
 * machine, one message after another: each waits until the one before is delivered. What the emulated TPMs
 * compute meanwhile is taken off: that is the time which their processes were on a processor. */

#include <stdlib.h>
#include <string.h>

#include "tests/bench/service.h"
#include "tests/lib/scene.h"

#define WARM_UP 5u
#define ROUNDS 200u
#define BAR 10.0 /* ms */
#define AGENT_NAME "org.hmsg.Agent1"
#define AGENT_PATH "/org/hmsg/Agent1"
#define MAIL AGENT_NAME ".Mail"
#define WAIT (600ull * 1000000ull)

typedef struct Side {
    sd_bus *bus;
    SceneUser *user;
    unsigned arrived; /* signals that were waited for */
} Side;

typedef struct Times {
    double whole[ROUNDS], reply[ROUNDS], tpm[ROUNDS], without[ROUNDS];
} Times;

static void check(int r, const sd_bus_error *error)
{
    if (r < 0)
        g_error("%s", error && error->message ? error->message : g_strerror(-r));
}

static int on_received(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Side *s = userdata;

    s->arrived++;
    return 0;
}

static int on_state(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Side *s = userdata;
    const char *id, *recipient, *state;

    check(sd_bus_message_read(m, "sss", &id, &recipient, &state), NULL);
    if (strcmp(state, "failed") == 0 || strcmp(state, "expired") == 0)
        g_error("the message %s is %s", id, state);
    s->arrived += strcmp(state, "delivered") == 0;
    return 0;
}

static void side_new(Side *s, SceneUser *user, const char *signal, sd_bus_message_handler_t handler)
{
    *s = (Side){.bus = bench_bus_open(scene_bus_address(user)), .user = user};
    check(sd_bus_match_signal(s->bus, NULL, AGENT_NAME, AGENT_PATH, MAIL, signal, handler, s), NULL);
}

static void await(Side *s, unsigned n)
{
    while (s->arrived < n) {
        int r = sd_bus_process(s->bus, NULL);

        check(r, NULL);
        if (r == 0 && s->arrived < n) {
            r = sd_bus_wait(s->bus, WAIT);
            check(r, NULL);
            if (r == 0)
                g_error("waited in vain for a signal");
        }
    }
}

static void send_text(const Side *s, const char *to)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *call = NULL, *reply = NULL;
    uint8_t text[256] = {'H', 'i'};

    check(sd_bus_message_new_method_call(s->bus, &call, AGENT_NAME, AGENT_PATH, MAIL, "Send"), NULL);
    check(sd_bus_message_append(call, "as", 1, to), NULL);
    check(sd_bus_message_append_array(call, 'y', text, sizeof(text)), NULL);
    check(sd_bus_message_append(call, "a{sv}", 0), NULL);
    check(sd_bus_call(s->bus, call, WAIT, &error, &reply), &error);
    sd_bus_message_unref(call);
    sd_bus_message_unref(reply);
}

/* Microseconds that a user's TPM was on a processor so far (/proc/PID/schedstat). */
static double tpm_time(const SceneUser *u)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/schedstat", test_swtpm_pid(scene_tpm(u)));
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    if (!g_file_get_contents(path, &text, NULL, &error))
        g_error("%s", error->message);
    return (double)g_ascii_strtoull(text, NULL, 10) / 1e3;
}

static void one(Side *from, Side *to, unsigned i, Times *ret)
{
    double tpm = tpm_time(from->user) + tpm_time(to->user);
    double before = bench_now(), reply;

    send_text(from, scene_address(to->user));
    reply = bench_now() - before;
    await(to, to->arrived + 1);
    if (ret) {
        ret->whole[i] = bench_now() - before;
        ret->reply[i] = reply;
        ret->tpm[i] = tpm_time(from->user) + tpm_time(to->user) - tpm;
        ret->without[i] = ret->whole[i] - ret->tpm[i];
    }
    await(from, from->arrived + 1);
}

static void measure(Side *from, Side *to)
{
    g_autofree Times *t = g_new0(Times, 1);
    double p50;

    for (unsigned i = 0; i < WARM_UP; i++)
        one(from, to, i, NULL);
    for (unsigned i = 0; i < ROUNDS; i++)
        one(from, to, i, t);
    p50 = bench_median(t->without, ROUNDS) / 1e3;
    g_print("Send answers after %.2f ms, Received comes after %.2f ms, TPMs %.2f ms (p50 of each)\n",
            bench_median(t->reply, ROUNDS) / 1e3, bench_median(t->whole, ROUNDS) / 1e3,
            bench_median(t->tpm, ROUNDS) / 1e3);
    g_print("without the TPMs: p95 %.2f ms, p99 %.2f ms\n", t->without[ROUNDS * 95 / 100] / 1e3,
            t->without[ROUNDS * 99 / 100] / 1e3);
    bench_at_most("online delivery, Send to Received, p50 without the TPM", p50, BAR, "ms");
}

int main(void)
{
    Side from, to;

    if (!test_swtpm_available()) {
        g_print("swtpm is not installed\n");
        return 77;
    }
    g_autoptr(Scene) scene = scene_new();
    scene_relay_start(scene);
    SceneUser *alice = scene_user_new(scene, "alice"), *bob = scene_user_new(scene, "bob");
    scene_user_register(alice);
    scene_user_register(bob);
    side_new(&from, alice, "StateChanged", on_state);
    side_new(&to, bob, "Received", on_received);
    measure(&from, &to);
    sd_bus_flush_close_unref(from.bus);
    sd_bus_flush_close_unref(to.bus);
    return 0;
}
