/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

#define SEQ_DIGITS_MAX 18u

static int read_after(const HttpRequest *r, int64_t *ret)
{
    const char *text = http_request_query(r, "after");
    int64_t n = 0;
    if (text) {
        size_t digits = strlen(text);
        if (digits == 0 || digits > SEQ_DIGITS_MAX || strspn(text, "0123456789") != digits)
            return PROBLEM_BAD_REQUEST;
        for (; *text; text++)
            n = n * 10 + (*text - '0');
    }
    *ret = n;
    return 0;
}

static json_t *write_message(const StoreMessage *m)
{
    json_t *j = json_object();
    int e = json_put_number(j, "seq", m->seq);
    if (e == 0)
        e = json_put_bytes(j, "id", m->id, ID_SIZE);
    if (e == 0)
        e = json_put_number(j, "size", (int64_t)m->size);
    if (e == 0)
        e = json_put_bytes(j, "submitter", m->submitter, KID_SIZE);
    if (e == 0)
        e = json_put_number(j, "expires", m->expires);
    if (e != 0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* GET /v1/mailbox/messages */
int handle_list(HttpRequest *r)
{
    _cleanup_(freep) StoreMessage *list = calloc(LIST_MAX + 1, sizeof(*list));
    _cleanup_(json_decrefp) json_t *j = json_object(), *messages = json_array();
    const Client *c = NULL;
    int64_t after = 0;
    size_t n = 0;
    int e = list && j && messages ? handler_own_mailbox(r, &c) : -ENOMEM;
    if (e == 0)
        e = read_after(r, &after);
    /* One more than is told, to know whether there is more. */
    if (e == 0)
        e = handler_result(store_list(handlers_reader(r), c->kid, after, LIST_MAX + 1, list, &n));
    for (size_t i = 0; e == 0 && i < n && i < LIST_MAX; i++)
        e = json_array_append_new(messages, write_message(&list[i])) == 0 ? 0 : -ENOMEM;
    if (e == 0)
        e = json_put(j, "messages", TAKE_PTR(messages));
    if (e == 0)
        e = json_put(j, "more", json_boolean(n > LIST_MAX));
    if (e == 0)
        http_answer_json(r, 200, j);
    return e;
}

static void end_transfer(void *data)
{
    (void)transfer_end(data);
}

static ssize_t read_file(void *file, uint64_t offset, void *to, size_t n)
{
    return store_file_read(file, offset, to, n);
}

static void free_file(void *file)
{
    (void)store_file_free(file);
}

/* GET /v1/mailbox/messages/{id} */
int handle_fetch(HttpRequest *r)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    const Client *c = NULL;
    uint8_t id[ID_SIZE];
    _cleanup_(store_file_freep) StoreFile *file = NULL;
    uint64_t size = 0;
    int e = handler_own_mailbox(r, &c);
    if (e == 0)
        e = handler_hash(r, 0, id);
    if (e == 0)
        e = handler_result(store_fetch(handlers_reader(r), c->kid, id, &body, &file, &size));
    if (e != 0)
        return e;
    if (!file) {
        http_answer_buf(r, 200, OCTETS, &body);
        return 0;
    }
    Transfer *transfer = NULL;
    e = transfer_begin(handlers_of(r)->transfers, c->skid, c->guest, &transfer);
    if (e != 0)
        return e;
    http_request_set_data(r, transfer, end_transfer);
    http_answer_source(r, 200, OCTETS, &(HttpSource){read_file, free_file, TAKE_PTR(file)}, size);
    return 0;
}

typedef struct Acknowledgement {
    HandlerWrite w;
    json_t *ids; /* as they came, for the answer */
    uint8_t *bytes;
} Acknowledgement;

static Acknowledgement *acknowledgement_free(Acknowledgement *a)
{
    json_decref(a->ids);
    free(a->bytes);
    free(a);
    return NULL;
}
DEFINE_CLEANUP(Acknowledgement *, acknowledgement_free)

static void free_write(HandlerWrite *w)
{
    (void)acknowledgement_free((Acknowledgement *)w);
}

static void tell_senders(HandlerWrite *w)
{
    (void)atomic_fetch_add(&w->handlers->delivered, w->write.n_changes);
    hub_changes(w->handlers->hub, w->write.changes, w->write.n_changes);
}

static int finish_acknowledgement(HandlerWrite *w)
{
    Acknowledgement *a = (Acknowledgement *)w;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = handler_result(w->write.result);
    if (e == 0)
        e = json_put(j, "acknowledged", TAKE_PTR(a->ids));
    if (e == 0)
        http_answer_json(w->request, 200, j);
    return e;
}

static int read_ids(const json_t *j, Acknowledgement *a)
{
    json_t *ids = NULL;
    if (json_get_array(j, "ids", &ids) != 0)
        return PROBLEM_BAD_REQUEST;
    size_t n = json_array_size(ids);
    if (n == 0 || n > ACKNOWLEDGE_IDS_MAX)
        return PROBLEM_BAD_REQUEST;
    a->bytes = calloc(n, ID_SIZE);
    if (!a->bytes)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_string(id) || base64url_decode_exact(json_string_value(id), json_string_length(id),
                                                          a->bytes + i * ID_SIZE, ID_SIZE) != 0)
            return PROBLEM_BAD_REQUEST;
    }
    a->ids = json_incref(ids);
    a->w.write.acknowledge.ids = a->bytes;
    a->w.write.acknowledge.n = n;
    return 0;
}

/* The agent made the MAC with the key of its login: whoever only holds the connection cannot delete. */
static int check_mac(const HttpRequest *r, const Client *c, const json_t *j, const Acknowledgement *a)
{
    uint8_t mac[SHA256_SIZE], expected[SHA256_SIZE];
    if (json_get_bytes(j, "mac", mac, sizeof(mac)) != 0)
        return PROBLEM_BAD_REQUEST;
    int e =
        ack_mac(c->ack_key, relay_key_pin(handlers_of(r)->key), a->bytes, a->w.write.acknowledge.n, expected);
    if (e != 0)
        return handler_result(e);
    return bytes_equal(mac, expected, sizeof(mac)) ? 0 : PROBLEM_REFUSED;
}

/* POST /v1/mailbox/acknowledgements */
int handle_acknowledge(HttpRequest *r)
{
    static const char *const names[] = {"ids", "mac", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(acknowledgement_freep) Acknowledgement *a = calloc(1, sizeof(*a));
    const Client *c = NULL;
    int e = a ? handler_own_mailbox(r, &c) : -ENOMEM;
    if (e == 0)
        e = http_request_json(r, names, &j);
    if (e == 0)
        e = read_ids(j, a);
    if (e == 0)
        e = check_mac(r, c, j, a);
    if (e != 0)
        return e;
    a->w.write.kind = STORE_ACKNOWLEDGE;
    memcpy(a->w.write.acknowledge.mailbox, c->kid, KID_SIZE);
    a->w.stored = tell_senders;
    a->w.finish = finish_acknowledgement;
    a->w.free = free_write;
    return handler_write_start(&TAKE_PTR(a)->w, r);
}
