/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For faults.c: handlers of the relay run over a double of the HTTP server, which ends the test when memory
 * ends. So it is left alone where handlers call it, and what it calls later is a handler's again. */

#include <glib.h>

#include "server/http.h"
#include "tests/fuzz/fuzz.h"

#define ANSWER(name, parameters, arguments)                                                                  \
    void real_##name parameters __asm__("__real_http_answer_" #name);                                        \
    void our_##name parameters __asm__("__wrap_http_answer_" #name);                                         \
    void our_##name parameters                                                                               \
    {                                                                                                        \
        bool before = fuzz_pause(true);                                                                      \
                                                                                                             \
        real_##name arguments;                                                                               \
        (void)fuzz_pause(before);                                                                            \
    }

ANSWER(empty, (HttpRequest * r, unsigned status), (r, status))
ANSWER(json, (HttpRequest * r, unsigned status, const json_t *body), (r, status, body))
ANSWER(problem, (HttpRequest * r, Problem p, const char *detail, unsigned retry), (r, p, detail, retry))
ANSWER(error, (HttpRequest * r, int error), (r, error))

int real_json_of(const HttpRequest *r, const char *const *names,
                 json_t **ret) __asm__("__real_http_request_json");
int our_json_of(const HttpRequest *r, const char *const *names,
                json_t **ret) __asm__("__wrap_http_request_json");
int our_json_of(const HttpRequest *r, const char *const *names, json_t **ret)
{
    bool before = fuzz_pause(true);
    int result = real_json_of(r, names, ret);

    (void)fuzz_pause(before);
    return result;
}

typedef struct Later {
    void (*f)(HttpRequest *r, void *userdata);
    void *userdata;
} Later;

static void on_later(HttpRequest *r, void *userdata)
{
    g_autofree Later *later = userdata;
    bool before = fuzz_pause(false);

    later->f(r, later->userdata);
    (void)fuzz_pause(before);
}

int real_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata),
              void *userdata) __asm__("__real_http_request_post");
int our_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata),
             void *userdata) __asm__("__wrap_http_request_post");
int our_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata), void *userdata)
{
    Later *later = g_new0(Later, 1);

    *later = (Later){f, userdata};
    return real_post(r, on_later, later);
}
