/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The relay is killed at random points under the load of several clients, started again, and asked what it
 * has: what it accepted is there, what was acknowledged to it is not. HMSG_TEST_KILLS says how often. The
 * same with a clock that jumps while it runs and while it does not. */

#include <poll.h>
#include <signal.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/proof.h"
#include "tests/bench/relay-client.h"
#include "tests/integration/clock.h"

#define KILLS 200u
#define SENDERS 3u
#define DEPTH 4u /* requests that a sender has under way */
#define ACKNOWLEDGE_MAX 16u
#define BODY_SIZE_MAX 6000
#define LARGE_SIZE_MIN 65537 /* kept in a file */
#define LARGE_SIZE_MAX 200000
#define LARGE_EVERY 16
#define LOAD_TIME_MAX 80000 /* microseconds until the kill */
#define CONFIG_TAIL "\n[limits]\nsender-rate = 100000000\nmailbox-messages = 1000000\nmailbox-size = 16G\n"

typedef enum State {
    SENT,
    ACCEPTED,
    ACKNOWLEDGING,
    ACKNOWLEDGED,
} State;

typedef struct Message {
    uint8_t id[ID_SIZE];
    char *path;
    uint8_t *body;
    size_t size;
    State state;
    bool listed;
    H2Answer answer;
} Message;

typedef struct Load {
    BenchRelay relay;
    TestPerson *senders[SENDERS], *owner;
    GPtrArray *messages;
    GHashTable *by_id;
    GQueue unanswered, accepted,
        acknowledged; /* to be sent again; to be acknowledged; sent twice at random */
    H2 *in[SENDERS], *out;
    Message *under_way[SENDERS][DEPTH];
    Secret *ack;
    GPtrArray *acknowledging;
    Buf text;
    H2Answer acknowledgement;
    unsigned lost, redelivered, replays;
    bool jumps; /* the clock */
} Load;

static guint id_hash(gconstpointer id)
{
    guint h;
    memcpy(&h, id, sizeof(h));
    return h;
}

static gboolean id_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, ID_SIZE) == 0; /* public */
}

static void message_free(gpointer data)
{
    Message *m = data;
    g_free(m->path);
    g_free(m->body);
    buf_done(&m->answer.body);
    g_free(m);
}

static Message *message_new(Load *l)
{
    Message *m = g_new0(Message, 1);
    const uint8_t *kid = rsa_key_thumbprint(l->owner->decrypt);
    char text[HASH_TEXT_SIZE];
    bool large = g_test_rand_int_range(0, LARGE_EVERY) == 0;
    m->size = (size_t)(large ? g_test_rand_int_range(LARGE_SIZE_MIN, LARGE_SIZE_MAX)
                             : g_test_rand_int_range(16, BODY_SIZE_MAX));
    m->body = g_malloc(m->size);
    g_assert_cmpint(crypto_random(m->body, m->size), ==, 0);
    g_assert_cmpint(message_id(kid, m->body, m->size, m->id), ==, 0);
    base64url_encode(m->id, ID_SIZE, text);
    m->path = g_strdup_printf("/v1/mailboxes/%s/messages/%s", l->owner->kid, text);
    g_ptr_array_add(l->messages, m);
    g_hash_table_insert(l->by_id, m->id, m);
    return m;
}

/* One that was not answered before comes first; now and then one that was acknowledged comes again. */
static Message *next_message(Load *l)
{
    Message *m = g_queue_pop_head(&l->unanswered);
    if (!m && g_test_rand_int_range(0, 8) == 0)
        m = g_queue_pop_head(&l->acknowledged);
    return m ? m : message_new(l);
}

static void read_answer(Load *l, Message *m)
{
    /* the key that signs receipts is over by this clock, until the relay has looked at it */
    if (l->jumps && m->answer.status == 503) {
        g_queue_push_tail(m->state == ACKNOWLEDGED ? &l->acknowledged : &l->unanswered, m);
        return;
    }
    if (m->answer.status != 200 && m->answer.status != 201)
        g_error("%d %s", m->answer.status, buf_text(&m->answer.body));
    if (m->state == ACKNOWLEDGED) {
        g_assert_cmpint(m->answer.status, ==, 200);
        l->replays++;
        return;
    }
    m->state = ACCEPTED;
    g_queue_push_tail(&l->accepted, m);
}

static void submit(Load *l, unsigned sender)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        Message **m = &l->under_way[sender][i];
        if (*m && !(*m)->answer.done)
            continue;
        if (*m)
            read_answer(l, *m);
        *m = next_message(l);
        h2_start(l->in[sender], "PUT", (*m)->path, "application/octet-stream", (*m)->body, (*m)->size,
                 &(*m)->answer);
    }
    h2_work(l->in[sender]);
}

/* Until the answer comes they are perhaps acknowledged. */
static void end_acknowledgement(Load *l)
{
    if (l->acknowledgement.status != 0)
        g_assert_cmpint(l->acknowledgement.status, ==, 200);
    for (guint i = 0; l->acknowledgement.status == 200 && i < l->acknowledging->len; i++) {
        Message *m = g_ptr_array_index(l->acknowledging, i);
        m->state = ACKNOWLEDGED;
        g_queue_push_tail(&l->acknowledged, m);
    }
    g_ptr_array_set_size(l->acknowledging, 0);
}

static void acknowledge(Load *l)
{
    uint8_t ids[ACKNOWLEDGE_MAX * ID_SIZE];
    size_t n = 0;
    Message *m;
    if (l->acknowledging->len > 0 && !l->acknowledgement.done) {
        h2_work(l->out);
        return;
    }
    end_acknowledgement(l);
    while (n < ACKNOWLEDGE_MAX && (m = g_queue_pop_head(&l->accepted))) {
        m->state = ACKNOWLEDGING;
        memcpy(ids + n++ * ID_SIZE, m->id, ID_SIZE);
        g_ptr_array_add(l->acknowledging, m);
    }
    buf_clear(&l->text);
    if (n > 0)
        bench_relay_acknowledge(&l->relay, l->out, l->ack, ids, n, &l->text, &l->acknowledgement);
    h2_work(l->out);
}

static void load_until(Load *l, gint64 end)
{
    struct pollfd polls[SENDERS + 1];
    for (unsigned i = 0; i < SENDERS; i++)
        polls[i] = (struct pollfd){.fd = h2_fd(l->in[i]), .events = POLLIN};
    polls[SENDERS] = (struct pollfd){.fd = h2_fd(l->out), .events = POLLIN};
    while (g_get_monotonic_time() < end) {
        for (unsigned i = 0; i < SENDERS; i++)
            submit(l, i);
        acknowledge(l);
        (void)poll(polls, SENDERS + 1, 1);
    }
}

/* Whoever set it may be wrong by much or by little; half of the time it is right. */
static void jump(const Load *l)
{
    static const int64_t days[] = {-400, -40, -1, 1, 29, 31, 40, 400, 0, 0, 0, 0, 0, 0, 0, 0};

    if (l->jumps)
        test_clock_set(days[g_test_rand_int_range(0, G_N_ELEMENTS(days))] * 86400);
}

static void drain(H2 **h)
{
    while (!h2_gone(*h)) {
        struct pollfd p = {.fd = h2_fd(*h), .events = POLLIN};
        (void)poll(&p, 1, -1);
        h2_work(*h);
    }
    h2_close(*h);
    *h = NULL;
}

/* What had been answered before the end is read still. */
static void kill_relay(Load *l)
{
    bench_relay_kill(&l->relay);
    for (unsigned i = 0; i < SENDERS; i++) {
        drain(&l->in[i]);
        for (unsigned k = 0; k < DEPTH; k++) {
            Message *m = g_steal_pointer(&l->under_way[i][k]);
            if (m && m->answer.status != 0)
                read_answer(l, m);
            else if (m && m->state == SENT)
                g_queue_push_tail(&l->unanswered, m);
        }
    }
    drain(&l->out);
    if (l->acknowledging->len > 0)
        end_acknowledgement(l);
    l->ack = secret_free(l->ack);
}

static json_int_t read_page(Load *l, const json_t *page, json_int_t after)
{
    const json_t *list = json_object_get(page, "messages"), *entry;
    size_t i;
    json_array_foreach (list, i, entry) {
        uint8_t id[ID_SIZE];
        g_assert_cmpint(json_get_bytes(entry, "id", id, sizeof(id)), ==, 0);
        Message *m = g_hash_table_lookup(l->by_id, id);
        g_assert_nonnull(m);
        g_assert_false(m->listed); /* once */
        g_assert_cmpint(json_integer_value(json_object_get(entry, "size")), ==, m->size);
        m->listed = true;
        json_int_t seq = json_integer_value(json_object_get(entry, "seq"));
        g_assert_cmpint(seq, >, after);
        after = seq;
    }
    return after;
}

static void list(Load *l)
{
    json_int_t after = 0;
    for (bool more = true; more;) {
        g_autofree char *path = g_strdup_printf("/v1/mailbox/messages?after=%lld", (long long)after);
        json_t *page = bench_relay_call(l->out, "GET", path, NULL, 200);
        after = read_page(l, page, after);
        more = json_is_true(json_object_get(page, "more"));
        json_decref(page);
    }
}

/* Counts what is against the promise, and settles what was in doubt. */
static void check(Load *l)
{
    for (guint i = 0; i < l->messages->len; i++)
        ((Message *)g_ptr_array_index(l->messages, i))->listed = false;
    list(l);
    g_queue_clear(&l->accepted);
    for (guint i = 0; i < l->messages->len; i++) {
        Message *m = g_ptr_array_index(l->messages, i);
        l->lost += m->state == ACCEPTED && !m->listed;
        l->redelivered += m->state == ACKNOWLEDGED && m->listed;
        if (m->state == ACKNOWLEDGING)
            m->state = m->listed ? ACCEPTED : ACKNOWLEDGED;
        if (m->state == ACCEPTED)
            g_queue_push_tail(&l->accepted, m);
    }
    g_assert_cmpuint(l->lost, ==, 0);
    g_assert_cmpuint(l->redelivered, ==, 0);
}

static void start(Load *l)
{
    bench_relay_start(&l->relay, CONFIG_TAIL);
    if (l->messages->len == 0) {
        H2 *h = h2_connect(l->relay.host, l->relay.port);
        for (unsigned i = 0; i < SENDERS; i++) {
            g_autofree char *name = g_strdup_printf("sender%u", i);
            bench_relay_enrol(&l->relay, h, l->senders[i], name);
        }
        bench_relay_enrol(&l->relay, h, l->owner, "owner");
        h2_close(h);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        l->in[i] = bench_relay_log_in(&l->relay, l->senders[i], NULL);
    l->out = bench_relay_log_in(&l->relay, l->owner, &l->ack);
}

/* Whole, and as they were sent. */
static void fetch(Load *l)
{
    for (GList *e = l->accepted.head; e; e = e->next) {
        Message *m = e->data;
        H2Answer a = {};
        char text[HASH_TEXT_SIZE];
        base64url_encode(m->id, ID_SIZE, text);
        g_autofree char *path = g_strdup_printf("/v1/mailbox/messages/%s", text);
        h2_start(l->out, "GET", path, NULL, NULL, 0, &a);
        h2_wait(l->out, &a, true);
        g_assert_cmpint(a.status, ==, 200);
        g_assert_cmpmem(a.body.data, a.body.size, m->body, m->size);
        buf_done(&a.body);
    }
}

static void check_store(const Load *l)
{
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "server", "hmsg-relay", NULL);
    g_autofree char *config = g_build_filename(l->relay.folder, "relay", "relay.conf", NULL);
    const char *const argv[] = {program, "store", "check", "--config", config, NULL};
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 0);
}

static unsigned kills(void)
{
    const char *text = g_getenv("HMSG_TEST_KILLS");
    return text ? (unsigned)g_ascii_strtoull(text, NULL, 10) : KILLS;
}

static void run(unsigned n, bool jumps)
{
    Load l = {.relay.folder = test_folder_new(), .text = BUF_MAX(RELAY_BODY_SIZE_MAX), .jumps = jumps};
    unsigned accepted = 0, large = 0;
    l.messages = g_ptr_array_new_with_free_func(message_free);
    l.by_id = g_hash_table_new(id_hash, id_equal);
    l.acknowledging = g_ptr_array_new();
    for (unsigned i = 0; i < SENDERS; i++)
        l.senders[i] = test_person_new();
    l.owner = test_person_new();
    for (unsigned i = 0; i < n; i++) {
        jump(&l);
        start(&l);
        check(&l);
        for (unsigned k = 0; k < SENDERS; k++)
            h2_let_go(l.in[k]);
        h2_let_go(l.out);
        for (unsigned k = 0; k < 2; k++) {
            load_until(&l, g_get_monotonic_time() + g_test_rand_int_range(0, LOAD_TIME_MAX / 2));
            jump(&l);
        }
        kill_relay(&l);
    }
    start(&l);
    check(&l);
    fetch(&l);
    for (guint i = 0; i < l.messages->len; i++) {
        const Message *m = g_ptr_array_index(l.messages, i);
        accepted += m->state != SENT;
        large += m->state != SENT && m->size >= LARGE_SIZE_MIN;
    }
    g_test_message("%u kills, %u messages, %u accepted (%u in files), %u submitted again after they had been "
                   "acknowledged",
                   n, l.messages->len, accepted, large, l.replays);
    g_assert_cmpuint(accepted, >, n);
    for (unsigned i = 0; i < SENDERS; i++)
        h2_close(l.in[i]);
    h2_close(l.out);
    l.ack = secret_free(l.ack);
    (void)bench_relay_stop(&l.relay);
    check_store(&l);
    g_queue_clear(&l.unanswered);
    g_queue_clear(&l.accepted);
    g_queue_clear(&l.acknowledged);
    g_hash_table_unref(l.by_id);
    g_ptr_array_unref(l.acknowledging);
    g_ptr_array_unref(l.messages);
    for (unsigned i = 0; i < SENDERS; i++)
        test_person_free(l.senders[i]);
    test_person_free(l.owner);
    buf_done(&l.text);
    buf_done(&l.acknowledgement.body);
    test_folder_remove(l.relay.folder);
}

static void test_kill(void)
{
    run(kills(), false);
}

static void test_clock(void)
{
    const char *library = g_getenv("HMSG_TEST_CLOCK_LIBRARY");
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "clock", NULL);

    test_clock_open(path);
    g_setenv(TEST_CLOCK_VARIABLE, path, TRUE);
    g_setenv("LD_PRELOAD", library, TRUE);
    /* where the programs have AddressSanitizer, that is not the first library then */
    g_autofree char *options = g_strconcat("verify_asan_link_order=0:", g_getenv("ASAN_OPTIONS"), NULL);
    g_setenv("ASAN_OPTIONS", options, TRUE);
    run(MAX(kills() / 4, 1), true);
    g_unsetenv("LD_PRELOAD");
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    g_test_add_func("/kill/relay", test_kill);
    g_test_add_func("/kill/clock", test_clock);
    return g_test_run();
}
