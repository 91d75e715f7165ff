/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A question to the user: the launcher starts pinentry, whose answer is awaited in the event loop. */

#include <systemd/sd-event.h>

#include "agent/launcher.h"
#include "libhmsg/base/secret.h"

typedef struct Prompt Prompt;

/* pin belongs to the callback's caller, and is NULL unless r is 0. CANCELLED: by the user. LOCKED: nobody can
 * be asked: no pinentry, or no screen for it. */
typedef void (*prompt_done_t)(int r, const Secret *pin, void *userdata);
/* text: of ours, ASCII, at most PINENTRY_TEXT_MAX bytes. The callback is called once, from the loop; it may
 * free the prompt. */
int prompt_pin(sd_event *event, Launcher *l, const char *text, prompt_done_t done, void *userdata,
               Prompt **ret);
/* A question of yes or no, whose answer is 0 or CANCELLED; else as above. */
typedef void (*prompt_confirmed_t)(int r, void *userdata);
int prompt_confirm(sd_event *event, Launcher *l, const char *text, prompt_confirmed_t done, void *userdata,
                   Prompt **ret);
/* Takes the question off the screen when it is still there. */
Prompt *prompt_free(Prompt *p);
DEFINE_CLEANUP(Prompt *, prompt_free)
