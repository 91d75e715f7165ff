/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The driver of keys in a TPM 2.0, which makes RSA keys that do one thing: one signs and is the relay's
 * identity, the other decrypts what is kept. Both are in the file, as TSS2 PRIVATE KEY, behind the Name of
 * their parent. They have no authorization value: the relay starts without anybody. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/tpm/runner.h"
#include "server/relay-key-internal.h"

#define FIRST_LINE "hmsg relay TPM 2.0 "
#define BEGIN "-----BEGIN "
#define NAME_TEXT_SIZE 48u /* base64url of TPM_NAME_SIZE bytes, with the final 0 */
#define POLL_MAX 1000      /* ms */

typedef struct Held {
    pthread_mutex_t lock; /* the runner is of one thread at a time */
    TpmRunner *runner;
    TpmPair pair;
} Held;

void tpm_pair_done(TpmPair *p)
{
    p->sign = tpm_keyfile_free(p->sign);
    p->decrypt = tpm_keyfile_free(p->decrypt);
}

static void held_free(void *held)
{
    Held *h = held;

    if (!h)
        return;
    (void)tpm_runner_free(h->runner);
    tpm_pair_done(&h->pair);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

static void held_freep(Held **h)
{
    held_free(*h);
}

static int held_new(const char *tcti, Held **ret)
{
    Held *h = calloc(1, sizeof(*h));
    const TpmRunnerOptions options = {.tcti = tcti};
    int r;

    if (!h || pthread_mutex_init(&h->lock, NULL) != 0) {
        free(h);
        return -ENOMEM;
    }
    r = tpm_runner_new(&options, &h->runner);
    if (r == 0)
        *ret = h;
    else
        held_free(h);
    return r;
}

/* What a job was for, and what became of it. */
typedef struct Wait {
    bool done;
    int r;
    Held *held; /* of create */
    Buf *data;  /* of sign */
    Secret *secret;
} Wait;

static void on_done(TpmAnswer *answer, void *userdata)
{
    Wait *w = userdata;

    w->done = true;
    w->r = answer->r;
    if (w->r != 0 && w->r != HMSG_ERROR_AUTHENTICATION_FAILED)
        log_warning("The TPM: %s", answer->problem->text[0] ? answer->problem->text : error_message(w->r));
    if (w->r != 0)
        return;
    if (w->held) {
        w->held->pair.sign = tpm_keyfile_ref(answer->sign_key);
        w->held->pair.decrypt = tpm_keyfile_ref(answer->decrypt_key);
        memcpy(w->held->pair.srk_name, answer->srk_name, TPM_NAME_SIZE);
    }
    if (w->data)
        w->r = buf_append(w->data, answer->data, answer->data_size);
    w->secret = TAKE_PTR(answer->secret);
}

/* r: of what started the job. Every job has a deadline, so this ends. */
static int await(Held *h, int r, Wait *w)
{
    while (r == 0 && !w->done) {
        struct pollfd p = {.fd = tpm_runner_fd(h->runner), .events = POLLIN};
        uint64_t now = clock_boottime(), until = tpm_runner_next_deadline(h->runner);
        int ms = POLL_MAX;

        if (until <= now)
            ms = 0;
        else if ((until - now) / 1000 < POLL_MAX)
            ms = (int)((until - now) / 1000) + 1;
        (void)poll(&p, 1, ms);
        r = tpm_runner_dispatch(h->runner);
    }
    return r == 0 ? w->r : r;
}

static int held_sign(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    Held *h = held;
    Wait w = {.data = ret};
    int r;

    (void)pthread_mutex_lock(&h->lock);
    r = await(h, tpm_runner_sign(h->runner, h->pair.sign, NULL, NULL, digest, on_done, &w, NULL), &w);
    (void)pthread_mutex_unlock(&h->lock);
    return r;
}

static int held_unwrap(void *held, const void *wrapped, size_t n, Secret **ret)
{
    Held *h = held;
    Wait w = {.done = false};
    int r;

    if (n != TPM_RSA_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    (void)pthread_mutex_lock(&h->lock);
    r = await(h, tpm_runner_decrypt(h->runner, h->pair.decrypt, NULL, NULL, wrapped, n, 0, on_done, &w, NULL),
              &w);
    (void)pthread_mutex_unlock(&h->lock);
    if (r == 0)
        *ret = TAKE_PTR(w.secret);
    (void)secret_free(w.secret);
    return r;
}

static const KeyDriver driver = {held_sign, held_unwrap, held_free, .keeps_whole = false};

static int read_public(const TpmKeyFile *k, RsaKey **ret)
{
    size_t n = 0;
    const uint8_t *spki = tpm_keyfile_spki(k, &n);

    return rsa_key_from_spki(spki, n, ret);
}

/* Takes *h. */
static int finish(Held **h, RelayKey **ret)
{
    RsaKey *identity = NULL, *keeper = NULL;
    int r = read_public((*h)->pair.sign, &identity);

    if (r == 0)
        r = read_public((*h)->pair.decrypt, &keeper);
    tpm_runner_pin((*h)->runner, (*h)->pair.srk_name);
    if (r == 0)
        r = relay_key_new(&driver, TAKE_PTR(*h), identity, keeper, ret);
    (void)rsa_key_free(identity);
    (void)rsa_key_free(keeper);
    return r;
}

bool relay_key_is_tpm_text(const Buf *text)
{
    return text->size >= strlen(FIRST_LINE) &&
           memcmp(text->data, FIRST_LINE, strlen(FIRST_LINE)) == 0; /* public */
}

int tpm_pair_parse(const Buf *text, TpmPair *ret)
{
    _cleanup_(tpm_pair_done) TpmPair p = {.sign = NULL};
    const char *line = buf_text(text) + strlen(FIRST_LINE), *sign, *decrypt;
    size_t n = strcspn(line, "\n");

    if (strlen(buf_text(text)) != text->size ||
        base64url_decode_exact(line, n, p.srk_name, TPM_NAME_SIZE) != 0 || line[n] != '\n')
        return HMSG_ERROR_BAD_PACKAGE;
    sign = line + n + 1;
    decrypt = strstr(sign, BEGIN) == sign ? strstr(sign + 1, BEGIN) : NULL;
    if (!decrypt || tpm_keyfile_from_pem(sign, (size_t)(decrypt - sign), &p.sign) != 0 ||
        tpm_keyfile_from_pem(decrypt, strlen(decrypt), &p.decrypt) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    /* what needs an authorization value or a counter is not one of ours */
    if (tpm_keyfile_use(p.sign) != TPM_KEY_SIGN || tpm_keyfile_use(p.decrypt) != TPM_KEY_DECRYPT ||
        tpm_keyfile_needs_auth(p.sign) || tpm_keyfile_needs_auth(p.decrypt) || tpm_keyfile_policy(p.sign) ||
        tpm_keyfile_policy(p.decrypt))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = p;
    p = (TpmPair){.sign = NULL};
    return 0;
}

int relay_key_tpm_open(const Buf *text, const char *tcti, RelayKey **ret)
{
    _cleanup_(held_freep) Held *h = NULL;
    int r = held_new(tcti, &h);

    if (r == 0)
        r = tpm_pair_parse(text, &h->pair);
    return r == 0 ? finish(&h, ret) : r;
}

static int format(const Held *h, Buf *ret)
{
    char name[NAME_TEXT_SIZE];
    int r;

    base64url_encode(h->pair.srk_name, TPM_NAME_SIZE, name);
    r = buf_printf(ret, FIRST_LINE "%s\n", name);
    if (r == 0)
        r = tpm_keyfile_to_pem(h->pair.sign, ret);
    return r == 0 ? tpm_keyfile_to_pem(h->pair.decrypt, ret) : r;
}

int relay_key_tpm_make(const char *tcti, Buf *ret_text, RelayKey **ret)
{
    _cleanup_(held_freep) Held *h = NULL;
    int r = held_new(tcti, &h);
    Wait w = {.held = h};

    if (r == 0)
        r = await(h, tpm_runner_create_keys(h->runner, NULL, NULL, on_done, &w, NULL), &w);
    if (r == 0)
        r = format(h, ret_text);
    return r == 0 ? finish(&h, ret) : r;
}
