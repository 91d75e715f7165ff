/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of commands, and what help says about them. */

#include "cli/options.h"
#include "libhmsg/base/buf.h"

typedef struct Ctl Ctl;

typedef struct Command {
    const char *name;
    const char *verb;     /* the second word of some; NULL */
    const char *operands; /* as help shows them */
    const char *help;
    int (*run)(Ctl *ctl); /* 0, an HmsgError or -errno, with the text left in ctl */
    uint64_t options;     /* OPTION_BITs that it takes, besides those that all take */
    uint8_t operands_min, operands_max;
} Command;

#define OPTIONS_OF_ALL                                                                                       \
    (OPTION_BIT(OPTION_HELP) | OPTION_BIT(OPTION_VERSION) | OPTION_BIT(OPTION_JSON) |                        \
     OPTION_BIT(OPTION_NO_ASK))

extern const Command commands[];
size_t command_count(void);

/* Finds the command of o's operands, takes its words away from them, and checks that it takes what is there.
 * A positive INVALID_ARGS with *ret_why (to be freed). */
int command_find(Options *o, const Command **ret, char **ret_why);

/* What --help shows: the overview, or the commands whose first words are these (verb may be NULL).
 * INVALID_ARGS: there is none. */
int command_overview(Buf *out);
int command_help(const char *name, const char *verb, Buf *out);
