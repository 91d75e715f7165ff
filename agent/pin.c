/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libhmsg/base/error.h"

#define SCRYPT_R 8u

int pin_parameters_new(PinParameters *ret)
{
    PinParameters p = {.cost = PIN_COST_DEFAULT};

    if (RAND_bytes(p.salt, sizeof(p.salt)) != 1)
        return -EIO;
    *ret = p;
    return 0;
}

static bool is_text(const uint8_t *pin, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (pin[i] < 0x20 || pin[i] == 0x7f)
            return false;
    return true;
}

int memfd_read(int fd, size_t min, size_t max, Secret **ret)
{
    _cleanup_(secret_freep) Secret *secret = NULL;
    struct stat st;
    int r;

    if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)min ||
        st.st_size > (off_t)max)
        return HMSG_ERROR_INVALID_ARGS;
    r = secret_new((size_t)st.st_size, &secret);
    if (r < 0)
        return r;
    if (pread(fd, secret_data(secret), secret_size(secret), 0) != (ssize_t)secret_size(secret))
        return HMSG_ERROR_INVALID_ARGS;
    *ret = TAKE_PTR(secret);
    return 0;
}

int memfd_read_text(int fd, size_t min, size_t max, Secret **ret)
{
    _cleanup_(secret_freep) Secret *bytes = NULL;
    _cleanup_(secret_freep) Secret *text = NULL;
    int r = memfd_read(fd, min, max, &bytes);

    if (r == 0 && !is_text(secret_bytes(bytes), secret_size(bytes)))
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0)
        r = secret_new(secret_size(bytes) + 1, &text);
    if (r != 0)
        return r;
    memcpy(secret_data(text), secret_bytes(bytes), secret_size(bytes));
    secret_data(text)[secret_size(bytes)] = 0;
    *ret = TAKE_PTR(text);
    return 0;
}

int pin_read_fd(int fd, Secret **ret)
{
    _cleanup_(secret_freep) Secret *pin = NULL;
    int r = memfd_read(fd, PIN_SIZE_MIN, PIN_SIZE_MAX, &pin);

    if (r == 0 && !is_text(secret_bytes(pin), secret_size(pin)))
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0)
        *ret = TAKE_PTR(pin);
    return r;
}

static int scrypt(EVP_KDF_CTX *ctx, const PinParameters *p, const Secret *pin, Secret *auth)
{
    uint64_t n = UINT64_C(1) << p->cost, memory = 2 * n * 128u * SCRYPT_R;
    uint32_t r = SCRYPT_R, parallel = p->parallel > 0 ? p->parallel : 1;
    uint8_t salt[PIN_SALT_SIZE];
    OSSL_PARAM params[] = {
        /* OSSL_PARAM has no const; the KDF only reads */
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, (void *)(uintptr_t)secret_bytes(pin),
                                          secret_size(pin)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof(salt)),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &parallel),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
        OSSL_PARAM_construct_end(),
    };

    memcpy(salt, p->salt, sizeof(salt));
    return EVP_KDF_derive(ctx, secret_data(auth), TPM_AUTH_SIZE, params) == 1 ? 0 : -ENOMEM;
}

int pin_derive(const PinParameters *p, const Secret *pin, Secret **ret)
{
    _cleanup_(secret_freep) Secret *auth = NULL;
    EVP_KDF *kdf;
    EVP_KDF_CTX *ctx;
    int r;

    if (p->cost < PIN_COST_MIN || p->cost > PIN_COST_MAX || p->parallel > PIN_PARALLEL_MAX)
        return -EINVAL;
    r = secret_new(TPM_AUTH_SIZE, &auth);
    if (r < 0)
        return r;
    kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_SCRYPT, NULL);
    ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    r = ctx ? scrypt(ctx, p, pin, auth) : -ENOMEM;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    if (r == 0)
        *ret = TAKE_PTR(auth);
    return r;
}

typedef struct Derivation {
    PinParameters parameters;
    Secret *pin, *auth;
    pin_derived_t done;
} Derivation;

static void derivation_free(void *context)
{
    Derivation *d = context;

    secret_free(d->pin);
    secret_free(d->auth);
    free(d);
}

static int derivation_run(void *context, int stop_fd)
{
    Derivation *d = context;

    return pin_derive(&d->parameters, d->pin, &d->auth);
}

static void derivation_done(int r, void *context, void *userdata)
{
    Derivation *d = context;

    d->done(r, &d->auth, userdata);
    derivation_free(d);
}

int pin_derive_later(Workers *workers, const PinParameters *p, const Secret *pin, pin_derived_t done,
                     void *userdata, Worker **ret)
{
    static const WorkerTask task = {derivation_run, derivation_done, derivation_free};
    Derivation *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->parameters = *p;
    d->done = done;
    r = secret_new_copy(secret_bytes(pin), secret_size(pin), &d->pin);
    if (r == 0)
        r = worker_start(workers, &task, d, userdata, ret);
    if (r != 0)
        derivation_free(d);
    return r;
}
