/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/command.h"

#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define BIT(name) OPTION_BIT(OPTION_##name)
#define HELP_COLUMN 24
#define OPTION_COLUMN 22

const Command commands[] = {
    {"identity", "create", "", "Make your keys inside the TPM", cmd_identity_create,
     BIT(PIN) | BIT(PIN_FD) | BIT(GENERATION) | BIT(PROTECTION) | BIT(PCRS) | BIT(POLICY_KEY) |
         BIT(PASSWORD_FD) | BIT(RECOVERY_KEY) | BIT(RECOVERY_SIGN_KEY)},
    {"identity", "import", "FILE", "Move a private key that you have into the TPM", cmd_identity_import,
     BIT(SIGN_KEY) | BIT(PASSWORD_FD) | BIT(PIN) | BIT(PIN_FD) | BIT(GENERATION) | BIT(PCRS) |
         BIT(POLICY_KEY) | BIT(POLICY_PASSWORD_FD),
     1, 1},
    {"identity", "show", "", "Show your addresses, keys and fingerprint", cmd_identity_show},
    {"identity", "rotate", "", "Make new keys that take the place of yours", cmd_identity_rotate,
     BIT(GRACE) | BIT(GENERATION) | BIT(RECOVERY_KEY) | BIT(RECOVERY_SIGN_KEY) | BIT(NO_RECOVERY)},
    {"identity", "recover", "ADDRESS", "Take over your address on a new machine, by its recovery key",
     cmd_identity_recover, BIT(TRUST_RELAY) | BIT(RECOVERY_KEY) | BIT(RECOVERY_SIGN_KEY), 1, 1},
    {"identity", "export", "", "Write your public keys (--format identity, pem, jwk, openssh or csr)",
     cmd_identity_export, BIT(FORMAT) | BIT(SUBJECT) | BIT(OUTPUT)},
    {"identity", "pin", "", "Change the PIN, or remove it (--remove), with new keys", cmd_identity_pin,
     BIT(GRACE) | BIT(KEEP_KEY) | BIT(REMOVE) | BIT(PIN_FD) | BIT(NEW_PIN_FD) | BIT(FORCE)},
    {"identity", "approve", "[FILE]", "Approve the PCRs as they are, or will be, by the policy key",
     cmd_identity_approve,
     BIT(PASSWORD_FD) | BIT(VALUES) | BIT(TO_SIGN) | BIT(SIGNATURE) | BIT(OUTPUT) | BIT(RAW), 0, 1},
    {"identity", "device", "add ADDRESS [FINGERPRINT] | list | remove ADDRESS",
     "Have what is sent to you arrive on your other machines too", cmd_identity_device, BIT(YES) | BIT(SYNC),
     1, 3},
    {"identity", "delete", "", "Destroy your keys, and what is encrypted to them", cmd_identity_delete,
     BIT(YES)},
    {"register", NULL, "[ADDRESS]", "Enter your keys at a relay under an address, with a mailbox",
     cmd_register, BIT(LIST) | BIT(REMOVE) | BIT(TRUST_RELAY) | BIT(INVITE) | BIT(INVITE_FD), 0, 1},
    {"mailbox", "lifetime", "[TIME | default] [ADDRESS]", "Say how long messages for you wait at the relay",
     cmd_mailbox_lifetime, 0, 0, 2},
    {"contact", "add", "[ADDRESS]", "Look up a contact, or add one from a key file", cmd_contact_add,
     BIT(NAME) | BIT(KEY) | BIT(CARD) | BIT(TRUST_RELAY), 0, 1},
    {"contact", "list", "", "List contacts", cmd_contact_list},
    {"contact", "show", "CONTACT", "Show a contact with its fingerprint", cmd_contact_show, 0, 1, 1},
    {"contact", "verify", "CONTACT [FINGERPRINT]", "Say that you have compared the fingerprint",
     cmd_contact_verify, BIT(FINGERPRINT) | BIT(YES), 1, 2},
    {"contact", "block", "CONTACT", "Accept nothing from a contact, send nothing to it", cmd_contact_block, 0,
     1, 1},
    {"contact", "allow", "CONTACT", "Take a block back; count the contact as no stranger", cmd_contact_allow,
     0, 1, 1},
    {"contact", "forget", "CONTACT", "Remove a contact", cmd_contact_forget, 0, 1, 1},
    {"contact", "capability", "create [ADDRESS] | list [ADDRESS] | revoke NUMBER [ADDRESS]",
     "Let somebody send to you who has no mailbox at your relay", cmd_contact_capability,
     BIT(NAME) | BIT(USES) | BIT(EXPIRES) | BIT(OUTPUT), 1, 3},
    {"encrypt", NULL, "[FILE]", "Encrypt FILE or standard input (--format says in which form)", cmd_encrypt,
     BIT(RECIPIENT) | BIT(OUTPUT) | BIT(FORMAT) | BIT(NO_SIGN) | BIT(SIGN) | BIT(FRESH) | BIT(RAW), 0, 1},
    {"decrypt", NULL, "[FILE]", "Decrypt FILE or standard input", cmd_decrypt,
     BIT(OUTPUT) | BIT(ALLOW_UNKNOWN) | BIT(ALLOW_UNAUTHENTICATED) | BIT(ALLOW_OAEP_SHA1) | BIT(RANGE) |
         BIT(RAW),
     0, 1},
    {"convert", NULL, "[FILE]", "Make a package a JWE, or a JWE a package again", cmd_convert,
     BIT(TO) | BIT(OUTPUT) | BIT(RAW), 0, 1},
    {"send", NULL, "[FILE]", "Send FILE or standard input", cmd_send,
     BIT(RECIPIENT) | BIT(SUBJECT) | BIT(EXPIRES) | BIT(TRUST_RELAY) | BIT(FRESH), 0, 1},
    {"inbox", NULL, "", "List messages that arrived", cmd_inbox, BIT(SYNC)},
    {"inbox", "copy", "ID", "Write a message as it is kept, encrypted", cmd_inbox_copy,
     BIT(OUTPUT) | BIT(RAW), 1, 1},
    {"inbox", "open", "[FILE]", "Decrypt what inbox copy wrote", cmd_inbox_open,
     BIT(OUTPUT) | BIT(ALLOW_UNKNOWN) | BIT(RAW), 0, 1},
    {"read", NULL, "ID", "Decrypt a message of the inbox", cmd_read,
     BIT(OUTPUT) | BIT(ALLOW_UNKNOWN) | BIT(RAW), 1, 1},
    {"delete", NULL, "ID", "Delete a message of the inbox, or a finished one of the outbox", cmd_delete,
     BIT(YES), 1, 1},
    {"outbox", NULL, "", "List messages that were sent, and how far they are", cmd_outbox},
    {"outbox", "retry", "[ID]", "Try a message, or all that wait, at once", cmd_outbox_retry, 0, 0, 1},
    {"outbox", "cancel", "ID", "Take back a message that no relay has yet", cmd_outbox_cancel, 0, 1, 1},
    {"monitor", NULL, "", "Print a line for each message that arrives", cmd_monitor},
    {"session", "list", "", "List the session keys that the agent keeps", cmd_session_list},
    {"session", "flush", "[ID]", "Forget session keys", cmd_session_flush, BIT(DIRECTION), 0, 1},
    {"access", "list", "", "List the rules of which program may decrypt and sign", cmd_access_list},
    {"access", "allow", "PROGRAM [PERMISSION]", "Let a program decrypt and sign", cmd_access_allow, 0, 1, 2},
    {"access", "ask", "PROGRAM [PERMISSION]", "Have the user asked each time", cmd_access_ask, 0, 1, 2},
    {"access", "deny", "PROGRAM [PERMISSION]", "Refuse a program", cmd_access_deny, 0, 1, 2},
    {"access", "revoke", "PROGRAM [PERMISSION]", "Take a rule back", cmd_access_revoke, 0, 1, 2},
    {"access", "log", "", "Show which programs used the keys", cmd_access_log},
    {"lock", NULL, "", "Forget all session keys and refuse to decrypt or sign", cmd_lock},
    {"unlock", NULL, "", "Prove that the TPM works and unlock", cmd_unlock, BIT(PIN_FD) | BIT(FORCE)},
    {"status", NULL, "", "Show how agent, TPM and relays are", cmd_status},
    {"doctor", NULL, "", "Check the set-up and say what to do", cmd_doctor},
};

size_t command_count(void)
{
    return ELEMENTSOF(commands);
}

static int wrong(char **ret_why, int r)
{
    (void)ret_why;
    return r < 0 ? r : HMSG_ERROR_INVALID_ARGS;
}

/* The command that has the most words in common; NULL. */
static const Command *match(const Options *o)
{
    const Command *found = NULL;

    for (size_t i = 0; o->n_operands > 0 && i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];

        if (strcmp(c->name, o->operands[0]) != 0)
            continue;
        if (!c->verb && !found)
            found = c;
        if (c->verb && o->n_operands > 1 && strcmp(c->verb, o->operands[1]) == 0)
            found = c;
    }
    return found;
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return true;
    return false;
}

static int check_options(const Options *o, const Command *c, char **ret_why)
{
    uint64_t wrong_ones = o->given & ~(c->options | OPTIONS_OF_ALL);

    for (OptionId id = 0; wrong_ones && id < OPTION_MAX_; id++)
        if (wrong_ones & OPTION_BIT(id))
            return wrong(ret_why,
                         string_printf(ret_why, "\"%s%s%s\" takes no --%s", c->name, c->verb ? " " : "",
                                       c->verb ? c->verb : "", option_infos[id].name));
    return 0;
}

static int say_missing(const Command *c, char **ret_why)
{
    if (strchr(c->operands, '|'))
        return string_printf(ret_why, "\"%s%s%s\" must be followed by one of: %s", c->name,
                             c->verb ? " " : "", c->verb ? c->verb : "", c->operands);
    return string_printf(ret_why, "%.*s is missing", (int)strcspn(c->operands, " "), c->operands);
}

int command_find(Options *o, const Command **ret, char **ret_why)
{
    const Command *c = match(o);
    size_t words;

    if (o->n_operands == 0)
        return wrong(ret_why, string_printf(ret_why, "a command is missing"));
    if (!c && !is_known(o->operands[0]))
        return wrong(ret_why, string_printf(ret_why, "there is no command \"%s\"", o->operands[0]));
    if (!c)
        return wrong(ret_why,
                     string_printf(ret_why, "\"%s\" must be followed by what to do", o->operands[0]));

    words = c->verb ? 2 : 1;
    if (o->n_operands - words > c->operands_max)
        return wrong(ret_why, string_printf(ret_why, "one word too many: \"%s\"",
                                            o->operands[words + c->operands_max]));
    if (o->n_operands - words < c->operands_min && !option_given(o, OPTION_HELP))
        return wrong(ret_why, say_missing(c, ret_why));
    o->n_operands -= words;
    memmove(o->operands, o->operands + words, o->n_operands * sizeof(o->operands[0]));
    *ret = c;
    return check_options(o, c, ret_why);
}

int command_overview(Buf *out)
{
    int r = buf_append_string(out, "Usage: hmsgctl COMMAND [OPTION]... [OPERAND]...\n\nCommands:\n");

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];
        int width = HELP_COLUMN - 3 - (int)strlen(c->name);

        r = buf_printf(out, "  %s %-*s%s\n", c->name, width, c->verb ? c->verb : "", c->help);
    }
    if (r == 0)
        r = buf_append_string(out, "\nhmsgctl help COMMAND tells more, and so does hmsgctl(1).\n");
    return r;
}

static int add_option(const OptionInfo *info, Buf *out)
{
    char letter[] = {'-', info->letter, ',', 0};
    const char *argument = info->argument ? info->argument : "";
    int width = OPTION_COLUMN - (int)strlen(info->name);

    if (!info->letter)
        letter[0] = 0;
    return buf_printf(out, "  %3s --%s %-*s %s\n", letter, info->name, width > 0 ? width : 0, argument,
                      info->help);
}

static int add_command(const Command *c, Buf *out)
{
    uint64_t options = c->options | OPTIONS_OF_ALL;
    int r;

    r = buf_printf(out, "Usage: hmsgctl %s%s%s [OPTION]...%s%s\n\n%s.\n\n", c->name, c->verb ? " " : "",
                   c->verb ? c->verb : "", *c->operands ? " " : "", c->operands, c->help);
    for (OptionId id = 0; r == 0 && id < OPTION_MAX_; id++)
        if (options & OPTION_BIT(id))
            r = add_option(&option_infos[id], out);
    return r;
}

int command_help(const char *name, const char *verb, Buf *out)
{
    bool found = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];

        if (strcmp(c->name, name) != 0 || (verb && (!c->verb || strcmp(c->verb, verb) != 0)))
            continue;
        if (found)
            r = buf_append_string(out, "\n");
        if (r == 0)
            r = add_command(c, out);
        found = true;
    }
    return r < 0 || found ? r : HMSG_ERROR_INVALID_ARGS;
}
