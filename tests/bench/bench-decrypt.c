/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Decrypt of a cached session and Encrypt in a running one, over the bus and over a private connection,
 * against what a bare sd-bus service takes on the same connection to send back 256 bytes, to send back the
 * package, and to answer the call of Decrypt with an answer of the same form. Rounds alternate. Processes are
 * tied to processors, else the ratios would say where the kernel put them: the services have one of their
 * own, as on a machine with one to spare; then all share one, where each switch also finds the caches cold.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "tests/bench/service.h"
#include "tests/dbus/agent.h"

#define ROUNDS 60u
#define CALLS 50u /* of each kind in a round */
#define PLAINTEXT 256u
#define DECRYPT_BAR 1.5
#define CIPHER_INTERFACE AGENT_NAME ".Cipher"

typedef struct Bytes {
    uint8_t *data;
    size_t size;
} Bytes;

typedef struct Bench {
    const char *name;
    sd_bus *bus;
    const char *destination, *path, *interface, *member;
    const Bytes *argument;
    const Bytes *key; /* of the recipient: Encrypt */
    double times[ROUNDS * CALLS];
    size_t n;
} Bench;

static void check(int r, const sd_bus_error *error)
{
    if (r < 0)
        g_error("%s", error && error->message ? error->message : g_strerror(-r));
}

static sd_bus_message *make_call(const Bench *b)
{
    sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_method_call(b->bus, &m, b->destination, b->path, b->interface, b->member);
    if (r >= 0 && b->key)
        r = sd_bus_message_append(m, "as", 0);
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'y', b->argument->data, b->argument->size);
    if (r >= 0 && b->key) {
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        r = r < 0 ? r : sd_bus_message_open_container(m, 'e', "sv");
        r = r < 0 ? r : sd_bus_message_append_basic(m, 's', "recipient_keys");
        r = r < 0 ? r : sd_bus_message_open_container(m, 'v', "aay");
        r = r < 0 ? r : sd_bus_message_open_container(m, 'a', "ay");
        r = r < 0 ? r : sd_bus_message_append_array(m, 'y', b->key->data, b->key->size);
        for (unsigned i = 0; i < 4; i++)
            r = r < 0 ? r : sd_bus_message_close_container(m);
    } else if (r >= 0 && strcmp(b->member, "Echo") != 0) {
        r = sd_bus_message_append(m, "a{sv}", 0);
    }
    check(r, NULL);
    return m;
}

/* The first array of bytes in the answer. */
static Bytes ask(const Bench *b)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *call = make_call(b), *reply = NULL;
    const void *data = NULL;
    Bytes bytes = {0};

    check(sd_bus_call(b->bus, call, 600u * 1000000u, &error, &reply), &error);
    if (b->key)
        check(sd_bus_message_enter_container(reply, 'a', "ay"), NULL);
    check(sd_bus_message_read_array(reply, 'y', &data, &bytes.size), NULL);
    bytes.data = g_memdup2(data, bytes.size);
    sd_bus_message_unref(call);
    sd_bus_message_unref(reply);
    return bytes;
}

static void measure(Bench *b)
{
    for (unsigned i = 0; i < CALLS; i++) {
        double before = bench_now();

        g_free(ask(b).data);
        b->times[b->n++] = bench_now() - before;
    }
}

static sd_bus *open_channel(sd_bus *bus)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    sd_bus *channel;
    int fd = -1;

    check(sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, AGENT_NAME, "OpenChannel", &error, &reply, "a{sv}",
                             0),
          &error);
    check(sd_bus_message_read(reply, "h", &fd), NULL);
    channel = bench_peer_open(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    sd_bus_message_unref(reply);
    return channel;
}

static Bytes export_key(TestAgent *a)
{
    g_autoptr(GVariant) reply = agent_call(a, AGENT_NAME ".Identity", "ExportPublic",
                                           agent_option("format", g_variant_new_string("pem")));
    g_autoptr(GVariant) array = g_variant_get_child_value(reply, 0);
    gsize n = 0;
    gconstpointer data = g_variant_get_fixed_array(array, &n, 1);

    return (Bytes){g_memdup2(data, n), n};
}

/* The nth that we may use, from 0; -1: there are not so many. */
static int processor(unsigned n)
{
    cpu_set_t allowed;

    check(sched_getaffinity(0, sizeof(allowed), &allowed) < 0 ? -errno : 0, NULL);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && n-- == 0)
            return cpu;
    return -1;
}

/* pid 0: ourselves, and what we start. */
static void use_processor(pid_t pid, int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    check(sched_setaffinity(pid, sizeof(one), &one) < 0 ? -errno : 0, NULL);
}

/* What each transport is measured with, in this order. */
enum { ECHO_SHORT, ECHO_PACKAGE, ANSWER, DECRYPT, ENCRYPT, KINDS };

static void report(Bench *all, const char *where, const char *transport, size_t package_size)
{
    g_autofree char *what = g_strdup_printf("cached Decrypt, %s, %s", transport, where);
    double medians[KINDS];

    for (unsigned i = 0; i < KINDS; i++)
        medians[i] = bench_median(all[i].times, all[i].n);
    for (unsigned i = 0; i < KINDS; i++) {
        g_print("%-8s %-22s %6.1f us", transport, all[i].name, medians[i]);
        if (i >= DECRYPT)
            g_print("  %.2f x echo of %u B, %.2f x echo of %zu B, %.2f x the same answer",
                    medians[i] / medians[ECHO_SHORT], PLAINTEXT, medians[i] / medians[ECHO_PACKAGE],
                    package_size, medians[i] / medians[ANSWER]);
        g_print("\n");
    }
    bench_at_most(what, medians[DECRYPT] / medians[ECHO_PACKAGE], DECRYPT_BAR, "x echo of the same bytes");
}

static void measure_all(Bench *all, const char *where, size_t package_size)
{
    for (unsigned i = 0; i < 2 * KINDS; i++)
        all[i].n = 0;
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < 2 * KINDS; i++)
            measure(&all[i]);
    report(all, where, "bus", package_size);
    report(all + KINDS, where, "channel", package_size);
}

static void run(TestAgent *a, int ours, int theirs)
{
    const char *address = test_bus_address(a->bus);
    Echo *echo = echo_new(address);
    sd_bus *bus = bench_bus_open(address);
    sd_bus *channel = open_channel(bus);
    Bytes plaintext = {g_malloc0(PLAINTEXT), PLAINTEXT}, key = export_key(a), package;
    const Bench kinds[KINDS] = {
        [ECHO_SHORT] = {.name = "echo of the plaintext", .member = "Echo", .argument = &plaintext},
        [ECHO_PACKAGE] = {.name = "echo of the package", .member = "Echo", .argument = &package},
        [ANSWER] = {.name = "the same answer", .member = "Answer", .argument = &package},
        [DECRYPT] = {.name = "Decrypt", .member = "Decrypt", .argument = &package},
        [ENCRYPT] = {.name = "Encrypt", .member = "Encrypt", .argument = &plaintext, .key = &key},
    };
    Bench all[2 * KINDS]; /* the bus, then the channel */

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        bool is_echo = i % KINDS <= ANSWER, is_bus = i < KINDS;

        all[i] = kinds[i % KINDS];
        all[i].path = is_echo ? ECHO_PATH : AGENT_PATH;
        all[i].interface = is_echo ? ECHO_NAME : CIPHER_INTERFACE;
        all[i].bus = is_bus ? bus : is_echo ? echo_peer(echo) : channel;
        if (is_bus)
            all[i].destination = is_echo ? ECHO_NAME : AGENT_NAME;
    }
    package = ask(&all[ENCRYPT]);
    g_free(ask(&all[DECRYPT]).data); /* into the cache */
    if (theirs >= 0) {
        use_processor(test_process_pid(a->process), theirs);
        use_processor(echo_pid(echo), theirs);
        measure_all(all, "two processors", package.size);
        use_processor(test_process_pid(a->process), ours);
        use_processor(echo_pid(echo), ours);
    }
    measure_all(all, "one processor", package.size);
    g_free(plaintext.data);
    g_free(key.data);
    g_free(package.data);
    sd_bus_flush_close_unref(channel);
    sd_bus_flush_close_unref(bus);
    echo_free(echo);
}

int main(void)
{
    TestAgent a = {0};

    const int ours = processor(0), theirs = processor(1);

    use_processor(0, ours);
    agent_set_up(&a, NULL);
    agent_start(&a, NULL);
    g_variant_unref(agent_call(&a, AGENT_NAME ".Identity", "Create", NULL));
    run(&a, ours, theirs);
    agent_stop(&a);
    agent_tear_down(&a, NULL);
    return 0;
}
