/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "agent/channel.h"
#include "agent/cipher.h"
#include "agent/expiry.h"
#include "agent/gate.h"
#include "agent/identity.h"
#include "agent/key-cache.h"
#include "agent/keyring.h"
#include "agent/launcher.h"
#include "agent/logind.h"
#include "agent/mail.h"
#include "agent/manager.h"
#include "agent/rules.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "agent/unlocker.h"
#include "agent/vault.h"
#include "agent/vtables.h"
#include "hmsg-build.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"

#define TPM_PATIENCE_USEC (5u * 1000000u) /* for its first answer */

/* One agent for each data folder: two would overwrite each other's store and sessions. */
static int open_data_folder(Manager *m)
{
    struct stat st;

    m->data_fd = open(m->places.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->data_fd < 0)
        return -errno;
    if (fstat(m->data_fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid()) {
        log_error("%s belongs to another user", m->places.data_dir);
        return -EPERM;
    }
    if ((st.st_mode & 077) != 0 && fchmod(m->data_fd, 0700) < 0)
        return -errno;
    if (flock(m->data_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return -errno;
        log_error("Another agent is using %s", m->places.data_dir);
        return -EBUSY;
    }
    return 0;
}

static int load_file(const char *path, Config **ret)
{
    unsigned line = 0;
    int r;

    r = config_load(path, ret, &line);
    if (r == -ENOENT)
        return config_new(ret);
    if (r == -EBADMSG)
        log_error("%s:%u: not of the form key = value", path, line);
    else if (r < 0)
        log_error("%s: %s", path, strerror(-r));
    return r;
}

/* The administrator's file wins: it is where an organisation pins its relays. */
static int load_config(Manager *m)
{
    _cleanup_(config_freep) Config *system = NULL;
    int r;

    r = load_file(m->places.config_file, &m->config);
    if (r < 0)
        return r;
    r = load_file(HMSG_SYSCONFDIR "/agent.conf", &system);
    if (r < 0)
        return r;
    return config_merge(m->config, system);
}

int manager_publish(Manager *m, sd_bus *b)
{
    static const struct {
        const char *interface;
        const sd_bus_vtable *vtable;
    } interfaces[] = {
        {AGENT_INTERFACE, agent_vtable},
        {AGENT_ACCESS_INTERFACE, access_vtable},
        {AGENT_IDENTITY_INTERFACE, identity_vtable},
        {AGENT_CIPHER_INTERFACE, cipher_vtable},
        {AGENT_SESSIONS_INTERFACE, sessions_vtable},
        {AGENT_CONTACTS_INTERFACE, contacts_vtable},
        {AGENT_MAIL_INTERFACE, mail_vtable},
    };

    for (size_t i = 0; i < ELEMENTSOF(interfaces); i++) {
        int r = sd_bus_add_object_vtable(b, NULL, AGENT_OBJECT_PATH, interfaces[i].interface,
                                         interfaces[i].vtable, m);

        if (r < 0)
            return r;
    }
    return 0;
}

static int open_bus(Manager *m)
{
    int r;

    r = sd_bus_new(&m->bus);
    if (r >= 0)
        r = sd_bus_set_address(m->bus, m->places.bus_address);
    if (r >= 0)
        r = sd_bus_set_bus_client(m->bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(m->bus, true);
    if (r >= 0)
        r = sd_bus_set_description(m->bus, "session");
    if (r >= 0)
        r = sd_bus_start(m->bus);
    if (r >= 0)
        r = sd_bus_set_exit_on_disconnect(m->bus, true);
    if (r >= 0)
        r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
    if (r < 0) {
        log_error("The session bus at %s: %s", m->places.bus_address, strerror(-r));
        return r;
    }
    r = access_watch_bus(m->access, m->bus);
    if (r < 0)
        return r;
    return manager_publish(m, m->bus);
}

static void on_identity_changed(Identity *i, void *userdata)
{
    static const char *const properties[] = {"State", "Protection", "Fingerprint"};
    Manager *m = userdata;

    for (size_t p = 0; p < ELEMENTSOF(properties); p++)
        (void)manager_emit_property(m, AGENT_IDENTITY_INTERFACE, properties[p]);
}

/* An answer that is no error may say that another has the name: D-Bus specification, RequestName. */
static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    enum { PRIMARY_OWNER = 1, ALREADY_OWNER = 4 };
    Manager *m = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    uint32_t answer = 0;

    if (!e && sd_bus_message_read_basic(reply, 'u', &answer) < 0)
        answer = 0;
    if (e || (answer != PRIMARY_OWNER && answer != ALREADY_OWNER)) {
        log_error("The name %s on the session bus: %s", AGENT_BUS_NAME,
                  e ? e->message : "another program has it");
        return sd_event_exit(m->event, -EEXIST);
    }
    (void)sd_notify(0, "READY=1");
    log_info("Ready");
    return 0;
}

static int request_name(Manager *m)
{
    int r;

    m->patience = sd_event_source_disable_unref(m->patience);
    if (m->named)
        return 0;
    m->named = true;
    r = sd_bus_request_name_async(m->bus, NULL, AGENT_BUS_NAME, 0, on_name, m);
    return r < 0 ? r : 0;
}

/* What is in the store follows once it can be opened. The name is not taken before that was tried. */
static int on_vault_tried(int r, void *userdata)
{
    Manager *m = userdata;

    r = r == 0 ? mail_start(m) : 0;
    if (r == 0 && m->store)
        r = rules_new(m, &m->rules);
    return r == 0 && m->known ? request_name(m) : r;
}

static int open_vault(Manager *m)
{
    bool waits;
    int r = vault_new(m, on_vault_tried, m, &m->vault);

    return r == 0 ? vault_start(m->vault, &waits) : r;
}

/* One line for each object, in the order of manager.h; manager_free frees them in the reverse order. */
static int make_objects(Manager *m)
{
    int r;

    r = gate_new(m, &m->gate);
    if (r == 0)
        r = access_new(m, &m->access);
    if (r == 0)
        r = channels_new(m, &m->channels);
    if (r == 0)
        r = identity_new(m, &m->identity);
    if (r == 0)
        r = identity_watch(m->identity, on_identity_changed, m);
    if (r == 0)
        r = unlocker_new(m, &m->unlocker);
    if (r == 0)
        r = session_in_new(m, &m->session_in);
    if (r == 0)
        r = session_out_new(m, &m->session_out);
    if (r == 0)
        r = cipher_new(m, &m->cipher);
    if (r == 0)
        r = key_cache_new(&m->key_cache);
    if (r == 0)
        r = logind_new(m, &m->logind);
    if (r == 0)
        r = expiry_new(m, &m->expiry);
    if (r == 0)
        r = open_vault(m);
    return r;
}

static void on_identity_known(int r, const char *detail, void *userdata)
{
    Manager *m = userdata;
    bool waits;

    m->known = true;
    r = vault_go_on(m->vault, &waits);
    if (r == 0 && !waits)
        r = request_name(m);
    if (r != 0)
        (void)sd_event_exit(m->event, r > 0 ? -EIO : r);
}

static int on_impatience(sd_event_source *s, uint64_t usec, void *userdata)
{
    return request_name(userdata);
}

/* Clients that started us find the state known, unless the TPM takes very long. */
static int start_identity(Manager *m)
{
    int r;

    r = sd_event_add_time_relative(m->event, &m->patience, CLOCK_BOOTTIME, TPM_PATIENCE_USEC, 0,
                                   on_impatience, m);
    return r < 0 ? r : identity_start(m->identity, on_identity_known, m);
}

static int make_loop(Manager *m)
{
    sigset_t set;
    int r;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    r = sd_event_new(&m->event);
    if (r >= 0)
        r = sd_event_add_signal(m->event, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_signal(m->event, NULL, SIGINT, NULL, NULL);
    return r < 0 ? r : 0;
}

int manager_new(const Places *places, Launcher *launcher, Keyring *keyring, Manager **ret)
{
    _cleanup_(manager_freep) Manager *m = NULL;
    int r;

    m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->places = *places;
    m->data_fd = -1;
    r = open_data_folder(m);
    if (r >= 0)
        r = load_config(m);
    if (r >= 0)
        r = make_loop(m);
    if (r >= 0) {
        m->launcher = launcher;
        m->keyring = keyring;
        r = make_objects(m);
    }
    if (r >= 0)
        r = open_bus(m);
    if (r >= 0)
        r = start_identity(m);
    if (r < 0) {
        m->launcher = NULL;
        m->keyring = NULL;
        return r;
    }
    *ret = TAKE_PTR(m);
    return 0;
}

Manager *manager_free(Manager *m)
{
    if (!m)
        return NULL;
    /* first whoever waits for an answer, then what was working for them */
    m->access = access_free(m->access);
    m->channels = channels_free(m->channels);
    m->gate = gate_free(m->gate);
    m->rules = rules_free(m->rules);
    mail_stop(m);
    m->vault = vault_free(m->vault);
    m->expiry = expiry_free(m->expiry);
    m->logind = logind_free(m->logind);
    m->key_cache = key_cache_free(m->key_cache);
    m->cipher = cipher_free(m->cipher);
    m->session_out = session_out_free(m->session_out);
    m->session_in = session_in_free(m->session_in);
    m->unlocker = unlocker_free(m->unlocker);
    m->identity = identity_free(m->identity);
    if (m->bus) {
        (void)sd_bus_flush(m->bus);
        m->bus = sd_bus_close_unref(m->bus);
    }
    m->patience = sd_event_source_disable_unref(m->patience);
    m->keyring = keyring_free(m->keyring);
    m->launcher = launcher_free(m->launcher);
    sd_event_unref(m->event);
    config_free(m->config);
    fd_close(m->data_fd);
    free(m);
    return NULL;
}

int manager_run(Manager *m)
{
    int r;

    r = sd_event_loop(m->event);
    (void)sd_notify(0, "STOPPING=1");
    return r;
}

typedef struct Emission {
    const char *interface, *member, *types;
    va_list *arguments;
} Emission;

static int emit_on(sd_bus *bus, void *userdata)
{
    const Emission *e = userdata;
    sd_bus_message *signal = NULL;
    va_list ap;
    int r;

    r = sd_bus_message_new_signal(bus, &signal, AGENT_OBJECT_PATH, e->interface, e->member);
    if (r >= 0 && *e->types) {
        va_copy(ap, *e->arguments);
        r = sd_bus_message_appendv(signal, e->types, ap);
        va_end(ap);
    }
    if (r >= 0)
        r = sd_bus_send(bus, signal, NULL);
    sd_bus_message_unref(signal);
    /* a channel that is just closing misses nothing */
    return r == -ENOTCONN || r >= 0 ? 0 : r;
}

int manager_emit(Manager *m, const char *interface, const char *member, const char *types, ...)
{
    Emission e = {.interface = interface, .member = member, .types = types ? types : ""};
    va_list ap;
    int r = 0;

    va_start(ap, types);
    e.arguments = &ap;
    if (m->bus)
        r = emit_on(m->bus, &e);
    if (r >= 0 && m->channels)
        channels_each(m->channels, emit_on, &e);
    va_end(ap);
    return r;
}

static int emit_property_on(sd_bus *bus, void *userdata)
{
    const Emission *e = userdata;
    int r;

    r = sd_bus_emit_properties_changed(bus, AGENT_OBJECT_PATH, e->interface, e->member, NULL);
    return r == -ENOTCONN || r >= 0 ? 0 : r;
}

int manager_emit_property(Manager *m, const char *interface, const char *property)
{
    Emission e = {.interface = interface, .member = property};
    int r = 0;

    if (m->bus)
        r = emit_property_on(m->bus, &e);
    if (r >= 0 && m->channels)
        channels_each(m->channels, emit_property_on, &e);
    return r;
}
