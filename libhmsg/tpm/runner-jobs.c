/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The jobs that need no key: questions, counters, and what is sealed. */

#include <errno.h>

#include "libhmsg/tpm/runner-internal.h"

int tpm_runner_probe(TpmRunner *r, tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = work_new(WORK_PROBE, NULL, NULL, &w);
    return e == 0 ? runner_submit(r, w, done, userdata, ret) : e;
}

int tpm_runner_random(TpmRunner *r, size_t n, tpm_done_t done, void *userdata, TpmJob **ret)
{
    if (n > TPM_RANDOM_MAX)
        return -EINVAL;
    Work *w = NULL;
    int e = work_new(WORK_RANDOM, NULL, NULL, &w);
    if (e != 0)
        return e;
    w->data_size = n;
    return runner_submit(r, w, done, userdata, ret);
}

int tpm_runner_read_pcrs(TpmRunner *r, uint32_t mask, tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = tpm_pcr_mask_is_valid(mask) ? work_new(WORK_PCR_READ, NULL, NULL, &w) : -EINVAL;
    if (e != 0)
        return e;
    w->pcr_mask = mask;
    return runner_submit(r, w, done, userdata, ret);
}

static int start_counter(TpmRunner *r, WorkKind kind, const TpmCounter *c, uint64_t to, tpm_done_t done,
                         void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = work_new(kind, NULL, NULL, &w);
    if (e != 0)
        return e;
    w->counter_given = c != NULL;
    if (c)
        w->counter = *c;
    w->raise_to = to;
    return runner_submit(r, w, done, userdata, ret);
}

int tpm_runner_counter_new(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata, TpmJob **ret)
{
    return start_counter(r, WORK_COUNTER_NEW, c, 0, done, userdata, ret);
}

int tpm_runner_counter_read(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata, TpmJob **ret)
{
    return start_counter(r, WORK_COUNTER_READ, c, 0, done, userdata, ret);
}

int tpm_runner_counter_raise(TpmRunner *r, const TpmCounter *c, uint64_t to, tpm_done_t done, void *userdata,
                             TpmJob **ret)
{
    return start_counter(r, WORK_COUNTER_RAISE, c, to, done, userdata, ret);
}

int tpm_runner_counter_remove(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata,
                              TpmJob **ret)
{
    return start_counter(r, WORK_COUNTER_REMOVE, c, 0, done, userdata, ret);
}

int tpm_runner_seal(TpmRunner *r, const TpmKeyPolicy *policy, const Secret *secret, tpm_done_t done,
                    void *userdata, TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = NULL;
    int e;

    if (secret_size(secret) != TPM_SEALED_SIZE || (policy && policy->measured))
        return -EINVAL;
    e = work_new(WORK_SEAL, NULL, NULL, &w);
    if (e == 0)
        e = secret_new_copy(secret_bytes(secret), TPM_SEALED_SIZE, &w->to_seal);
    if (e != 0)
        return e;
    w->bound = policy != NULL;
    if (policy)
        w->policy = *policy;
    return runner_submit(r, TAKE_PTR(w), done, userdata, ret);
}

int tpm_runner_unseal(TpmRunner *r, TpmKeyFile *sealed, const TpmCounter *counter, tpm_done_t done,
                      void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = tpm_keyfile_use(sealed) == TPM_SEALED ? work_new_use(WORK_UNSEAL, sealed, NULL, counter, &w)
                                                  : -EINVAL;

    return e == 0 ? runner_submit(r, w, done, userdata, ret) : e;
}
