/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/cmd.h"
#include "cli/pin.h"
#include "libhmsg/base/secret.h"

void policy_key_done(PolicyKey *k)
{
    pin_done(&k->key);
    pin_done(&k->password);
}

int policy_key_get(Ctl *ctl, const char *path, PolicyKey *ret)
{
    bool encrypted = false;
    int r = process_harden(); /* neither a core nor a debugger of the same user */

    r = r == 0 ? key_file_read(ctl, path, &ret->key, &encrypted)
               : ctl_fail(ctl, r, "Hardening: %s", error_message(r));
    if (r == 0 && (encrypted || ctl_given(ctl, OPTION_PASSWORD_FD)))
        r = pin_get(ctl, OPTION_PASSWORD_FD, "Password of the policy key: ", false, &ret->password);
    return r;
}

int cmd_identity_approve(Ctl *ctl)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(policy_key_done) PolicyKey key = POLICY_KEY_NONE;
    int r = policy_key_get(ctl, ctl_operand(ctl, 0), &key);

    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "Approve", &call);
    if (r != 0)
        return r;
    hmsg_call_fd(call, key.key);
    hmsg_call_option_fd(call, "password", key.password);
    r = ctl_call_run(ctl, call, NULL);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}
