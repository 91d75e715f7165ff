/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "server/admin-socket.h"
#include "server/daemon.h"
#include "server/health.h"
#include "server/http-server.h"
#include "server/listen.h"
#include "server/monitor.h"
#include "server/relay-key-next.h"
#include "server/sandbox.h"
#include "server/store-open.h"
#include "server/store-postgres.h"
#include "server/ticks.h"

#define RENEW_CHECK_INTERVAL 60000000u /* microseconds; also finds out that the clock was set */
#define RENEW_CHECK_ACCURACY 5000000u
#define SECONDS_PER_DAY 86400
#define ADDRESS_FILE "address"
#define WATCHDOG_ACCURACY 100000u
#define DESCRIPTORS_BESIDES 256u /* that are not connections */

struct Daemon {
    Options *options;
    KeyHolder *holder; /* not ours */
    RelayKey *key;
    Tls *tls;
    Handlers *handlers;
    int64_t known; /* when the relay ticked before it was started now; 0: not known */
    HttpOptions http;
    HttpServer *server;
    sd_event *event;
    uint64_t watchdog; /* microseconds in which systemd wants to hear of us; 0: it does not */
    bool ticked;       /* the last time that it was to */
    Health health;
    Monitor *monitor;
    int fds[HTTP_LISTEN_MAX];
    size_t n_fds;
    char *address_path;
    AdminSocket *admin_socket;
};

static uint64_t now_monotonic(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static const char *problem_text(int r)
{
    return r < 0 ? strerror(-r) : error_message(r);
}

static int open_key(Daemon *d)
{
    const char *file = NULL;
    int r = key_holder_open(d->holder, &file, &d->key);

    if (r != 0)
        log_error("%s: %s", file, relay_key_problem(r));
    return r;
}

/* The pin that is announced, and the keys of before. When it cannot be read it stays as it was. */
static void read_next(Daemon *d, int64_t now)
{
    char pin[HASH_TEXT_SIZE];
    NextKey next;
    int r = relay_key_load_next(d->key, d->options->key, now, &next);

    if (r != 0)
        log_error("%s.successions: %s", d->options->key, r < 0 ? strerror(-r) : "is not of its form");
    if (r != 0)
        return;
    d->health.announced = next.announced ? next.since : 0;
    if (!next.announced)
        return;
    base64url_encode(next.pin, PIN_SIZE, pin);
    log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "key-announced"}),
              "Clients are told that the next pin will be %s", pin);
}

static int open_sockets(Daemon *d)
{
    Options *o = d->options;
    int r = listen_inherited(d->fds, HTTP_LISTEN_MAX);

    if (r > 0)
        d->n_fds = (size_t)r;
    if (r == 0) {
        r = listen_open(o->listen, &d->fds[0]);
        d->n_fds = r == 0;
    }
    if (r >= 0 && !o->host_has_port)
        r = listen_port(d->fds[0], &o->relay.port);
    if (r < 0)
        log_error("Cannot listen on %s: %s", o->listen, strerror(-r));
    return r < 0 ? r : 0;
}

/* An old key goes on to serve: those who run the relay are told. */
static void look_at_age(Daemon *d, int64_t now)
{
    const Options *o = d->options;
    Health *h = &d->health;
    int64_t age;

    if (relay_key_made(o->key, &h->key_made) != 0)
        return;
    age = now - h->key_made;
    h->key_overdue = o->identity_age > 0 && age > 0 && (uint64_t)age >= o->identity_age;
    if (h->key_overdue)
        log_event(LOG_WARNING, LOG_FIELDS({"HMSG_EVENT", "key-overdue"}),
                  "The identity key is %" PRId64 " days old: change it (hmsg-relay key rotate)",
                  age / SECONDS_PER_DAY);
}

/* Relays that share a store tick together; the first begins with what it has in its folder. A relay that
 * serves already goes on without when the database lets it wait, for a standby perhaps. */
static int next_tick(const Options *o, bool serves, Ticks *ret)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    PostgresOptions postgres = o->postgres;
    Ticks first;
    int r;

    if (o->store == STORE_SQLITE)
        return ticks_advance(o->data, ret);
    postgres.patience = serves ? POSTGRES_PATIENCE : POSTGRES_START_PATIENCE;
    r = store_postgres_tick(&postgres, NULL, ret, error);
    if (r == -ENOENT)
        r = ticks_advance(o->data, &first);
    if (r == 0 && ret->number == 0)
        r = store_postgres_tick(&postgres, &first, ret, error);
    if (error[0])
        log_error("The database: %s", error);
    return r;
}

/* Without a new one, on a full disk for instance, the last is told again. */
static void tick(Daemon *d)
{
    Ticks t = {0};
    int r = next_tick(d->options, d->tls != NULL, &t);

    d->ticked = r == 0;
    if (r != 0)
        log_error("%s/ticks: %s", d->options->data, problem_text(r));
    if (r != 0 && !d->tls && d->options->store == STORE_SQLITE)
        r = ticks_last(d->options->data, &t);
    if (r == 0)
        relay_key_set_ticks(d->key, &t);
}

/* One that failed is made up for when there is room. */
static bool is_tick_due(const Daemon *d)
{
    return !d->ticked && d->options->store == STORE_SQLITE &&
           handlers_space(d->handlers) >= STORE_SPACE_RESERVE;
}

/* The next start shall know the time that is believed now. */
static void keep_time(Daemon *d)
{
    (void)ticks_set_time(d->options->data, handlers_time(d->handlers));
}

/* Takes the identity key's time: never on a loop. */
static int renew(Daemon *d, int64_t now)
{
    int r;

    read_next(d, now);
    look_at_age(d, now);
    tick(d);
    r = relay_key_renew(d->key, now);
    if (r == 0)
        r = d->tls ? tls_renew(d->tls, now) : tls_new(d->key, d->options->relay.host, now, &d->tls);
    if (r != 0)
        log_event(LOG_ERR, LOG_FIELDS({"HMSG_EVENT", "key-fails"}), "The identity key cannot sign: %s",
                  problem_text(r));
    return r;
}

static int on_renew(sd_event_source *source, uint64_t usec, void *userdata)
{
    Daemon *d = userdata;
    int64_t now = clock_realtime();
    int64_t renewed = tls_renewed(d->tls);

    /* what fails is tried again */
    if (now < renewed || now >= renewed + RELAY_KEY_RENEW_AFTER || is_tick_due(d))
        (void)renew(d, now);
    keep_time(d);
    if (sd_event_source_set_time_relative(source, RENEW_CHECK_INTERVAL) < 0)
        return -EIO;
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* SIGHUP. What is wrong leaves all as it was. */
static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    Daemon *d = userdata;
    _cleanup_(options_done) Options o = {0};
    char error[OPTIONS_ERROR_SIZE] = "out of memory";

    (void)sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_monotonic());
    if (options_load(d->options->config, &o, error) != 0)
        log_error("%s: %s", d->options->config, error);
    else {
        handlers_reload(d->handlers, &o);
        (void)renew(d, clock_realtime());
        log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "reloaded"}),
                  "Took over registration, rates and message-lifetime of %s", d->options->config);
    }
    (void)sd_notify(false, "READY=1");
    return 0;
}

/* Without the key there are no certificates tomorrow: whoever started the relay starts it again. */
static int on_holder(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    log_event(LOG_ERR, LOG_FIELDS({"HMSG_EVENT", "key-process-ended"}),
              "The identity key's process has ended");
    return sd_event_exit(sd_event_source_get_event(source), -EPIPE);
}

static int prepare_loop(Daemon *d)
{
    sigset_t signals;
    int r;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    r = sd_event_new(&d->event);
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGTERM, NULL, NULL); /* ends the loop */
    if (r >= 0)
        r = sd_event_add_signal(d->event, NULL, SIGINT, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_time_relative(d->event, NULL, CLOCK_BOOTTIME, RENEW_CHECK_INTERVAL,
                                       RENEW_CHECK_ACCURACY, on_renew, d);
    if (r >= 0)
        r = sd_event_add_io(d->event, NULL, key_holder_fd(d->holder), EPOLLHUP, on_holder, d);
    return r < 0 ? r : 0;
}

/* systemd hears of us as long as all threads go round, not only this one. */
static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
    Daemon *d = userdata;
    const uint64_t silence = http_server_silence(d->server, clock_boottime());

    if (silence < d->watchdog / 2)
        (void)sd_notify(false, "WATCHDOG=1");
    else
        log_event(LOG_ERR, LOG_FIELDS({"HMSG_EVENT", "stuck"}), "A thread has stood still for %" PRIu64 " s",
                  silence / 1000000);
    if (sd_event_source_set_time_relative(source, d->watchdog / 4) < 0)
        return -EIO;
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int watch(Daemon *d)
{
    if (sd_watchdog_enabled(false, &d->watchdog) <= 0)
        return 0;
    int r = sd_event_add_time_relative(d->event, NULL, CLOCK_BOOTTIME, d->watchdog / 4, WATCHDOG_ACCURACY,
                                       on_watchdog, d);
    return r < 0 ? r : 0;
}

static unsigned count_cores(void)
{
    cpu_set_t set;
    unsigned n;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    n = (unsigned)CPU_COUNT(&set);
    return n < HTTP_LOOPS_MAX ? n : HTTP_LOOPS_MAX;
}

/* As many descriptors as connections are allowed, if the system does. Else fewer connections: they must not
 * take those with which messages are stored. */
static void raise_limits(Options *o)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max >= (rlim_t)o->connections + DESCRIPTORS_BESIDES)
        return;
    o->connections =
        limit.rlim_max > DESCRIPTORS_BESIDES ? (unsigned)limit.rlim_max - DESCRIPTORS_BESIDES : 1;
    log_warning("Only %llu files may be open: %u connections at a time (LimitNOFILE=, ulimit -n)",
                (unsigned long long)limit.rlim_max, o->connections);
}

static int serve(Daemon *d)
{
    size_t n_routes = 0;
    int r;

    d->http.loops = d->options->loops > 0 ? d->options->loops : count_cores();
    r = handlers_new(d->options, d->key, d->http.loops, d->known, &d->handlers);
    if (r != 0) {
        log_error("%s: %s", store_name(d->options), store_problem(r));
        return r;
    }
    keep_time(d);
    d->http.routes = handlers_routes(&n_routes);
    d->http.n_routes = n_routes;
    d->http.context = d->handlers;
    d->http.connections = d->options->connections;
    d->http.address_connections = d->options->address_connections;
    r = http_server_new(d->fds, d->n_fds, d->tls, &d->http, &d->server);
    if (r < 0)
        log_error("Cannot serve: %s", strerror(-r));
    else
        d->n_fds = 0; /* the server's */
    return r;
}

/* DATA/address, for people and scripts: the relay with its pin. It serves without the file as well: on a full
 * disk mail must go before there is room. */
static int tell_address(Daemon *d)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX + 1);
    Relay relay = d->options->relay;
    int r;

    relay.has_pin = true;
    memcpy(relay.pin, relay_key_pin(d->key), PIN_SIZE);
    r = relay_format_full(&relay, &text);
    if (r == 0)
        log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "serving"}), "Serving %s with %u threads",
                  buf_text(&text), d->http.loops);
    if (r == 0)
        r = buf_append_string(&text, "\n");
    if (r != 0)
        return r;
    r = file_write_atomic(AT_FDCWD, d->address_path, text.data, text.size, 0644, false);
    if (r != 0)
        log_error("%s: %s", d->address_path, problem_text(r));
    return 0;
}

static int monitor(Daemon *d)
{
    _cleanup_(fd_closep) int fd = -1;
    uint16_t port = 0;
    int r;

    if (!d->options->monitor)
        return 0;
    d->health.server = d->server;
    d->health.handlers = d->handlers;
    d->health.key = d->key;
    r = listen_open(d->options->monitor, &fd);
    if (r == 0)
        r = listen_port(fd, &port);
    if (r == 0)
        r = monitor_new(d->event, fd, health_answer, &d->health, &d->monitor);
    if (r == 0) {
        fd = -1; /* the monitor's */
        log_info("Monitoring on port %u", port);
    } else
        log_error("Cannot listen on %s: %s", d->options->monitor, strerror(-r));
    return r;
}

/* Without it the commands for clients and invitations say that the store is in use, and all else goes on. */
static int administration(Daemon *d)
{
    Admin admin;
    int r;

    handlers_admin_init(d->handlers, &admin);
    r = admin_socket_start(d->options->data, &admin, &d->admin_socket);
    if (r == -ENAMETOOLONG) {
        log_warning("%s: the path is too long for a socket: no commands for clients and invitations",
                    d->options->data);
        return 0;
    }
    if (r != 0)
        log_error("%s/" ADMIN_SOCKET_NAME ": %s", d->options->data, problem_text(r));
    return r;
}

int daemon_new(Options *o, KeyHolder *holder, Daemon **ret)
{
    _cleanup_(daemon_freep) Daemon *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->options = o;
    d->holder = holder;
    raise_limits(o);
    r = string_printf(&d->address_path, "%s/" ADDRESS_FILE, o->data);
    if (r == 0)
        r = file_make_folders(o->data, 0700);
    if (r == 0)
        r = relay_sandbox_enter(o);
    if (r == 0)
        r = prepare_loop(d);
    if (r == 0)
        r = open_key(d);
    if (r == 0)
        r = open_sockets(d);
    if (r == 0) {
        d->known = ticks_time(o->data);
        r = renew(d, clock_realtime());
    }
    if (r == 0)
        r = serve(d);
    if (r == 0)
        r = sd_event_add_signal(d->event, NULL, SIGHUP, on_reload, d) < 0 ? -ENOMEM : monitor(d);
    if (r == 0)
        r = administration(d);
    if (r == 0)
        r = watch(d);
    if (r == 0)
        r = tell_address(d);
    if (r == 0)
        *ret = TAKE_PTR(d);
    return r;
}

int daemon_run(Daemon *d)
{
    int r;

    (void)sd_notify(false, "READY=1");
    r = sd_event_loop(d->event);
    (void)sd_notify(false, "STOPPING=1");
    log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "ending"}), "Ending");
    (void)unlink(d->address_path);
    return r < 0 ? r : 0;
}

Daemon *daemon_free(Daemon *d)
{
    if (!d)
        return NULL;
    d->monitor = monitor_free(d->monitor);
    /* clients get their answers, then the store finishes what it has, or gives it up, then what it answered
     * is let go */
    if (d->server)
        http_server_stop(d->server);
    handlers_stop(d->handlers);
    d->admin_socket = admin_socket_stop(d->admin_socket);
    d->handlers = handlers_free(d->handlers);
    d->server = http_server_free(d->server);
    for (size_t i = 0; i < d->n_fds; i++)
        (void)fd_close(d->fds[i]);
    d->tls = tls_free(d->tls);
    d->key = relay_key_free(d->key);
    (void)sd_event_unref(d->event);
    free(d->address_path);
    free(d);
    return NULL;
}
