/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <string.h>

#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "server/cmd.h"
#include "server/daemon.h"

/* Above the buffers of TLS records, which come and go with each; below the 21,848 bytes that OpenSSL has for
 * a handshake, whose place in the heap would stay with each connection as a hole. */
#define MAPPED_FROM (20 * 1024)

int cmd_serve(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(key_holder_freep) KeyHolder *holder = NULL;
    _cleanup_(daemon_freep) Daemon *d = NULL;
    char error[OPTIONS_ERROR_SIZE] = "out of memory";
    CmdArguments a;
    int r;

    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
    if (!cmd_arguments(argc, argv, false, NULL, &a))
        return CMD_USAGE;
    if (options_load(a.config, &o, error) != 0) {
        log_error("%s: %s", a.config, error);
        return CMD_FAILED;
    }
    const KeyFiles files = cmd_key_files(&o);
    r = key_holder_start(&files, &holder);
    if (r != 0) {
        log_error("The identity key's process: %s", strerror(-r));
        return CMD_FAILED;
    }
    /* the key of a login and the secret of a challenge, of each connection; the keys of bodies */
    if (secret_init_more((size_t)o.connections * 2 + STORE_SECRETS_MAX) < 0) {
        log_error("There is not enough memory that stays out of swap for %u connections (LimitMEMLOCK=, "
                  "ulimit -l)",
                  o.connections);
        return CMD_FAILED;
    }
    r = daemon_new(&o, holder, &d);
    if (r == 0)
        r = daemon_run(d);
    if (r < 0)
        log_error("Stopped: %s", strerror(-r));
    return r == 0 ? CMD_DONE : CMD_FAILED;
}
