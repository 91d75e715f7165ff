/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rows of a relay's store, as a database gives them that somebody else has in his power. The first byte says
 * what is read. */

#include <errno.h>
#include <string.h>

#include "server/store-postgres-internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rows.h"

#define LIST_COUNT 8u
#define READS_MAX 64u

static const uint8_t key[KID_SIZE] = {1};

static void look_at_identity(int r, const StoreIdentity *i)
{
    if (r != 0)
        return;
    fuzz_must(strnlen(i->name, sizeof(i->name)) <= NAME_SIZE_MAX, "a name ends");
    fuzz_must(strnlen(i->statement, sizeof(i->statement)) <= JWS_SIZE_MAX, "a statement ends");
    fuzz_must(i->sign_size <= SPKI_SIZE_MAX && i->decrypt_size <= SPKI_SIZE_MAX, "keys have their sizes");
}

static void find(StoreReader *reader, uint8_t what)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    int64_t number = 0;

    if (!i)
        return;
    if (what == '0')
        look_at_identity(reader_find_name(reader, "alice", i), i);
    else if (what == '1')
        look_at_identity(reader_find_key(reader, key, i), i);
    else if (what == '2')
        look_at_identity(reader_find_former(reader, key, i), i);
    else
        look_at_identity(reader_next_identity(reader, &number, i), i);
}

static int on_link(const StoreLink *l, void *userdata)
{
    fuzz_must(strlen(l->statement) + strlen(l->steps) + strlen(l->next) <= FORMER_PACKED_MAX,
              "texts that end");
    return 0;
}

static void list(StoreReader *reader)
{
    StoreMessage *messages = calloc(LIST_COUNT, sizeof(*messages));
    size_t n = 0;

    if (messages && reader_list(reader, key, 0, LIST_COUNT, messages, &n) == 0)
        fuzz_must(n <= LIST_COUNT, "no more than were asked for");
    free(messages);
}

static void fetch(StoreReader *reader)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    static uint8_t piece[BODY_CHUNK_SIZE];
    StoreFile *file = NULL;
    uint64_t size = 0;
    ssize_t n = 1;
    int r = reader_fetch(reader, key, key, &body, &file, &size);

    fuzz_must(r == 0 || !file, "nothing comes of what fails");
    if (r == 0 && !file)
        fuzz_must(body.size == size, "a body has its size");
    for (unsigned i = 0; file && n > 0 && i < READS_MAX; i++) {
        n = reader_file_read(file, (uint64_t)i * BODY_CHUNK_SIZE, piece, sizeof(piece));
        fuzz_must(n <= (ssize_t)sizeof(piece), "no more than there is room for");
    }
    if (file)
        (void)reader_file_free(file);
}

static void on_news(const StoreNews *news, void *userdata)
{
    fuzz_must(news->kind <= STORE_NEWS_LOST, "a kind of news");
    fuzz_must(news->kind == STORE_NEWS_LOST || (unsigned)news->state < STORE_STATE_MAX_, "a state");
}

/* Twice: what was read the first time is left out then. */
static void news(StoreReader *reader)
{
    if (reader_news(reader, on_news, NULL) == 0)
        (void)reader_news(reader, on_news, NULL);
}

static void small(StoreReader *reader, uint8_t what)
{
    StoreState state = STORE_ACCEPTED;
    StoreCounts counts;
    StoreInvite invite = {0};
    StoreCapability capability = {0};
    StoreUse use;
    StoreSettings settings;
    StoreRule rule;

    switch (what) {
    case '8':
        if (reader_status(reader, key, key, &state) == 0)
            fuzz_must(strlen(store_state_text(state)) > 0, "a state has a name");
        break;
    case '9':
        (void)reader_room(reader, key, 1000);
        break;
    case 'a':
        (void)reader_counts(reader, &counts);
        break;
    case 'b':
        (void)reader_next_invite(reader, &invite);
        (void)reader_use(reader, key, &use);
        break;
    default:
        (void)reader_capability(reader, key, key);
        (void)reader_next_capability(reader, key, &capability);
        (void)reader_settings(reader, key, &settings);
        (void)reader_rule(reader, key, key, &rule);
    }
}

static void look(StoreReader *reader, uint8_t what)
{
    switch (what) {
    case '0':
    case '1':
    case '2':
    case '3':
        find(reader, what);
        break;
    case '4':
        (void)reader_chain(reader, key, key, on_link, NULL);
        break;
    case '5':
        list(reader);
        break;
    case '6':
        fetch(reader);
        break;
    case '7':
        news(reader);
        break;
    case 'd':
        (void)store_sqlite_check(reader);
        break;
    default:
        small(reader, what);
    }
}

static int unwrap(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    fuzz_must(n <= AT_REST_KEPT_SIZE_MAX, "no more than a key can be");
    return n > 0 ? secret_new_copy(wrapped, n, ret) : HMSG_ERROR_AUTHENTICATION_FAILED;
}

/* What stands in tables of its own: the keys' roots, the ticks, and how far a migration has come. */
static void look_at_tables(Rows *rows, uint8_t what)
{
    const StoreKeeper keeper = {.unwrap = unwrap};
    _cleanup_(db_closep) Db *db = NULL;
    char token[MOVE_TOKEN_SIZE];
    Ticks ticks = {.n = 0};
    StoreMove move;

    fuzz_check(rows_connect(&rows->remote, true, &db) == 0, "memory");
    if (what == 'e') {
        (void)keys_load(db, &keeper, rows->at_rest);
    } else if (what == 'f' && store_postgres_last_tick(db, &ticks) == 0) {
        fuzz_must(ticks.n <= TICKS_MAX, "not too many");
    } else if (what == 'g' && store_postgres_get_move(db, &move, token) == 0) {
        fuzz_must(strnlen(token, sizeof(token)) < sizeof(token), "a token ends");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    StoreLimits limits;
    StoreReader *reader = NULL;
    Rows rows;

    if (size == 0)
        return 0;
    store_limits_init(&limits);
    fuzz_check(rows_init(&rows, data + 1, size - 1) == 0, "memory");
    if (data[0] >= 'e' && data[0] <= 'g') {
        look_at_tables(&rows, data[0]);
    } else {
        fuzz_check(reader_open(NULL, -1, &rows.remote, &limits, rows.at_rest, NULL, &reader) == 0,
                   "a reader");
        look(reader, data[0]);
        (void)reader_free(reader);
    }
    rows_done(&rows);
    return 0;
}
