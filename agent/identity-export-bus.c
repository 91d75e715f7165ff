/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Identity.ExportPublic, and what every call of Identity does. */

#include <errno.h>
#include <string.h>

#include "agent/identity-bus-internal.h"
#include "agent/relays.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"

IdentityCall *identity_call_free(IdentityCall *c)
{
    if (!c)
        return NULL;
    identity_work_free(c->work);
    unlock_wait_free(c->wait);
    request_free(c->request);
    free(c);
    return NULL;
}

static void call_cancel(void *userdata)
{
    identity_call_free(userdata);
}

int identity_call_new(Manager *m, sd_bus_message *message, IdentityCall **ret)
{
    IdentityCall *c = calloc(1, sizeof(*c));
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

int identity_call_begun(IdentityCall *c, int r, const char *detail)
{
    if (r == 0)
        return 1;
    if (r == HMSG_ERROR_TPM_UNAVAILABLE)
        detail = identity_tpm_status(c->m->identity, NULL);
    (void)request_fail(c->request, r, detail);
    identity_call_free(c);
    return 1;
}

static int send_exported(IdentityCall *c, const Buf *exported)
{
    sd_bus_message *reply = NULL;
    int r;

    r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', exported->data, exported->size);
    if (r >= 0)
        r = request_send(c->request, reply);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 0;
}

static void on_statement(int r, const char *detail, const char *jws, void *userdata)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;

    if (r == 0)
        r = export_write(jws, strlen(jws), &exported);
    if (r == 0)
        r = send_exported(c, &exported);
    if (r != 0)
        (void)request_fail(c->request, r, detail);
}

static void on_csr(int r, const char *detail, const char *pem, void *userdata)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(identity_call_freep) IdentityCall *c = userdata;

    if (r == 0)
        r = buf_append_string(&exported, pem);
    if (r == 0)
        r = send_exported(c, &exported);
    if (r != 0)
        (void)request_fail(c->request, r, detail);
}

/* Stops at the first. */
static int take_address(const char *address, const char *relay, const char *state, const char *error,
                        void *userdata)
{
    int r = buf_append_string(userdata, address);

    return r < 0 ? r : 1;
}

static int first_address(IdentityCall *c, Buf *ret)
{
    int r = c->m->relays ? relays_each_registration(c->m->relays, take_address, ret) : 0;

    return r < 0 ? r : 0;
}

static int export_statement(IdentityCall *c)
{
    _cleanup_(buf_done) Buf input = BUF_MAX(JWS_SIZE_MAX);
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    Identity *i = c->m->identity;
    int r = first_address(c, &address);

    if (r == 0)
        r = identity_export_statement(identity_public(i), buf_text(&address), &input);
    if (r == 0)
        r = identity_sign_jws(i, buf_text(&input), on_statement, c, &c->work);
    return identity_call_begun(c, r, NULL);
}

/* subject: NULL for the first address. */
static int export_csr(IdentityCall *c, const char *subject)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    int r = subject ? 0 : first_address(c, &address);

    if (r == 0)
        r = identity_sign_csr(c->m->identity, subject ? subject : buf_text(&address), on_csr, c, &c->work);
    return identity_call_begun(
        c, r,
        r == HMSG_ERROR_INVALID_ARGS
            ? "A certificate request needs a subject of 1 to 64 characters, none of them a control"
            : NULL);
}

static int export_key(IdentityCall *c, KeyTextForm form)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    int r;

    r = identity_export_key(identity_public(c->m->identity), form, &exported);
    if (r == 0)
        r = send_exported(c, &exported);
    identity_call_free(c);
    return r < 0 ? r : 1;
}

typedef enum ExportFormat {
    EXPORT_IDENTITY,
    EXPORT_PEM,
    EXPORT_JWK,
    EXPORT_OPENSSH,
    EXPORT_CSR
} ExportFormat;

static int read_format(const char *text, ExportFormat *ret)
{
    static const char *const names[] = {"identity", "pem", "jwk", "openssh", "csr"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret = (ExportFormat)i;
            return 0;
        }
    return HMSG_ERROR_INVALID_ARGS;
}

int identity_method_export(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    struct ExportOptions {
        const char *format, *subject;
    } o = {"identity", NULL};
    static const BusOption options[] = {
        {"format", 's', offsetof(struct ExportOptions, format)},
        {"subject", 's', offsetof(struct ExportOptions, subject)},
    };
    ExportFormat format = EXPORT_IDENTITY;
    Manager *m = userdata;
    IdentityCall *c = NULL;
    int r;

    r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && read_format(o.format, &format) != 0)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS,
                        "The formats are identity, pem, jwk, openssh and csr");
    if (r == 0 && o.subject && format != EXPORT_CSR)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "Only a certificate request has a subject");
    if (r == 0 && !identity_public(m->identity))
        r = HMSG_ERROR_NO_IDENTITY;
    if (r == 0 && (format == EXPORT_IDENTITY || format == EXPORT_CSR) && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = identity_call_new(m, message, &c);
    if (r != 0)
        return bus_fail(error, r, NULL);
    switch (format) {
    case EXPORT_PEM:
        return export_key(c, KEY_TEXT_PEM);
    case EXPORT_JWK:
        return export_key(c, KEY_TEXT_JWK);
    case EXPORT_OPENSSH:
        return export_key(c, KEY_TEXT_OPENSSH);
    case EXPORT_CSR:
        return export_csr(c, o.subject);
    case EXPORT_IDENTITY:
    default:
        return export_statement(c);
    }
}
