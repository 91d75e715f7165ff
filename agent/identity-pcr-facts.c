/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What identity.json says of PCRs: "pcrs": {"mask", "key": modulus of the policy key, "approvals": [{"pcrs",
 * "signature"}]}, the newest last. */

#include <errno.h>

#include "agent/identity-files-internal.h"

static int put_approval(const TpmPcrPolicy *p, const TpmApproval *a, json_t *list)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pcrs", a->pcrs.values[0], (size_t)tpm_pcr_count(p->mask) * TPM_PCR_SIZE);

    if (r == 0)
        r = json_put_bytes(j, "signature", a->signature, TPM_RSA_SIZE);
    return r == 0 && json_array_append(list, j) < 0 ? -ENOMEM : r;
}

int identity_pcrs_write(const TpmPcrPolicy *p, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *j = json_object(), *list = json_array();
    int r = json_put_number(j, "mask", p->mask);

    if (r == 0)
        r = json_put_bytes(j, "key", p->modulus, TPM_RSA_SIZE);
    for (unsigned i = 0; i < p->n && r == 0; i++)
        r = put_approval(p, &p->approvals[i], list);
    if (r == 0 && json_object_set(j, "approvals", list) < 0)
        r = -ENOMEM;
    return r == 0 && json_object_set(facts, "pcrs", j) < 0 ? -ENOMEM : r;
}

static int get_approval(const json_t *j, const TpmPcrPolicy *p, TpmApproval *ret)
{
    static const char *const names[] = {"pcrs", "signature", NULL};
    int r = json_is_object(j) ? json_check_names(j, names) : -EBADMSG;

    if (r == 0)
        r = json_get_bytes(j, "pcrs", ret->pcrs.values[0], (size_t)tpm_pcr_count(p->mask) * TPM_PCR_SIZE);
    return r == 0 ? json_get_bytes(j, "signature", ret->signature, TPM_RSA_SIZE) : r;
}

static int get_policy(const json_t *j, TpmPcrPolicy *ret)
{
    static const char *const names[] = {"mask", "key", "approvals", NULL};
    json_t *list = NULL;
    int64_t mask = 0;
    int r = json_check_names(j, names);

    if (r == 0)
        r = json_get_number(j, "mask", 1, (1 << TPM_PCR_MAX) - 1, &mask);
    ret->mask = (uint32_t)mask;
    if (r == 0 && !tpm_pcr_mask_is_valid(ret->mask))
        r = -EBADMSG;
    if (r == 0)
        r = json_get_bytes(j, "key", ret->modulus, TPM_RSA_SIZE);
    if (r == 0)
        r = json_get_array(j, "approvals", &list);
    if (r == 0 && json_array_size(list) > TPM_APPROVALS_MAX)
        r = -EBADMSG;
    for (; r == 0 && ret->n < json_array_size(list); ret->n++)
        r = get_approval(json_array_get(list, ret->n), ret, &ret->approvals[ret->n]);
    return r;
}

int identity_pcrs_read(const json_t *facts, TpmPcrPolicy **ret)
{
    TpmPcrPolicy *p = calloc(1, sizeof(*p));
    json_t *j = NULL;
    int r = p ? json_get_object(facts, "pcrs", &j) : -ENOMEM;

    if (r == 0)
        r = get_policy(j, p);
    if (r == 0)
        *ret = TAKE_PTR(p);
    free(p);
    return r;
}
