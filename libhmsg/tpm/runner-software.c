/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Work with keys in software: the same jobs, in the same thread, without a TPM. */

#include <errno.h>
#include <string.h>

#include "libhmsg/tpm/runner-internal.h"
#include "libhmsg/tpm/software.h"

static int do_create(Work *w)
{
    int r = software_generate(TPM_KEY_DECRYPT, w->salt, w->auth, &w->decrypt_key);

    return r == 0 ? software_generate(TPM_KEY_SIGN, w->salt, w->auth, &w->sign_key) : r;
}

static int do_decrypt(Work *w)
{
    int r = HMSG_ERROR_AUTHENTICATION_FAILED;

    if (tpm_keyfile_use(w->key) != TPM_KEY_DECRYPT)
        return -EINVAL;
    if (w->ciphertext_fits && w->oaep_sha1)
        r = software_decrypt_oaep_sha1(w->key, w->auth, w->ciphertext, TPM_RSA_SIZE, &w->secret);
    else if (w->ciphertext_fits)
        r = software_decrypt(w->key, w->auth, w->ciphertext, TPM_RSA_SIZE, &w->secret);
    if (r == 0 && w->plaintext_size != 0 && secret_size(w->secret) != w->plaintext_size) {
        w->secret = secret_free(w->secret);
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    }
    return r;
}

static int do_sign(Work *w)
{
    int r;

    if (tpm_keyfile_use(w->key) != TPM_KEY_SIGN)
        return -EINVAL;
    r = software_sign(w->key, w->auth, w->digest, w->data);
    w->data_size = r == 0 ? TPM_RSA_SIZE : 0;
    return r;
}

static int do_change(Work *w)
{
    TpmKeyFile **ret = tpm_keyfile_use(w->key) == TPM_KEY_DECRYPT ? &w->decrypt_key : &w->sign_key;

    return software_encrypt_again(w->key, w->auth, w->salt, w->new_auth, ret);
}

static int run(Work *w)
{
    switch (w->kind) {
    case WORK_PROBE:
        return 0;
    case WORK_CREATE:
        return do_create(w);
    case WORK_DECRYPT:
        return do_decrypt(w);
    case WORK_SIGN:
        return do_sign(w);
    case WORK_CHANGE_AUTH:
        return do_change(w);
    default:
        return -EINVAL;
    }
}

void work_run_software(Work *w)
{
    if (w->kind != WORK_PROBE && !w->auth) {
        w->r = HMSG_ERROR_LOCKED;
        return;
    }
    w->r = run(w);
    if (w->r == HMSG_ERROR_LOCKED)
        (void)tpm_problem_set(&w->problem, TPM_REASON_WRONG_AUTH, NULL, 0);
    else if (w->r == -EBADMSG)
        w->r = tpm_problem_set(&w->problem, TPM_REASON_SOFTWARE_KEY, NULL, 0);
}
