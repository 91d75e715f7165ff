/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/gate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utlist.h>

#include "agent/access-internal.h"
#include "agent/bus-util.h"
#include "agent/identity.h"
#include "agent/launcher.h"
#include "agent/pinentry.h"
#include "agent/prompt.h"
#include "agent/rules.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define LOOK_PATIENCE_USEC ((APP_LOOK_SECONDS + 1ull) * 1000000) /* after it the program is unknown */
#define REFUSAL_USEC (600ull * 1000000) /* until the user is asked again about a program that was denied */
#define QUESTIONS_MAX 16u               /* programs that wait for the user */
#define ANSWERS_MAX 256u                /* that are remembered */

/* A call that waits for one of the two. */
typedef struct Held {
    struct Held *prev, *next;
    Gate *g;
    Request *request;
    Client *client;
    GateLook *look;
    struct Question *question;
    bool counted;
} Held;

/* A call that is in the queue of its connection again. */
typedef struct GateReturn {
    struct GateReturn *prev, *next;
    sd_bus_message *call;
} GateReturn;

/* The launcher's answer about a client's process. */
struct GateLook {
    Gate *g;
    Client *client;
    int fd;
    sd_event_source *source, *patience;
    App app;
    size_t size; /* of it that is here */
};

typedef struct Question {
    struct Question *prev, *next;
    Gate *g;
    char key[RULES_KEY_SIZE];
    char text[PINENTRY_TEXT_MAX + 1];
    const char *permission; /* static */
    Prompt *prompt;         /* of the first in the list */
} Question;

/* What the user said. */
typedef struct Answer {
    UT_hash_handle hh;
    char key[RULES_KEY_SIZE];
    bool allowed;
    uint64_t until; /* CLOCK_BOOTTIME; of a refusal */
} Answer;

struct Gate {
    Manager *m;
    Verdict host, sandboxed; /* where there is no rule */
    uint64_t epoch;          /* of the identity, when answers was empty */
    Held *held;
    Question *questions;
    Answer *answers;
};

static void held_free(Held *h)
{
    DL_DELETE(h->g->held, h);
    (void)request_free(h->request);
    free(h);
}

static bool question_is_open(const Question *q)
{
    const Held *h;

    DL_SEARCH_SCALAR(q->g->held, h, question, q);
    return h;
}

static void question_free(Question *q)
{
    DL_DELETE(q->g->questions, q);
    prompt_free(q->prompt);
    free(q);
}

static void ask_next(Gate *g);

static void on_client_left(void *userdata)
{
    Held *h = userdata;
    Gate *g = h->g;
    Question *q = h->question;

    held_free(h);
    if (q && !question_is_open(q)) {
        question_free(q);
        ask_next(g);
    }
}

static void return_free(GateReturn **list, GateReturn *r)
{
    DL_DELETE(*list, r);
    sd_bus_message_unref(r->call);
    free(r);
}

static int return_new(GateReturn **list, sd_bus_message *call)
{
    GateReturn *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->call = sd_bus_message_ref(call);
    DL_APPEND(*list, r);
    return 0;
}

/* Is call there? It is taken off the list. */
static bool return_take(GateReturn **list, sd_bus_message *call)
{
    GateReturn *r;

    DL_SEARCH_SCALAR(*list, r, call, call);
    if (!r)
        return false;
    return_free(list, r);
    return true;
}

int gate_pass(Client *c, sd_bus_message *call)
{
    return return_new(&c->passed, call);
}

bool gate_take_passed(Client *c, sd_bus_message *call)
{
    return return_take(&c->passed, call);
}

/* What the bus has already read when a call is queued again comes before that call. */
int gate_keep_order(Client *c, sd_bus_message *call)
{
    int r;

    if (!c->returning || return_take(&c->returning, call))
        return 0;
    r = call_again(call);
    if (r == 0)
        r = return_new(&c->returning, call);
    return r == 0 ? 1 : r;
}

/* r 0: the calls come anew, else they get this error. */
static void release(Gate *g, const GateLook *look, const Question *question, int r, const char *detail)
{
    Held *h, *next;

    DL_FOREACH_SAFE (g->held, h, next) {
        if (h->look != look || h->question != question)
            continue;
        if (r != 0)
            (void)request_fail(h->request, r, detail);
        else {
            if (h->counted)
                (void)gate_pass(h->client, request_message(h->request));
            if (request_again(h->request) == 0 && look)
                (void)return_new(&look->client->returning, request_message(h->request));
        }
        held_free(h);
    }
}

static int hold(Gate *g, Client *c, sd_bus_message *call, GateLook *look, Question *question, bool counted)
{
    Held *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return -ENOMEM;
    r = request_new(g->m->access, call, on_client_left, h, &h->request);
    if (r != 0) {
        free(h);
        return r;
    }
    h->g = g;
    h->client = c; /* while it is there: else the request is cancelled */
    h->look = look;
    h->question = question;
    h->counted = counted;
    DL_APPEND(g->held, h);
    return 0;
}

static void look_free(GateLook *l)
{
    sd_event_source_disable_unref(l->source);
    sd_event_source_disable_unref(l->patience);
    fd_close(l->fd);
    free(l);
}

static void look_end(GateLook *l)
{
    Client *c = l->client;

    c->app = l->size == sizeof(l->app) && app_is_valid(&l->app) ? l->app : (App){.kind = APP_UNKNOWN};
    app_set_context(&c->app, c->context);
    c->look = NULL;
    release(l->g, l, NULL, 0, NULL);
    look_free(l);
}

static int on_look(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    GateLook *l = userdata;
    ssize_t n = read(fd, (uint8_t *)&l->app + l->size, sizeof(l->app) - l->size);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0)
        l->size += (size_t)n;
    if (n <= 0 || l->size == sizeof(l->app))
        look_end(l);
    return 0;
}

static int on_impatience(sd_event_source *s, uint64_t usec, void *userdata)
{
    look_end(userdata);
    return 0;
}

static int look_start(Gate *g, Client *c)
{
    GateLook *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->g = g;
    l->client = c;
    l->fd = -1;
    r = launcher_look(g->m->launcher, c->pid, &l->fd);
    if (r == 0)
        r = sd_event_add_io(g->m->event, &l->source, l->fd, EPOLLIN, on_look, l);
    if (r >= 0)
        r = sd_event_add_time_relative(g->m->event, &l->patience, CLOCK_BOOTTIME, LOOK_PATIENCE_USEC, 0,
                                       on_impatience, l);
    if (r < 0) {
        look_free(l);
        return r;
    }
    c->look = l;
    return 0;
}

int gate_know(Gate *g, Client *c, sd_bus_message *call, sd_bus_error *error)
{
    int r = 0;

    if (c->app.kind != APP_NOT_ASKED)
        return 0;
    if (!c->look)
        r = look_start(g, c);
    if (r == 0)
        r = hold(g, c, call, c->look, NULL, false);
    return r == 0 ? 1 : bus_fail(error, r, NULL);
}

void gate_client_leaves(Client *c)
{
    if (c->look)
        look_free(c->look);
    c->look = NULL;
    while (c->returning)
        return_free(&c->returning, c->returning);
    while (c->passed)
        return_free(&c->passed, c->passed);
}

static void forget_answer(Gate *g, Answer *a)
{
    HASH_DEL(g->answers, a);
    free(a);
}

static void forget_answers(Gate *g)
{
    Answer *a, *next;

    HASH_ITER (hh, g->answers, a, next)
        forget_answer(g, a);
}

void gate_forget(Gate *g, const char *app)
{
    size_t n = strlen(app);
    Answer *a, *next;

    HASH_ITER (hh, g->answers, a, next)
        if (strncmp(a->key, app, n) == 0 && a->key[n] == ' ')
            forget_answer(g, a);
}

static void remember(Gate *g, const char *key, bool allowed)
{
    Answer *a = HASH_COUNT(g->answers) < ANSWERS_MAX ? calloc(1, sizeof(*a)) : NULL;

    if (!a)
        return;
    (void)snprintf(a->key, sizeof(a->key), "%s", key);
    a->allowed = allowed;
    a->until = allowed ? UINT64_MAX : clock_boottime() + REFUSAL_USEC;
    HASH_ADD_STR(g->answers, key, a);
}

static Verdict find_answer(Gate *g, const char *key)
{
    Answer *a = NULL;

    HASH_FIND_STR(g->answers, key, a);
    if (a && a->until < clock_boottime()) {
        forget_answer(g, a);
        a = NULL;
    }
    if (!a)
        return VERDICT_ASK;
    return a->allowed ? VERDICT_ALLOW : VERDICT_DENY;
}

static void note(Gate *g, const App *app, const char *permission, bool allowed)
{
    char id[APP_ID_SIZE];

    app_id(app, id);
    if (g->m->rules)
        rules_note(g->m->rules, id, app->program, permission, allowed);
}

/* Those that are allowed are counted when they come anew. */
static void note_refused(Gate *g, const Question *q)
{
    Held *h;

    DL_FOREACH (g->held, h)
        if (h->question == q && !h->counted)
            note(g, &h->client->app, q->permission, false);
}

static void on_answered(int r, void *userdata)
{
    Question *q = userdata;
    Gate *g = q->g;

    if (r != 0)
        note_refused(g, q);
    if (r == 0 || r == HMSG_ERROR_CANCELLED) {
        remember(g, q->key, r == 0);
        release(g, NULL, q, r == 0 ? 0 : HMSG_ERROR_DENIED, "The user does not let this program do that");
    } else {
        release(g, NULL, q, HMSG_ERROR_DENIED,
                "The user cannot be asked whether this program may do that; see hmsgctl access");
    }
    question_free(q);
    ask_next(g);
}

/* One window at a time. */
static void ask_next(Gate *g)
{
    Question *q = g->questions;
    int r;

    if (!q || q->prompt)
        return;
    r = prompt_confirm(g->m->event, g->m->launcher, q->text, on_answered, q, &q->prompt);
    if (r != 0)
        on_answered(r, q);
}

static int question_new(Gate *g, const App *app, const char *key, const char *permission, Question **ret)
{
    const char *kind = app->kind == APP_FLATPAK ? "The Flatpak "
                       : app->kind == APP_SNAP  ? "The snap "
                                                : "A program";
    const char *wish =
        strcmp(permission, "sign") == 0 ? "write in your name" : "read your encrypted messages";
    unsigned n = 0;
    Question *q;

    DL_COUNT(g->questions, q, n);
    if (n >= QUESTIONS_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->g = g;
    q->permission = strcmp(permission, "sign") == 0 ? "sign" : "decrypt";
    (void)snprintf(q->key, sizeof(q->key), "%s", key);
    (void)snprintf(q->text, sizeof(q->text), "%s%s wants to %s. May it, until your keys are locked?", kind,
                   app->name, wish);
    DL_APPEND(g->questions, q);
    *ret = q;
    return 0;
}

/* Waits for the answer to the question, which is put when nobody has yet. */
static int ask(Gate *g, Client *c, const char *key, const char *permission, sd_bus_message *call,
               bool counted)
{
    Question *q;
    int r = 0;

    DL_FOREACH (g->questions, q)
        if (strcmp(q->key, key) == 0)
            break;
    if (!q)
        r = question_new(g, &c->app, key, permission, &q);
    if (r != 0)
        return r;
    r = hold(g, c, call, NULL, q, counted);
    if (r != 0 && !question_is_open(q))
        question_free(q);
    if (r == 0)
        ask_next(g);
    return r;
}

/* Rules, then what the user said, then what holds for its kind. */
static Verdict judge(Gate *g, const App *app, const char *key, const char *permission)
{
    Verdict v;

    if (strcmp(permission, "manage") == 0)
        return app_is_sandboxed(app) ? VERDICT_DENY : VERDICT_ALLOW;
    v = g->m->rules ? rules_find(g->m->rules, key) : VERDICT_NONE;
    if (v == VERDICT_NONE)
        v = app_is_sandboxed(app) ? g->sandboxed : g->host;
    return v == VERDICT_ASK ? find_answer(g, key) : v;
}

static int refuse(const char *id, const char *permission, sd_bus_error *error)
{
    char text[APP_ID_SIZE + 160];

    if (strcmp(permission, "manage") == 0)
        (void)snprintf(text, sizeof(text), "A program in a sandbox (%s) may not do that", id);
    else
        (void)snprintf(text, sizeof(text),
                       "This program may not do that; to allow it: hmsgctl access allow %s %s", id,
                       permission);
    return bus_fail(error, HMSG_ERROR_DENIED, text);
}

int gate_check(Gate *g, Client *c, sd_bus_message *call, const char *permission, bool counted,
               sd_bus_error *error)
{
    char id[APP_ID_SIZE], key[RULES_KEY_SIZE];
    uint64_t epoch = g->m->identity ? identity_epoch(g->m->identity) : 0;
    Verdict v;
    int r;

    if (strcmp(permission, "encrypt") == 0 && !c->look)
        return 0;
    r = gate_know(g, c, call, error);
    if (r != 0)
        return r;
    if (g->epoch != epoch)
        forget_answers(g);
    g->epoch = epoch;
    app_id(&c->app, id);
    rules_key(id, permission, key);
    v = judge(g, &c->app, key, permission);
    if (v == VERDICT_ASK && sd_bus_message_get_allow_interactive_authorization(call) > 0) {
        r = ask(g, c, key, permission, call, counted);
        return r == 0 ? 1 : bus_fail(error, r, NULL);
    }
    if (!counted)
        note(g, &c->app, permission, v == VERDICT_ALLOW);
    return v == VERDICT_ALLOW ? 0 : refuse(id, permission, error);
}

static int read_setting(const Manager *m, const char *key, const char *fallback, Verdict *ret)
{
    const char *text = config_get(m->config, "access", key, fallback);

    if (verdict_parse(text, ret) == 0)
        return 0;
    log_error("agent.conf: [access] %s is allow, ask or deny, not \"%s\"", key, text);
    return -EINVAL;
}

int gate_new(Manager *m, Gate **ret)
{
    _cleanup_(gate_freep) Gate *g = calloc(1, sizeof(*g));
    int r;

    if (!g)
        return -ENOMEM;
    g->m = m;
    r = read_setting(m, "host", "allow", &g->host);
    if (r == 0)
        r = read_setting(m, "sandboxed", "ask", &g->sandboxed);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(g);
    return 0;
}

Gate *gate_free(Gate *g)
{
    if (!g)
        return NULL;
    while (g->held)
        held_free(g->held);
    while (g->questions)
        question_free(g->questions);
    forget_answers(g);
    free(g);
    return NULL;
}
