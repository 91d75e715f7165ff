/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/json-util.h"
#include "cli/input.h"
#include "cli/pin.h"
#include "libhmsg/base/secret.h"

#define KEY_MAX 16384u /* bytes, as the agent has it */

int key_file_read(Ctl *ctl, const char *path, int *ret_fd, bool *encrypted)
{
    _cleanup_(input_freep) Input *in = NULL;
    _cleanup_(pin_done) int fd = -1;
    const Buf *text;
    int r = input_open(path, KEY_MAX, &in);

    if (r < 0)
        return ctl_fail(ctl, r, "%s: %s", path, error_message(r));
    text = input_data(in);
    if (!input_whole(in) || text->size == 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s holds no private key", path);
    fd = memfd_create("hmsg-key", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text->data, text->size) != (ssize_t)text->size)
        return ctl_fail(ctl, -errno, "Memory for the key: %s", error_message(-errno));
    if (memmem(text->data, text->size, "ENCRYPTED", strlen("ENCRYPTED")))
        *encrypted = true;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

typedef struct ImportFds {
    int key, sign_key, password, pin;
} ImportFds;

static void import_fds_done(ImportFds *f)
{
    pin_done(&f->key);
    pin_done(&f->sign_key);
    pin_done(&f->password);
    pin_done(&f->pin);
}

static int get_all(Ctl *ctl, ImportFds *ret)
{
    const char *sign_key = ctl->options.values[OPTION_SIGN_KEY];
    bool encrypted = false;
    int r = key_file_read(ctl, ctl_operand(ctl, 0), &ret->key, &encrypted);

    if (r == 0 && sign_key)
        r = key_file_read(ctl, sign_key, &ret->sign_key, &encrypted);
    if (r == 0 && (encrypted || ctl_given(ctl, OPTION_PASSWORD_FD)))
        r = pin_get(ctl, OPTION_PASSWORD_FD, "Password of the key: ", false, &ret->password);
    if (r == 0 && (ctl_given(ctl, OPTION_PIN) || ctl_given(ctl, OPTION_PIN_FD)))
        r = pin_get(ctl, OPTION_PIN_FD, "New PIN: ", true, &ret->pin);
    return r;
}

int cmd_identity_import(Ctl *ctl)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *identity = NULL;
    _cleanup_(import_fds_done) ImportFds fds = {-1, -1, -1, -1};
    _cleanup_(policy_key_done) PolicyKey policy = POLICY_KEY_NONE;
    int r = process_harden(); /* neither a core nor a debugger of the same user */

    r = r == 0 ? get_all(ctl, &fds) : ctl_fail(ctl, r, "Hardening: %s", error_message(r));
    if (r == 0 && ctl_given(ctl, OPTION_POLICY_KEY))
        r = policy_key_get(ctl, ctl->options.values[OPTION_POLICY_KEY], OPTION_POLICY_PASSWORD_FD, &policy);
    if (r == 0)
        r = ctl_call_new(ctl, "Identity", "Import", &call);
    if (r != 0)
        return r;
    hmsg_call_fd(call, fds.key);
    hmsg_call_option_fd(call, "sign_key", fds.sign_key);
    hmsg_call_option_fd(call, "password", fds.password);
    hmsg_call_option_fd(call, "pin", fds.pin);
    hmsg_call_option_string(call, "pcrs", ctl->options.values[OPTION_PCRS]);
    hmsg_call_option_fd(call, "policy_key", policy.key);
    hmsg_call_option_fd(call, "policy_password", policy.password);
    hmsg_call_option_string(call, "generation", ctl->options.values[OPTION_GENERATION]);
    r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = ctl_facts(ctl, reply, &identity);
    if (r != 0)
        return r;
    ctl_note("The file still holds the key: whoever has it can read what is encrypted to you.");
    return identity_print(ctl, identity);
}
