/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/keyring.h"
#include "agent/launcher.h"
#include "agent/manager.h"
#include "agent/sandbox.h"
#include "agent/tpm-group.h"
#include "hmsg-build.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/runner.h"
#include "libhmsg/wire/crypto-memory.h"
#include "libhmsg/wire/json.h"

static void usage(FILE *f)
{
    fputs("Usage: hmsg-agent [OPTION]…\n"
          "Keeps the user's keys in the TPM, encrypts, decrypts and delivers for hmsgctl and other "
          "programs.\n\n"
          "  --config FILE   configuration (HMSG_CONFIG; $XDG_CONFIG_HOME/hmsg/agent.conf)\n"
          "  --data DIR      data folder (HMSG_DATA; $XDG_DATA_HOME/hmsg)\n"
          "  --tcti TCTI     the way to the TPM (HMSG_TCTI; " TPM_TCTI_DEFAULT ")\n"
          "  --debug         log more\n"
          "  --help, --version\n",
          f);
}

/* 0: go on; 1: leave with *ret_status. */
static int parse_arguments(int argc, char **argv, Places *p, int *ret_status)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"data", required_argument, NULL, 'd'},
        {"tcti", required_argument, NULL, 't'},
        {"debug", no_argument, NULL, 'D'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    char **where;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        where = NULL;
        switch (c) {
        case 'c':
            where = &p->config_file;
            break;
        case 'd':
            where = &p->data_dir;
            break;
        case 't':
            where = &p->tcti;
            break;
        case 'D':
            p->trace = true;
            break;
        case 'h':
            usage(stdout);
            *ret_status = 0;
            return 1;
        case 'V':
            puts("hmsg-agent " HMSG_VERSION);
            *ret_status = 0;
            return 1;
        default:
            usage(stderr);
            *ret_status = 2;
            return 1;
        }
        if (where) {
            free(*where);
            *where = strdup(optarg);
            if (!*where)
                return -ENOMEM;
        }
    }
    if (optind < argc) {
        usage(stderr);
        *ret_status = 2;
        return 1;
    }
    return 0;
}

/* $name, else ~/fallback; an XDG variable that is not absolute does not count (XDG Base Directory). */
static int base_folder(const char *name, const char *fallback, const char *file, char **ret)
{
    const char *base = getenv(name);
    const char *home = getenv("HOME");

    if (base && base[0] == '/')
        return string_printf(ret, "%s/%s", base, file);
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(getuid());

        home = pw ? pw->pw_dir : NULL;
    }
    if (!home)
        return -ENOENT;
    return string_printf(ret, "%s/%s/%s", home, fallback, file);
}

static int set_from(char **where, const char *value)
{
    if (*where || !value || !*value)
        return 0;
    *where = strdup(value);
    return *where ? 0 : -ENOMEM;
}

static int set_from_environment(char **where, const char *variable)
{
    return set_from(where, getenv(variable));
}

/* For what names a program or a library: not from a caller with fewer rights than we have by SELinux or a
 * set-group-ID. */
static int set_from_own_environment(char **where, const char *variable)
{
    return set_from(where, secure_getenv(variable));
}

static int complete_places(Places *p)
{
    int r;

    r = set_from_environment(&p->config_file, "HMSG_CONFIG");
    if (r >= 0)
        r = set_from_environment(&p->data_dir, "HMSG_DATA");
    if (r >= 0)
        r = set_from_own_environment(&p->tcti, "HMSG_TCTI");
    if (r >= 0)
        r = set_from_own_environment(&p->courier, "HMSG_COURIER");
    if (r >= 0)
        r = set_from_own_environment(&p->pinentry, "HMSG_PINENTRY");
    if (r >= 0)
        r = set_from_environment(&p->bus_address, "DBUS_SESSION_BUS_ADDRESS");
    if (r >= 0)
        r = set_from_environment(&p->system_bus_address, "DBUS_SYSTEM_BUS_ADDRESS");
    if (r >= 0 && !p->config_file)
        r = base_folder("XDG_CONFIG_HOME", ".config", "hmsg/agent.conf", &p->config_file);
    if (r >= 0 && !p->data_dir)
        r = base_folder("XDG_DATA_HOME", ".local/share", "hmsg", &p->data_dir);
    if (r >= 0 && !p->tcti)
        r = string_printf(&p->tcti, "%s", TPM_TCTI_DEFAULT);
    if (r >= 0 && !p->courier)
        r = string_printf(&p->courier, "%s", HMSG_LIBEXECDIR "/hmsg-courier");
    if (r >= 0 && !p->pinentry)
        r = string_printf(&p->pinentry, "/usr/bin/pinentry");
    /* set by ourselves: sd_bus_open_user() gives up in a process that changed its security context */
    if (r >= 0 && !p->bus_address)
        r = string_printf(&p->bus_address, "unix:path=/run/user/%u/bus", (unsigned)getuid());
    if (r >= 0 && !p->system_bus_address)
        r = string_printf(&p->system_bus_address, "unix:path=/run/dbus/system_bus_socket");
    return r;
}

static void places_done(Places *p)
{
    free(p->config_file);
    free(p->data_dir);
    free(p->tcti);
    free(p->courier);
    free(p->pinentry);
    free(p->bus_address);
    free(p->system_bus_address);
}

static int run(Places *places)
{
    _cleanup_(launcher_freep) Launcher *launcher = NULL;
    _cleanup_(keyring_freep) Keyring *keyring = NULL;
    _cleanup_(manager_freep) Manager *m = NULL;
    int r;

    r = tpm_group_set_aside(places->tcti);
    if (r < 0) {
        log_error("The group of the TPM: %s", strerror(-r));
        return r;
    }
    /* before the launcher, and for it too: who can trace it gets the sockets that pass through it */
    r = process_harden();
    if (r >= 0)
        r = launcher_new(places->courier, places->pinentry, &launcher);
    if (r < 0) {
        log_error("The launcher: %s", strerror(-r));
        return r;
    }
    r = secret_init();
    if (r < 0) {
        log_error("Memory that stays out of swap and dumps (ulimit -l): %s", strerror(-r));
        return r;
    }
    /* small: few threads, so one arena; and nobody reads OpenSSL's texts of errors */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL);
    r = keyring_new(&keyring);
    if (r < 0) {
        log_error(r == -EDQUOT ? "The kernel keyring is full for this user (see /proc/key-users): %s"
                               : "The kernel keyring: %s",
                  strerror(-r));
        return r;
    }
    r = file_make_folders(places->data_dir, 0700);
    if (r < 0) {
        log_error("%s: %s", places->data_dir, strerror(-r));
        return r;
    }
    r = agent_sandbox_enter(places);
    if (r < 0) {
        log_error("The sandbox: %s", strerror(-r));
        return r;
    }
    r = manager_new(places, launcher, keyring, &m);
    if (r < 0)
        return r;
    (void)TAKE_PTR(launcher);
    (void)TAKE_PTR(keyring);
    return manager_run(m);
}

/* A folder of /proc has a link for each thread, besides two of its own. */
static bool is_alone(int threads_fd)
{
    struct stat st;

    return fstat(threads_fd, &st) < 0 || st.st_nlink <= 3;
}

int main(int argc, char **argv)
{
    _cleanup_(fd_closep) int threads_fd = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
    Places places = {0};
    int status = EXIT_FAILURE;
    int r;

    json_end_without_memory();
    r = crypto_memory_wipe_freed();
    (void)tpm_silence_logs();
    if (r == 0)
        r = parse_arguments(argc, argv, &places, &status);
    log_init("hmsg-agent", places.trace ? LOG_DEBUG : LOG_INFO);
    if (r == 0)
        r = complete_places(&places);
    if (r == 0) {
        r = run(&places);
        status = r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (r < 0)
        log_error("Stopped: %s", strerror(-r));
    places_done(&places);
    /* A thread that the TPM or a disk held up was left behind, and may go on at any moment: with what exit(3)
     * takes down. */
    if (!is_alone(threads_fd))
        _exit(status);
    return status;
}
