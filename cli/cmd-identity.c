/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/json-util.h"
#include "cli/pin.h"

#define GRACE_MAX (366u * 86400u) /* seconds */
#define MAKING_NOTE "The TPM makes two keys; this may take a minute."

static const RenderField fields[] = {
    {"addresses", "Addresses", RENDER_TEXT},
    {"protection", "Protection", RENDER_TEXT},
    {"pin", "PIN", RENDER_TEXT},
    {"state", "State", RENDER_TEXT},
    {"kid", "Decrypt key", RENDER_TEXT},
    {"skid", "Sign key", RENDER_TEXT},
    {"fingerprint", "Fingerprint", RENDER_TEXT},
    {"generation", "Generation", RENDER_NUMBER},
    {"bound", "Bound to a counter", RENDER_TEXT},
    {"pcrs", "Bound to PCRs", RENDER_TEXT},
    {"recovery", "Recovery key", RENDER_TEXT},
    {"former", "Former keys", RENDER_NUMBER},
    {"former_until", "Former keys until", RENDER_TIME},
    {"created", "Created", RENDER_TIME},
    {"srk_name", "TPM storage key", RENDER_TEXT},
};

int identity_print(Ctl *ctl, const json_t *identity)
{
    return ctl_print_record(ctl, identity, fields, ELEMENTSOF(fields));
}

static bool is_software(const Ctl *ctl)
{
    const char *protection = ctl->options.values[OPTION_PROTECTION];

    return protection && strcmp(protection, "software") == 0;
}

int cmd_identity_create(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *identity = NULL;
    _cleanup_(policy_key_done) PolicyKey key = POLICY_KEY_NONE;
    _cleanup_(pin_done) int pin = -1;
    int r = 0;

    if (ctl_given(ctl, OPTION_PIN) || ctl_given(ctl, OPTION_PIN_FD) || is_software(ctl))
        r = pin_get(ctl, OPTION_PIN_FD, is_software(ctl) ? "New password: " : "New PIN: ", true, &pin);
    if (r == 0 && ctl_given(ctl, OPTION_POLICY_KEY))
        r = policy_key_get(ctl, ctl->options.values[OPTION_POLICY_KEY], OPTION_PASSWORD_FD, &key);
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "Create", &call);
    if (r == 0)
        r = recovery_options(ctl, call);
    if (r != 0)
        return r;
    hmsg_call_option_fd(call, "pin", pin);
    hmsg_call_option_string(call, "pcrs", ctl->options.values[OPTION_PCRS]);
    hmsg_call_option_fd(call, "policy_key", key.key);
    hmsg_call_option_fd(call, "policy_password", key.password);
    hmsg_call_option_string(call, "generation", ctl->options.values[OPTION_GENERATION]);
    hmsg_call_option_string(call, "protection", ctl->options.values[OPTION_PROTECTION]);
    if (is_software(ctl))
        ctl_note("Whoever copies the key files may guess the password as often as it likes: no TPM counts.");
    else if (isatty(STDERR_FILENO))
        ctl_note(MAKING_NOTE);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &identity);
    return r == 0 ? identity_print(ctl, identity) : r;
}

static int add_grace(Ctl *ctl, HmsgCall *call)
{
    const char *grace = ctl->options.values[OPTION_GRACE];
    uint64_t seconds = 0;

    if (!grace)
        return 0;
    if (option_seconds(grace, GRACE_MAX, &seconds) != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "\"%s\" is no time of at most 366d, as 12h or 7d",
                        grace);
    hmsg_call_option_number(call, "grace", seconds);
    return 0;
}

int cmd_identity_rotate(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *identity = NULL;
    int r = ctl_call_new(ctl, "Identity", "Rotate", &call);

    if (r == 0)
        r = add_grace(ctl, call);
    if (r == 0)
        r = recovery_options(ctl, call);
    if (r != 0)
        return r;
    hmsg_call_option_string(call, "generation", ctl->options.values[OPTION_GENERATION]);
    if (isatty(STDERR_FILENO))
        ctl_note(MAKING_NOTE);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &identity);
    return r == 0 ? identity_print(ctl, identity) : r;
}

int cmd_identity_show(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *identity = NULL;
    int r = ctl_simple(ctl, &identity, "Identity", "Show", NULL);

    return r == 0 ? identity_print(ctl, identity) : r;
}

/* The new PIN, unless it is to be removed; the one there is first, as people expect it. */
static int get_pins(Ctl *ctl, const json_t *identity, int *ret_pin, int *ret_new)
{
    int r = 0;

    if (json_is_true(json_object_get(identity, "pin")))
        r = pin_get(ctl, OPTION_PIN_FD, "PIN: ", false, ret_pin);
    if (r == 0 && !ctl_given(ctl, OPTION_REMOVE))
        r = pin_get(ctl, OPTION_NEW_PIN_FD, "New PIN: ", true, ret_new);
    return r;
}

int cmd_identity_pin(Ctl *ctl)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *identity = NULL;
    _cleanup_(pin_done) int pin = -1;
    _cleanup_(pin_done) int new_pin = -1;
    int r;

    if (ctl_given(ctl, OPTION_KEEP_KEY) && ctl_given(ctl, OPTION_GRACE))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "With --keep-key no key becomes a former one");
    r = ctl_simple(ctl, &identity, "Identity", "Show", NULL);
    if (r == 0)
        r = get_pins(ctl, identity, &pin, &new_pin);
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "SetPin", &call);
    if (r != 0)
        return r;
    hmsg_call_option_fd(call, "pin", pin);
    r = add_grace(ctl, call);
    if (r != 0)
        return r;
    hmsg_call_option_fd(call, "new_pin", new_pin);
    if (ctl_given(ctl, OPTION_KEEP_KEY)) {
        hmsg_call_option_bool(call, "keep_key", true);
        ctl_note("A copy of the key files as they were still opens with the old PIN.");
    } else if (isatty(STDERR_FILENO))
        ctl_note(MAKING_NOTE);
    if (ctl_given(ctl, OPTION_FORCE))
        hmsg_call_option_bool(call, "force", true);
    r = ctl_call_run(ctl, call, NULL);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}

static int write_exported(Ctl *ctl, const void *data, size_t size)
{
    _cleanup_(output_freep) Output *out = NULL;
    _cleanup_(json_unrefp) json_t *info = json_object();
    int r;

    r = info ? content_open_output(ctl, MODE_CIPHERTEXT, &out) : -ENOMEM;
    if (r != 0)
        return r;
    if (output_wants_name(out))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A file needs a name");
    if (ctl_given(ctl, OPTION_JSON) && output_is_stdout(out))
        return content_print_json(ctl, info, data, size);
    r = content_write(ctl, out, data, size);
    if (r == 0)
        r = content_commit(ctl, out, NULL);
    return r == 0 && !output_is_stdout(out) ? ctl_print_nothing(ctl) : r;
}

static bool is_export_format(const char *text)
{
    static const char *const formats[] = {"identity", "pem", "jwk", "openssh", "csr"};

    for (size_t i = 0; i < ELEMENTSOF(formats); i++)
        if (strcmp(text, formats[i]) == 0)
            return true;
    return false;
}

int cmd_identity_export(Ctl *ctl)
{
    const char *format = ctl->options.values[OPTION_FORMAT];
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    const void *data;
    size_t size;
    int r;

    if (format && !is_export_format(format))
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "There is no format \"%s\"", format),
                        "The formats are identity, pem, jwk, openssh and csr.");
    r = ctl_call_new(ctl, "Identity", "ExportPublic", &call);
    if (r != 0)
        return r;
    hmsg_call_option_string(call, "format", format);
    hmsg_call_option_string(call, "subject", ctl->options.values[OPTION_SUBJECT]);
    r = ctl_call_run(ctl, call, &reply);
    if (r != 0)
        return r;
    r = sd_bus_message_read_array(reply, 'y', &data, &size);
    if (r < 0)
        return ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r));
    return write_exported(ctl, data ? data : "", size);
}

int cmd_identity_delete(Ctl *ctl)
{
    _cleanup_(json_unrefp) json_t *identity = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    int r;

    r = ctl_simple(ctl, &identity, "Identity", "Show", NULL);
    if (r == 0)
        r = ctl_confirm(ctl,
                        "This destroys your keys. What is encrypted to them can never be read again. Do it?");
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "Delete", &call);
    if (r != 0)
        return r;
    hmsg_call_option_string(call, "confirm", json_string_value(json_object_get(identity, "kid")));
    r = ctl_call_run(ctl, call, NULL);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}
