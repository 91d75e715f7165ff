/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/access.h"
#include "agent/bus-util.h"
#include "agent/cipher.h"
#include "agent/info-bus.h"
#include "agent/recipient-list.h"
#include "agent/request.h"
#include "agent/unlocker.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe.h"

/* Of all methods; each reads those that it has. */
typedef struct CipherOptions {
    BusBytesList recipient_keys;
    bool sign, fresh, allow_unknown, allow_unauthenticated, allow_oaep_sha1;
    const char *format, *job, *to;
    uint64_t size;
    BusRange range;
} CipherOptions;

#define OPTION(name, type)                                                                                   \
    {                                                                                                        \
#name, type, offsetof(CipherOptions, name)                                                           \
    }

/* A call that is answered later. What its message holds stays valid with the request. */
typedef struct Call {
    Manager *m;
    Request *request;
    RecipientList *recipients;
    CipherJob *job;
    SealOptions seal;
    BusBytes plaintext;
    int source, destination;
    const char *name; /* of the job, for Progress */
    uint64_t size;
} Call;

static Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    cipher_job_free(c->job);
    recipient_list_free(c->recipients);
    request_free(c->request);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Call *, call_free)

static void call_cancel(void *userdata)
{
    call_free(userdata);
}

static int call_new(Manager *m, sd_bus_message *message, Call **ret)
{
    Call *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = request_new(m->access, message, call_cancel, c, &c->request);
    if (r != 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

static void call_fail(Call *c, int r, const char *detail)
{
    (void)request_fail(c->request, r, detail);
    call_free(c);
}

static int append_bytes(sd_bus_message *m, const Buf *b)
{
    return sd_bus_message_append_array(m, 'y', b->data ? b->data : (const uint8_t *)"", b->size);
}

static int append_packages(sd_bus_message *m, const Buf *packages, size_t n)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "ay");
    for (size_t i = 0; i < n && r >= 0; i++)
        r = append_bytes(m, &packages[i]);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_info(sd_bus_message *m, const OpenInfo *info, bool counts)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_open_info(m, info, counts);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_counts(sd_bus_message *m, const OpenInfo *info)
{
    return sd_bus_message_append(m, "a{sv}", 2, "bytes_in", "t", info->bytes_in, "bytes_out", "t",
                                 info->bytes_out);
}

/* Takes over m: sends it, or what went wrong while it was made. */
static int send_reply(sd_bus_message *m, int r)
{
    if (r >= 0)
        r = sd_bus_send(NULL, m, NULL);
    sd_bus_message_unref(m);
    return r < 0 ? r : 0;
}

/* Takes over c and reply. */
static void call_reply(Call *c, sd_bus_message *reply, int r)
{
    if (r >= 0)
        r = request_send(c->request, reply);
    sd_bus_message_unref(reply);
    if (r < 0)
        call_fail(c, r, NULL);
    else
        call_free(c);
}

/* Else no key of ours is needed. */
static bool signs(const SealOptions *o)
{
    return !o->anonymous && !o->seed && !o->compact;
}

static int read_encrypt_options(sd_bus_message *message, bool fd, SealOptions *ret, CipherOptions *o,
                                sd_bus_error *error)
{
    static const BusOption message_options[] = {
        OPTION(recipient_keys, 'Y'),
        OPTION(sign, 'b'),
        OPTION(fresh, 'b'),
        OPTION(format, 's'),
    };
    static const BusOption fd_options[] = {
        OPTION(recipient_keys, 'Y'), OPTION(sign, 'b'), OPTION(fresh, 'b'), OPTION(job, 's'),
        OPTION(size, 't'),
    };
    int r;

    o->sign = true;
    o->format = "hmsg";
    r = fd ? bus_read_options(message, fd_options, ELEMENTSOF(fd_options), o, error)
           : bus_read_options(message, message_options, ELEMENTSOF(message_options), o, error);
    if (r != 0)
        return r;
    *ret = (SealOptions){.anonymous = !o->sign,
                         .fresh = o->fresh,
                         .seed = strcmp(o->format, "seed") == 0,
                         .jwe = strcmp(o->format, "jwe") == 0,
                         .compact = strcmp(o->format, "jwe-compact") == 0,
                         .cms = strcmp(o->format, "cms") == 0 || strcmp(o->format, "cms-der") == 0,
                         .pem = strcmp(o->format, "cms") == 0};
    if (!ret->seed && !ret->jwe && !ret->compact && !ret->cms && strcmp(o->format, "hmsg") != 0)
        return HMSG_ERROR_INVALID_ARGS;
    return 0;
}

/* These two forms have no way to hold a package more. */
static bool has_recovery(const SealOptions *o)
{
    return !o->seed && !o->compact;
}

static void on_sealed(int r, const char *detail, const Buf *packages, size_t n, void *userdata)
{
    Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r != 0) {
        call_fail(c, r, detail);
        return;
    }
    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = append_packages(reply, packages, n);
    call_reply(c, reply, r);
}

static int seal(Call *c)
{
    size_t n = 0;
    const SealKey *keys = recipient_list_keys(c->recipients, has_recovery(&c->seal), &n);

    return cipher_seal(c->m->cipher, keys, n, c->plaintext.data, c->plaintext.size, &c->seal, on_sealed, c,
                       &c->job);
}

static void on_seal_recipients(int r, const char *detail, void *userdata)
{
    Call *c = userdata;

    if (r == 0) {
        r = seal(c);
        detail = NULL;
    }
    if (r != 0)
        call_fail(c, r, detail);
}

/* For one recipient whose session runs, without a request: most calls are so. 0: answered; -EAGAIN: it is not
 * so. */
static int seal_at_once(Manager *m, sd_bus_message *message, const CipherOptions *o, const BusStrings *names,
                        const BusBytes *plaintext, const SealOptions *options)
{
    _cleanup_(recipient_list_freep) RecipientList *list = NULL;
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    sd_bus_message *reply = NULL;
    const SealKey *keys;
    size_t n = 0;
    int r;

    if (names->n != 0 || o->recipient_keys.n != 1)
        return -EAGAIN;
    r = recipient_list_new(m, names, &o->recipient_keys, NULL, NULL, &list);
    if (r != 0)
        return r;
    keys = recipient_list_keys(list, has_recovery(options), &n);
    if (n != 1)
        return -EAGAIN;
    r = cipher_seal_now(m->cipher, keys, n, plaintext->data, plaintext->size, options, &package);
    if (r != 0)
        return r;
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = append_packages(reply, &package, 1);
    return send_reply(reply, r);
}

/* Asks for the recipients, then goes on with then. */
static int call_resolve(Call *c, const BusStrings *names, const BusBytesList *keys, recipient_list_t done,
                        int (*then)(Call *c))
{
    int r;

    r = recipient_list_new(c->m, names, keys, done, c, &c->recipients);
    if (r == 0)
        r = recipient_list_start(c->recipients);
    if (r == 0)
        r = then(c);
    return r == -EAGAIN ? 0 : r;
}

static int method_encrypt(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    CipherOptions o = {0};
    SealOptions options = {0};
    BusBytes plaintext = {0};
    BusStrings names;
    Call *c;
    int r;

    (void)sd_bus_message_sensitive(message);
    r = bus_read_strings(message, &names, error);
    if (r == 0)
        r = bus_read_bytes(message, &plaintext);
    if (r == 0)
        r = read_encrypt_options(message, false, &options, &o, error);
    if (r == 0 && signs(&options)) {
        r = access_may_sign(m->access, message, error);
        if (r != 0)
            return r;
    }
    if (r == 0)
        r = seal_at_once(m, message, &o, &names, &plaintext, &options);
    if (r == 0 || (r == -EAGAIN && signs(&options) && unlock_first(m, message)))
        return 1;
    if (r == -EAGAIN)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, recipient_list_refusal(&o.recipient_keys));
    c->plaintext = plaintext;
    c->seal = options;
    r = call_resolve(c, &names, &o.recipient_keys, on_seal_recipients, seal);
    if (r != 0)
        call_fail(c, r, recipient_list_refusal(&o.recipient_keys));
    return 1;
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    const Call *c = userdata;

    (void)request_progress(c->request, c->name, done, total);
}

static void on_sealed_fd(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r != 0) {
        call_fail(c, r, detail);
        return;
    }
    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = append_counts(reply, info);
    call_reply(c, reply, r);
}

static int seal_fd(Call *c)
{
    size_t n = 0;
    const SealKey *keys = recipient_list_keys(c->recipients, has_recovery(&c->seal), &n);

    return cipher_seal_fd(c->m->cipher, keys, n, c->source, c->destination, &c->seal, c->size,
                          c->name ? on_progress : NULL, on_sealed_fd, c, &c->job);
}

static void on_seal_fd_recipients(int r, const char *detail, void *userdata)
{
    Call *c = userdata;

    if (r == 0) {
        r = seal_fd(c);
        detail = NULL;
    }
    if (r != 0)
        call_fail(c, r, detail);
}

/* The descriptors belong to the message. */
static int read_fds(sd_bus_message *message, int *ret_source, int *ret_destination)
{
    int r;

    r = sd_bus_message_read(message, "hh", ret_source, ret_destination);
    return r < 0 ? r : 0;
}

static int method_encrypt_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    CipherOptions o = {0};
    SealOptions options = {0};
    int source = -1, destination = -1;
    BusStrings names;
    Call *c;
    int r;

    r = bus_read_strings(message, &names, error);
    if (r == 0)
        r = read_fds(message, &source, &destination);
    if (r == 0)
        r = read_encrypt_options(message, true, &options, &o, error);
    if (r == 0 && signs(&options)) {
        r = access_may_sign(m->access, message, error);
        if (r != 0 || unlock_first(m, message))
            return r != 0 ? r : 1;
    }
    if (r == 0)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    c->seal = options;
    c->source = source;
    c->destination = destination;
    c->name = o.job;
    c->size = o.size;
    r = call_resolve(c, &names, &o.recipient_keys, on_seal_fd_recipients, seal_fd);
    if (r != 0)
        call_fail(c, r, recipient_list_refusal(&o.recipient_keys));
    return 1;
}

/* One that leaves is only waited for. */
static const void *client_of(Manager *m, sd_bus_message *message)
{
    Client *c = NULL;

    return access_client(m->access, message, &c) == 0 ? c : NULL;
}

static int read_decrypt_options(Manager *m, sd_bus_message *message, bool fd, OpenOptions *ret,
                                CipherOptions *o, sd_bus_error *error)
{
    static const BusOption options[] = {
        OPTION(allow_unknown, 'b'),
        OPTION(allow_unauthenticated, 'b'),
        OPTION(allow_oaep_sha1, 'b'),
        OPTION(job, 's'),
        OPTION(size, 't'),
        OPTION(range, 'r'),
    };
    int r;

    r = bus_read_options(message, options, fd ? ELEMENTSOF(options) : 3, o, error);
    if (r == 0 && o->range.given && o->range.length == 0)
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0)
        *ret = (OpenOptions){.allow_unknown = o->allow_unknown,
                             .allow_unauthenticated = o->allow_unauthenticated,
                             .allow_oaep_sha1 = o->allow_oaep_sha1,
                             .client = client_of(m, message),
                             .range_offset = o->range.offset,
                             .range_length = o->range.length};
    return r;
}

static int append_opened(sd_bus_message *reply, const Buf *plaintext, const OpenInfo *info)
{
    int r;

    (void)sd_bus_message_sensitive(reply);
    r = append_bytes(reply, plaintext);
    return r < 0 ? r : append_info(reply, info, false);
}

static void on_opened(int r, const char *detail, const Buf *plaintext, const OpenInfo *info, void *userdata)
{
    Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r != 0) {
        call_fail(c, r, detail);
        return;
    }
    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = append_opened(reply, plaintext, info);
    call_reply(c, reply, r);
}

/* Answers without a request when the session is cached. 0: answered; -EAGAIN: it is not. */
static int open_at_once(Manager *m, sd_bus_message *message, const BusBytes *package,
                        const OpenOptions *options)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    sd_bus_message *reply = NULL;
    OpenInfo info;
    int r;

    r = cipher_open_now(m->cipher, package->data, package->size, options, &plaintext, &info);
    if (r != 0)
        return r;
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = append_opened(reply, &plaintext, &info);
    return send_reply(reply, r);
}

static int method_decrypt(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    const char *detail = NULL;
    CipherOptions o = {0};
    OpenOptions options;
    BusBytes package = {0};
    Call *c;
    int r;

    r = bus_read_bytes(message, &package);
    if (r == 0)
        r = read_decrypt_options(m, message, false, &options, &o, error);
    if (r == 0) {
        r = open_at_once(m, message, &package, &options);
        detail = cipher_open_now_detail(m->cipher);
    }
    if (r == 0 || (r == -EAGAIN && unlock_first(m, message)))
        return 1;
    if (r == -EAGAIN)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, detail);
    r = cipher_open(m->cipher, package.data, package.size, &options, on_opened, c, &c->job);
    if (r != 0)
        call_fail(c, r, NULL);
    return 1;
}

static void on_opened_fd(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r != 0) {
        call_fail(c, r, detail);
        return;
    }
    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = append_info(reply, info, true);
    call_reply(c, reply, r);
}

static int method_decrypt_fd(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    CipherOptions o = {0};
    OpenOptions options;
    int source = -1, destination = -1;
    Call *c;
    int r;

    r = read_fds(message, &source, &destination);
    if (r == 0)
        r = read_decrypt_options(m, message, true, &options, &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    c->name = o.job;
    r = cipher_open_fd(m->cipher, source, destination, &options, o.size, c->name ? on_progress : NULL,
                       on_opened_fd, c, &c->job);
    if (r != 0)
        call_fail(c, r, r == HMSG_ERROR_INVALID_ARGS ? "A range is read from a file, not from a pipe" : NULL);
    return 1;
}

static int read_target(const char *name, WireFormat *ret)
{
    if (!name)
        *ret = FORMAT_UNKNOWN;
    else if (strcmp(name, "hmsg") == 0)
        *ret = FORMAT_PACKAGE;
    else if (strcmp(name, "jwe") == 0)
        *ret = FORMAT_JWE;
    else
        return HMSG_ERROR_INVALID_ARGS;
    return 0;
}

static int method_convert(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {OPTION(to, 's')};
    _cleanup_(buf_done) Buf converted = BUF_MAX(JWE_SIZE_MAX);
    sd_bus_message *reply = NULL;
    CipherOptions o = {0};
    WireFormat to = FORMAT_UNKNOWN;
    BusBytes package = {0};
    int r;

    r = bus_read_bytes(message, &package);
    if (r == 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0)
        r = read_target(o.to, &to);
    if (r == 0)
        r = jwe_convert(package.data, package.size, to, &converted);
    if (r != 0)
        return bus_fail(error, r, NULL);
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = append_bytes(reply, &converted);
    r = send_reply(reply, r);
    return r == 0 ? 1 : bus_fail(error, r, NULL);
}

const sd_bus_vtable cipher_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Encrypt", SD_BUS_ARGS("as", recipients, "ay", plaintext, "a{sv}", options),
                            SD_BUS_RESULT("aay", packages), method_encrypt, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Decrypt", SD_BUS_ARGS("ay", package, "a{sv}", options),
                            SD_BUS_RESULT("ay", plaintext, "a{sv}", info), method_decrypt,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("EncryptFd",
                            SD_BUS_ARGS("as", recipients, "h", source, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", result), method_encrypt_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("DecryptFd", SD_BUS_ARGS("h", source, "h", destination, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", info), method_decrypt_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Convert", SD_BUS_ARGS("ay", package, "a{sv}", options),
                            SD_BUS_RESULT("ay", converted), method_convert, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};
