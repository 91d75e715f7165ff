/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"
#include "server/cmd.h"

int main(int argc, char **argv)
{
    json_end_without_memory();
    log_init("hmsg-relay", LOG_INFO);
    /* before anything reads a key */
    if (process_harden() < 0) {
        log_error("Cannot keep keys out of dumps");
        return CMD_FAILED;
    }
    return cmd_run(argc, argv);
}
