/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/courier/connection.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define TRANSFER_BUFFER_SIZE (256L * 1024L)
#define EXPIRES_HEADER "hmsg-expires"
#define CAPABILITY_HEADER "hmsg-capability"

int request_new(const char *method, size_t answer_max, Request **ret, const char *path, ...)
{
    _cleanup_(request_freep) Request *q = NULL;
    va_list ap;
    int n;

    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->method = method;
    q->upload = -1;
    q->download = -1;
    q->body = BUF_MAX(ROTATION_BODY_SIZE_MAX);
    q->answer = BUF_MAX(answer_max);
    va_start(ap, path);
    n = vasprintf(&q->path, path, ap);
    va_end(ap);
    if (n < 0) {
        q->path = NULL;
        return -ENOMEM;
    }
    *ret = TAKE_PTR(q);
    return 0;
}

Request *request_free(Request *q)
{
    if (!q)
        return NULL;
    curl_easy_cleanup(q->easy);
    curl_slist_free_all(q->headers);
    buf_done(&q->body);
    buf_done(&q->answer);
    free(q->path);
    free(q);
    return NULL;
}

void request_resume(Request *q)
{
    if (q->easy)
        (void)curl_easy_pause(q->easy, CURLPAUSE_CONT);
}

static const char *header_value(Request *q, const char *name)
{
    struct curl_header *h;

    if (curl_easy_header(q->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return NULL;
    return h->value;
}

static unsigned get_status(Request *q)
{
    long status = 0;

    (void)curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
    return status > 0 ? (unsigned)status : 0;
}

static bool wanted(Request *q)
{
    unsigned status = get_status(q);

    return status >= 200 && status < 300 &&
           (!q->want_type || media_type_is(header_value(q, "content-type"), q->want_type));
}

static int check_download(Request *q)
{
    curl_off_t length = -1;

    (void)curl_easy_getinfo(q->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length < 0)
        return HMSG_ERROR_BAD_PACKAGE;
    return (uint64_t)length > q->download_max ? HMSG_ERROR_TOO_LARGE : 0;
}

static int write_at(int fd, const uint8_t *data, size_t n, uint64_t offset)
{
    while (n > 0) {
        ssize_t k = pwrite(fd, data, n, (off_t)offset);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : -EIO;
        data += k;
        n -= (size_t)k;
        offset += (uint64_t)k;
    }
    return 0;
}

static int take_data(Request *q, const char *data, size_t n)
{
    int r;

    if ((q->download < 0 && !q->on_data) || !wanted(q)) {
        r = buf_append(&q->answer, data, n);
        return r == -EMSGSIZE ? HMSG_ERROR_BAD_PACKAGE : r;
    }
    if (q->on_data)
        return q->on_data(q, data, n);
    r = q->received == 0 ? check_download(q) : 0;
    if (r == 0 && n > q->download_max - q->received)
        r = HMSG_ERROR_TOO_LARGE;
    if (r == 0)
        r = write_at(q->download, (const uint8_t *)data, n, q->received);
    return r;
}

static size_t on_write(char *data, size_t size, size_t n, void *userdata)
{
    Request *q = userdata;
    int r;

    connection_moved(q->connection);
    n *= size;
    r = take_data(q, data, n);
    if (r == REQUEST_PAUSE)
        return CURL_WRITEFUNC_PAUSE;
    if (r != 0) {
        q->failure = r;
        return CURL_WRITEFUNC_ERROR;
    }
    q->received += n;
    return n;
}

static size_t on_read(char *data, size_t size, size_t n, void *userdata)
{
    Request *q = userdata;
    uint64_t left = q->upload_size - q->sent;
    ssize_t k;

    connection_moved(q->connection);
    n *= size;
    if (n > left)
        n = (size_t)left;
    if (n == 0)
        return 0;
    do
        k = pread(q->upload, data, n, (off_t)q->sent);
    while (k < 0 && errno == EINTR);
    if (k <= 0) {
        /* its size was checked: somebody made it shorter */
        q->failure = k < 0 ? -errno : -ENODATA;
        return CURL_READFUNC_ABORT;
    }
    q->sent += (uint64_t)k;
    return (size_t)k;
}

static int add_header(Request *q, const char *text)
{
    struct curl_slist *list = curl_slist_append(q->headers, text);

    if (!list)
        return -ENOMEM;
    q->headers = list;
    return 0;
}

/* curl adds none of these by itself */
static int prepare_headers(Request *q)
{
    char expires[64], capability[sizeof(CAPABILITY_HEADER) + HASH_TEXT_SIZE + 2];
    int r;

    r = add_header(q, "expect:");
    if (r == 0 && q->body.size > 0)
        r = add_header(q, "content-type: application/json");
    if (r == 0 && q->upload >= 0)
        r = add_header(q, "content-type: application/octet-stream");
    if (r == 0 && q->upload >= 0 && q->expires > 0) {
        (void)snprintf(expires, sizeof(expires), EXPIRES_HEADER ": %llu", (unsigned long long)q->expires);
        r = add_header(q, expires);
    }
    if (r == 0 && q->capability[0]) {
        (void)snprintf(capability, sizeof(capability), CAPABILITY_HEADER ": %s", q->capability);
        r = add_header(q, capability);
    }
    return r;
}

static bool prepare_body(Request *q)
{
    CURL *e = q->easy;
    CURLcode c = CURLE_OK;

    if (q->upload >= 0) {
        c |= curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        c |= curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->upload_size);
        c |= curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
        c |= curl_easy_setopt(e, CURLOPT_READDATA, q);
        c |= curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, TRANSFER_BUFFER_SIZE);
    } else if (strcmp(q->method, "GET") != 0) {
        c |= curl_easy_setopt(e, CURLOPT_POST, 1L);
        c |= curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
        c |= curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.size);
        c |= curl_easy_setopt(e, CURLOPT_POSTFIELDS, buf_text(&q->body));
    } else {
        c |= curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    }
    if (q->download >= 0)
        c |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, TRANSFER_BUFFER_SIZE);
    return c == CURLE_OK;
}

static bool prepare_times(Request *q)
{
    CURL *e = q->easy;
    CURLcode c = CURLE_OK;

    c |= curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CALL_SECONDS);
    if (q->upload >= 0 || q->download >= 0) {
        c |= curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
        c |= curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)MOVEMENT_SECONDS);
    } else if (!q->on_data) {
        c |= curl_easy_setopt(e, CURLOPT_TIMEOUT, (long)CALL_SECONDS);
    }
    return c == CURLE_OK;
}

int request_prepare(Request *q, Connection *connection, const char *origin)
{
    _cleanup_(freep) char *url = NULL;
    CURLcode c = CURLE_OK;
    int r;

    q->connection = connection;
    q->easy = curl_easy_init();
    if (!q->easy)
        return -ENOMEM;
    r = string_printf(&url, "%s%s", origin, q->path);
    if (r == 0)
        r = prepare_headers(q);
    if (r < 0)
        return r;
    c |= curl_easy_setopt(q->easy, CURLOPT_URL, url);
    c |= curl_easy_setopt(q->easy, CURLOPT_PATH_AS_IS, 1L);
    c |= curl_easy_setopt(q->easy, CURLOPT_HTTPHEADER, q->headers);
    c |= curl_easy_setopt(q->easy, CURLOPT_USERAGENT, NULL);
    c |= curl_easy_setopt(q->easy, CURLOPT_WRITEFUNCTION, on_write);
    c |= curl_easy_setopt(q->easy, CURLOPT_WRITEDATA, q);
    c |= curl_easy_setopt(q->easy, CURLOPT_ERRORBUFFER, q->error);
    c |= curl_easy_setopt(q->easy, CURLOPT_PRIVATE, q);
    if (c != CURLE_OK || !prepare_body(q) || !prepare_times(q))
        return -ENOMEM;
    return 0;
}

static bool judge_failure(Request *q, Problem *p)
{
    switch (q->failure) {
    case -ENODATA:
        problem_set(p, "org.freedesktop.DBus.Error.InvalidArgs", "The file is shorter than size");
        break;
    case HMSG_ERROR_TOO_LARGE:
        problem_set(p, PROBLEM_TOO_LARGE, "The body is larger than may be fetched");
        break;
    default:
        if (q->failure > 0) {
            problem_set(p, PROBLEM_PROTOCOL, "The relay's answer is not of the documented form");
            break;
        }
        problem_set(p, NULL, "%s", strerror(-q->failure));
    }
    return false;
}

static bool judge_code(Request *q, CURLcode code, Problem *p)
{
    const char *text = q->error[0] ? q->error : curl_easy_strerror(code);

    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        q->failure = -ENOMEM;
        return judge_failure(q, p);
    case CURLE_OPERATION_TIMEDOUT:
        problem_set(p, PROBLEM_UNREACHABLE, "The relay does not answer");
        return connection_stands_still(q->connection);
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2_STREAM: /* this stream alone */
        problem_set(p, PROBLEM_UNREACHABLE, "The relay broke off: %.*s", (int)PROBLEM_REMOTE_TEXT_MAX, text);
        return false;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        problem_set(p, PROBLEM_PROTOCOL, "%.*s", (int)PROBLEM_REMOTE_TEXT_MAX, text);
        return false;
    default:
        problem_set(p, PROBLEM_UNREACHABLE, "%.*s", (int)PROBLEM_REMOTE_TEXT_MAX, text);
        return true;
    }
}

bool request_judge(Request *q, CURLcode code, bool *ret_good, Problem *ret_problem)
{
    *ret_good = false;
    q->status = get_status(q);
    if (q->failure != 0)
        return judge_failure(q, ret_problem);
    if (code != CURLE_OK)
        return judge_code(q, code, ret_problem);
    if (q->status < 200 || q->status > 299) {
        problem_from_answer(ret_problem, q->status, header_value(q, "content-type"),
                            header_value(q, "retry-after"), buf_text(&q->answer), q->answer.size);
        return false;
    }
    if (!wanted(q)) {
        problem_set(ret_problem, PROBLEM_PROTOCOL, "The relay's answer is not of the documented form");
        return false;
    }
    *ret_good = true;
    return false;
}
