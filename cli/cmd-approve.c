/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/json-util.h"
#include "cli/pin.h"
#include "libhmsg/base/secret.h"

#define SIGNATURE_MAX 1024u /* bytes; one has 256 */

void policy_key_done(PolicyKey *k)
{
    pin_done(&k->key);
    pin_done(&k->password);
}

int policy_key_get(Ctl *ctl, const char *path, OptionId password, PolicyKey *ret)
{
    bool encrypted = false;
    int r = process_harden(); /* neither a core nor a debugger of the same user */

    r = r == 0 ? key_file_read(ctl, path, &ret->key, &encrypted)
               : ctl_fail(ctl, r, "Hardening: %s", error_message(r));
    if (r == 0 && (encrypted || ctl_given(ctl, password)))
        r = pin_get(ctl, password, "Password of the policy key: ", false, &ret->password);
    return r;
}

static int finish(Ctl *ctl, HmsgCall *call)
{
    hmsg_call_option_string(call, "values", ctl->options.values[OPTION_VALUES]);
    int r = ctl_call_run(ctl, call, NULL);

    return r == 0 ? ctl_print_nothing(ctl) : r;
}

static int approve(Ctl *ctl, const char *path)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(policy_key_done) PolicyKey key = POLICY_KEY_NONE;
    int r = policy_key_get(ctl, path, OPTION_PASSWORD_FD, &key);

    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "Approve", &call);
    if (r != 0)
        return r;
    hmsg_call_fd(call, key.key);
    hmsg_call_option_fd(call, "password", key.password);
    return finish(ctl, call);
}

/* The message to the output, and how it is signed elsewhere and comes back to standard error. */
static int to_sign(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *info = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    const void *message;
    size_t size;
    int r = content_open_output(ctl, MODE_CIPHERTEXT, &out);

    if (r == 0 && output_wants_name(out))
        r = ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A file needs a name");
    if (r == 0 && !ctl_given(ctl, OPTION_JSON))
        r = content_refuse_terminal(ctl, out, "What is to be signed");
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "ToApprove", &call);
    if (r != 0)
        return r;
    hmsg_call_option_string(call, "values", ctl->options.values[OPTION_VALUES]);
    r = ctl_call_run(ctl, call, &reply);
    if (r != 0)
        return r;
    r = sd_bus_message_read_array(reply, 'y', &message, &size);
    if (r < 0)
        return ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r));
    r = ctl_facts(ctl, reply, &info);
    if (r != 0)
        return r;
    if (ctl_given(ctl, OPTION_JSON) && output_is_stdout(out))
        return content_print_json(ctl, info, message ? message : "", size);
    r = content_write(ctl, out, message ? message : "", size);
    if (r == 0)
        r = content_commit(ctl, out, NULL);
    if (r != 0)
        return r;
    ctl_note("Sign it where the policy key is: openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt "
             "rsa_pss_saltlen:32 -sign KEY -out SIGNATURE FILE");
    ctl_note("Then: hmsgctl identity approve --signature SIGNATURE --values %s",
             json_string_value(json_object_get(info, "values")));
    return ctl_given(ctl, OPTION_JSON) ? ctl_print_json(ctl, info) : 0;
}

static int approve_signed(Ctl *ctl, const char *path)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(input_freep) Input *in = NULL;
    int r = input_open(path, SIGNATURE_MAX, &in);

    if (r < 0)
        return ctl_fail(ctl, r, "%s: %s", path, error_message(r));
    if (!input_whole(in))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s is no signature", path);
    r = ctl_call_new(ctl, "Identity", "ApproveSigned", &call);
    if (r != 0)
        return r;
    hmsg_call_bytes(call, buf_text(input_data(in)), input_data(in)->size);
    return finish(ctl, call);
}

int cmd_identity_approve(Ctl *ctl)
{
    const char *key = ctl_operand(ctl, 0), *signature = ctl->options.values[OPTION_SIGNATURE];

    if ((key != NULL) + (signature != NULL) + ctl_given(ctl, OPTION_TO_SIGN) != 1)
        return ctl_hint(ctl, ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "It is not said what approves"),
                        "Give the file of the policy key; or, when that is elsewhere, --to-sign, and then "
                        "--signature FILE.");
    if (signature)
        return approve_signed(ctl, signature);
    return key ? approve(ctl, key) : to_sign(ctl);
}
