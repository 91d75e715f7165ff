/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/cmd.h"
#include "cli/json-util.h"
#include "cli/recipients.h"

static int add_key(Ctl *ctl, HmsgCall *call, const char *path, const char *name)
{
    _cleanup_(buf_done) Buf key = BUF_MAX(0);
    int r;

    if (!path)
        return 0;
    r = recipients_read_key(ctl, path, &key);
    if (r == 0)
        hmsg_call_option_bytes(call, name, buf_text(&key), key.size);
    return r;
}

int recovery_options(Ctl *ctl, HmsgCall *call)
{
    static const char *const names[OPTION_RECOVERY_MAX][2] = {
        {"recovery_key", "recovery_sign_key"}, {"further_recovery_key", "further_recovery_sign_key"}};
    int r = 0;

    for (size_t i = 0; r == 0 && i < OPTION_RECOVERY_MAX; i++) {
        r = add_key(ctl, call, ctl->options.recovery[i].key, names[i][0]);
        if (r == 0)
            r = add_key(ctl, call, ctl->options.recovery[i].sign_key, names[i][1]);
    }
    if (r == 0 && ctl_given(ctl, OPTION_NO_RECOVERY))
        hmsg_call_option_bool(call, "no_recovery", true);
    return r;
}

int cmd_identity_recover(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *identity = NULL;
    int r = ctl_call_new(ctl, "Identity", "Recover", &call);

    if (r != 0)
        return r;
    hmsg_call_string(call, ctl_operand(ctl, 0));
    r = recovery_options(ctl, call);
    if (r != 0)
        return r;
    if (ctl_given(ctl, OPTION_TRUST_RELAY))
        hmsg_call_option_bool(call, "trust_relay", true);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &identity);
    if (r != 0)
        return r;
    if (!ctl_given(ctl, OPTION_RECOVERY_KEY))
        ctl_note("The new keys name no recovery key: make another, and name it with identity rotate.");
    return identity_print(ctl, identity);
}
