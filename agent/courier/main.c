/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/courier/courier.h"
#include "agent/courier/sandbox.h"
#include "hmsg-build.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"

#define AGENT_FD 3

/* 0: go on; 1: leave with *ret_status. */
static int parse_arguments(int argc, char **argv, int *ret_status)
{
    struct stat st;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("hmsg-courier " HMSG_VERSION);
        *ret_status = EXIT_SUCCESS;
        return 1;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("Usage: hmsg-courier\nSpeaks to relays for hmsg-agent, which starts it by itself.");
        *ret_status = EXIT_SUCCESS;
        return 1;
    }
    if (argc != 1 || fstat(AGENT_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        fputs("hmsg-courier is started by hmsg-agent, which has the other end of its file descriptor 3\n",
              stderr);
        *ret_status = 2;
        return 1;
    }
    return 0;
}

static int harden(void)
{
    int r;

    /* no proxy, no other configuration, no log of TLS keys by the environment */
    if (clearenv() != 0)
        return -ENOMEM;
    r = process_harden();
    if (r < 0)
        return r;
    if (fcntl(AGENT_FD, F_SETFD, FD_CLOEXEC) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    return courier_sandbox_enter();
}

static int run(void)
{
    _cleanup_(courier_freep) Courier *c = NULL;
    int r;

    r = harden();
    if (r == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        r = -EIO;
    if (r == 0)
        r = courier_new(AGENT_FD, &c);
    return r < 0 ? r : courier_run(c);
}

int main(int argc, char **argv)
{
    int status, r;

    json_end_without_memory();
    log_init("hmsg-courier", LOG_INFO);
    if (parse_arguments(argc, argv, &status) != 0)
        return status;
    r = run();
    curl_global_cleanup();
    if (r < 0)
        log_error("Stopped: %s", strerror(-r));
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
