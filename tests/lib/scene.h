/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Real processes, end to end: a relay, and users with a TPM, a bus and an agent each, in a folder of their
 * own that goes away with them. All of it fails the test by g_error() when it cannot be done. The programs
 * are those of the build, $HMSG_BUILD. */

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "tests/lib/process.h"
#include "tests/lib/swtpm.h"

typedef struct Scene Scene;
typedef struct SceneUser SceneUser;

/* Empty; the port of its relay is reserved, so that the relay has the same address after a restart. */
Scene *scene_new(void);
void scene_free(Scene *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)

const char *scene_folder(const Scene *s);
/* A file in the scene's folder; to be freed. */
char *scene_path(const Scene *s, const char *name);

/* Initialises the relay at the first call, starts it and waits until it listens. */
void scene_relay_start(Scene *s);
void scene_relay_start_rekeyed(Scene *s); /* the same relay with another identity key */
void scene_relay_stop(Scene *s);
void scene_relay_kill(Scene *s); /* SIGKILL */
void scene_relay_signal(Scene *s, int signal);
int scene_relay_pid(const Scene *s);
/* "127.0.0.1:PORT#PIN" */
const char *scene_relay(const Scene *s);
/* What hmsg-relay store check --json prints; a new reference. */
json_t *scene_relay_check(const Scene *s);

/* A user with a TPM, a bus and a running agent. Owned by the scene. */
SceneUser *scene_user_new(Scene *s, const char *name);
void scene_agent_start(SceneUser *u);
/* The courier that the agent starts from its next start on; NULL: the real one. */
void scene_user_courier(SceneUser *u, const char *program);
void scene_agent_stop(SceneUser *u);
void scene_agent_kill(SceneUser *u); /* SIGKILL */
int scene_agent_pid(const SceneUser *u);
TestSwtpm *scene_tpm(const SceneUser *u);
/* name@host:port#PIN */
const char *scene_address(const SceneUser *u);
const char *scene_bus_address(const SceneUser *u);
/* The environment of the user's programs, for test_run and test_process_start. */
const char *const *scene_environment(const SceneUser *u);

/* Runs hmsgctl with NULL-terminated arguments; returns its exit status. input, ret_out and ret_err as in
 * test_run. */
int scene_ctl(SceneUser *u, const char *input, char **ret_out, char **ret_err, ...) G_GNUC_NULL_TERMINATED;
/* The same with --json, which must succeed; a new reference. */
json_t *scene_ctl_json(SceneUser *u, ...) G_GNUC_NULL_TERMINATED;
/* The same without output; fails the test unless the exit status is this. */
void scene_ctl_expect(SceneUser *u, int status, ...) G_GNUC_NULL_TERMINATED;

/* identity create and register. */
void scene_user_register(SceneUser *u);
