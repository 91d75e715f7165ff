/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "hmsg-build.h"
#include "server/cmd.h"

typedef struct Command {
    const char *words[2];
    int (*run)(int argc, char **argv);
} Command;

static const Command commands[] = {
    {{"init", NULL}, cmd_init},
    {{"serve", NULL}, cmd_serve},
    {{"config", "check"}, cmd_config_check},
    {{"key", "show"}, cmd_key_show},
    {{"key", "backup"}, cmd_key_backup},
    {{"key", "restore"}, cmd_key_restore},
    {{"key", "rotate"}, cmd_key_rotate},
    {{"store", "backup"}, cmd_store_backup},
    {{"store", "check"}, cmd_store_check},
    {{"store", "rekey"}, cmd_store_rekey},
    {{"store", "migrate"}, cmd_store_migrate},
    {{"client", "list"}, cmd_client_list},
    {{"client", "show"}, cmd_client_show},
    {{"client", "block"}, cmd_client_block},
    {{"client", "unblock"}, cmd_client_unblock},
    {{"client", "delete"}, cmd_client_delete},
    {{"invite", "create"}, cmd_invite_create},
    {{"invite", "list"}, cmd_invite_list},
    {{"invite", "revoke"}, cmd_invite_revoke},
};

static void usage(FILE *f)
{
    fputs("Usage: hmsg-relay COMMAND\n"
          "Keeps messages for people whose agents are away, and publishes their keys.\n\n"
          "  init [--host HOST] [--listen ADDRESS:PORT] DIR   make a configuration and a key in DIR\n"
          "  init --key pkcs11:URI [--pin-fd FD] ... DIR      the same, with the key in a token\n"
          "  init --key tpm2 [--tcti TCTI] ... DIR            the same, with the key in the TPM\n"
          "  serve [--config FILE]                            run\n"
          "  config check [--config FILE]                     read the configuration, say what is wrong\n"
          "  key show [--config FILE] [--json]                the relay's pin, which clients know it by\n"
          "  key backup --to FILE [--config FILE]             print the key, encrypted to a public key\n"
          "  key restore [--config FILE]                      write the key that standard input has\n"
          "  key rotate [--now] [--config FILE]               announce the next key; a week later, change to "
          "it\n"
          "  store backup DIR [--config FILE]                 copy what is stored into a new DIR\n"
          "  store check [--config FILE] [--json]             check what is stored, and count it\n"
          "  store rekey [--config FILE]                      new keys for what is stored\n"
          "  store migrate postgres|sqlite [--config FILE]    move what is stored there\n"
          "  client list                                      who is registered\n"
          "  client show|block|unblock|delete CLIENT          one of them: an address or the id of a key\n"
          "  invite create [--uses N] [--days N]              print the code of a new invitation\n"
          "  invite list, invite revoke NUMBER                those that are still good; end one\n"
          "  --help, --version\n\n"
          "FILE is " HMSG_SYSCONFDIR "/relay.conf by default. See hmsg-relay(8) and relay.conf(5).\n",
          f);
}

int cmd_usage(void)
{
    usage(stderr);
    return CMD_USAGE;
}

int cmd_run(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return CMD_DONE;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        puts("hmsg-relay " HMSG_VERSION);
        return CMD_DONE;
    }
    for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];
        int words = c->words[1] ? 2 : 1;

        if (argc > words && strcmp(argv[1], c->words[0]) == 0 &&
            (words == 1 || strcmp(argv[2], c->words[1]) == 0))
            return c->run(argc - words, argv + words);
    }
    usage(stderr);
    return CMD_USAGE;
}

const char *cmd_default_config(void)
{
    return HMSG_SYSCONFDIR "/relay.conf";
}

bool cmd_arguments(int argc, char **argv, bool with_json, CmdArguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *ret = (CmdArguments){.config = cmd_default_config()};
    optind = 0; /* begins anew: glibc */
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'c')
            ret->config = optarg;
        else if (c == 'j' && with_json)
            ret->json = true;
        else {
            usage(stderr);
            return false;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return false;
    }
    return true;
}
