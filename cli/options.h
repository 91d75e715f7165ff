/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line: options anywhere, "--" ends them. A word of 43 characters that begins with "-" is an id,
 * for ids are base64url. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_RECIPIENTS_MAX 64u /* of one message, as in the protocol */
#define OPTION_RECOVERY_MAX 2u    /* recovery keys of one identity, as in the protocol */
#define OPERANDS_MAX 8u           /* words that are no options, the command's own included */

typedef enum OptionId {
    OPTION_ALLOW_OAEP_SHA1,
    OPTION_ALLOW_UNAUTHENTICATED,
    OPTION_ALLOW_UNKNOWN,
    OPTION_CARD,
    OPTION_DIRECTION,
    OPTION_EXPIRES,
    OPTION_FINGERPRINT,
    OPTION_FORCE,
    OPTION_FORMAT,
    OPTION_FRESH,
    OPTION_GENERATION,
    OPTION_GRACE,
    OPTION_HELP,
    OPTION_INVITE,
    OPTION_INVITE_FD,
    OPTION_JSON,
    OPTION_KEEP_KEY,
    OPTION_KEY,
    OPTION_LIST,
    OPTION_NAME,
    OPTION_NEW_PIN_FD,
    OPTION_NO_ASK,
    OPTION_NO_RECOVERY,
    OPTION_NO_SIGN,
    OPTION_OUTPUT,
    OPTION_PASSWORD_FD,
    OPTION_PCRS,
    OPTION_PIN,
    OPTION_PIN_FD,
    OPTION_POLICY_KEY,
    OPTION_POLICY_PASSWORD_FD,
    OPTION_PROTECTION,
    OPTION_RANGE,
    OPTION_RAW,
    OPTION_RECIPIENT,
    OPTION_RECOVERY_KEY,
    OPTION_RECOVERY_SIGN_KEY,
    OPTION_REMOVE,
    OPTION_SIGN,
    OPTION_SIGNATURE,
    OPTION_SIGN_KEY,
    OPTION_SUBJECT,
    OPTION_SYNC,
    OPTION_TO,
    OPTION_TO_SIGN,
    OPTION_TRUST_RELAY,
    OPTION_USES,
    OPTION_VALUES,
    OPTION_VERSION,
    OPTION_YES,
    OPTION_MAX_,
} OptionId;

typedef struct OptionInfo {
    const char *name;     /* without the dashes */
    const char *argument; /* what its argument is called in help; NULL: takes none */
    const char *help;
    char letter; /* 0: none */
} OptionInfo;

extern const OptionInfo option_infos[OPTION_MAX_];

typedef struct Options {
    uint64_t given; /* OPTION_BIT of each that was there */
    const char *values[OPTION_MAX_];
    const char *recipients[OPTION_RECIPIENTS_MAX];
    size_t n_recipients;
    struct {
        const char *key, *sign_key; /* NULL: none */
    } recovery[OPTION_RECOVERY_MAX];
    size_t n_recovery; /* keys */
    const char *operands[OPERANDS_MAX];
    size_t n_operands;
} Options;

#define OPTION_BIT(id) (UINT64_C(1) << (id))

/* Words of argv from argv[1]; what is pointed at is argv's. A positive INVALID_ARGS with *ret_why (to be
 * freed): what is wrong with which word. -ENOMEM. */
int options_parse(Options *o, int argc, char *const argv[], char **ret_why);

static inline bool option_given(const Options *o, OptionId id)
{
    return o->given & OPTION_BIT(id);
}

/* "OFFSET:LENGTH", or "OFFSET:" up to the end (UINT64_MAX). INVALID_ARGS: not of this form, or nothing. */
int option_range(const char *text, uint64_t *ret_offset, uint64_t *ret_length);
/* "90s", "15min", "12h", "7d", or seconds. INVALID_ARGS: not of this form, or more than max. */
int option_seconds(const char *text, uint64_t max, uint64_t *ret);
