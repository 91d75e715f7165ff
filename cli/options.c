/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define ID_LENGTH 43u /* of ids and kids: base64url of 32 bytes */

const OptionInfo option_infos[OPTION_MAX_] = {
    [OPTION_ALLOW_OAEP_SHA1] = {"allow-oaep-sha1", NULL,
                                "Open JWE by RSA-OAEP with SHA-1, with a key in software"},
    [OPTION_ALLOW_UNAUTHENTICATED] = {"allow-unauthenticated", NULL,
                                      "Open the seed form without a MAC, which anybody may have changed"},
    [OPTION_ALLOW_UNKNOWN] = {"allow-unknown", NULL, "Open what an unknown or anonymous sender made"},
    [OPTION_CARD] = {"card", "FILE", "The card that the contact gave you: its address, with a capability"},
    [OPTION_DIRECTION] = {"direction", "in|out", "Only sessions of this direction"},
    [OPTION_EXPIRES] = {"expires", "TIME", "Until when: TIME from now (90s, 15min, 12h, 7d)"},
    [OPTION_FINGERPRINT] = {"fingerprint", "TEXT", "The fingerprint that the contact told you"},
    [OPTION_FORCE] = {"force", NULL, "Also when one more wrong PIN would lock the TPM out"},
    [OPTION_FORMAT] = {"format", "FORMAT", "What to write; hmsgctl(1) lists the formats of each command"},
    [OPTION_FRESH] = {"fresh", NULL, "Make a session key for this message only"},
    [OPTION_GENERATION] = {"generation", "counter|none", "Bind the keys to a counter in the TPM, or not"},
    [OPTION_GRACE] = {"grace", "TIME", "Former keys decrypt for TIME (12h, 7d), 366d at most; 0: no more"},
    [OPTION_HELP] = {"help", NULL, "Show this help", 'h'},
    [OPTION_INVITE] = {"invite", NULL, "Type the code of an invitation that the relay asks for"},
    [OPTION_INVITE_FD] = {"invite-fd", "N", "Read the code of the invitation from the descriptor N"},
    [OPTION_JSON] = {"json", NULL, "Print facts as JSON"},
    [OPTION_KEEP_KEY] = {"keep-key", NULL, "Keep the keys, though a copy of them opens with the old PIN"},
    [OPTION_KEY] = {"key", "FILE", "The contact's key: PEM, JWK or exported identity"},
    [OPTION_LIST] = {"list", NULL, "List where this identity is registered"},
    [OPTION_NAME] = {"name", "NAME", "Your own name for the contact"},
    [OPTION_NEW_PIN_FD] = {"new-pin-fd", "N", "Read the new PIN from the descriptor N"},
    [OPTION_NO_ASK] = {"no-ask", NULL, "Never ask anything, fail instead"},
    [OPTION_NO_RECOVERY] = {"no-recovery", NULL, "Name no recovery key any more"},
    [OPTION_NO_SIGN] = {"no-sign", NULL, "Do not say who made it; needs no TPM"},
    [OPTION_OUTPUT] = {"output", "OUT", "Write to the file OUT, or into the folder OUT/", 'o'},
    [OPTION_PASSWORD_FD] = {"password-fd", "N", "Read the password of the key from the descriptor N"},
    [OPTION_PCRS] = {"pcrs", "LIST", "Bind the keys to these PCRs of the TPM, as 7,11"},
    [OPTION_PIN] = {"pin", NULL, "Protect the keys with a PIN as well"},
    [OPTION_PIN_FD] = {"pin-fd", "N", "Read the PIN from the descriptor N instead of the terminal"},
    [OPTION_POLICY_KEY] = {"policy-key", "FILE", "The key that approves the PCRs"},
    [OPTION_POLICY_PASSWORD_FD] = {"policy-password-fd", "N",
                                   "Read the password of the policy key from the descriptor N"},
    [OPTION_PROTECTION] = {"protection", "WHERE",
                           "What protects the keys: tpm, or software where there is no TPM"},
    [OPTION_RANGE] = {"range", "OFFSET:LENGTH", "Only these bytes of the content, from a file"},
    [OPTION_RAW] = {"raw", NULL, "Do not escape what could mislead on a terminal"},
    [OPTION_RECIPIENT] = {"recipient", "RECIPIENT",
                          "An address, the name of a contact, or key:FILE; may be repeated", 'r'},
    [OPTION_RECOVERY_KEY] = {"recovery-key", "FILE",
                             "A public key that reads all that is for you as well; may be repeated once"},
    [OPTION_RECOVERY_SIGN_KEY] =
        {"recovery-sign-key", "FILE",
         "The public sign key of the recovery key before it, which may take over your addresses"},
    [OPTION_REMOVE] = {"remove", NULL,
                       "Remove the address and its mailbox with all that waits in it; or the PIN"},
    [OPTION_SIGN] = {"sign", NULL, "Sign inside CMS as well, which is not signed otherwise"},
    [OPTION_SIGNATURE] = {"signature", "FILE", "What the policy key has signed elsewhere"},
    [OPTION_SIGN_KEY] = {"sign-key", "FILE", "Import the key to sign as well"},
    [OPTION_SUBJECT] = {"subject", "TEXT",
                        "The subject of a message, which travels encrypted, or of a certificate request"},
    [OPTION_SYNC] = {"sync", NULL, "Ask the relays first"},
    [OPTION_TO] = {"to", "hmsg|jwe", "What it becomes; without it, the other one of the two"},
    [OPTION_TO_SIGN] = {"to-sign", NULL, "Write what the policy key is to sign elsewhere"},
    [OPTION_TRUST_RELAY] = {"trust-relay", NULL, "Accept the key of a relay that is not known yet"},
    [OPTION_USES] = {"uses", "N", "How many messages may come by the capability, 100 by default"},
    [OPTION_VALUES] = {"values", "LIST", "What PCRs will be, as 7=HEX,11=HEX, in place of what they are"},
    [OPTION_VERSION] = {"version", NULL, "Show the version"},
    [OPTION_YES] = {"yes", NULL, "Do it without asking"},
};

static int wrong(char **ret_why, const char *format, const char *word)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int r = string_printf(ret_why, format, word);
#pragma GCC diagnostic pop
    return r < 0 ? r : HMSG_ERROR_INVALID_ARGS;
}

static OptionId find_long(const char *name, size_t length)
{
    OptionId id = 0;

    while (id < OPTION_MAX_ &&
           (strlen(option_infos[id].name) != length || strncmp(option_infos[id].name, name, length) != 0))
        id++;
    return id;
}

static OptionId find_letter(char letter)
{
    OptionId id = 0;

    while (id < OPTION_MAX_ && (letter == 0 || option_infos[id].letter != letter))
        id++;
    return id;
}

/* Ids are random text: one in 64 begins with a hyphen. No option is of this length. */
static bool is_id(const char *word)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    return strlen(word) == ID_LENGTH && strspn(word, alphabet) == ID_LENGTH;
}

/* A sign key goes with the recovery key before it; one that comes first, with the first. */
static int add_recovery(Options *o, OptionId id, const char *value, char **ret_why)
{
    size_t i = o->n_recovery > 0 ? o->n_recovery - 1 : 0;

    if (id == OPTION_RECOVERY_SIGN_KEY) {
        if (o->recovery[i].sign_key)
            return wrong(ret_why, "--%s stands there twice for one key", option_infos[id].name);
        o->recovery[i].sign_key = value;
    } else if (o->n_recovery == OPTION_RECOVERY_MAX) {
        return wrong(ret_why, "there are two recovery keys at most, and one too many is \"%s\"", value);
    } else {
        o->recovery[o->n_recovery++].key = value;
    }
    return 0;
}

static int add_value(Options *o, OptionId id, const char *value, char **ret_why)
{
    if (id == OPTION_RECOVERY_KEY || id == OPTION_RECOVERY_SIGN_KEY) {
        int r = add_recovery(o, id, value, ret_why);

        if (r != 0)
            return r;
    } else if (id == OPTION_RECIPIENT) {
        if (o->n_recipients == OPTION_RECIPIENTS_MAX)
            return wrong(ret_why, "more recipients than one message may have, at \"%s\"", value);
        o->recipients[o->n_recipients++] = value;
    } else if (option_given(o, id) && value) {
        return wrong(ret_why, "--%s stands there twice", option_infos[id].name);
    }
    o->values[id] = value;
    o->given |= OPTION_BIT(id);
    return 0;
}

/* One word that is an option; *i is moved on when its argument is a word of its own. */
static int parse_option(Options *o, int argc, char *const argv[], int *i, char **ret_why)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    const char *value = is_long ? strchr(word, '=') : NULL;
    size_t length = value ? (size_t)(value - word) - 2 : strlen(word + 2);
    OptionId id = is_long ? find_long(word + 2, length) : find_letter(word[1]);

    if (id == OPTION_MAX_)
        return wrong(ret_why, "there is no option \"%s\"", word);
    if (value)
        value++;
    else if (!is_long && word[2])
        value = word + 2;
    if (!option_infos[id].argument)
        return value ? wrong(ret_why, "--%s takes no argument", option_infos[id].name)
                     : add_value(o, id, NULL, ret_why);
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value)
        return wrong(ret_why, "--%s needs an argument", option_infos[id].name);
    return add_value(o, id, value, ret_why);
}

int options_parse(Options *o, int argc, char *const argv[], char **ret_why)
{
    bool only_operands = false;

    *o = (Options){0};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int r;

        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && word[0] == '-' && word[1] && !is_id(word)) {
            r = parse_option(o, argc, argv, &i, ret_why);
            if (r != 0)
                return r;
        } else if (o->n_operands == OPERANDS_MAX) {
            return wrong(ret_why, "one word too many: \"%s\"", word);
        } else {
            o->operands[o->n_operands++] = word;
        }
    }
    return 0;
}

/* Decimal digits alone. *end is behind them. */
static int read_number(const char *text, uint64_t *ret, char **end)
{
    unsigned long long n;

    if (*text < '0' || *text > '9')
        return HMSG_ERROR_INVALID_ARGS;
    errno = 0;
    n = strtoull(text, end, 10);
    if (errno != 0)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = n;
    return 0;
}

int option_range(const char *text, uint64_t *ret_offset, uint64_t *ret_length)
{
    uint64_t offset, length = UINT64_MAX;
    char *end;

    if (read_number(text, &offset, &end) != 0 || *end != ':')
        return HMSG_ERROR_INVALID_ARGS;
    if (end[1] && (read_number(end + 1, &length, &end) != 0 || *end || length == 0))
        return HMSG_ERROR_INVALID_ARGS;
    *ret_offset = offset;
    *ret_length = length;
    return 0;
}

int option_seconds(const char *text, uint64_t max, uint64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    uint64_t n;
    char *end;

    if (read_number(text, &n, &end) != 0)
        return HMSG_ERROR_INVALID_ARGS;
    for (size_t i = 0; i < ELEMENTSOF(units); i++)
        if (strcmp(end, units[i].name) == 0 && n <= max / units[i].seconds) {
            *ret = n * units[i].seconds;
            return 0;
        }
    return HMSG_ERROR_INVALID_ARGS;
}
