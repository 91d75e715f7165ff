/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <pthread.h>

#include "server/token.h"

struct Token {
    P11KitUri *uri;
    Secret *pin;
    pthread_mutex_t lock;       /* over what follows: one command at a time */
    CK_FUNCTION_LIST **modules; /* NULL-terminated */
    CK_FUNCTION_LIST *one[2];   /* modules, when the URI names the one */
    CK_FUNCTION_LIST *module;   /* of the session */
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    size_t size;    /* bytes of the modulus */
    bool found;     /* key is known: it is looked for again with a new session */
    bool no_sha256; /* OAEP */
    bool barred;    /* the PIN was wrong */
};

/* HMSG_ERROR_INVALID_ARGS */
int token_parse_uri(const char *text, P11KitUri **ret);
/* What it means that the token said so to command; logs it when no error of ours says it. */
int token_result(const char *command, CK_RV rv);

/* Loads the modules, finds the token, and logs in. */
int token_connect(Token *t);
/* Lets all go that token_connect took. */
void token_disconnect(Token *t);
/* The key that the URI names: its handle and modulus, with the lock. */
int token_look_up(Token *t, RsaKey **ret);
