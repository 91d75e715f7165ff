/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <ctype.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/json-util.h"
#include "cli/pin.h"
#include "cli/recipients.h"

static const RenderField columns[] = {
    {"name", "NAME", RENDER_TEXT},   {"address", "ADDRESS", RENDER_TEXT}, {"trust", "TRUST", RENDER_TEXT},
    {"added", "ADDED", RENDER_TIME}, {"kid", "KEY", RENDER_TEXT},
};
static const RenderField fields[] = {
    {"name", "Name", RENDER_TEXT},
    {"address", "Address", RENDER_TEXT},
    {"trust", "Trust", RENDER_TEXT},
    {"kid", "Decrypt key", RENDER_TEXT},
    {"skid", "Sign key", RENDER_TEXT},
    {"fingerprint", "Fingerprint", RENDER_TEXT},
    {"protection", "Protection", RENDER_TEXT},
    {"recovery", "Recovery key", RENDER_TEXT},
    {"new_fingerprint", "New fingerprint", RENDER_TEXT},
    {"generation", "Generation", RENDER_NUMBER},
    {"added", "Added", RENDER_TIME},
    {"capability", "Capability", RENDER_BOOL},
    {"allowed", "Allowed", RENDER_BOOL},
};

static const char *text_of(const json_t *contact, const char *key)
{
    const char *text = json_string_value(json_object_get(contact, key));

    return text ? text : "";
}

int cmd_contact_add(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *file = ctl->options.values[OPTION_KEY], *address = ctl_operand(ctl, 0);
    const char *card = ctl->options.values[OPTION_CARD];
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *contact = NULL;
    _cleanup_(buf_done) Buf key = BUF_MAX(0);
    _cleanup_(freep) char *on_card = NULL;
    _cleanup_(pin_done) int capability = -1;
    int r = 0;

    if (card && (address || file))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS,
                        "The card says who it is: ADDRESS and --key do not go with it");
    if (card) {
        r = card_read(ctl, card, &on_card, &capability);
        if (r != 0)
            return r;
        address = on_card;
    }
    if (address && !file && strncmp(address, KEY_PREFIX, strlen(KEY_PREFIX)) == 0) {
        file = address + strlen(KEY_PREFIX);
        address = NULL;
    }
    if (!address && !file)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "ADDRESS, --key or --card is missing");
    if (file)
        r = recipients_read_key(ctl, file, &key);
    if (r == 0)
        r = ctl_call_new(ctl, "Contacts", "Add", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, address ? address : "");
    hmsg_call_option_string(call, "name", ctl->options.values[OPTION_NAME]);
    if (file)
        hmsg_call_option_bytes(call, "key", buf_text(&key), key.size);
    hmsg_call_option_fd(call, "capability", capability);
    if (ctl_given(ctl, OPTION_TRUST_RELAY))
        hmsg_call_option_bool(call, "trust_relay", true);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &contact);
    return r == 0 ? ctl_print_record(ctl, contact, fields, ELEMENTSOF(fields)) : r;
}

int cmd_contact_list(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *contacts = NULL;
    int r = ctl_simple(ctl, &contacts, "Contacts", "List", NULL);

    return r == 0 ? ctl_print_table(ctl, contacts, columns, ELEMENTSOF(columns), "There are no contacts.")
                  : r;
}

static bool is_called(const json_t *contact, const char *word)
{
    const char *address = text_of(contact, "address");
    static const char port[] = ":7443"; /* an address has none when it is this one */
    const size_t n = sizeof(port) - 1;
    size_t bare = strcspn(word, "#"); /* the pin is no part of who it is */

    if (bare > n && strncmp(word + bare - n, port, n) == 0)
        bare -= n;
    return strcmp(text_of(contact, "name"), word) == 0 || strcmp(text_of(contact, "kid"), word) == 0 ||
           strcmp(text_of(contact, "skid"), word) == 0 ||
           (bare > 0 && strcspn(address, "#") == bare && strncmp(address, word, bare) == 0);
}

/* A new reference. */
static int find(Ctl *ctl, const char *word, json_t **ret)
{
    _cleanup_(json_unrefp) json_t *contacts = NULL;
    int r = ctl_simple(ctl, &contacts, "Contacts", "List", NULL);

    if (r != 0)
        return r;
    for (size_t i = 0; i < json_array_size(contacts); i++)
        if (is_called(json_array_get(contacts, i), word)) {
            *ret = json_incref(json_array_get(contacts, i));
            return 0;
        }
    return ctl_fail(ctl, HMSG_ERROR_NOT_FOUND, "There is no contact \"%s\"", word);
}

int cmd_contact_show(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *contact = NULL;
    int r = find(ctl, ctl_operand(ctl, 0), &contact);

    return r == 0 ? ctl_print_record(ctl, contact, fields, ELEMENTSOF(fields)) : r;
}

/* People write groups with spaces, dashes and either case. */
static bool same_fingerprint(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && !isalnum((unsigned char)*a))
            a++;
        while (*b && !isalnum((unsigned char)*b))
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
    }
}

int contact_compare(Ctl *ctl, const char *fingerprint, const char *told, const char *question)
{
    if (!told) {
        ctl_note("Fingerprint:  %s", fingerprint);
        return ctl_confirm(ctl, question);
    }
    if (same_fingerprint(fingerprint, told))
        return 0;
    return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_UNTRUSTED, "The fingerprint is another: %s", fingerprint),
                    "Somebody may be in between: do not write to this contact before you know why.");
}

int cmd_contact_verify(Ctl *ctl)
{
    const char *word = ctl_operand(ctl, 0), *told = ctl->options.values[OPTION_FINGERPRINT];
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(json_unrefp) json_t *contact = NULL, *record = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    const char *fingerprint;
    int r;

    r = find(ctl, word, &contact);
    if (r != 0)
        return r;
    fingerprint = text_of(contact, "new_fingerprint");
    if (!*fingerprint)
        fingerprint = text_of(contact, "fingerprint");
    r = contact_compare(ctl, fingerprint, told ? told : ctl_operand(ctl, 1),
                        "Does your contact see the same?");
    if (r == 0)
        r = ctl_call_new(ctl, "Contacts", "Verify", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, word);
    hmsg_call_option_string(call, "fingerprint", fingerprint);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &record);
    return r == 0 ? ctl_print_record(ctl, record, fields, ELEMENTSOF(fields)) : r;
}

static int change(Ctl *ctl, const char *member)
{
    const char *word = ctl_operand(ctl, 0);
    int r = ctl_simple(ctl, NULL, "Contacts", member, word);

    if (r == HMSG_ERROR_NOT_FOUND)
        return ctl_fail(ctl, r, "There is no contact \"%s\"", word);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}

int cmd_contact_block(Ctl *ctl)
{
    return change(ctl, "Block");
}

int cmd_contact_allow(Ctl *ctl)
{
    return change(ctl, "Allow");
}

int cmd_contact_forget(Ctl *ctl)
{
    return change(ctl, "Forget");
}
