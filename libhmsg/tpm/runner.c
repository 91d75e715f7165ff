/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/runner.h"

#include <errno.h>
#include <openssl/bn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/tpm/runner-internal.h"

#define HUNG_MAX 4u
#define END_SECONDS 1u /* twice: for its own end, and after its wait was ended */

typedef enum JobState { JOB_QUEUED, JOB_RUNNING, JOB_FAILED, JOB_ANSWERED } JobState;

struct TpmJob {
    TpmRunner *runner;
    TAILQ_ENTRY(TpmJob) entry;
    JobState state;
    Work *work; /* NULL: the thread has it, or there was no answer in time */
    tpm_done_t done;
    void *userdata;
};

TAILQ_HEAD(JobList, TpmJob);

struct TpmRunner {
    char *conf;
    bool pinned;
    uint8_t pin[TPM_NAME_SIZE];
    TpmPcrPolicy *pcrs; /* what is approved; NULL: nothing */
    uint64_t deadline, create_deadline, idle;
    int fd;
    Counter *counter;
    Worker *worker;
    Worker *hung[HUNG_MAX]; /* left to themselves, but not ended yet */
    bool left_over;         /* the next one tidies up after them */
    struct JobList queue, failed;
    size_t n_jobs;
    TpmJob *running; /* what the worker has */
    uint64_t running_until;
};

int tpm_silence_logs(void)
{
    return setenv("TSS2_LOG", "all+NONE", 1) < 0 || unsetenv("TSS2_LOGFILE") < 0 ? -errno : 0;
}

int tpm_runner_new(const TpmRunnerOptions *o, TpmRunner **ret)
{
    _cleanup_(tpm_runner_freep) TpmRunner *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->fd = -1;
    TAILQ_INIT(&r->queue);
    TAILQ_INIT(&r->failed);
    r->deadline = o->deadline ? o->deadline : TPM_JOB_DEADLINE;
    r->create_deadline = o->create_deadline ? o->create_deadline : TPM_CREATE_DEADLINE;
    r->idle = o->session_idle ? o->session_idle : TPM_SESSION_IDLE;
    tpm_runner_pin(r, o->srk_name);
    r->conf = strdup(o->tcti ? o->tcti : TPM_TCTI_DEFAULT);
    r->counter = calloc(1, sizeof(*r->counter));
    if (!r->conf || !r->counter)
        return -ENOMEM;
    atomic_init(&r->counter->references, 1);
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd < 0)
        return -errno;
    *ret = TAKE_PTR(r);
    return 0;
}

static void job_free(TpmJob *j)
{
    j->runner->n_jobs--;
    work_free(j->work);
    free(j);
}

static void drop_list(struct JobList *list)
{
    TpmJob *j;
    while ((j = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, j, entry);
        job_free(j);
    }
}

static void reap(TpmRunner *r, bool end)
{
    for (size_t i = 0; i < HUNG_MAX; i++) {
        if (!r->hung[i] || (!end && !worker_ended(r->hung[i])))
            continue;
        if (!worker_join(r->hung[i], 0))
            worker_drop(r->hung[i]);
        r->hung[i] = NULL;
    }
}

TpmRunner *tpm_runner_free(TpmRunner *r)
{
    if (!r)
        return NULL;
    if (r->worker) {
        worker_stop(r->worker, false);
        if (!worker_join(r->worker, END_SECONDS)) {
            worker_stop(r->worker, true);
            if (!worker_join(r->worker, END_SECONDS))
                worker_drop(r->worker);
        }
    }
    reap(r, true);
    drop_list(&r->queue);
    drop_list(&r->failed);
    if (r->running)
        job_free(r->running);
    (void)fd_close(r->fd);
    counter_unref(r->counter);
    free(r->conf);
    free(r->pcrs);
    free(r);
    return NULL;
}

void tpm_runner_pin(TpmRunner *r, const uint8_t *srk_name)
{
    r->pinned = srk_name != NULL;
    if (srk_name)
        memcpy(r->pin, srk_name, TPM_NAME_SIZE);
}

int tpm_runner_fd(const TpmRunner *r)
{
    return r->fd;
}

uint64_t tpm_runner_next_deadline(TpmRunner *r)
{
    return r->running ? r->running_until : UINT64_MAX;
}

static size_t free_place(const TpmRunner *r)
{
    size_t i = 0;
    while (i < HUNG_MAX && r->hung[i])
        i++;
    return i;
}

static int need_worker(TpmRunner *r)
{
    if (r->worker)
        return 0;
    reap(r, false);
    if (free_place(r) == HUNG_MAX)
        return HMSG_ERROR_TPM_UNAVAILABLE;
    LeftOver left_over = {.any = r->left_over};
    left_over.external =
        r->left_over && r->pcrs && tpm_pcr_signer(r->pcrs->modulus, left_over.external_name) == 0;
    int e = worker_new(r->conf, r->idle, r->fd, r->counter, &left_over, &r->worker);
    if (e == 0)
        r->left_over = false;
    return e;
}

static void run_next(TpmRunner *r)
{
    TpmJob *j = TAILQ_FIRST(&r->queue);
    if (r->running || !j || !r->worker)
        return;
    TAILQ_REMOVE(&r->queue, j, entry);
    j->state = JOB_RUNNING;
    r->running = j;
    r->running_until = clock_boottime() + (j->work->kind == WORK_CREATE ? r->create_deadline : r->deadline);
    worker_give(r->worker, TAKE_PTR(j->work));
}

static void answer(TpmJob *j)
{
    Work *w = j->work;
    TpmProblem in_vain;
    TpmAnswer a;

    j->state = JOB_ANSWERED;
    if (!j->done) {
        job_free(j);
        return;
    }
    if (!w) {
        a = (TpmAnswer){.r = tpm_problem_set(&in_vain, TPM_REASON_NO_ANSWER, j->runner->conf, 0),
                        .problem = &in_vain};
        j->done(&a, j->userdata);
        job_free(j);
        return;
    }
    a = (TpmAnswer){.r = w->r, .problem = &w->problem};
    a.software = w->software;
    if (w->kind == WORK_PROBE && w->r == 0 && !w->software)
        a.facts = &w->facts;
    if ((w->kind == WORK_CREATE || w->kind == WORK_CHANGE_AUTH) && w->r == 0) {
        a.decrypt_key = w->decrypt_key;
        a.sign_key = w->sign_key;
        a.srk_name = w->srk_name;
    }
    if ((w->kind == WORK_SIGN || w->kind == WORK_RANDOM) && w->r == 0) {
        a.data = w->data;
        a.data_size = w->data_size;
    }
    if (w->kind == WORK_SEAL && w->r == 0)
        a.sealed = w->sealed;
    if (w->kind == WORK_COUNTER_NEW && w->r == 0)
        a.counter = &w->counter;
    if (w->kind == WORK_PCR_READ && w->r == 0)
        a.pcrs = &w->pcr_values;
    a.counter_value = w->r == 0 ? w->value : 0;
    a.secret = TAKE_PTR(w->secret);
    j->done(&a, j->userdata);
    secret_free(a.secret);
    job_free(j);
}

/* All who wait fail, not only the one whose time is up: none of them would fare better one after another. */
static void expire(TpmRunner *r)
{
    Worker *w = TAKE_PTR(r->worker);
    TpmJob *j = TAKE_PTR(r->running);

    worker_stop(w, true);
    r->left_over = true;
    r->hung[free_place(r)] = w;
    TAILQ_INSERT_HEAD(&r->queue, j, entry); /* its work stays with the thread */
    while ((j = TAILQ_FIRST(&r->queue))) {
        TAILQ_REMOVE(&r->queue, j, entry);
        j->work = work_free(j->work);
        j->state = JOB_FAILED;
        TAILQ_INSERT_TAIL(&r->failed, j, entry);
    }
}

int tpm_runner_dispatch(TpmRunner *r)
{
    eventfd_t ignored;
    TpmJob *j;

    (void)eventfd_read(r->fd, &ignored);
    reap(r, false);
    if (r->running) {
        Work *work = worker_take(r->worker);
        if (work) {
            j = TAKE_PTR(r->running);
            j->work = work;
            run_next(r); /* the TPM need not wait for the callback */
            answer(j);
        } else if (clock_boottime() >= r->running_until)
            expire(r);
    }
    while ((j = TAILQ_FIRST(&r->failed))) {
        TAILQ_REMOVE(&r->failed, j, entry);
        answer(j);
    }
    run_next(r);
    return 0;
}

static int copy_pcrs(const TpmPcrPolicy *from, TpmPcrPolicy **ret)
{
    TpmPcrPolicy *copy = from ? malloc(sizeof(*copy)) : NULL;
    if (from && !copy)
        return -ENOMEM;
    if (copy)
        *copy = *from;
    free(*ret);
    *ret = copy;
    return 0;
}

int tpm_runner_approve(TpmRunner *r, const TpmPcrPolicy *p)
{
    if (p && (!tpm_pcr_mask_is_valid(p->mask) || p->n > TPM_APPROVALS_MAX))
        return -EINVAL;
    return copy_pcrs(p, &r->pcrs);
}

int runner_submit(TpmRunner *r, Work *work, tpm_done_t done, void *userdata, TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = work;

    if (r->n_jobs >= TPM_QUEUE_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    int e = need_worker(r);
    if (e == 0 && w->bound && w->policy.measured)
        e = copy_pcrs(r->pcrs, &w->pcrs);
    if (e != 0)
        return e;
    TpmJob *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    w->pinned = r->pinned;
    memcpy(w->pin, r->pin, TPM_NAME_SIZE);
    *j = (TpmJob){.runner = r, .work = TAKE_PTR(w), .done = done, .userdata = userdata};
    TAILQ_INSERT_TAIL(&r->queue, j, entry);
    r->n_jobs++;
    run_next(r);
    if (ret)
        *ret = j;
    return 0;
}

int work_new(WorkKind kind, TpmKeyFile *key, const Secret *auth, Work **ret)
{
    _cleanup_(work_freep) Work *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    if (auth && secret_size(auth) != TPM_AUTH_SIZE)
        return -EINVAL;
    w->kind = kind;
    w->key = key ? tpm_keyfile_ref(key) : NULL;
    int r = auth ? secret_new_copy(secret_bytes(auth), TPM_AUTH_SIZE, &w->auth) : 0;
    if (r == 0)
        *ret = TAKE_PTR(w);
    return r;
}

int work_new_use(WorkKind kind, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter, Work **ret)
{
    const TpmKeyPolicy *policy = tpm_keyfile_policy(key);
    if (policy && (!counter || counter->index != policy->index))
        return -EINVAL;
    int e = work_new(kind, key, auth, ret);
    if (e == 0)
        (*ret)->software = tpm_keyfile_is_software(key);
    if (e == 0 && policy) {
        (*ret)->bound = true;
        (*ret)->policy = *policy;
        (*ret)->counter = *counter;
    }
    return e;
}

int tpm_runner_create_keys(TpmRunner *r, const TpmKeyPolicy *policy, const Secret *auth, tpm_done_t done,
                           void *userdata, TpmJob **ret)
{
    return tpm_runner_import_keys(r, NULL, NULL, policy, auth, done, userdata, ret);
}

/* TPM2_Import does not look. */
static int check_prime(const TpmPrivateKey *key)
{
    BN_CTX *ctx = BN_CTX_secure_new();
    BIGNUM *prime = BN_secure_new(), *modulus = BN_new(), *rest = BN_secure_new();
    int r = -ENOMEM;

    if (ctx && rest && prime && modulus && BN_bin2bn(key->modulus, TPM_RSA_SIZE, modulus) &&
        BN_bin2bn(secret_bytes(key->prime), TPM_RSA_SIZE / 2, prime)) {
        BN_set_flags(prime, BN_FLG_CONSTTIME);
        r = BN_num_bits(prime) == TPM_RSA_SIZE * 8 / 2 && BN_mod(rest, modulus, prime, ctx) == 1 &&
                    BN_is_zero(rest)
                ? 0
                : -EINVAL;
    }
    BN_clear_free(prime);
    BN_clear_free(rest);
    BN_free(modulus);
    BN_CTX_free(ctx);
    return r;
}

/* from: NULL for none. */
static int copy_private(const TpmPrivateKey *from, TpmPrivateKey *ret)
{
    if (!from)
        return 0;
    if (secret_size(from->prime) != TPM_RSA_SIZE / 2)
        return -EINVAL;
    int e = check_prime(from);
    if (e < 0)
        return e;
    memcpy(ret->modulus, from->modulus, TPM_RSA_SIZE);
    return secret_new_copy(secret_bytes(from->prime), secret_size(from->prime), &ret->prime);
}

int tpm_runner_import_keys(TpmRunner *r, const TpmPrivateKey *decrypt, const TpmPrivateKey *sign,
                           const TpmKeyPolicy *policy, const Secret *auth, tpm_done_t done, void *userdata,
                           TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = NULL;
    int e = work_new(WORK_CREATE, NULL, auth, &w);
    if (e == 0)
        e = copy_private(decrypt, &w->from_decrypt);
    if (e == 0)
        e = copy_private(sign, &w->from_sign);
    if (e != 0)
        return e;
    w->bound = policy != NULL;
    if (policy)
        w->policy = *policy;
    return runner_submit(r, TAKE_PTR(w), done, userdata, ret);
}

int tpm_runner_adopt_key(TpmRunner *r, TpmKeyFile *decrypt, const TpmPrivateKey *sign, tpm_done_t done,
                         void *userdata, TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = NULL;
    int e = tpm_keyfile_is_open(decrypt) ? work_new(WORK_CREATE, NULL, NULL, &w) : -EINVAL;
    if (e == 0)
        e = copy_private(sign, &w->from_sign);
    if (e != 0)
        return e;
    w->adopted = true;
    w->decrypt_key = tpm_keyfile_ref(decrypt);
    return runner_submit(r, TAKE_PTR(w), done, userdata, ret);
}

static void set_ciphertext(Work *w, const void *ciphertext, size_t n)
{
    w->ciphertext_fits = n == TPM_RSA_SIZE;
    if (w->ciphertext_fits)
        memcpy(w->ciphertext, ciphertext, n);
}

int tpm_runner_decrypt(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter,
                       const void *ciphertext, size_t n, size_t plaintext_size, tpm_done_t done,
                       void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = work_new_use(WORK_DECRYPT, key, auth, counter, &w);
    if (e != 0)
        return e;
    w->plaintext_size = plaintext_size;
    set_ciphertext(w, ciphertext, n);
    return runner_submit(r, w, done, userdata, ret);
}

int tpm_runner_decrypt_oaep_sha1(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const void *ciphertext,
                                 size_t n, tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = tpm_keyfile_is_software(key) ? work_new_use(WORK_DECRYPT, key, auth, NULL, &w) : -EINVAL;
    if (e != 0)
        return e;
    w->oaep_sha1 = true;
    set_ciphertext(w, ciphertext, n);
    return runner_submit(r, w, done, userdata, ret);
}

int tpm_runner_sign(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter,
                    const uint8_t digest[static 32], tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = work_new_use(WORK_SIGN, key, auth, counter, &w);
    if (e == 0)
        memcpy(w->digest, digest, sizeof(w->digest));
    return e == 0 ? runner_submit(r, w, done, userdata, ret) : e;
}

int tpm_runner_change_auth(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const Secret *new_auth,
                           tpm_done_t done, void *userdata, TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = NULL;
    if (tpm_keyfile_use(key) == TPM_SEALED)
        return -EINVAL;
    if (new_auth && (secret_size(new_auth) != TPM_AUTH_SIZE || !tpm_keyfile_is_guarded(key)))
        return -EINVAL;
    int e = work_new(WORK_CHANGE_AUTH, key, auth, &w);
    if (e == 0 && new_auth)
        e = secret_new_copy(secret_bytes(new_auth), TPM_AUTH_SIZE, &w->new_auth);
    return e == 0 ? runner_submit(r, TAKE_PTR(w), done, userdata, ret) : e;
}

int tpm_runner_create_software(TpmRunner *r, const uint8_t salt[static 16], const Secret *auth,
                               tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = auth ? work_new(WORK_CREATE, NULL, auth, &w) : -EINVAL;
    if (e != 0)
        return e;
    w->software = true;
    memcpy(w->salt, salt, sizeof(w->salt));
    return runner_submit(r, w, done, userdata, ret);
}

int tpm_runner_change_software(TpmRunner *r, TpmKeyFile *key, const Secret *auth,
                               const uint8_t salt[static 16], const Secret *new_auth, tpm_done_t done,
                               void *userdata, TpmJob **ret)
{
    _cleanup_(work_freep) Work *w = NULL;
    if (!new_auth || secret_size(new_auth) != TPM_AUTH_SIZE || !tpm_keyfile_is_software(key))
        return -EINVAL;
    int e = work_new(WORK_CHANGE_AUTH, key, auth, &w);
    if (e == 0)
        e = secret_new_copy(secret_bytes(new_auth), TPM_AUTH_SIZE, &w->new_auth);
    if (e != 0)
        return e;
    w->software = true;
    memcpy(w->salt, salt, sizeof(w->salt));
    return runner_submit(r, TAKE_PTR(w), done, userdata, ret);
}

int tpm_runner_probe_software(TpmRunner *r, tpm_done_t done, void *userdata, TpmJob **ret)
{
    Work *w = NULL;
    int e = work_new(WORK_PROBE, NULL, NULL, &w);
    if (e == 0)
        w->software = true;
    return e == 0 ? runner_submit(r, w, done, userdata, ret) : e;
}

int tpm_runner_forget(TpmRunner *r)
{
    Work *w = NULL;
    int e = r->worker ? work_new(WORK_FORGET, NULL, NULL, &w) : 0;
    return w ? runner_submit(r, w, NULL, NULL, NULL) : e;
}

TpmJob *tpm_job_cancel(TpmJob *j)
{
    if (!j)
        return NULL;
    switch (j->state) {
    case JOB_QUEUED:
        TAILQ_REMOVE(&j->runner->queue, j, entry);
        job_free(j);
        break;
    case JOB_FAILED:
        TAILQ_REMOVE(&j->runner->failed, j, entry);
        job_free(j);
        break;
    case JOB_RUNNING:
        j->done = NULL;
        break;
    case JOB_ANSWERED:
    default:
        break;
    }
    return NULL;
}

uint64_t tpm_runner_count(const TpmRunner *r, uint32_t command_code)
{
    if (command_code == 0)
        return atomic_load(&r->counter->all);
    return command_code >= COUNT_FIRST && command_code - COUNT_FIRST < COUNT_CODES
               ? atomic_load(&r->counter->codes[command_code - COUNT_FIRST])
               : 0;
}
