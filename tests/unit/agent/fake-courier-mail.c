/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The mailbox of the relay behind the fake courier. */

#include <string.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/secret.h"
#include "tests/unit/agent/fake-courier-internal.h"

static void tell_status(FakeCourier *f, const char *state)
{
    g_assert_cmpint(sd_bus_emit_signal(f->bus, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Status", "sss",
                                       f->relay, f->submitted_id, state),
                    >=, 0);
}

static char *make_receipt(FakeCourier *f, const char *kid)
{
    Receipt receipt = {.durability = DURABILITY_DISK, .iat = clock_realtime()};
    JwsDraft draft = {0};

    memcpy(receipt.pin, f->pin, PIN_SIZE);
    g_assert_cmpint(base64url_decode_exact(kid, 43, receipt.recipient, KID_SIZE), ==, 0);
    g_assert_cmpint(message_id(receipt.recipient, f->submitted.data, f->submitted.size, receipt.id), ==, 0);
    g_assert_cmpint(crypto_sha256(f->submitted.data, f->submitted.size, receipt.body_sha256), ==, 0);
    receipt.body_sha256[0] ^= f->fault == FAULT_RECEIPT_BODY;
    memcpy(receipt.submitter, f->skid, KID_SIZE);
    receipt.submitter[0] ^= f->fault == FAULT_RECEIPT_SUBMITTER;
    base64url_encode(receipt.id, ID_SIZE, f->submitted_id);
    g_assert_cmpint(receipt_prepare(&receipt, f->online, &draft), ==, 0);
    return fake_sign_online(f, &draft, f->fault == FAULT_RECEIPT_FORGED);
}

int fake_method_submit(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    g_autofree char *receipt = NULL, *relay = NULL;
    FakeCourier *f = userdata;
    const char *kid, *id, *capability;
    uint64_t size, expires;
    int fd;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    if (f->fault == FAULT_SUBMIT_NOT_FOUND)
        return fake_fail(e, "NotFound", "No such mailbox");
    if (f->fault == FAULT_SUBMIT_BUSY)
        return fake_fail(e, "Busy", "retry=7 Too many");
    g_assert_cmpint(sd_bus_message_read(m, "sshtts", &kid, &id, &fd, &size, &expires, &capability), >, 0);
    g_free(f->submitted_capability);
    f->submitted_capability = g_strdup(capability);
    buf_clear(&f->submitted);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(file_read_fd(fd, &f->submitted), ==, 0);
    g_assert_cmpuint(f->submitted.size, ==, size);
    g_assert_cmpuint(expires, >, (uint64_t)clock_realtime());
    receipt = make_receipt(f, kid);
    g_assert_cmpstr(f->submitted_id, ==, id);
    f->n_submitted++;
    if (f->fault == FAULT_STATUS_EARLY)
        tell_status(f, "delivered");
    relay = fake_relay_statement(f);
    return sd_bus_reply_method_return(m, "ss", receipt, relay);
}

int fake_method_status(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    int r = fake_enter(userdata, m, true, e);

    return r < 0 ? r : sd_bus_reply_method_return(m, "s", "accepted");
}

static const char *submitter(void)
{
    return "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSA";
}

int fake_method_list(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    sd_bus_message *reply = NULL;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
    g_assert_cmpint(sd_bus_message_open_container(reply, 'a', "(tstst)"), >=, 0);
    for (guint i = 0; i < f->letters->len; i++) {
        const Letter *l = g_ptr_array_index(f->letters, i);

        g_assert_cmpint(sd_bus_message_append(reply, "(tstst)", l->seq, l->id, g_bytes_get_size(l->body),
                                              submitter(), UINT64_C(4000000000)),
                        >=, 0);
    }
    g_assert_cmpint(sd_bus_message_close_container(reply), >=, 0);
    g_assert_cmpint(sd_bus_message_append(reply, "b", f->fault == FAULT_LIST_ENDLESS), >=, 0);
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static Letter *find_letter(const FakeCourier *f, const char *id)
{
    for (guint i = 0; i < f->letters->len; i++) {
        Letter *l = g_ptr_array_index(f->letters, i);

        if (strcmp(l->id, id) == 0)
            return l;
    }
    return NULL;
}

int fake_method_fetch(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    const Letter *l;
    const char *id;
    size_t n = 0;
    int fd;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read(m, "sh", &id, &fd), >, 0);
    l = find_letter(f, id);
    if (!l)
        return fake_fail(e, "NotFound", "No such message");
    g_assert_cmpint(pwrite(fd, g_bytes_get_data(l->body, &n), g_bytes_get_size(l->body), 0), >, 0);
    if (f->fault == FAULT_FETCH_KEEP)
        f->kept_fd = dup(fd);
    if (f->fault == FAULT_FETCH_OTHER)
        g_assert_cmpint(pwrite(fd, "x", 1, 0), ==, 1);
    return sd_bus_reply_method_return(m, "t", (uint64_t)g_bytes_get_size(l->body));
}

int fake_method_acknowledge(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    g_auto(GStrv) ids = NULL;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint8_t id[ID_SIZE], right[SHA256_SIZE];
    sd_bus_message *reply = NULL;
    const void *mac;
    size_t n;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_strv(m, &ids), >, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &mac, &n), >=, 0);
    for (char **i = ids; *i; i++) {
        Letter *l = find_letter(f, *i);

        g_assert_cmpint(base64url_decode_exact(*i, strlen(*i), id, ID_SIZE), ==, 0);
        g_byte_array_append(bytes, id, ID_SIZE);
        if (l)
            g_ptr_array_remove(f->letters, l);
    }
    g_assert_cmpint(ack_mac(f->ack, f->pin, bytes->data, bytes->len / ID_SIZE, right), ==, 0);
    g_assert_true(n == SHA256_SIZE && bytes_equal(mac, right, SHA256_SIZE));
    g_assert_cmpint(sd_bus_message_new_method_return(m, &reply), >=, 0);
    if (f->fault == FAULT_ACKNOWLEDGE_OTHER)
        ids[0][0] = ids[0][0] == 'A' ? 'B' : 'A';
    g_assert_cmpint(sd_bus_message_append_strv(reply, ids), >=, 0);
    r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

/* One at a time. */
int fake_method_grant(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    CapabilityGrant g = {0};
    uint8_t right[SHA256_SIZE];
    const void *hash, *mac;
    uint64_t expires;
    size_t n, n_mac;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &hash, &n), >=, 0);
    g_assert_cmpint(sd_bus_message_read(m, "tt", &g.uses, &expires), >, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &mac, &n_mac), >=, 0);
    g_assert_cmpuint(n, ==, SHA256_SIZE);
    memcpy(g.hash, hash, SHA256_SIZE);
    g.expires = (int64_t)expires;
    g_assert_cmpint(capability_grant_mac(f->ack, f->pin, &g, right), ==, 0);
    g_assert_cmpmem(mac, n_mac, right, SHA256_SIZE);
    f->granted = 5;
    f->granted_uses = g.uses;
    f->granted_expires = expires;
    return sd_bus_reply_method_return(m, "t", f->granted);
}

int fake_method_capabilities(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    if (f->granted == 0)
        return sd_bus_reply_method_return(m, "a(tttt)", 0);
    return sd_bus_reply_method_return(m, "a(tttt)", 1, f->granted, f->granted_uses, UINT64_C(1000),
                                      f->granted_expires);
}

int fake_method_revoke(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    uint8_t right[SHA256_SIZE];
    uint64_t number;
    const void *mac;
    size_t n;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read(m, "t", &number), >, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &mac, &n), >=, 0);
    g_assert_cmpint(capability_revoke_mac(f->ack, f->pin, number, right), ==, 0);
    g_assert_cmpmem(mac, n, right, SHA256_SIZE);
    if (number != f->granted)
        return fake_fail(e, "NotFound", "No such capability");
    f->granted = 0;
    return sd_bus_reply_method_return(m, "");
}

static void tell_mail(FakeCourier *f, const Letter *l)
{
    g_assert_cmpint(sd_bus_emit_signal(f->bus, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Mail", "ststs",
                                       f->relay, l->seq, l->id, (uint64_t)g_bytes_get_size(l->body),
                                       submitter()),
                    >=, 0);
}

int fake_method_listen(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    f->listening = true;
    r = sd_bus_reply_method_return(m, "");
    for (guint i = 0; i < f->letters->len; i++)
        tell_mail(f, g_ptr_array_index(f->letters, i));
    return r;
}

void fake_letter_free(gpointer p)
{
    Letter *l = p;

    g_bytes_unref(l->body);
    g_free(l);
}

const char *fake_courier_mail(FakeCourier *f, const void *body, size_t size)
{
    Letter *l = g_new0(Letter, 1);
    uint8_t id[ID_SIZE];

    g_assert_cmpint(message_id(identity_public(f->m->identity)->kid_bytes, body, size, id), ==, 0);
    base64url_encode(id, ID_SIZE, l->id);
    l->body = g_bytes_new(body, size);
    l->seq = ++f->seq;
    g_ptr_array_add(f->letters, l);
    if (f->listening)
        tell_mail(f, l);
    return l->id;
}

void fake_courier_mail_elsewhere(FakeCourier *f, const char *relay)
{
    g_assert_cmpint(sd_bus_emit_signal(f->bus, "/org/hmsg/Courier1", "org.hmsg.Courier1", "Mail", "ststs",
                                       relay, UINT64_C(1), submitter(), UINT64_C(100), submitter()),
                    >=, 0);
}

void fake_courier_change_body(FakeCourier *f)
{
    g_assert_cmpint(pwrite(f->kept_fd, "x", 1, 0), ==, 1);
}

unsigned fake_courier_waiting(const FakeCourier *f)
{
    return f->letters->len;
}

unsigned fake_courier_submitted(const FakeCourier *f)
{
    return f->n_submitted;
}

const Buf *fake_courier_body(const FakeCourier *f)
{
    return &f->submitted;
}

void fake_courier_deliver(FakeCourier *f)
{
    tell_status(f, "delivered");
}

FakeSettings *fake_courier_settings(FakeCourier *f)
{
    return &f->settings;
}

int fake_method_settings(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    FakeCourier *f = userdata;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    if (f->fault == FAULT_SETTINGS_OLD)
        return fake_fail(e, "NotFound", "No such thing");
    return sd_bus_reply_method_return(m, "ttt", f->settings.revision, f->settings.lifetime, UINT64_C(86400));
}

int fake_method_set_settings(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    FakeCourier *f = userdata;
    uint8_t right[SHA256_SIZE];
    const uint8_t *senders;
    const void *mac;
    size_t n, n_mac;
    int r = fake_enter(f, m, true, e);

    if (r < 0)
        return r;
    g_assert_cmpint(sd_bus_message_read(m, "tt", &s.revision, &s.lifetime), >, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', (const void **)&senders, &n), >=, 0);
    g_assert_cmpint(sd_bus_message_read_array(m, 'y', &mac, &n_mac), >=, 0);
    g_assert_cmpuint(n % (KID_SIZE + 1), ==, 0);
    s.senders = calloc(n / (KID_SIZE + 1) + 1, sizeof(*s.senders));
    for (; s.n_senders < n / (KID_SIZE + 1); s.n_senders++, senders += KID_SIZE + 1) {
        s.senders[s.n_senders].allowed = senders[0] == 1;
        memcpy(s.senders[s.n_senders].skid, senders + 1, KID_SIZE);
    }
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
    g_assert_cmpint(mailbox_settings_mac(f->ack, f->pin, &s, right), ==, 0);
    g_assert_cmpmem(mac, n_mac, right, SHA256_SIZE);
    if (f->fault == FAULT_SETTINGS_CONFLICT || s.revision <= f->settings.revision)
        return fake_fail(e, "Conflict", "A later revision is here");
    f->settings = (FakeSettings){.revision = s.revision, .lifetime = s.lifetime};
    for (size_t i = 0; i < s.n_senders; i++)
        *(s.senders[i].allowed ? &f->settings.allowed : &f->settings.blocked) += 1;
    return sd_bus_reply_method_return(m, "");
}
