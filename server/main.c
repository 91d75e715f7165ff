/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/runner.h"
#include "libhmsg/wire/json.h"
#include "server/cmd.h"
#include "server/journal.h"

int main(int argc, char **argv)
{
    if (file_keep_standard() < 0)
        return CMD_FAILED;
    json_end_without_memory();
    log_init("hmsg-relay", LOG_INFO);
    if (log_is_journal())
        (void)journal_open(JOURNAL_SOCKET, "hmsg-relay"); /* else by standard error */
    if (tpm_silence_logs() < 0)
        return CMD_FAILED;
    /* before anything reads a key */
    if (process_harden() < 0) {
        log_error("Cannot keep keys out of dumps");
        return CMD_FAILED;
    }
    return cmd_run(argc, argv);
}
