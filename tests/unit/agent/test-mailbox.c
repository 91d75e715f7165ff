/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mail that arrives: what gets into the inbox, what into quarantine, and what the relay may delete. */

#include "agent/mailbox.h"

#include <string.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/file.h"
#include "tests/unit/agent/mail-scene.h"

#define TEXT "Dear Bob"

typedef struct Fixture {
    Scene s;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    scene_open(&f->s);
    double_know(f->s.d, CONTACT_PINNED, CONTACT_NONE, "alice@relay.example");
    g_assert_cmpint(mailbox_new(f->s.m, &f->s.m->mailbox), ==, 0);
    scene_register(&f->s);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->s.m->mailbox = mailbox_free(f->s.m->mailbox);
    scene_close(&f->s);
}

/* A package of mail from alice (or nobody) to us; exp 0: none. */
static Buf letter(Fixture *f, const TestPerson *from, uint64_t seq, int64_t exp)
{
    int64_t now = clock_realtime() - 100;
    _cleanup_(wire_session_freep) WireSession *session = test_session_new(from, f->s.me, now);
    _cleanup_(buf_done) Buf plain = BUF_MAX(8192);
    Buf package = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(mail_head_build("Plans", NULL, &plain), ==, 0);
    g_assert_cmpint(buf_append_string(&plain, TEXT), ==, 0);
    g_assert_cmpint(package_build(session, seq, now, exp ? now + exp : 0, plain.data, plain.size, &package),
                    ==, 0);
    return package;
}

/* Puts a body into the mailbox and waits until the agent has settled it; the row. */
static InboxRow receive(Fixture *f, const Buf *body)
{
    InboxRow row;
    const char *id = fake_courier_mail(f->s.courier, body->data, body->size);
    Inbox *inbox = mailbox_inbox(f->s.m->mailbox);
    g_autofree char *copy = g_strdup(id);

    while (inbox_get(inbox, copy, &row) != 0 || fake_courier_waiting(f->s.courier) > 0)
        double_turn(f->s.d);
    g_assert_cmpint(inbox_get(inbox, copy, &row), ==, 0);
    return row;
}

static unsigned received(Fixture *f)
{
    g_autofree char *emitted = fake_courier_emitted(f->s.courier);
    unsigned n = 0;

    for (const char *p = emitted; (p = strstr(p, "Received")); p++)
        n++;
    return n;
}

static void test_arrives(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    InboxRow row = receive(f, &body);

    g_assert_cmpint(row.state, ==, INBOX_NEW);
    g_assert_cmpstr(row.skid, ==, f->s.alice->skid);
    g_assert_cmpuint(received(f), ==, 1);
    g_assert_cmpuint(double_count_decrypt(f->s.d), ==, 2); /* the proof of possession, and the session */
}

static void expect_quarantined(Fixture *f, const Buf *body)
{
    unsigned decrypted = double_count_decrypt(f->s.d);
    InboxRow row = receive(f, body);

    g_assert_cmpint(row.state, ==, INBOX_QUARANTINED);
    g_assert_cmpint(row.reason, !=, 0);
    g_assert_cmpuint(received(f), ==, 0);
    (void)decrypted;
}

static void test_garbage(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf good = letter(f, f->s.alice, 0, 3600);
    static const char *const texts[] = {"x", "{}", "[]", "hmsgstr1", "hmsgstr1\0\0\0\1\0\0\0\0{"};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        _cleanup_(buf_done) Buf body = BUF_MAX(100);

        g_assert_cmpint(buf_append(&body, texts[i], strlen(texts[i])), ==, 0);
        expect_quarantined(f, &body);
    }
    for (size_t i = 1; i < 8; i++) {
        _cleanup_(buf_done) Buf body = BUF_MAX(PACKAGE_SIZE_MAX);

        g_assert_cmpint(buf_append(&body, good.data, good.size * i / 8), ==, 0);
        expect_quarantined(f, &body);
    }
    for (size_t i = 0; i < good.size; i += good.size / 40) {
        good.data[i] ^= 1;
        expect_quarantined(f, &good);
        good.data[i] ^= 1;
    }
    /* and good mail still comes */
    InboxRow row = receive(f, &good);
    g_assert_cmpint(row.state, ==, INBOX_NEW);
}

/* More sessions than the TPM opens for one sender: they wait, here and at the relay, and none is lost. */
static void test_budget(Fixture *f, gconstpointer data)
{
    enum { LETTERS = 105, BURST = 100 };
    Inbox *inbox = mailbox_inbox(f->s.m->mailbox);
    char ids[LETTERS][HASH_TEXT_SIZE];
    unsigned taken = 0, held = 0;
    InboxRow row;

    for (unsigned i = 0; i < LETTERS; i++) {
        _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);

        g_strlcpy(ids[i], fake_courier_mail(f->s.courier, body.data, body.size), HASH_TEXT_SIZE);
        while (inbox_get(inbox, ids[i], &row) != 0)
            double_turn(f->s.d);
        taken += row.state == INBOX_NEW;
        held += row.state == INBOX_UNCHECKED && row.acknowledge == INBOX_ACK_HELD;
    }
    g_assert_cmpuint(taken, >=, BURST);
    g_assert_cmpuint(held, ==, LETTERS - taken);
    while (fake_courier_waiting(f->s.courier) > held)
        double_turn(f->s.d);
    /* as the timer does after a while */
    while (fake_courier_waiting(f->s.courier) > 0) {
        mailbox_identity_changed(f->s.m->mailbox);
        for (unsigned i = 0; i < 20; i++)
            double_turn(f->s.d);
        g_usleep(20000);
    }
    for (unsigned i = 0; i < LETTERS; i++) {
        g_assert_cmpint(inbox_get(inbox, ids[i], &row), ==, 0);
        g_assert_cmpint(row.state, ==, INBOX_NEW);
    }
}

/* The same package once more, as another body: another id, nothing new. */
static void test_replayed(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    InboxRow row = receive(f, &body);

    g_assert_cmpint(row.state, ==, INBOX_NEW);
    g_assert_cmpuint(received(f), ==, 1);
    g_assert_cmpint(buf_append_string(&body, " "), ==, 0);
    unsigned decrypted = double_count_decrypt(f->s.d);
    expect_quarantined(f, &body);
    g_assert_cmpuint(double_count_decrypt(f->s.d), ==, decrypted);
}

static void test_times(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf expired = letter(f, f->s.alice, 0, 1), without = letter(f, f->s.alice, 1, 0);
    unsigned decrypted = double_count_decrypt(f->s.d);

    expect_quarantined(f, &expired);
    expect_quarantined(f, &without);
    g_assert_cmpuint(double_count_decrypt(f->s.d), ==, decrypted); /* before the TPM */
}

static void test_senders(Fixture *f, gconstpointer data)
{
    static const ContactTrust refused[] = {CONTACT_NONE, CONTACT_BLOCKED, CONTACT_CHANGED};
    _cleanup_(buf_done) Buf anonymous = letter(f, NULL, 0, 3600);
    unsigned decrypted = double_count_decrypt(f->s.d);

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        _cleanup_(buf_done) Buf body = letter(f, f->s.alice, i, 3600);

        double_know(f->s.d, refused[i], refused[i], "alice@relay.example");
        expect_quarantined(f, &body);
    }
    expect_quarantined(f, &anonymous);
    g_assert_cmpuint(double_count_decrypt(f->s.d), ==, decrypted); /* strangers do not keep the TPM busy */
}

/* For another key of the same relay. */
static void test_not_for_us(Fixture *f, gconstpointer data)
{
    _cleanup_(wire_session_freep) WireSession *session =
        test_session_new(f->s.alice, f->s.alice, clock_realtime());
    _cleanup_(buf_done) Buf body = BUF_MAX(PACKAGE_SIZE_MAX);
    int64_t now = session->statement.created;

    g_assert_cmpint(package_build(session, 0, now, now + 60, "x", 1, &body), ==, 0);
    expect_quarantined(f, &body);
}

/* The relay gives something else than what the id names. */
static void test_other_body(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    InboxRow row;

    fake_courier_fault(f->s.courier, FAULT_FETCH_OTHER);
    g_autofree char *id = g_strdup(fake_courier_mail(f->s.courier, body.data, body.size));
    while (fake_courier_count(f->s.courier, "Fetch") == 0)
        double_turn(f->s.d);
    for (int i = 0; i < 100; i++)
        double_turn(f->s.d);
    g_assert_cmpint(inbox_get(mailbox_inbox(f->s.m->mailbox), id, &row), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpuint(fake_courier_waiting(f->s.courier), ==, 1); /* nothing was acknowledged */
}

/* Of a large body, which stays a file: the courier has had a descriptor of it, and does not get at ours. */
static void test_kept_descriptor(Fixture *f, gconstpointer data)
{
    int64_t now = clock_realtime() - 100;
    _cleanup_(wire_session_freep) WireSession *session = test_session_new(f->s.alice, f->s.me, now);
    _cleanup_(buf_done) Buf plain = BUF_MAX(200000), body = BUF_MAX(PACKAGE_SIZE_MAX),
                            bytes = BUF_MAX(PACKAGE_SIZE_MAX);
    g_autofree char *much = g_strnfill(100000, 'm');
    _cleanup_(fd_closep) int fd = -1;

    g_assert_cmpint(mail_head_build("Plans", NULL, &plain), ==, 0);
    g_assert_cmpint(buf_append_string(&plain, much), ==, 0);
    g_assert_cmpint(package_build(session, 0, now, now + 3600, plain.data, plain.size, &body), ==, 0);
    fake_courier_fault(f->s.courier, FAULT_FETCH_KEEP);
    InboxRow row = receive(f, &body);
    g_assert_cmpint(row.state, ==, INBOX_NEW);
    fake_courier_change_body(f->s.courier);
    g_assert_cmpint(inbox_body(mailbox_inbox(f->s.m->mailbox), &row, &bytes, &fd), ==, 0);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(file_read_fd(fd, &bytes), ==, 0);
    g_assert_cmpmem(bytes.data, bytes.size, body.data, body.size);
}

/* The courier does not say to whom the agent speaks: else it would log in wherever the courier likes. */
static void test_elsewhere(Fixture *f, gconstpointer data)
{
    static const char elsewhere[] = "evil.example:7443#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    unsigned nonces = fake_courier_count(f->s.courier, "Nonce");

    fake_courier_mail_elsewhere(f->s.courier, elsewhere);
    fake_courier_mail_elsewhere(f->s.courier, "no relay at all");
    for (int i = 0; i < 100; i++)
        double_turn(f->s.d);
    g_assert_cmpuint(fake_courier_count(f->s.courier, "Nonce"), ==, nonces);
    g_assert_null(f->s.m->mailbox->relays->next); /* nothing is kept for it */
}

/* What nobody asked for is not acknowledged, and is no reason to ask again at once. */
static void test_acknowledged_other(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);

    fake_courier_fault(f->s.courier, FAULT_ACKNOWLEDGE_OTHER);
    g_assert_cmpint(receive(f, &body).state, ==, INBOX_NEW);
    for (int i = 0; i < 100; i++)
        double_turn(f->s.d);
    g_assert_cmpuint(fake_courier_count(f->s.courier, "Acknowledge"), ==, 1);
}

static void on_synced(int r, const char *detail, const MailboxSync *result, void *userdata)
{
    *(bool *)userdata = true;
}

/* A page that leads no further is the last one. */
static void test_endless_list(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    bool done = false;

    fake_courier_fault(f->s.courier, FAULT_LIST_ENDLESS);
    (void)fake_courier_mail(f->s.courier, body.data, body.size);
    g_assert_cmpint(mailbox_sync(f->s.m->mailbox, on_synced, &done, &q), ==, 0);
    double_run(f->s.d, &done);
    g_assert_cmpuint(fake_courier_count(f->s.courier, "List"), <=, 2);
}

static void test_locked(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    InboxRow row;

    double_lock(f->s.d);
    row = receive(f, &body); /* durable, and so acknowledged */
    g_assert_cmpint(row.state, ==, INBOX_UNCHECKED);
    g_assert_cmpuint(received(f), ==, 1);
    double_unlock(f->s.d);
    mailbox_identity_changed(f->s.m->mailbox);
    while (row.state == INBOX_UNCHECKED) {
        double_turn(f->s.d);
        g_assert_cmpint(inbox_get(mailbox_inbox(f->s.m->mailbox), row.id, &row), ==, 0);
    }
    g_assert_cmpint(row.state, ==, INBOX_NEW);
}

/* While nothing can be checked not everything is taken in: it stays at the relay. */
static void test_no_room(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    Inbox *inbox = mailbox_inbox(f->s.m->mailbox);
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    StoreBody large = {.bytes = BUF_MAX(10)};
    InboxRow row = {
        .state = INBOX_UNCHECKED, .size = INBOX_UNCHECKED_BYTES_MAX, .acknowledge = INBOX_ACK_DONE};
    bool done = false;

    double_lock(f->s.d);
    memset(row.id, 'L', sizeof(row.id) - 1);
    memset(row.submitter, 'S', sizeof(row.submitter) - 1);
    g_strlcpy(row.relay, fake_courier_relay(f->s.courier), sizeof(row.relay));
    g_assert_cmpint(inbox_put(inbox, &row, &large, NULL), ==, 0);
    (void)fake_courier_mail(f->s.courier, body.data, body.size);
    for (int i = 0; i < 100; i++)
        double_turn(f->s.d);
    g_assert_cmpuint(fake_courier_count(f->s.courier, "Fetch"), ==, 0);
    g_assert_cmpuint(fake_courier_waiting(f->s.courier), ==, 1);

    g_assert_cmpint(inbox_delete(inbox, row.id), ==, 0);
    g_assert_cmpint(mailbox_sync(f->s.m->mailbox, on_synced, &done, &q), ==, 0);
    double_run(f->s.d, &done);
    while (fake_courier_waiting(f->s.courier) > 0)
        double_turn(f->s.d);
}

/* A TPM in trouble might have lost the key: the relay keeps its copy until we know. */
static void test_tpm_fails(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    Inbox *inbox = mailbox_inbox(f->s.m->mailbox);
    InboxRow row = {0};

    double_fail(f->s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    g_autofree char *id = g_strdup(fake_courier_mail(f->s.courier, body.data, body.size));
    while (inbox_get(inbox, id, &row) != 0)
        double_turn(f->s.d);
    for (int i = 0; i < 100; i++)
        double_turn(f->s.d);
    g_assert_cmpint(inbox_get(inbox, id, &row), ==, 0);
    g_assert_cmpint(row.state, ==, INBOX_UNCHECKED);
    g_assert_cmpuint(fake_courier_waiting(f->s.courier), ==, 1);

    double_fail(f->s.d, 0);
    mailbox_identity_changed(f->s.m->mailbox);
    while (row.state == INBOX_UNCHECKED || fake_courier_waiting(f->s.courier) > 0) {
        double_turn(f->s.d);
        g_assert_cmpint(inbox_get(inbox, id, &row), ==, 0);
    }
    g_assert_cmpint(row.state, ==, INBOX_NEW);
}

typedef struct Reading {
    bool done;
    int r;
    char *content, *subject;
    bool verified;
} Reading;

static void on_read(int r, const char *detail, const OpenInfo *info, const MailHead *head, int64_t at,
                    const Buf *content, void *userdata)
{
    Reading *x = userdata;

    x->done = true;
    x->r = r;
    if (r != 0)
        return;
    x->content = g_strdup(buf_text(content));
    x->subject = g_strdup(head->subject);
    x->verified = info->verified;
}

static void test_read(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);
    InboxRow row = receive(f, &body);
    _cleanup_(mailbox_request_freep) MailboxRequest *q = NULL;
    Reading x = {0};

    g_assert_cmpint(mailbox_read(f->s.m->mailbox, row.id, false, on_read, &x, &q), ==, 0);
    double_run(f->s.d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpstr(x.content, ==, TEXT);
    g_assert_cmpstr(x.subject, ==, "Plans");
    g_assert_true(x.verified);
    g_free(x.content);
    g_free(x.subject);
    g_assert_cmpint(inbox_get(mailbox_inbox(f->s.m->mailbox), row.id, &row), ==, 0);
    g_assert_cmpint(row.state, ==, INBOX_READ);
    g_assert_cmpint(mailbox_delete(f->s.m->mailbox, row.id), ==, 0);
    g_assert_cmpint(mailbox_delete(f->s.m->mailbox, row.id), ==, HMSG_ERROR_NOT_FOUND);
}

/* The connection ends while something waits: it comes with the next one. */
static void test_disconnected(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf body = letter(f, f->s.alice, 0, 3600);

    fake_courier_disconnect(f->s.courier);
    InboxRow row = receive(f, &body);
    g_assert_cmpint(row.state, ==, INBOX_NEW);
    fake_courier_die(f->s.courier);
    _cleanup_(buf_done) Buf next = letter(f, f->s.alice, 1, 3600);
    row = receive(f, &next);
    g_assert_cmpint(row.state, ==, INBOX_NEW);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/mailbox/arrives", test_arrives},
        {"/mailbox/garbage", test_garbage},
        {"/mailbox/replayed", test_replayed},
        {"/mailbox/budget", test_budget},
        {"/mailbox/times", test_times},
        {"/mailbox/senders", test_senders},
        {"/mailbox/not-for-us", test_not_for_us},
        {"/mailbox/other-body", test_other_body},
        {"/mailbox/locked", test_locked},
        {"/mailbox/tpm-fails", test_tpm_fails},
        {"/mailbox/read", test_read},
        {"/mailbox/disconnected", test_disconnected},
        {"/mailbox/kept-descriptor", test_kept_descriptor},
        {"/mailbox/elsewhere", test_elsewhere},
        {"/mailbox/acknowledged-other", test_acknowledged_other},
        {"/mailbox/endless-list", test_endless_list},
        {"/mailbox/no-room", test_no_room},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}
