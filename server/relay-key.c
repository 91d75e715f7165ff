/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/relay-key-internal.h"

#define WRAPPED_SECRET_SIZE 32u

struct OnlineKey {
    atomic_uint references;
    EcKey *ec;
    char *statement, *successions;
    uint8_t pin[PIN_SIZE];
    int64_t expires;
};

struct RelayKey {
    const KeyDriver *driver;
    void *held;
    RsaKey *public, *keeper;
    uint8_t pin[PIN_SIZE];
    pthread_mutex_t lock; /* over what follows */
    OnlineKey *online;
    bool has_next;
    uint8_t next_pin[PIN_SIZE];
    char *successions;
    Ticks ticks;
};

int relay_key_new(const KeyDriver *driver, void *held, RsaKey *identity, RsaKey *keeper, RelayKey **ret)
{
    _cleanup_(relay_key_freep) RelayKey *k = calloc(1, sizeof(*k));
    int r;

    if (!k || pthread_mutex_init(&k->lock, NULL) != 0) {
        free(TAKE_PTR(k));
        driver->free(held);
        return -ENOMEM;
    }
    k->driver = driver;
    k->held = held;
    k->public = rsa_key_ref(identity);
    k->keeper = rsa_key_ref(keeper);
    r = rsa_key_pin(k->public, k->pin);
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

void *relay_key_held(const RelayKey *k, const KeyDriver *driver)
{
    return k->driver == driver ? k->held : NULL;
}

RelayKey *relay_key_free(RelayKey *k)
{
    if (!k)
        return NULL;
    (void)online_key_unref(k->online);
    (void)rsa_key_free(k->public);
    (void)rsa_key_free(k->keeper);
    k->driver->free(k->held);
    free(k->successions);
    pthread_mutex_destroy(&k->lock);
    free(k);
    return NULL;
}

const uint8_t *relay_key_pin(const RelayKey *k)
{
    return k->pin;
}

const RsaKey *relay_key_public(const RelayKey *k)
{
    return k->public;
}

RsaKey *relay_key_keeper(const RelayKey *k)
{
    return k->keeper;
}

/* A device may be broken, or say what it likes: nothing leaves that is not a signature of the key. */
int relay_key_sign(const RelayKey *k, const uint8_t digest[static SHA256_SIZE], Buf *ret, unsigned *ret_salt)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    unsigned salt = 0;
    int r = k->driver->sign(k->held, digest, &signature);

    if (r != 0)
        return r;
    if (rsa_key_verify_ps256_salt(k->public, digest, signature.data, signature.size, &salt) != 0)
        return -EIO;
    r = buf_append(ret, signature.data, signature.size);
    if (r == 0 && ret_salt)
        *ret_salt = salt;
    return r;
}

int relay_key_sign_draft(const RelayKey *k, const JwsDraft *draft, Buf *ret)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    int r = draft->alg == JWS_PS256 ? relay_key_sign(k, draft->digest, &signature, NULL) : -EINVAL;

    return r == 0 ? jws_finish(draft, signature.data, signature.size, ret) : r;
}

/* So that nothing else that was ever encrypted to this key is taken for a secret. */
static const char wrap_prefix[] = "hmsg/1 relay store";

int relay_key_wrap(const RelayKey *k, const Secret *secret, Buf *ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    int r;

    if (secret_size(secret) != WRAPPED_SECRET_SIZE)
        return -EINVAL;
    r = secret_new(sizeof(wrap_prefix) + WRAPPED_SECRET_SIZE, &plain);
    if (r != 0)
        return r;
    memcpy(secret_data(plain), wrap_prefix, sizeof(wrap_prefix));
    memcpy(secret_data(plain) + sizeof(wrap_prefix), secret_bytes(secret), WRAPPED_SECRET_SIZE);
    return rsa_key_oaep_encrypt(k->keeper, secret_bytes(plain), secret_size(plain), ret);
}

static int unwrap_one(const RelayKey *k, const void *wrapped, size_t n, Secret **ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    int r = k->driver->unwrap(k->held, wrapped, n, &plain);

    if (r != 0)
        return r;
    if (secret_size(plain) != sizeof(wrap_prefix) + WRAPPED_SECRET_SIZE ||
        !bytes_equal(secret_bytes(plain), wrap_prefix, sizeof(wrap_prefix)))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return secret_new_copy(secret_bytes(plain) + sizeof(wrap_prefix), WRAPPED_SECRET_SIZE, ret);
}

int relay_key_unwrap(const RelayKey *k, const void *wrapped, size_t n, Secret **ret)
{
    size_t own = rsa_key_size(k->keeper);
    int r;

    if (k->driver->keeps_whole)
        return k->driver->unwrap(k->held, wrapped, n, ret);
    if (n <= own)
        return unwrap_one(k, wrapped, n, ret);
    r = unwrap_one(k, wrapped, own, ret);
    return r == HMSG_ERROR_AUTHENTICATION_FAILED ? unwrap_one(k, (const uint8_t *)wrapped + n - own, own, ret)
                                                 : r;
}

int relay_key_set_next(RelayKey *k, const uint8_t *pin, const char *successions)
{
    char *copy = strdup(successions), *old;

    if (!copy)
        return -ENOMEM;
    pthread_mutex_lock(&k->lock);
    old = k->successions;
    k->successions = copy;
    k->has_next = pin != NULL;
    if (pin)
        memcpy(k->next_pin, pin, PIN_SIZE);
    pthread_mutex_unlock(&k->lock);
    free(old);
    return 0;
}

void relay_key_set_ticks(RelayKey *k, const Ticks *ticks)
{
    pthread_mutex_lock(&k->lock);
    k->ticks = *ticks;
    pthread_mutex_unlock(&k->lock);
}

/* What the statement says of the next key and of the ticks, and what goes with it. */
static int take_next(RelayKey *k, RelayStatement *s, char **ret_successions)
{
    pthread_mutex_lock(&k->lock);
    s->has_next_pin = k->has_next;
    memcpy(s->next_pin, k->next_pin, PIN_SIZE);
    s->ticks = k->ticks;
    *ret_successions = strdup(k->successions ? k->successions : "");
    pthread_mutex_unlock(&k->lock);
    return *ret_successions ? 0 : -ENOMEM;
}

static int sign_statement(RelayKey *k, const EcKey *ec, int64_t now, char **ret, char **ret_successions)
{
    RelayStatement s = {.identity = k->public, .nbf = now, .exp = now + RELAY_STATEMENT_LIFETIME_MAX};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    int r;

    r = take_next(k, &s, ret_successions);
    if (r != 0)
        return r;
    s.online = ec_key_ref((EcKey *)(uintptr_t)ec);
    r = relay_statement_prepare(&s, &draft);
    (void)ec_key_free(s.online);
    if (r == 0)
        r = relay_key_sign_draft(k, &draft, &jws);
    if (r != 0)
        return r;
    *ret = strdup(buf_text(&jws));
    return *ret ? 0 : -ENOMEM;
}

int relay_key_renew(RelayKey *k, int64_t now)
{
    _cleanup_(online_key_unrefp) OnlineKey *o = calloc(1, sizeof(*o));
    OnlineKey *old;
    int r;

    if (!o)
        return -ENOMEM;
    atomic_init(&o->references, 1);
    memcpy(o->pin, k->pin, PIN_SIZE);
    o->expires = now + RELAY_STATEMENT_LIFETIME_MAX;
    r = ec_key_generate(&o->ec);
    if (r == 0)
        r = sign_statement(k, o->ec, now, &o->statement, &o->successions);
    if (r != 0)
        return r;

    pthread_mutex_lock(&k->lock);
    old = k->online;
    k->online = TAKE_PTR(o);
    pthread_mutex_unlock(&k->lock);
    (void)online_key_unref(old);
    return 0;
}

OnlineKey *relay_key_online(RelayKey *k)
{
    OnlineKey *o;

    pthread_mutex_lock(&k->lock);
    o = online_key_ref(k->online);
    pthread_mutex_unlock(&k->lock);
    return o;
}

OnlineKey *online_key_ref(OnlineKey *o)
{
    if (o)
        atomic_fetch_add(&o->references, 1);
    return o;
}

OnlineKey *online_key_unref(OnlineKey *o)
{
    if (!o || atomic_fetch_sub(&o->references, 1) != 1)
        return NULL;
    (void)ec_key_free(o->ec);
    free(o->statement);
    free(o->successions);
    free(o);
    return NULL;
}

const EcKey *online_key_ec(const OnlineKey *o)
{
    return o->ec;
}

const char *online_key_statement(const OnlineKey *o)
{
    return o->statement;
}

const char *online_key_successions(const OnlineKey *o)
{
    return o->successions;
}

const uint8_t *online_key_pin(const OnlineKey *o)
{
    return o->pin;
}

int64_t online_key_expires(const OnlineKey *o)
{
    return o->expires;
}
