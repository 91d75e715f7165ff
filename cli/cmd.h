/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The commands, by area. Each returns 0, an HmsgError or -errno, with the text of a failure left in ctl. */

#include "cli/ctl.h"

/* cmd-identity.c */
int cmd_identity_create(Ctl *ctl);
/* What Show answers. */
int identity_print(Ctl *ctl, const json_t *identity);
int cmd_identity_rotate(Ctl *ctl);
int cmd_identity_show(Ctl *ctl);
int cmd_identity_export(Ctl *ctl);
int cmd_identity_pin(Ctl *ctl);
int cmd_identity_delete(Ctl *ctl);

/* cmd-import.c */
int cmd_identity_import(Ctl *ctl);
/* A key file as a memfd, for pin_done. *encrypted stays when it is not. */
int key_file_read(Ctl *ctl, const char *path, int *ret_fd, bool *encrypted);

/* cmd-approve.c */
int cmd_identity_approve(Ctl *ctl);
int cmd_identity_recover(Ctl *ctl);
/* Of the commands that make keys: --recovery-key, --recovery-sign-key, --no-recovery. */
int recovery_options(Ctl *ctl, HmsgCall *call);
/* memfds of a policy key and its password; -1: none. */
typedef struct PolicyKey {
    int key, password;
} PolicyKey;
#define POLICY_KEY_NONE ((PolicyKey){-1, -1})
int policy_key_get(Ctl *ctl, const char *path, OptionId password, PolicyKey *ret);
void policy_key_done(PolicyKey *k);

/* cmd-device.c */
int cmd_identity_device(Ctl *ctl);

/* cmd-register.c */
int cmd_register(Ctl *ctl);

/* cmd-contact.c */
int cmd_contact_add(Ctl *ctl);
int cmd_contact_list(Ctl *ctl);
int cmd_contact_show(Ctl *ctl);
int cmd_contact_verify(Ctl *ctl);
/* told NULL: shows the fingerprint, and asks. */
int contact_compare(Ctl *ctl, const char *fingerprint, const char *told, const char *question);
int cmd_contact_block(Ctl *ctl);
int cmd_contact_allow(Ctl *ctl);
int cmd_contact_forget(Ctl *ctl);

/* cmd-capability.c */
int cmd_contact_capability(Ctl *ctl);

/* cmd-mailbox.c */
int cmd_mailbox_lifetime(Ctl *ctl);
/* The file of --card: the address on it, to be freed, and its capability as a memfd for pin_done; -1: none.
 */
int card_read(Ctl *ctl, const char *path, char **ret_address, int *ret_fd);

/* cmd-encrypt.c */
int cmd_encrypt(Ctl *ctl);

/* cmd-convert.c */
int cmd_convert(Ctl *ctl);

/* cmd-decrypt.c */
int cmd_decrypt(Ctl *ctl);
int cmd_read(Ctl *ctl);
int cmd_inbox_open(Ctl *ctl);

/* cmd-mail.c */
int cmd_send(Ctl *ctl);
int cmd_inbox(Ctl *ctl);
int cmd_inbox_copy(Ctl *ctl);
int cmd_delete(Ctl *ctl);
int cmd_outbox(Ctl *ctl);
int cmd_outbox_retry(Ctl *ctl);
int cmd_outbox_cancel(Ctl *ctl);

/* cmd-monitor.c */
int cmd_monitor(Ctl *ctl);

/* cmd-access.c */
int cmd_access_list(Ctl *ctl);
int cmd_access_allow(Ctl *ctl);
int cmd_access_ask(Ctl *ctl);
int cmd_access_deny(Ctl *ctl);
int cmd_access_revoke(Ctl *ctl);
int cmd_access_log(Ctl *ctl);

/* cmd-session.c */
int cmd_session_list(Ctl *ctl);
int cmd_session_flush(Ctl *ctl);
int cmd_lock(Ctl *ctl);
int cmd_unlock(Ctl *ctl);

/* cmd-status.c */
int cmd_status(Ctl *ctl);
int cmd_doctor(Ctl *ctl);
