/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "agent/keyring.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement.h"
#include "tests/unit/agent/double.h"

struct Identity {
    Double *d;
    EVP_PKEY *decrypt, *sign;
    IdentityPublic public;
    IdentityState state;
    uint64_t epoch;
    char *rotations[8];
    size_t n_rotations;
    identity_changed_t changed;
    void *changed_userdata;
};

struct Contacts {
    Double *d;
    ContactTrust store, directory;
    char *address;
    int directory_result;
    uint64_t generation;
};

struct Double {
    Manager manager;
    Identity identity;
    Contacts contacts;
    bool hold;
    int tpm_result;
    unsigned n_decrypt, n_sign, n_known, n_directory;
};

struct IdentityWork {
    Identity *i;
    sd_event_source *source;
    GByteArray *input;
    identity_jws_t signed_;
    bool is_cms; /* what is signed */
    identity_plaintext_t opened;
    bool oaep_sha1; /* how it was encrypted */
    void *userdata;
};

struct ContactsRequest {
    Contacts *c;
    sd_event_source *source;
    contacts_sender_t done;
    void *userdata;
};

static RsaKey *public_of(EVP_PKEY *key)
{
    RsaKey *k = NULL;

    g_assert_cmpint(rsa_key_from_evp(key, &k), ==, 0);
    return k;
}

static GPtrArray *reused; /* NULL: they are not */
static guint next_reused;

void double_reuse_keys(void)
{
    if (!reused)
        reused = g_ptr_array_new_with_free_func((GDestroyNotify)EVP_PKEY_free);
}

static EVP_PKEY *make_key(void)
{
    EVP_PKEY *key;

    if (!reused)
        return EVP_RSA_gen(2048);
    if (next_reused == reused->len)
        g_ptr_array_add(reused, EVP_RSA_gen(2048));
    key = g_ptr_array_index(reused, next_reused++);
    g_assert_true(key && EVP_PKEY_up_ref(key) == 1);
    return key;
}

static void make_identity(Identity *i)
{
    i->decrypt = make_key();
    i->sign = make_key();
    g_assert_true(i->decrypt && i->sign);
    i->public.decrypt = public_of(i->decrypt);
    i->public.sign = public_of(i->sign);
    memcpy(i->public.kid_bytes, rsa_key_thumbprint(i->public.decrypt), KID_SIZE);
    memcpy(i->public.skid_bytes, rsa_key_thumbprint(i->public.sign), KID_SIZE);
    base64url_encode(i->public.kid_bytes, KID_SIZE, i->public.kid);
    base64url_encode(i->public.skid_bytes, KID_SIZE, i->public.skid);
    i->state = IDENTITY_READY;
    i->epoch = 1;
}

/* A process has one keyring, which is made once. */
static Keyring *the_keyring(void)
{
    static Keyring *k;

    if (!k)
        g_assert_cmpint(keyring_new(&k), ==, 0);
    return k;
}

Double *double_new(void)
{
    Double *d = g_new0(Double, 1);
    Manager *m = &d->manager;

    g_assert_cmpint(sd_event_new(&m->event), >=, 0);
    g_assert_cmpint(config_new(&m->config), ==, 0);
    m->keyring = the_keyring();
    d->identity.d = d;
    next_reused = 0;
    make_identity(&d->identity);
    m->identity = &d->identity;
    d->contacts = (Contacts){.d = d, .generation = 1, .address = g_strdup("")};
    m->contacts = &d->contacts;
    return d;
}

void double_free(Double *d)
{
    if (!d)
        return;
    config_free(d->manager.config);
    sd_event_unref(d->manager.event);
    rsa_key_free(d->identity.public.decrypt);
    rsa_key_free(d->identity.public.sign);
    EVP_PKEY_free(d->identity.decrypt);
    EVP_PKEY_free(d->identity.sign);
    for (size_t n = 0; n < d->identity.n_rotations; n++)
        g_free(d->identity.rotations[n]);
    g_free(d->contacts.address);
    g_free(d);
}

Manager *double_manager(Double *d)
{
    return &d->manager;
}

void double_run(Double *d, const bool *done)
{
    while (!*done)
        g_assert_cmpint(sd_event_run(d->manager.event, UINT64_MAX), >=, 0);
}

void double_turn(Double *d)
{
    g_assert_cmpint(sd_event_run(d->manager.event, 0), >=, 0);
}

static void tell(Identity *i)
{
    if (i->changed)
        i->changed(i, i->changed_userdata);
}

void double_lock(Double *d)
{
    d->identity.state = IDENTITY_LOCKED;
    d->identity.epoch++;
    tell(&d->identity);
}

void double_unlock(Double *d)
{
    d->identity.state = IDENTITY_READY;
    tell(&d->identity);
}

void double_software(Double *d)
{
    d->identity.public.protection = PROTECTION_SOFTWARE;
}

void double_hold(Double *d, bool hold)
{
    d->hold = hold;
}

void double_fail(Double *d, int r)
{
    d->tpm_result = r;
}

unsigned double_count_decrypt(const Double *d)
{
    return d->n_decrypt;
}

unsigned double_count_sign(const Double *d)
{
    return d->n_sign;
}

void double_know(Double *d, ContactTrust store, ContactTrust directory, const char *address)
{
    d->contacts.store = store;
    d->contacts.directory = directory;
    g_free(d->contacts.address);
    d->contacts.address = g_strdup(address);
    d->contacts.generation++;
}

void double_directory_fail(Double *d, int r)
{
    d->contacts.directory_result = r;
}

unsigned double_count_known(const Double *d)
{
    return d->n_known;
}

unsigned double_count_directory(const Double *d)
{
    return d->n_directory;
}

IdentityState identity_state(const Identity *i)
{
    return i->state;
}

const IdentityPublic *identity_public(const Identity *i)
{
    return i->state == IDENTITY_NONE ? NULL : &i->public;
}

int identity_check(const Identity *i)
{
    return i->state == IDENTITY_READY    ? 0
           : i->state == IDENTITY_LOCKED ? HMSG_ERROR_LOCKED
                                         : HMSG_ERROR_NO_IDENTITY;
}

uint64_t identity_epoch(const Identity *i)
{
    return i->epoch;
}

int identity_watch(Identity *i, identity_changed_t changed, void *userdata)
{
    i->changed = changed;
    i->changed_userdata = userdata;
    return 0;
}

IdentityWork *identity_work_free(IdentityWork *w)
{
    if (!w)
        return NULL;
    sd_event_source_disable_unref(w->source);
    g_byte_array_unref(w->input);
    g_free(w);
    return NULL;
}

static void answer_sign_cms(IdentityWork *w)
{
    Double *d = w->i->d;
    Buf signature = BUF_MAX(RSA_SIZE_MAX), text = BUF_MAX(JWS_SIZE_MAX);

    d->n_sign++;
    if (d->tpm_result == 0) {
        g_assert_cmpint(rsa_private_sign_ps256(w->i->sign, w->input->data, &signature), ==, 0);
        g_assert_cmpint(base64url_append(&text, signature.data, signature.size), ==, 0);
    }
    w->signed_(d->tpm_result, "as told", d->tpm_result == 0 ? buf_text(&text) : NULL, w->userdata);
    buf_done(&signature);
    buf_done(&text);
}

static void answer_sign(IdentityWork *w)
{
    Double *d = w->i->d;
    uint8_t digest[SHA256_SIZE];
    Buf signature = BUF_MAX(RSA_SIZE_MAX), jws = BUF_MAX(JWS_SIZE_MAX);

    d->n_sign++;
    if (d->tpm_result != 0) {
        w->signed_(d->tpm_result, "as told", NULL, w->userdata);
        return;
    }
    g_assert_cmpint(crypto_sha256(w->input->data, w->input->len, digest), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(w->i->sign, digest, &signature), ==, 0);
    g_assert_cmpint(buf_append(&jws, w->input->data, w->input->len), ==, 0);
    g_assert_cmpint(buf_append_string(&jws, "."), ==, 0);
    g_assert_cmpint(base64url_append(&jws, signature.data, signature.size), ==, 0);
    w->signed_(0, "", buf_text(&jws), w->userdata);
    buf_done(&signature);
    buf_done(&jws);
}

static void answer_open(IdentityWork *w)
{
    Double *d = w->i->d;
    Secret *plaintext = NULL;
    int r = d->tpm_result;

    d->n_decrypt++;
    if (r == 0 && w->oaep_sha1)
        r = rsa_private_oaep_sha1_decrypt(w->i->decrypt, w->input->data, w->input->len, &plaintext);
    else if (r == 0)
        r = rsa_private_oaep_decrypt(w->i->decrypt, w->input->data, w->input->len, &plaintext);
    w->opened(r, "as told", plaintext, w->userdata);
    secret_free(plaintext);
}

/* While it is held it asks again and again: the loop must not sleep. */
static int on_work(sd_event_source *source, void *userdata)
{
    IdentityWork *w = userdata;

    if (w->i->d->hold)
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    if (w->is_cms)
        answer_sign_cms(w);
    else if (w->signed_)
        answer_sign(w);
    else
        answer_open(w);
    return 0;
}

static IdentityWork *work_new(Identity *i, const void *data, size_t n, void *userdata)
{
    IdentityWork *w = g_new0(IdentityWork, 1);

    w->i = i;
    w->userdata = userdata;
    w->input = g_byte_array_new();
    g_byte_array_append(w->input, data, (guint)n);
    g_assert_cmpint(sd_event_add_defer(i->d->manager.event, &w->source, on_work, w), >=, 0);
    return w;
}

int identity_sign_jws(Identity *i, const char *input, identity_jws_t done, void *userdata, IdentityWork **ret)
{
    *ret = work_new(i, input, strlen(input), userdata);
    (*ret)->signed_ = done;
    return 0;
}

int identity_sign_cms(Identity *i, CmsDraft *d, identity_jws_t done, void *userdata, IdentityWork **ret)
{
    *ret = work_new(i, cms_draft_digest(d), SHA256_SIZE, userdata);
    (*ret)->signed_ = done;
    (*ret)->is_cms = true;
    return 0;
}

int identity_open_pop(Identity *i, const void *ciphertext, size_t size, identity_plaintext_t done,
                      void *userdata, IdentityWork **ret)
{
    *ret = work_new(i, ciphertext, size, userdata);
    (*ret)->opened = done;
    return 0;
}

int identity_open_oaep_sha1(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext,
                            size_t size, identity_plaintext_t done, void *userdata, IdentityWork **ret)
{
    g_assert_cmpint(i->public.protection, ==, PROTECTION_SOFTWARE);
    int r = identity_open(i, kid, ciphertext, size, done, userdata, ret);
    (*ret)->oaep_sha1 = true;
    return r;
}

int identity_open(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext, size_t size,
                  identity_plaintext_t done, void *userdata, IdentityWork **ret)
{
    g_assert_cmpmem(kid, KID_SIZE, i->public.kid_bytes, KID_SIZE);
    return identity_open_pop(i, ciphertext, size, done, userdata, ret);
}

size_t identity_kids(const Identity *i, uint8_t ret[static IDENTITY_KIDS_MAX][KID_SIZE])
{
    memcpy(ret[0], i->public.kid_bytes, KID_SIZE);
    return i->state == IDENTITY_NONE ? 0 : 1;
}

int identity_decrypt_key(const Identity *i, const uint8_t kid[static KID_SIZE], RsaKey **ret)
{
    g_assert_cmpmem(kid, KID_SIZE, i->public.kid_bytes, KID_SIZE);
    *ret = rsa_key_ref(i->public.decrypt);
    return 0;
}

bool identity_is_ours(const Identity *i, const char *skid)
{
    return i->state != IDENTITY_NONE && strcmp(i->public.skid, skid) == 0;
}

void identity_hold(Identity *i, identity_needed_t needed, void *userdata)
{
}

void identity_released(Identity *i)
{
}

const char *identity_rotation(const Identity *i, size_t n)
{
    return n < i->n_rotations ? i->rotations[n] : NULL;
}

void double_rotate(Double *d)
{
    Identity *i = &d->identity;
    RotateStatement s = {.generation = i->public.generation + 1, .iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    EVP_PKEY *before = i->sign;

    g_assert_cmpuint(i->n_rotations, <, G_N_ELEMENTS(i->rotations));
    memcpy(s.skid, i->public.skid_bytes, KID_SIZE);
    rsa_key_free(i->public.decrypt);
    rsa_key_free(i->public.sign);
    EVP_PKEY_free(i->decrypt);
    make_identity(i);
    memcpy(s.next_skid, i->public.skid_bytes, KID_SIZE);
    memcpy(s.next_kid, i->public.kid_bytes, KID_SIZE);
    i->public.generation = s.generation;
    g_assert_cmpint(rotate_statement_prepare(&s, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, before, &jws), ==, 0);
    i->rotations[i->n_rotations++] = g_strdup(buf_text(&jws));
    EVP_PKEY_free(before);
    tell(i);
}

uint64_t contacts_generation(const Contacts *c)
{
    return c->generation;
}

static Sender sender_of(const Contacts *c, ContactTrust trust)
{
    return (Sender){.trust = trust, .address = trust == CONTACT_NONE ? "" : c->address};
}

int contacts_known_sender(Contacts *c, const char *skid, Sender *ret)
{
    c->d->n_known++;
    *ret = sender_of(c, c->store);
    return 0;
}

static int on_directory(sd_event_source *source, void *userdata)
{
    ContactsRequest *q = userdata;
    Contacts *c = q->c;
    Sender sender = sender_of(c, c->store != CONTACT_NONE ? c->store : c->directory);

    c->d->n_directory++;
    q->done(c->directory_result, "as told", c->directory_result == 0 ? &sender : NULL, q->userdata);
    return 0;
}

int contacts_check_sender(Contacts *c, const char *skid, const char *relay, contacts_sender_t done,
                          void *userdata, ContactsRequest **ret)
{
    ContactsRequest *q = g_new0(ContactsRequest, 1);

    *q = (ContactsRequest){.c = c, .done = done, .userdata = userdata};
    g_assert_cmpint(sd_event_add_defer(c->d->manager.event, &q->source, on_directory, q), >=, 0);
    *ret = q;
    return 0;
}

ContactsRequest *contacts_request_free(ContactsRequest *q)
{
    if (!q)
        return NULL;
    sd_event_source_disable_unref(q->source);
    g_free(q);
    return NULL;
}
