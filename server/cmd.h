/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The commands of hmsg-relay(8): each gets its own words as argv[0..], prints for people, and returns an exit
 * status. */

#include <jansson.h>

#include "server/options.h"
#include "server/relay-key.h"

#define CMD_DONE 0
#define CMD_FAILED 1
#define CMD_USAGE 2

int cmd_init(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_config_check(int argc, char **argv);
int cmd_key_show(int argc, char **argv);
int cmd_key_backup(int argc, char **argv);
int cmd_key_restore(int argc, char **argv);
int cmd_key_rotate(int argc, char **argv);
int cmd_store_backup(int argc, char **argv);
int cmd_store_check(int argc, char **argv);
int cmd_store_rekey(int argc, char **argv);
int cmd_store_migrate(int argc, char **argv);
int cmd_client_list(int argc, char **argv);
int cmd_client_show(int argc, char **argv);
int cmd_client_block(int argc, char **argv);
int cmd_client_unblock(int argc, char **argv);
int cmd_client_delete(int argc, char **argv);
int cmd_invite_create(int argc, char **argv);
int cmd_invite_list(int argc, char **argv);
int cmd_invite_revoke(int argc, char **argv);

/* Says on standard error what is wrong (NULL: that was said) and how the command is used, whose argv[0] is
 * name; CMD_USAGE. */
int cmd_usage(const char *name, const char *format, ...) _printf_(2, 3);

/* Runs the command that argv[1..] names; the exit status, a failure also when what it printed was not
 * written. */
int cmd_run(int argc, char **argv);

/* What most commands take: --config FILE, --json, one operand. */
typedef struct CmdArguments {
    const char *config; /* the installed relay.conf when not given */
    const char *operand;
    bool json;
} CmdArguments;

/* false: said on standard error what is wrong. Nothing but these options is allowed, and only the operand
 * that is called so, which must be there (NULL: none). */
bool cmd_arguments(int argc, char **argv, bool with_json, const char *operand, CmdArguments *ret);
/* After getopt(3): the one operand that is called what; *ret stays when what is NULL, which is none. */
bool cmd_take_operand(int argc, char **argv, const char *what, const char **ret);

/* The installed relay.conf. */
const char *cmd_default_config(void);
/* false: said on standard error what is wrong. */
bool cmd_load_options(const char *path, Options *ret);
bool cmd_load_key(const Options *o, RelayKey **ret);
KeyFiles cmd_key_files(const Options *o);
/* The arguments, the configuration and the relay's key. CMD_DONE, or the exit status: said on standard error
 * what is wrong. */
int cmd_begin(int argc, char **argv, bool with_json, const char *operand, CmdArguments *ret,
              Options *ret_options, RelayKey **ret_key);
/* Prints j, which it takes, as one line, unless r is an error; returns the exit status. */
int cmd_print_json(json_t *j, int r);
