/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail on its way out: durable before it is promised, accepted only with the right receipt. */

#include "agent/outbox-targets.h"
#include "agent/outbox.h"
#include "agent/outbox-store.h"

#include <string.h>
#include <sys/mman.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/file.h"
#include "tests/unit/agent/mail-scene.h"

#define TEXT "Dear Alice"

typedef struct Fixture {
    Scene s;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    scene_open(&f->s);
    fake_courier_resolve(f->s.courier, f->s.alice, 0);
    g_assert_cmpint(outbox_new(f->s.m, &f->s.m->outbox), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->s.m->outbox = outbox_free(f->s.m->outbox);
    scene_close(&f->s);
}

typedef struct Outcome {
    bool done;
    int r;
    char id[HASH_TEXT_SIZE];
} Outcome;

static void on_sent(int r, const char *detail, const char *id, void *userdata)
{
    Outcome *o = userdata;

    o->done = true;
    o->r = r;
    if (r == 0)
        g_strlcpy(o->id, id, sizeof(o->id));
}

static const char *const to_alice[] = {"alice@relay.example"};

static Outcome send_text(Fixture *f)
{
    const OutboxSend what = {.recipients = to_alice, .n = 1, .subject = "Plans"};
    _cleanup_(outbox_request_freep) OutboxRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(outbox_send(f->s.m->outbox, &what, TEXT, strlen(TEXT), on_sent, &o, &q), ==, 0);
    double_run(f->s.d, &o.done);
    return o;
}

static OutboxRow row_of(Fixture *f, const Outcome *o)
{
    OutboxRow row = {0};

    g_assert_cmpint(outbox_store_next_of(outbox_store(f->s.m->outbox), o->id, 0, &row), ==, 0);
    return row;
}

static void await_state(Fixture *f, const Outcome *o, OutboxState state)
{
    while (row_of(f, o).state != state)
        double_turn(f->s.d);
}

static void turn_often(Fixture *f)
{
    for (int i = 0; i < 200; i++)
        double_turn(f->s.d);
}

static void test_capability(Fixture *f, gconstpointer data)
{
    static const char code[] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    Outcome o;

    fake_courier_capability(f->s.courier, code);
    o = send_text(f);
    g_assert_cmpint(o.r, ==, 0);
    await_state(f, &o, OUTBOX_ACCEPTED);
    g_assert_cmpstr(fake_courier_submitted_capability(f->s.courier), ==, code);
}

static void test_delivered(Fixture *f, gconstpointer data)
{
    Outcome o = send_text(f);
    int fd = -1;

    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_QUEUED); /* durable before anything is sent */
    await_state(f, &o, OUTBOX_ACCEPTED);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 1);
    g_assert_cmpstr(fake_courier_submitted_capability(f->s.courier), ==, "");
    g_assert_null(memmem(fake_courier_body(f->s.courier)->data, fake_courier_body(f->s.courier)->size, TEXT,
                         strlen(TEXT)));
    while (!relays_is_listening(f->s.m->relays, fake_courier_relay(f->s.courier)))
        double_turn(f->s.d);
    fake_courier_deliver(f->s.courier);
    await_state(f, &o, OUTBOX_DELIVERED);
    OutboxRow row = row_of(f, &o);
    g_assert_cmpint(outbox_store_body(outbox_store(f->s.m->outbox), &row, &fd), ==,
                    HMSG_ERROR_NOT_FOUND); /* gone at once */
    g_autofree char *emitted = fake_courier_emitted(f->s.courier);
    const char *queued = strstr(emitted, " queued"), *accepted = strstr(emitted, " accepted"),
               *delivered = strstr(emitted, " delivered");
    g_assert_true(queued && accepted && delivered && queued < accepted && accepted < delivered);
    g_assert_cmpint(outbox_delete(f->s.m->outbox, o.id), ==, 0);
    g_assert_cmpint(outbox_delete(f->s.m->outbox, o.id), ==, HMSG_ERROR_NOT_FOUND);
}

/* The status may overtake the answer to the submission. */
static void test_status_early(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->s.courier, FAULT_STATUS_EARLY);
    Outcome o = send_text(f);
    await_state(f, &o, OUTBOX_DELIVERED);
}

static void test_wrong_receipts(Fixture *f, gconstpointer data)
{
    static const Fault faults[] = {FAULT_RECEIPT_BODY, FAULT_RECEIPT_SUBMITTER, FAULT_RECEIPT_FORGED};

    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        fake_courier_fault(f->s.courier, faults[i]);
        Outcome o = send_text(f);
        while (!*row_of(f, &o).error)
            double_turn(f->s.d);
        g_assert_cmpint(row_of(f, &o).state, !=, OUTBOX_ACCEPTED);
        g_autofree char *emitted = fake_courier_emitted(f->s.courier);
        g_assert_null(strstr(emitted, " accepted"));
    }
}

/* Keys change while the receipt is on its way: it names us by those of before. */
static void test_rotated(Fixture *f, gconstpointer data)
{
    Outcome o = send_text(f);

    while (fake_courier_submitted(f->s.courier) == 0)
        double_turn(f->s.d);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_QUEUED);
    double_rotate(f->s.d);
    relays_identity_changed(f->s.m->relays);
    outbox_identity_changed(f->s.m->outbox);
    while (row_of(f, &o).state == OUTBOX_QUEUED)
        double_turn(f->s.d);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_ACCEPTED);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 1);
}

static void test_relay_away(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->s.courier, FAULT_UNREACHABLE);
    Outcome o = send_text(f);
    g_assert_cmpint(o.r, ==, 0); /* the promise is the outbox's */
    while (!*row_of(f, &o).error)
        double_turn(f->s.d);
    OutboxRow row = row_of(f, &o);
    g_assert_cmpint(row.state, ==, OUTBOX_QUEUED);
    g_assert_cmpint(row.next_attempt, >, clock_realtime() - 1);

    /* kept over a restart, and tried again */
    f->s.m->outbox = outbox_free(f->s.m->outbox);
    g_assert_cmpint(outbox_new(f->s.m, &f->s.m->outbox), ==, 0);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_QUEUED);
    fake_courier_fault(f->s.courier, FAULT_NONE);
    outbox_hurry(f->s.m->outbox);
    await_state(f, &o, OUTBOX_ACCEPTED);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 1);
}

static void test_busy(Fixture *f, gconstpointer data)
{
    int64_t before = clock_realtime();

    fake_courier_fault(f->s.courier, FAULT_SUBMIT_BUSY);
    Outcome o = send_text(f);
    while (!*row_of(f, &o).error)
        double_turn(f->s.d);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_QUEUED);
    g_assert_cmpint(row_of(f, &o).next_attempt, >=, before + 7); /* as the relay asked */
}

static void test_no_mailbox(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->s.courier, FAULT_SUBMIT_NOT_FOUND);
    Outcome o = send_text(f);
    await_state(f, &o, OUTBOX_FAILED);
    g_assert_cmpint(outbox_retry(f->s.m->outbox, "x"), ==, HMSG_ERROR_NOT_FOUND);
    fake_courier_fault(f->s.courier, FAULT_NONE);
    g_assert_cmpint(outbox_retry(f->s.m->outbox, o.id), ==, 0);
    await_state(f, &o, OUTBOX_ACCEPTED);
}

static void on_trusted(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    Outcome *o = userdata;

    o->done = true;
    o->r = r;
}

/* What waits for a relay that has turned out to be another one goes on waiting, and says why; it goes there
 * when the user says that it is the one. */
static void test_untrusted(Fixture *f, gconstpointer data)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome trusted = {0};
    Relay relay;

    fake_courier_fault(f->s.courier, FAULT_UNREACHABLE);
    Outcome o = send_text(f), other = send_text(f);
    while (!*row_of(f, &o).error)
        double_turn(f->s.d);
    fake_courier_change_key(f->s.courier, SIGNER_NONE);
    fake_courier_fault(f->s.courier, FAULT_NONE);
    outbox_hurry(f->s.m->outbox);
    while (!strstr(row_of(f, &o).error, "pinned key"))
        double_turn(f->s.d);
    turn_often(f);
    g_assert_cmpint(row_of(f, &o).state, ==, OUTBOX_QUEUED);
    g_assert_cmpint(row_of(f, &other).state, ==, OUTBOX_QUEUED);
    g_assert_cmpint(row_of(f, &o).next_attempt, >, clock_realtime() - 1);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 0);

    g_assert_cmpint(relay_parse(fake_courier_relay(f->s.courier), &relay), ==, 0);
    fake_courier_know(f->s.courier, f->s.alice, "alice");
    g_assert_cmpint(relays_lookup_name(f->s.m->relays, &relay, "alice", NULL, true, on_trusted, &trusted, &q),
                    ==, 0);
    double_run(f->s.d, &trusted.done);
    await_state(f, &o, OUTBOX_ACCEPTED);
    await_state(f, &other, OUTBOX_ACCEPTED);
    g_assert_cmpstr(row_of(f, &o).relay, ==, fake_courier_relay(f->s.courier));
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    OutboxRow row;

    fake_courier_fault(f->s.courier, FAULT_UNREACHABLE);
    Outcome o = send_text(f);
    g_assert_cmpint(outbox_cancel(f->s.m->outbox, o.id), ==, 0);
    g_assert_cmpint(outbox_store_next_of(outbox_store(f->s.m->outbox), o.id, 0, &row), ==,
                    HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(outbox_cancel(f->s.m->outbox, o.id), ==, HMSG_ERROR_NOT_FOUND);
    fake_courier_fault(f->s.courier, FAULT_NONE);
    outbox_hurry(f->s.m->outbox);
    turn_often(f);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 0);
    Outcome sent = send_text(f);
    await_state(f, &sent, OUTBOX_ACCEPTED);
    g_assert_cmpint(outbox_cancel(f->s.m->outbox, sent.id), ==, HMSG_ERROR_ALREADY_EXISTS);
}

static void test_guest(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->s.courier, FAULT_UNKNOWN_KEY);
    Outcome o = send_text(f);
    await_state(f, &o, OUTBOX_ACCEPTED);
    g_assert_cmpuint(fake_courier_count(f->s.courier, "Register"), ==, 1);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    OutboxSend what = {.recipients = to_alice, .n = 0};
    OutboxRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(outbox_send(f->s.m->outbox, &what, "x", 1, on_sent, &o, &q), ==, HMSG_ERROR_INVALID_ARGS);
    what.n = 1;
    what.expires_in = PACKAGE_EXPIRY_MAX + 1;
    g_assert_cmpint(outbox_send(f->s.m->outbox, &what, "x", 1, on_sent, &o, &q), ==, HMSG_ERROR_INVALID_ARGS);
    what.expires_in = 0;
    what.file_name = "../x";
    g_assert_cmpint(outbox_send(f->s.m->outbox, &what, "x", 1, on_sent, &o, &q), ==, HMSG_ERROR_INVALID_ARGS);
    fake_courier_resolve(f->s.courier, NULL, HMSG_ERROR_UNTRUSTED);
    o = send_text(f);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    fake_courier_resolve(f->s.courier, f->s.alice, 0);
    double_lock(f->s.d);
    o = send_text(f);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_LOCKED);
    turn_often(f);
    g_assert_cmpuint(fake_courier_submitted(f->s.courier), ==, 0);
}

/* Over 1 MiB it is a stream; a client's descriptor is read to its end. */
static void test_large(Fixture *f, gconstpointer data)
{
    enum { SIZE = 3000000 };
    const OutboxSend what = {.recipients = to_alice, .n = 1, .file_name = "plans.bin"};
    g_autofree uint8_t *content = g_malloc0(SIZE);
    _cleanup_(fd_closep) int fd = memfd_create("test", MFD_CLOEXEC);
    _cleanup_(outbox_request_freep) OutboxRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(file_write_fd(fd, content, SIZE), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(outbox_send_fd(f->s.m->outbox, &what, fd, NULL, on_sent, &o, &q), ==, 0);
    double_run(f->s.d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
    await_state(f, &o, OUTBOX_ACCEPTED);
    const Buf *body = fake_courier_body(f->s.courier);
    g_assert_cmpuint(body->size, >, SIZE);
    g_assert_cmpint(wire_format_detect(body->data, body->size), ==, FORMAT_STREAM);
}

static unsigned rows_of(Fixture *f, const Outcome *o)
{
    OutboxRow row = {0};
    unsigned n = 0;

    while (outbox_store_next_of(outbox_store(f->s.m->outbox), o->id, row.serial, &row) == 0)
        n++;
    return n;
}

static void test_targets(Fixture *f, gconstpointer data)
{
    const char *many[RECIPIENTS_MAX + 1];
    OutboxTargets *t = NULL;
    size_t n = 9;

    for (size_t i = 0; i < G_N_ELEMENTS(many); i++)
        many[i] = "alice@relay.example";
    g_assert_cmpint(outbox_targets_new(NULL, many, 0, false, &t), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(outbox_targets_new(NULL, many, RECIPIENTS_MAX + 1, false, &t), ==,
                    HMSG_ERROR_INVALID_ARGS);
    g_assert_null(t);
    g_assert_cmpint(outbox_targets_new(NULL, many, RECIPIENTS_MAX, false, &t), ==, 0);
    (void)outbox_targets_get(t, &n);
    g_assert_cmpuint(n, ==, 0);
    outbox_targets_stop(t);
    t = outbox_targets_free(t);
    outbox_targets_stop(t);
}

/* A device that agrees gets a message of its own; what else can be with one. */
static void test_devices(Fixture *f, gconstpointer data)
{
    g_autoptr(TestPerson) laptop = test_person_new();
    const struct {
        FakeDevice device;
        int r;
        unsigned rows;
    } cases[] = {
        {{laptop, 0, CONTACT_PINNED, true}, 0, 2},
        {{laptop, 0, CONTACT_PINNED, false}, 0, 1},
        {{laptop, 0, CONTACT_BLOCKED, true}, 0, 1},
        {{laptop, 0, CONTACT_CHANGED, true}, HMSG_ERROR_UNTRUSTED, 0},
        {{laptop, HMSG_ERROR_NOT_FOUND, CONTACT_NONE, false}, 0, 1},
        {{laptop, HMSG_ERROR_RELAY_UNAVAILABLE, CONTACT_NONE, false}, HMSG_ERROR_RELAY_UNAVAILABLE, 0},
        {{f->s.alice, 0, CONTACT_PINNED, true}, 0, 1}, /* each mailbox once */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        fake_courier_device(f->s.courier, &cases[i].device);
        Outcome o = send_text(f);

        g_assert_cmpint(o.r, ==, cases[i].r);
        if (o.r == 0)
            g_assert_cmpuint(rows_of(f, &o), ==, cases[i].rows);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/outbox/delivered", test_delivered},
        {"/outbox/capability", test_capability},
        {"/outbox/devices", test_devices},
        {"/outbox/targets", test_targets},
        {"/outbox/status-early", test_status_early},
        {"/outbox/wrong-receipts", test_wrong_receipts},
        {"/outbox/rotated", test_rotated},
        {"/outbox/relay-away", test_relay_away},
        {"/outbox/untrusted", test_untrusted},
        {"/outbox/busy", test_busy},
        {"/outbox/no-mailbox", test_no_mailbox},
        {"/outbox/cancel", test_cancel},
        {"/outbox/guest", test_guest},
        {"/outbox/refused", test_refused},
        {"/outbox/large", test_large},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}
