/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/courier/calls.h"
#include "agent/courier/peer.h"
#include "libhmsg/wire/limits.h"

typedef int (*relay_call_t)(Courier *c, sd_bus_message *m, const char *relay, sd_bus_error *error);
typedef int (*text_call_t)(Courier *c, sd_bus_message *m, const char *relay, const char *text,
                           sd_bus_error *error);
typedef int (*texts_call_t)(Courier *c, sd_bus_message *m, const char *relay, const char *text,
                            const char *more, sd_bus_error *error);

static int with_relay(sd_bus_message *m, void *userdata, relay_call_t f, sd_bus_error *error)
{
    const char *relay;
    int r;

    r = sd_bus_message_read(m, "s", &relay);
    return r < 0 ? r : f(userdata, m, relay, error);
}

static int with_text(sd_bus_message *m, void *userdata, text_call_t f, sd_bus_error *error)
{
    const char *relay, *text;
    int r;

    r = sd_bus_message_read(m, "ss", &relay, &text);
    return r < 0 ? r : f(userdata, m, relay, text, error);
}

static int with_texts(sd_bus_message *m, void *userdata, texts_call_t f, sd_bus_error *error)
{
    const char *relay, *text, *more;
    int r;

    r = sd_bus_message_read(m, "sss", &relay, &text, &more);
    return r < 0 ? r : f(userdata, m, relay, text, more, error);
}

static int method_probe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_probe, error);
}

static int method_relay(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_relay, error);
}

static int method_nonce(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_nonce, error);
}

static int method_challenge(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    const void *spki;
    size_t n;
    int r;

    r = sd_bus_message_read(m, "s", &relay);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &spki, &n);
    return r < 0 ? r : call_challenge(userdata, m, relay, spki, n, error);
}

/* Each option at most once. */
static int read_registration(sd_bus_message *m, const char **ret_invite, const char **ret_chain,
                             sd_bus_error *error)
{
    const char *key;
    int r;

    *ret_invite = *ret_chain = NULL;
    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
            return r;
        const char **ret = strcmp(key, "invite") == 0 ? ret_invite : ret_chain;
        if (*ret || (ret == ret_chain && strcmp(key, "chain") != 0))
            return bad_argument(error, "The only options are invite and chain");
        r = sd_bus_message_read(m, "v", "s", ret);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int method_register(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay, *statement, *request, *invite, *chain;
    const void *answer = NULL;
    size_t n = 0;
    int r;

    r = sd_bus_message_read(m, "sss", &relay, &statement, &request);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &answer, &n);
    if (r >= 0)
        r = read_registration(m, &invite, &chain, error);
    return r < 0 ? r : call_register(userdata, m, relay, statement, request, answer, n, invite, chain, error);
}

static int method_rotate(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay, *statement, *request, *steps;
    const void *answer = NULL;
    size_t n = 0;
    int r;

    r = sd_bus_message_read(m, "sss", &relay, &statement, &request);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &answer, &n);
    if (r >= 0)
        r = sd_bus_message_read(m, "s", &steps);
    return r < 0 ? r : call_rotate(userdata, m, relay, statement, request, answer, n, steps, error);
}

static int method_unregister(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_text(m, userdata, call_unregister, error);
}

static int method_lookup_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_texts(m, userdata, call_lookup_name, error);
}

static int method_lookup_kid(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_texts(m, userdata, call_lookup_kid, error);
}

static int method_login(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_text(m, userdata, call_login, error);
}

static int method_submit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    CourierMail mail;
    int r;

    r = sd_bus_message_read(m, "ssshtts", &relay, &mail.kid, &mail.id, &mail.body, &mail.size, &mail.expires,
                            &mail.capability);
    return r < 0 ? r : call_submit(userdata, m, relay, &mail, error);
}

static int method_grant(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    CourierGrant g = {0};
    int r;

    r = sd_bus_message_read_basic(m, 's', &relay);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &g.hash, &g.hash_size);
    if (r >= 0)
        r = sd_bus_message_read(m, "tt", &g.uses, &g.expires);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &g.mac, &g.mac_size);
    return r < 0 ? r : call_grant(userdata, m, relay, &g, error);
}

static int method_capabilities(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_capabilities, error);
}

static int method_revoke(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    uint64_t number;
    const void *mac = NULL;
    size_t n = 0;
    int r;

    r = sd_bus_message_read(m, "st", &relay, &number);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &mac, &n);
    return r < 0 ? r : call_revoke(userdata, m, relay, number, mac, n, error);
}

static int method_settings(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_settings, error);
}

static int method_set_settings(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    CourierSettings s = {0};
    int r;

    r = sd_bus_message_read(m, "stt", &relay, &s.revision, &s.lifetime);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &s.senders, &s.size);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &s.mac, &s.mac_size);
    return r < 0 ? r : call_set_settings(userdata, m, relay, &s, error);
}

static int method_status(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_text(m, userdata, call_status, error);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    uint64_t after;
    int r;

    r = sd_bus_message_read(m, "st", &relay, &after);
    return r < 0 ? r : call_list(userdata, m, relay, after, error);
}

static int method_fetch(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay, *id;
    int destination, r;

    r = sd_bus_message_read(m, "ssh", &relay, &id, &destination);
    return r < 0 ? r : call_fetch(userdata, m, relay, id, destination, error);
}

/* An array to be freed; the texts are the message's. */
static int read_ids(sd_bus_message *m, const char ***ret, size_t *ret_n, sd_bus_error *error)
{
    _cleanup_(freep) const char **ids = NULL;
    size_t n = 0;
    int r;

    ids = calloc(ACKNOWLEDGE_IDS_MAX, sizeof(*ids));
    if (!ids)
        return failed(error, -ENOMEM);
    r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_at_end(m, 0)) == 0) {
        if (n == ACKNOWLEDGE_IDS_MAX)
            return bad_argument(error, "There are 1 to 1000 ids");
        r = sd_bus_message_read(m, "s", &ids[n++]);
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(ids);
    *ret_n = n;
    return 0;
}

static int method_acknowledge(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_(freep) const char **ids = NULL;
    const char *relay;
    const void *mac = NULL;
    size_t n_ids = 0, n = 0;
    int r;

    r = sd_bus_message_read(m, "s", &relay);
    if (r >= 0)
        r = read_ids(m, &ids, &n_ids, error);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &mac, &n);
    return r < 0 ? r : call_acknowledge(userdata, m, relay, TAKE_PTR(ids), n_ids, mac, n, error);
}

static int method_listen(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return with_relay(m, userdata, call_listen, error);
}

static int method_forget(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *relay;
    int r;

    r = sd_bus_message_read(m, "s", &relay);
    if (r >= 0)
        r = peer_forget(userdata, relay, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

const sd_bus_vtable courier_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Probe", SD_BUS_ARGS("s", host_port),
                            SD_BUS_RESULT("ay", pin, "s", relay_statement, "s", successions), method_probe,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Relay", SD_BUS_ARGS("s", relay),
                            SD_BUS_RESULT("s", relay_statement, "t", message_bytes, "t", attachment_bytes),
                            method_relay, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Nonce", SD_BUS_ARGS("s", relay), SD_BUS_RESULT("ay", nonce, "ay", exporter),
                            method_nonce, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Challenge", SD_BUS_ARGS("s", relay, "ay", decrypt_spki),
                            SD_BUS_RESULT("ay", nonce, "ay", pop, "ay", exporter), method_challenge,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
        "Register", SD_BUS_ARGS("s", relay, "s", statement, "s", request, "ay", answer, "a{sv}", options),
        SD_BUS_RESULT("s", binding, "s", relay_statement), method_register, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
        "Rotate", SD_BUS_ARGS("s", relay, "s", statement, "s", request, "ay", answer, "s", steps),
        SD_BUS_RESULT("s", binding, "s", relay_statement), method_rotate, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unregister", SD_BUS_ARGS("s", relay, "s", request), SD_BUS_NO_RESULT,
                            method_unregister, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("LookupName", SD_BUS_ARGS("s", relay, "s", name, "s", from),
                            SD_BUS_RESULT("s", statement, "s", binding, "s", relay_statement, "s", chain),
                            method_lookup_name, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("LookupKid", SD_BUS_ARGS("s", relay, "s", kid, "s", from),
                            SD_BUS_RESULT("s", statement, "s", binding, "s", relay_statement, "s", chain),
                            method_lookup_kid, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Login", SD_BUS_ARGS("s", relay, "s", request),
                            SD_BUS_RESULT("s", response, "s", relay_statement), method_login,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Submit",
                            SD_BUS_ARGS("s", relay, "s", recipient_kid, "s", id, "h", body, "t", size, "t",
                                        expires, "s", capability),
                            SD_BUS_RESULT("s", receipt, "s", relay_statement), method_submit,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Grant", SD_BUS_ARGS("s", relay, "ay", hash, "t", uses, "t", expires, "ay", mac),
                            SD_BUS_RESULT("t", number), method_grant, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Capabilities", SD_BUS_ARGS("s", relay), SD_BUS_RESULT("a(tttt)", capabilities),
                            method_capabilities, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("s", relay, "t", number, "ay", mac), SD_BUS_NO_RESULT,
                            method_revoke, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Settings", SD_BUS_ARGS("s", relay),
                            SD_BUS_RESULT("t", revision, "t", lifetime, "t", lifetime_max), method_settings,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetSettings",
                            SD_BUS_ARGS("s", relay, "t", revision, "t", lifetime, "ay", senders, "ay", mac),
                            SD_BUS_NO_RESULT, method_set_settings, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Status", SD_BUS_ARGS("s", relay, "s", id), SD_BUS_RESULT("s", state),
                            method_status, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("s", relay, "t", after),
                            SD_BUS_RESULT("a(tstst)", messages, "b", more), method_list,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Fetch", SD_BUS_ARGS("s", relay, "s", id, "h", destination),
                            SD_BUS_RESULT("t", size), method_fetch, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Acknowledge", SD_BUS_ARGS("s", relay, "as", ids, "ay", mac),
                            SD_BUS_RESULT("as", acknowledged), method_acknowledge,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Listen", SD_BUS_ARGS("s", relay), SD_BUS_NO_RESULT, method_listen,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Forget", SD_BUS_ARGS("s", relay), SD_BUS_NO_RESULT, method_forget,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Mail", SD_BUS_ARGS("s", relay, "t", seq, "s", id, "t", size, "s", submitter), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Status", SD_BUS_ARGS("s", relay, "s", id, "s", state), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Listening", SD_BUS_ARGS("s", relay), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Disconnected", SD_BUS_ARGS("s", relay, "s", reason), 0),
    SD_BUS_VTABLE_END,
};
