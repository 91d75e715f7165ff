/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* identity_import: keys from outside are read in a thread, for their passwords may take seconds; then it goes
 * on as identity_create does. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/key-import.h"
#include "libhmsg/wire/pem.h"

/* What goes to the thread and comes back. */
typedef struct Reading {
    Secret *pem[2], *password; /* to decrypt; to sign, or NULL */
    IdentitySource *source;
    char why[KEY_IMPORT_WHY_SIZE];
} Reading;

IdentitySource *identity_source_free(IdentitySource *s)
{
    if (!s)
        return NULL;
    tpm_keyfile_free(s->key);
    secret_free(s->decrypt.prime);
    secret_free(s->sign.prime);
    free(s);
    return NULL;
}

static void reading_free(void *context)
{
    Reading *d = context;

    secret_free(d->pem[0]);
    secret_free(d->pem[1]);
    secret_free(d->password);
    identity_source_free(d->source);
    free(d);
}

static int read_key(Reading *d, const Secret *pem, RsaKey **ret_public, TpmPrivateKey *ret)
{
    size_t size = 0;
    const uint8_t *spki;
    int r = key_import(pem, d->password, ret_public, &ret->prime, d->why);

    if (r != 0)
        return r;
    spki = rsa_key_spki(*ret_public, &size);
    return tpm_modulus_from_spki(spki, size, ret->modulus);
}

/* One that another program had the TPM make. */
static int read_tpm_key(Reading *d, RsaKey **ret_public)
{
    const char *text = (const char *)secret_bytes(d->pem[0]);
    size_t size = 0;
    const uint8_t *spki;
    int r = tpm_keyfile_from_others(text, secret_size(d->pem[0]), &d->source->key);

    if (r == 0 && !tpm_keyfile_is_open(d->source->key))
        r = -EBADMSG;
    if (r == 0) {
        spki = tpm_keyfile_spki(d->source->key, &size);
        r = rsa_key_from_spki(spki, size, ret_public);
    }
    if (r != -EBADMSG && r != HMSG_ERROR_BAD_PACKAGE)
        return r;
    (void)snprintf(d->why, sizeof(d->why),
                   "Of keys that a TPM made only RSA-2048 without a password or policy can be taken over, as "
                   "tpm2-openssl makes "
                   "them");
    return HMSG_ERROR_INVALID_ARGS;
}

static int reading_run(void *context, int stop_fd)
{
    _cleanup_(rsa_key_freep) RsaKey *decrypt = NULL, *sign = NULL;
    Reading *d = context;
    int r;

    d->source = calloc(1, sizeof(*d->source));
    if (!d->source)
        return -ENOMEM;
    if (pem_is((const char *)secret_bytes(d->pem[0]), secret_size(d->pem[0]), "TSS2 PRIVATE KEY"))
        r = read_tpm_key(d, &decrypt);
    else
        r = read_key(d, d->pem[0], &decrypt, &d->source->decrypt);
    if (r == 0 && d->pem[1])
        r = read_key(d, d->pem[1], &sign, &d->source->sign);
    if (r == 0 && sign && rsa_key_equal(decrypt, sign)) {
        (void)snprintf(d->why, sizeof(d->why), "The key to sign must be another one than that to decrypt");
        r = HMSG_ERROR_INVALID_ARGS;
    }
    return r;
}

static void reading_done(int r, void *context, void *userdata)
{
    Reading *d = context;
    IdentityWork *w = userdata;

    w->deriving = NULL;
    w->source = TAKE_PTR(d->source);
    if (r == 0 && w->source->key && (w->bind || w->pin)) {
        (void)snprintf(d->why, sizeof(d->why),
                       "A key that a TPM made already can get no counter and no PIN: import it with the "
                       "generation none");
        r = HMSG_ERROR_INVALID_ARGS;
    }
    if (r == 0)
        r = w->measure ? identity_measure_begin(w) : identity_create_begin(w);
    if (r == 0)
        identity_arm(w->i);
    else
        identity_work_finish_with(w, r, *d->why ? d->why : error_message(r));
    reading_free(d);
}

static int copy(const Secret *from, Secret **ret)
{
    return from ? secret_new_copy(secret_bytes(from), secret_size(from), ret) : 0;
}

static int begin_reading(IdentityWork *w, const IdentityImport *o)
{
    static const WorkerTask task = {reading_run, reading_done, reading_free};
    Reading *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    r = copy(o->decrypt, &d->pem[0]);
    if (r == 0)
        r = copy(o->sign, &d->pem[1]);
    if (r == 0)
        r = copy(o->password, &d->password);
    if (r == 0)
        r = worker_start(w->i->workers, &task, d, w, &w->deriving);
    if (r != 0)
        reading_free(d);
    return r;
}

int identity_import(Identity *i, const IdentityImport *o, const Secret *pin, bool bind, identity_done_t done,
                    void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_create_new(i, bind, done, userdata, &w);

    if (r != 0)
        return r;
    r = copy(pin, &w->pin);
    if (r == 0 && o->policy_key)
        r = identity_measure_prepare(w, o->pcrs, o->policy_key);
    return identity_work_begun(w, r == 0 ? begin_reading(w, o) : r, ret);
}
