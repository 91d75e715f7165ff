/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One HTTP exchange with a relay, a stream of its connection. The caller makes it, fills in the upper part
 * and gives it to connection_send; done is called exactly once, unless it is cancelled. */

#include <curl/curl.h>

#include "agent/courier/problem.h"
#include "libhmsg/wire/limits.h"

#define CALL_SECONDS 44u     /* for a whole exchange: the interface says 45 */
#define MOVEMENT_SECONDS 60u /* for a body to go on */

typedef struct Connection Connection;
typedef struct Request Request;

/* 0: went on. REQUEST_PAUSE: not now; the same data come again after request_resume. Else it failed: a
 * negative errno, or BAD_PACKAGE for data of another form. */
#define REQUEST_PAUSE INT32_MAX
typedef int (*request_data_t)(Request *q, const void *data, size_t n);
/* problem NULL: answered with 2xx and the wanted content type. Otherwise name may be NULL in it, when this
 * machine failed: then failure of the request is the negative errno. The request is freed after it. */
typedef void (*request_done_t)(Request *q, const Problem *problem);

struct Request {
    /* what is asked */
    const char *method; /* a constant: GET, POST, PUT */
    char *path;
    Buf body;                        /* JSON, of a POST */
    int upload;                      /* or the file that is the body of a PUT, borrowed; -1 */
    uint64_t upload_size;            /* bytes of it */
    uint64_t expires;                /* of the message, for its header; 0: none */
    char capability[HASH_TEXT_SIZE]; /* to send it, for its header; "" */
    /* what is wanted; answers with another status than 2xx go into answer always */
    const char *want_type;  /* media type; NULL: an answer without body */
    int download;           /* file for the body, borrowed; -1 */
    uint64_t download_max;  /* bytes */
    request_data_t on_data; /* or the function; then there is no limit of time */
    request_done_t done;
    void *userdata;

    /* the answer */
    unsigned status;
    Buf answer;
    uint64_t received; /* bytes of the body that went to download or on_data */
    int failure;       /* of this machine (negative errno), or HmsgError of data that are not of the form */

    /* private to request.c and connection.c */
    Request *prev, *next;
    Connection *connection;
    CURL *easy;
    struct curl_slist *headers;
    uint64_t sent;
    char error[CURL_ERROR_SIZE];
};

/* The path is formatted. answer_max: bytes of a body in memory. */
int request_new(const char *method, size_t answer_max, Request **ret, const char *path, ...) _printf_(4, 5);
Request *request_free(Request *q);
DEFINE_CLEANUP(Request *, request_free)

/* Goes on with on_data after REQUEST_PAUSE. */
void request_resume(Request *q);

/* For connection.c. Sets up the handle. */
int request_prepare(Request *q, Connection *c, const char *origin);
/* What came of it. True: the connection is no good any more. *ret_problem is set unless all is well. */
bool request_judge(Request *q, CURLcode code, bool *ret_good, Problem *ret_problem);
