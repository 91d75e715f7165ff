/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/bus.h"
#include "tests/lib/scene.h"
#include "tests/lib/swtpm.h"

#define USERS_MAX 4
#define ARGUMENTS_MAX 32

struct SceneUser {
    Scene *scene;
    char *name;
    char *folder;
    char *address;
    TestSwtpm *tpm;
    TestBus *bus;
    TestProcess *agent;
    char **environment;
};

struct Scene {
    char *folder;
    char *relay_folder;
    char *relay_listen;
    char *relay;
    int port_fd;
    TestProcess *relay_process;
    SceneUser *users[USERS_MAX];
    size_t n_users;
};

static char *program(const char *name)
{
    const char *build = g_getenv("HMSG_BUILD");

    if (!build)
        g_error("HMSG_BUILD is not set: start this by meson test");
    return g_build_filename(build, name, NULL);
}

/* A bound socket that does not listen keeps the port from others, yet leaves it to a server with
 * SO_REUSEADDR. */
static int reserve_port(char **ret_listen)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (const struct sockaddr *)&name, size) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) < 0)
        g_error("no port: %s", g_strerror(errno));
    *ret_listen = g_strdup_printf("127.0.0.1:%u", ntohs(name.sin_port));
    return fd;
}

Scene *scene_new(void)
{
    Scene *s = g_new0(Scene, 1);

    s->folder = test_folder_new();
    s->relay_folder = scene_path(s, "relay");
    s->port_fd = reserve_port(&s->relay_listen);
    return s;
}

/* A program ends in good order when it is told to, and neither it nor what it started (the courier) has given
 * a sanitizer cause to speak. */
static void stop(TestProcess *p, const char *log)
{
    g_autofree char *text = NULL;
    int status = test_process_stop(p);

    if (!g_file_get_contents(log, &text, NULL, NULL))
        return;
    if (status != 0 || strstr(text, "Sanitizer:") || strstr(text, "runtime error:"))
        g_error("wait status %d of what wrote %s:\n%s", status, log, text);
}

static char *agent_log(const SceneUser *u)
{
    return g_build_filename(u->folder, "agent.log", NULL);
}

static char *relay_log(const Scene *s)
{
    return scene_path(s, "relay.log");
}

static void user_free(SceneUser *u)
{
    scene_agent_stop(u);
    test_bus_free(u->bus);
    test_swtpm_free(u->tpm);
    g_strfreev(u->environment);
    g_free(u->address);
    g_free(u->folder);
    g_free(u->name);
    g_free(u);
}

void scene_free(Scene *s)
{
    if (!s)
        return;
    while (s->n_users > 0)
        user_free(s->users[--s->n_users]);
    scene_relay_stop(s);
    close(s->port_fd);
    g_free(s->relay);
    g_free(s->relay_listen);
    g_free(s->relay_folder);
    test_folder_remove(s->folder);
    g_free(s);
}

const char *scene_folder(const Scene *s)
{
    return s->folder;
}

char *scene_path(const Scene *s, const char *name)
{
    return g_build_filename(s->folder, name, NULL);
}

static void relay_init(Scene *s)
{
    g_autofree char *relay = program("server/hmsg-relay");
    g_autofree char *err = NULL;
    const char *const argv[] = {relay,      "init",          "--host",        "127.0.0.1",
                                "--listen", s->relay_listen, s->relay_folder, NULL};

    if (test_run(argv, NULL, NULL, NULL, &err) != 0)
        g_error("hmsg-relay init: %s", err);
}

static void relay_start(Scene *s, bool same_key)
{
    g_autofree char *relay = program("server/hmsg-relay");
    g_autofree char *config = g_build_filename(s->relay_folder, "relay.conf", NULL);
    g_autofree char *ready = g_build_filename(s->relay_folder, "data", "address", NULL);
    g_autofree char *log = relay_log(s);
    const char *const argv[] = {relay, "serve", "--config", config, NULL};
    char *address = NULL;

    g_assert_null(s->relay_process);
    if (!s->relay)
        relay_init(s);
    (void)unlink(ready);
    s->relay_process = test_process_start(argv, NULL, log);
    TEST_AWAIT(!test_process_runs(s->relay_process) || g_file_get_contents(ready, &address, NULL, NULL));
    if (!address)
        g_error("the relay does not start, see %s", log);
    g_strstrip(address);
    if (s->relay && (strcmp(s->relay, address) == 0) != same_key)
        g_error("the relay was %s, and is %s now", s->relay, address);
    g_free(s->relay);
    s->relay = address;
}

void scene_relay_start(Scene *s)
{
    relay_start(s, true);
}

void scene_relay_start_rekeyed(Scene *s)
{
    relay_start(s, false);
}

void scene_relay_stop(Scene *s)
{
    g_autofree char *log = relay_log(s);

    stop(g_steal_pointer(&s->relay_process), log);
}

void scene_relay_kill(Scene *s)
{
    test_process_signal(s->relay_process, SIGKILL);
    (void)test_process_wait(g_steal_pointer(&s->relay_process));
}

void scene_relay_signal(Scene *s, int signal)
{
    test_process_signal(s->relay_process, signal);
}

int scene_relay_pid(const Scene *s)
{
    return test_process_pid(s->relay_process);
}

const char *scene_relay(const Scene *s)
{
    return s->relay;
}

static json_t *parse(const char *text, const char *what)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (!json)
        g_error("%s prints no JSON: %s: %s", what, error.text, text);
    return json;
}

json_t *scene_relay_check(const Scene *s)
{
    g_autofree char *relay = program("server/hmsg-relay");
    g_autofree char *config = g_build_filename(s->relay_folder, "relay.conf", NULL);
    const char *const argv[] = {relay, "store", "check", "--json", "--config", config, NULL};
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    if (test_run(argv, NULL, NULL, &out, &err) != 0)
        g_error("hmsg-relay store check: %s", err);
    return parse(out, "hmsg-relay store check");
}

static char **user_environment(const SceneUser *u)
{
    g_autofree char *courier = program("agent/courier/hmsg-courier");
    char *const environment[] = {
        g_strdup_printf("HOME=%s", u->folder),
        g_strdup_printf("XDG_CONFIG_HOME=%s/config", u->folder),
        g_strdup_printf("XDG_DATA_HOME=%s/data", u->folder),
        g_strdup_printf("XDG_RUNTIME_DIR=%s", u->folder),
        g_strdup_printf("DBUS_SESSION_BUS_ADDRESS=%s", test_bus_address(u->bus)),
        g_strdup_printf("HMSG_TCTI=%s", test_swtpm_tcti(u->tpm)),
        g_strdup_printf("HMSG_COURIER=%s", courier),
        g_strdup("HMSG_CONFIG"),
        g_strdup("HMSG_DATA"),
        g_strdup("JOURNAL_STREAM"),
        NULL,
    };

    return g_memdup2(environment, sizeof(environment));
}

SceneUser *scene_user_new(Scene *s, const char *name)
{
    SceneUser *u = g_new0(SceneUser, 1);

    g_assert_cmpuint(s->n_users, <, USERS_MAX);
    s->users[s->n_users++] = u;
    u->scene = s;
    u->name = g_strdup(name);
    u->folder = scene_path(s, name);
    g_assert_cmpint(g_mkdir_with_parents(u->folder, 0700), ==, 0);
    if (s->relay)
        u->address = g_strdup_printf("%s@%s", name, s->relay);
    u->tpm = test_swtpm_new(u->folder);
    u->bus = test_bus_new(u->folder);
    u->environment = user_environment(u);
    scene_agent_start(u);
    return u;
}

void scene_user_courier(SceneUser *u, const char *other)
{
    g_autofree char *real = program("agent/courier/hmsg-courier");

    u->environment = g_environ_setenv(u->environment, "HMSG_COURIER", other ? other : real, TRUE);
}

void scene_agent_start(SceneUser *u)
{
    g_autofree char *agent = program("agent/hmsg-agent");
    g_autofree char *log = agent_log(u);
    const char *const argv[] = {agent, NULL};

    g_assert_null(u->agent);
    u->agent = test_process_start(argv, scene_environment(u), log);
    TEST_AWAIT(!test_process_runs(u->agent) || scene_ctl(u, NULL, NULL, NULL, "status", NULL) == 0);
    if (!test_process_runs(u->agent))
        g_error("the agent of %s does not start, see %s", u->name, log);
}

void scene_agent_stop(SceneUser *u)
{
    g_autofree char *log = agent_log(u);

    stop(g_steal_pointer(&u->agent), log);
}

void scene_agent_kill(SceneUser *u)
{
    test_process_signal(u->agent, SIGKILL);
    (void)test_process_wait(g_steal_pointer(&u->agent));
}

int scene_agent_pid(const SceneUser *u)
{
    return test_process_pid(u->agent);
}

TestSwtpm *scene_tpm(const SceneUser *u)
{
    return u->tpm;
}

const char *scene_address(const SceneUser *u)
{
    return u->address;
}

const char *scene_bus_address(const SceneUser *u)
{
    return test_bus_address(u->bus);
}

const char *const *scene_environment(const SceneUser *u)
{
    return (const char *const *)u->environment;
}

static int ctl(SceneUser *u, const char *input, char **ret_out, char **ret_err, bool json, va_list ap)
{
    g_autofree char *hmsgctl = program("cli/hmsgctl");
    const char *argv[ARGUMENTS_MAX + 3] = {hmsgctl};
    size_t n = 1;

    for (const char *word = va_arg(ap, const char *); word; word = va_arg(ap, const char *)) {
        g_assert_cmpuint(n, <=, ARGUMENTS_MAX);
        argv[n++] = word;
    }
    if (json)
        argv[n++] = "--json";
    argv[n] = NULL;
    return test_run(argv, scene_environment(u), input, ret_out, ret_err);
}

int scene_ctl(SceneUser *u, const char *input, char **ret_out, char **ret_err, ...)
{
    va_list ap;

    va_start(ap, ret_err);
    int status = ctl(u, input, ret_out, ret_err, false, ap);
    va_end(ap);
    return status;
}

json_t *scene_ctl_json(SceneUser *u, ...)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    va_list ap;

    va_start(ap, u);
    int status = ctl(u, NULL, &out, &err, true, ap);
    va_end(ap);
    if (status != 0)
        g_error("hmsgctl --json of %s exits with %d: %s", u->name, status, err);
    return parse(out, "hmsgctl");
}

void scene_ctl_expect(SceneUser *u, int expected, ...)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    va_list ap;

    va_start(ap, expected);
    int status = ctl(u, NULL, &out, &err, false, ap);
    va_end(ap);
    if (status != expected)
        g_error("hmsgctl of %s exits with %d, not %d: %s%s", u->name, status, expected, out, err);
}

void scene_user_register(SceneUser *u)
{
    scene_ctl_expect(u, 0, "identity", "create", NULL);
    if (!u->address)
        u->address = g_strdup_printf("%s@%s", u->name, u->scene->relay);
    scene_ctl_expect(u, 0, "register", u->address, NULL);
}
