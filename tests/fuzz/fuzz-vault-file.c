/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key of the agent's store, as its file has it: in clear, or sealed by a TPM. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "agent/vault-file.h"
#include "libhmsg/base/file.h"
#include "libhmsg/db/seal.h"
#include "tests/fuzz/fuzz.h"

static void look(const VaultKey *k)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *again = NULL;
    const TpmKeyPolicy *policy;

    if (!k->is_sealed) {
        fuzz_must(secret_size(k->key) == DB_SEAL_KEY_SIZE, "a key in clear has its size");
        return;
    }
    fuzz_must(!k->key && k->by.sealed, "a sealed one is not known yet");
    policy = tpm_keyfile_policy(k->by.sealed);
    fuzz_must((policy != NULL) == k->by.has_counter, "what is bound has its counter");
    fuzz_must(!policy || policy->index == k->by.counter.index, "that one");
    fuzz_must(!tpm_keyfile_needs_auth(k->by.sealed), "no PIN is asked for it");
    fuzz_check(tpm_keyfile_to_der(k->by.sealed, &der) == 0, "what was read can be written");
    fuzz_check(tpm_sealed_from_der(der.data, der.size, &again) == 0, "and read");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(fd_closep) int fd = memfd_create("store.key", MFD_CLOEXEC);
    VaultKeys keys = {.n = 0};
    char path[32];

    fuzz_check(fd >= 0 && file_write_fd(fd, data, size) == 0, "a file in memory");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (vault_file_load(AT_FDCWD, path, &keys) != 0) {
        fuzz_must(keys.n == 0, "nothing comes of a damaged file");
        return 0;
    }
    fuzz_must(keys.n > 0 && keys.n <= VAULT_KEYS_MAX, "one key, or two");
    for (unsigned i = 0; i < keys.n; i++)
        look(&keys.keys[i]);
    vault_keys_done(&keys);
    return 0;
}
