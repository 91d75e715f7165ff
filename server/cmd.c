/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hmsg-build.h"
#include "server/cmd.h"

typedef struct Command {
    const char *words[2];
    const char *takes; /* options and operands */
    const char *about;
    int (*run)(int argc, char **argv);
} Command;

#define CONFIG "[--config FILE]"
#define JSON " [--json]"

static const Command commands[] = {
    {{"init"},
     "[--host HOST] [--listen ADDRESS:PORT] [--key pkcs11:URI [--pin-fd FD] | --key tpm2 [--tcti TCTI]] DIR",
     "make a configuration and a key in DIR",
     cmd_init},
    {{"serve"}, CONFIG, "run", cmd_serve},
    {{"config", "check"}, CONFIG, "read the configuration, say what is wrong", cmd_config_check},
    {{"key", "show"}, CONFIG JSON, "the relay's pin, which clients know it by", cmd_key_show},
    {{"key", "backup"},
     "--to KEY [--to KEY]... " CONFIG " > BACKUP",
     "print the key, encrypted to public keys",
     cmd_key_backup},
    {{"key", "restore"}, CONFIG " < KEY", "write the key that standard input has", cmd_key_restore},
    {{"key", "rotate"},
     "[--now] " CONFIG,
     "announce the next key; a week later, change to it",
     cmd_key_rotate},
    {{"store", "backup"}, "DIR " CONFIG, "copy what is stored into a new DIR", cmd_store_backup},
    {{"store", "check"}, CONFIG JSON, "check what is stored, and count it", cmd_store_check},
    {{"store", "rekey"}, CONFIG, "new keys for what is stored", cmd_store_rekey},
    {{"store", "migrate"}, "postgres|sqlite " CONFIG, "move what is stored there", cmd_store_migrate},
    {{"client", "list"}, CONFIG JSON, "who is registered", cmd_client_list},
    {{"client", "show"},
     "CLIENT " CONFIG JSON,
     "one of them: an address or the id of a key",
     cmd_client_show},
    {{"client", "block"},
     "CLIENT " CONFIG JSON,
     "take no more messages from one, and none to them",
     cmd_client_block},
    {{"client", "unblock"}, "CLIENT " CONFIG JSON, "take that back", cmd_client_unblock},
    {{"client", "delete"}, "CLIENT " CONFIG JSON, "remove one, with all that waits", cmd_client_delete},
    {{"invite", "create"},
     "[--uses N] [--days N] " CONFIG JSON,
     "print the code of a new invitation",
     cmd_invite_create},
    {{"invite", "list"}, CONFIG JSON, "those that are still good", cmd_invite_list},
    {{"invite", "revoke"}, "NUMBER " CONFIG JSON, "end one", cmd_invite_revoke},
};

#define NAME_SIZE 32u

/* "hmsg-relay key show" */
static void get_name(const Command *c, char ret[static NAME_SIZE])
{
    (void)snprintf(ret, NAME_SIZE, "hmsg-relay %s%s%s", c->words[0], c->words[1] ? " " : "",
                   c->words[1] ? c->words[1] : "");
}

static void print_help(FILE *f)
{
    fputs("Usage: hmsg-relay COMMAND\n"
          "Keeps messages for people whose agents are away, and publishes their keys.\n\n",
          f);
    for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];
        fprintf(f, "  %s %-*s%s\n", c->words[0], 15 - (int)strlen(c->words[0]),
                c->words[1] ? c->words[1] : "", c->about);
    }
    fputs("\nhmsg-relay COMMAND --help tells what a command takes. See hmsg-relay(8) and relay.conf(5).\n",
          f);
}

static int print_help_of(const Command *c)
{
    char name[NAME_SIZE];

    get_name(c, name);
    printf("Usage: %s %s\n%s\n", name, c->takes, c->about);
    if (strstr(c->takes, CONFIG))
        puts("FILE is " HMSG_SYSCONFDIR "/relay.conf by default.");
    return CMD_DONE;
}

int cmd_usage(const char *name, const char *format, ...)
{
    va_list ap;

    if (format) {
        fprintf(stderr, "%s: ", name);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
    }
    for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
        char other[NAME_SIZE];

        get_name(&commands[i], other);
        if (strcmp(name, other) == 0)
            fprintf(stderr, "Usage: %s %s\n", name, commands[i].takes);
    }
    return CMD_USAGE;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

/* What begins with the first word, when the second is not of any command. */
static int say_unknown(int argc, char **argv)
{
    bool begins = false;

    if (argc < 2)
        fputs("hmsg-relay: a command is missing\n", stderr);
    for (size_t i = 0; argc >= 2 && i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];
        if (strcmp(argv[1], c->words[0]) != 0)
            continue;
        fprintf(stderr, "%s%s %s", begins ? ", " : "hmsg-relay: it is one of: ", c->words[0], c->words[1]);
        begins = true;
    }
    if (begins)
        fputc('\n', stderr);
    else if (argc >= 2)
        fprintf(stderr, "hmsg-relay: there is no command \"%s\"\n", argv[1]);
    fputs("See: hmsg-relay --help\n", stderr);
    return CMD_USAGE;
}

static int run(int argc, char **argv)
{
    char name[NAME_SIZE];

    for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
        const Command *c = &commands[i];
        int words = c->words[1] ? 2 : 1;

        if (argc <= words || strcmp(argv[1], c->words[0]) != 0 ||
            (words == 2 && strcmp(argv[2], c->words[1]) != 0))
            continue;
        if (asks_for_help(argc - words, argv + words))
            return print_help_of(c);
        get_name(c, name);
        argv[words] = name; /* getopt(3) and cmd_usage() say it */
        return c->run(argc - words, argv + words);
    }
    return say_unknown(argc, argv);
}

int cmd_run(int argc, char **argv)
{
    int status = CMD_DONE;

    if (argc >= 2 && strcmp(argv[1], "--help") == 0)
        print_help(stdout);
    else if (argc >= 2 && strcmp(argv[1], "--version") == 0)
        puts("hmsg-relay " HMSG_VERSION);
    else
        status = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "hmsg-relay: standard output: %s\n", strerror(errno));
    return status == CMD_DONE ? CMD_FAILED : status;
}

const char *cmd_default_config(void)
{
    return HMSG_SYSCONFDIR "/relay.conf";
}

bool cmd_take_operand(int argc, char **argv, const char *what, const char **ret)
{
    int most = what ? 1 : 0;

    if (argc - optind > most)
        (void)cmd_usage(argv[0], "one word too many: %s", argv[optind + most]);
    else if (argc - optind < most || (what && !*argv[optind]))
        (void)cmd_usage(argv[0], "%s is missing", what);
    else {
        if (what)
            *ret = argv[optind];
        return true;
    }
    return false;
}

bool cmd_arguments(int argc, char **argv, bool with_json, const char *operand, CmdArguments *ret)
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
            (void)cmd_usage(argv[0], c == 'j' ? "there is no --json here" : NULL);
            return false;
        }
    }
    return cmd_take_operand(argc, argv, operand, &ret->operand);
}
