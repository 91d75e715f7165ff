/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/calls.h"
#include "agent/courier/listen.h"
#include "libhmsg/base/error.h"

#define BAD_ID "Ids are base64url of 32 bytes"

int answer_to_submit(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const char *receipt, *relay;
    int r;

    r = answer_get_jws(answer, "receipt", &receipt);
    if (r == 0)
        r = answer_get_jws(answer, "relay", &relay);
    if (r == 0)
        r = appended(sd_bus_message_append(reply, "ss", receipt, relay));
    return r;
}

/* A regular file that is open for this. Nothing of ours waits on it. */
static bool file_is_good(int fd, int access, uint64_t size)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    if (flags < 0 || ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != access) || (flags & O_PATH))
        return false;
    if (access == O_WRONLY && (flags & O_APPEND))
        return false;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= 0 && (uint64_t)st.st_size >= size;
}

int call_submit(Courier *c, sd_bus_message *m, const char *relay, const CourierMail *mail,
                sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    Request *q;
    int r;

    if (!text_is_id(mail->kid) || !text_is_id(mail->id))
        return bad_argument(error, BAD_ID);
    if (*mail->capability && !text_is_id(mail->capability))
        return bad_argument(error, "capability is base64url of 32 bytes, or empty");
    if (mail->size == 0 || mail->size > INT64_MAX || !file_is_good(mail->body, O_RDONLY, mail->size))
        return bad_argument(error, "body is a regular file that holds at least size bytes");
    if (mail->expires > TIME_MAX)
        return bad_argument(error, "expires is a time in seconds since 1970");
    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("PUT", RELAY_BODY_SIZE_MAX, &q, "/v1/mailboxes/%s/messages/%s", mail->kid, mail->id);
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    q->upload = mail->body;
    q->upload_size = mail->size;
    q->expires = mail->expires;
    memcpy(q->capability, mail->capability, strlen(mail->capability) + 1);
    return call_send(TAKE_PTR(call), q, answer_to_submit, error);
}

int answer_to_status(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const char *state;
    int r;

    r = answer_get_state(answer, &state);
    return r == 0 ? appended(sd_bus_message_append(reply, "s", state)) : r;
}

int call_status(Courier *c, sd_bus_message *m, const char *relay, const char *id, sd_bus_error *error)
{
    if (!text_is_id(id))
        return bad_argument(error, BAD_ID);
    return call_json(c, m, relay, true, "GET", NULL, answer_to_status, error, "/v1/submissions/%s", id);
}

static int append_messages(const json_t *list, sd_bus_message *reply)
{
    const json_t *item;
    AnswerMail mail;
    size_t i;
    int r;

    r = appended(sd_bus_message_open_container(reply, 'a', "(tstst)"));
    json_array_foreach (list, i, item) {
        if (r == 0)
            r = answer_get_mail(item, true, &mail);
        if (r == 0)
            r = appended(sd_bus_message_append(reply, "(tstst)", mail.seq, mail.id, mail.size, mail.submitter,
                                               mail.expires));
    }
    return r == 0 ? appended(sd_bus_message_close_container(reply)) : r;
}

int answer_to_list(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    const json_t *more = json_object_get(answer, "more");
    json_t *list = NULL;
    int r;

    r = json_get_array(answer, "messages", &list);
    if (r != 0)
        return r;
    if (json_array_size(list) > LIST_MAX || !json_is_boolean(more))
        return HMSG_ERROR_BAD_PACKAGE;
    r = append_messages(list, reply);
    return r == 0 ? appended(sd_bus_message_append(reply, "b", (int)json_is_true(more))) : r;
}

int call_list(Courier *c, sd_bus_message *m, const char *relay, uint64_t after, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    Request *q;
    int r;

    if (after > INT64_MAX)
        return bad_argument(error, "after is a sequence number");
    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("GET", LIST_ANSWER_SIZE_MAX, &q, "/v1/mailbox/messages?after=%llu",
                    (unsigned long long)after);
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    return call_send(TAKE_PTR(call), q, answer_to_list, error);
}

static int finish_fetch(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    return appended(sd_bus_message_append(reply, "t", q->received));
}

int call_fetch(Courier *c, sd_bus_message *m, const char *relay, const char *id, int destination,
               sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    Request *q;
    int r;

    if (!text_is_id(id))
        return bad_argument(error, BAD_ID);
    if (!file_is_good(destination, O_WRONLY, 0))
        return bad_argument(error, "destination is a regular file that is open for writing");
    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("GET", RELAY_BODY_SIZE_MAX, &q, "/v1/mailbox/messages/%s", id);
    if (r < 0)
        return failed(error, r);
    q->want_type = "application/octet-stream";
    q->download = destination;
    q->download_max = FETCH_SIZE_MAX;
    return call_send(TAKE_PTR(call), q, finish_fetch, error);
}

static int append_id(const char *id, void *userdata)
{
    return appended(sd_bus_message_append_basic(userdata, 's', id));
}

int answer_to_acknowledge(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply)
{
    int r;

    r = appended(sd_bus_message_open_container(reply, 'a', "s"));
    if (r == 0)
        r = answer_each_id(answer, "acknowledged", c->ids, c->n_ids, append_id, reply);
    return r == 0 ? appended(sd_bus_message_close_container(reply)) : r;
}

static int write_acknowledgement(Request *q, const char *const *ids, size_t n_ids, const void *mac, size_t n)
{
    json_t *body = json_object(), *list = json_array();
    int r = 0;

    for (size_t i = 0; i < n_ids && r == 0; i++)
        r = json_array_append_new(list, json_string(ids[i])) < 0 ? -ENOMEM : 0;
    if (r == 0)
        r = json_put(body, "ids", list);
    else
        json_decref(list);
    if (r == 0)
        r = json_put_bytes(body, "mac", mac, n);
    if (r == 0)
        r = json_write(body, &q->body);
    json_decref(body);
    return r;
}

int call_acknowledge(Courier *c, sd_bus_message *m, const char *relay, const char **ids, size_t n_ids,
                     const void *mac, size_t n, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    _cleanup_(freep) const char **owned = ids;
    int r;

    if (n_ids == 0 || n_ids > ACKNOWLEDGE_IDS_MAX)
        return bad_argument(error, "There are 1 to 1000 ids");
    for (size_t i = 0; i < n_ids; i++)
        if (!text_is_id(owned[i]))
            return bad_argument(error, BAD_ID);
    if (n != SHA256_SIZE)
        return bad_argument(error, "mac is 32 bytes");
    r = call_new(c, m, relay, true, &call, error);
    if (r < 0)
        return r;
    r = request_new("POST", RELAY_BODY_SIZE_MAX, &q, "/v1/mailbox/acknowledgements");
    if (r == 0)
        r = write_acknowledgement(q, owned, n_ids, mac, n);
    if (r < 0)
        return failed(error, r);
    q->want_type = MEDIA_JSON;
    call->ids = TAKE_PTR(owned);
    call->n_ids = n_ids;
    return call_send(TAKE_PTR(call), TAKE_PTR(q), answer_to_acknowledge, error);
}

int call_listen(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error)
{
    Call *call;
    int r;

    r = call_new(c, m, relay, true, &call, error);
    return r < 0 ? r : listen_start(call, error);
}
