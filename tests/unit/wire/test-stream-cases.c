/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Streams that a writer with the right key could make wrongly: every chunk has a good tag, and only their
 * number, order and size is not as it must be. What the stream cases of other formats' test kits check, for
 * ours. */

#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/stream-internal.h"
#include "tests/unit/wire/stream-util.h"

#define FULL STREAM_CHUNK_SIZE
#define CHUNKS_MAX 4u
#define AUTH HMSG_ERROR_AUTHENTICATION_FAILED

static TestPerson *bob;

/* One chunk: size bytes of content, sealed as number `as`. */
typedef struct Piece {
    size_t size;
    uint64_t as;
    bool bad_tag;
} Piece;

typedef struct Case {
    const char *name;
    Piece pieces[CHUNKS_MAX];
    size_t n;       /* pieces */
    int expected;   /* error */
    size_t content; /* bytes that may come out: all of a good one, else a verified beginning */
    size_t cut;     /* bytes off the end */
    size_t garbage; /* bytes more at the end */
} Case;

static const Case cases[] = {
    /* right */
    {"empty", {{0, 0}}, 1, 0, 0},
    {"one-byte", {{1, 0}}, 1, 0, 1},
    {"one-chunk", {{1000, 0}}, 1, 0, 1000},
    {"one-byte-less-than-a-chunk", {{FULL - 1, 0}}, 1, 0, FULL - 1},
    {"exact-chunk", {{FULL, 0}, {0, 1}}, 2, 0, FULL},
    {"two-chunks", {{FULL, 0}, {1, 1}}, 2, 0, FULL + 1},
    {"exact-multiple", {{FULL, 0}, {FULL, 1}, {0, 2}}, 3, 0, 2 * FULL},
    {"three-chunks", {{FULL, 0}, {FULL, 1}, {700, 2}}, 3, 0, 2 * FULL + 700},
    /* no end, or two */
    {"no-chunks", {{0}}, 0, AUTH, 0},
    {"last-chunk-full", {{FULL, 0}}, 1, AUTH, 0},
    {"last-chunk-full-of-two", {{FULL, 0}, {FULL, 1}}, 2, AUTH, FULL},
    {"no-final", {{FULL, 0}, {FULL, 1}, {700, 2}}, 3, AUTH, 2 * FULL, .cut = 700 + STREAM_TAG_SIZE},
    {"no-final-of-empty-last", {{FULL, 0}, {0, 1}}, 2, AUTH, FULL, .cut = STREAM_TAG_SIZE},
    {"two-final-chunks", {{700, 0}, {700, 1}}, 2, AUTH, 0},
    {"two-final-chunks-as-one", {{700, 0}, {700, 0}}, 2, AUTH, 0},
    {"two-final-chunks-behind-a-full-one", {{FULL, 0}, {700, 1}, {5, 2}}, 3, AUTH, FULL},
    {"two-empty-final-chunks", {{FULL, 0}, {0, 1}, {0, 2}}, 3, AUTH, FULL},
    {"full-behind-final", {{700, 0}, {FULL, 1}, {0, 2}}, 3, AUTH, 0},
    /* sizes */
    {"short-chunk-in-the-middle", {{FULL, 0}, {FULL - 1, 1}, {FULL, 2}, {5, 3}}, 4, AUTH, FULL},
    {"short-first-chunk", {{1, 0}, {FULL, 1}, {5, 2}}, 3, AUTH, 0},
    {"empty-first-chunk", {{0, 0}, {FULL, 1}, {5, 2}}, 3, AUTH, 0},
    {"long-first-chunk", {{FULL + 1, 0}, {5, 1}}, 2, AUTH, 0},
    {"long-chunk", {{2 * FULL, 0}, {5, 1}}, 2, AUTH, 0},
    {"long-last-chunk", {{FULL + 1, 0}}, 1, AUTH, 0},
    {"long-second-chunk", {{FULL, 0}, {FULL + 1, 1}}, 2, AUTH, FULL},
    /* order and number */
    {"swapped", {{FULL, 1}, {FULL, 0}, {5, 2}}, 3, AUTH, 0},
    {"final-first", {{FULL, 2}, {FULL, 1}, {5, 0}}, 3, AUTH, 0},
    {"doubled", {{FULL, 0}, {FULL, 0}, {5, 1}}, 3, AUTH, FULL},
    {"left-out", {{FULL, 0}, {FULL, 2}, {5, 3}}, 3, AUTH, FULL},
    {"last-left-out", {{FULL, 0}, {5, 2}}, 2, AUTH, FULL},
    {"counts-from-one", {{FULL, 1}, {5, 2}}, 2, AUTH, 0},
    {"counts-in-the-upper-half", {{5, UINT64_C(1) << 32}}, 1, AUTH, 0},
    {"last-as-first", {{FULL, 0}, {5, 0}}, 2, AUTH, FULL},
    /* tags and rests */
    {"bad-tag", {{5, 0, true}}, 1, AUTH, 0},
    {"bad-tag-of-empty", {{0, 0, true}}, 1, AUTH, 0},
    {"bad-tag-in-second-chunk", {{FULL, 0}, {5, 1, true}}, 2, AUTH, FULL},
    {"bad-tag-in-second-chunk-full", {{FULL, 0}, {FULL, 1, true}, {5, 2}}, 3, AUTH, FULL},
    {"bad-tag-in-empty-last-chunk", {{FULL, 0}, {0, 1, true}}, 2, AUTH, FULL},
    {"missing-tag", {{700, 0}}, 1, AUTH, 0, .cut = STREAM_TAG_SIZE},
    {"half-a-tag", {{700, 0}}, 1, AUTH, 0, .cut = STREAM_TAG_SIZE / 2},
    {"half-a-tag-alone", {{0, 0}}, 1, AUTH, 0, .cut = STREAM_TAG_SIZE / 2},
    {"trailing-garbage-short", {{700, 0}}, 1, AUTH, 0, .garbage = 1},
    {"trailing-garbage-of-a-tag", {{700, 0}}, 1, AUTH, 0, .garbage = STREAM_TAG_SIZE},
    {"trailing-garbage-long", {{700, 0}}, 1, AUTH, 0, .garbage = 2 * STREAM_SEALED_CHUNK_SIZE},
    {"trailing-garbage-behind-exact-chunk", {{FULL, 0}, {0, 1}}, 2, AUTH, FULL, .garbage = 20},
    {"trailing-garbage-a-chunk", {{FULL, 0}, {0, 1}}, 2, AUTH, FULL, .garbage = STREAM_SEALED_CHUNK_SIZE},
};

/* The key of a stream, which no interface but this one of wire gives. */
static Secret *file_key(const Buf *head, size_t header)
{
    const uint8_t(*kids)[KID_SIZE] = bob->kids;
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    _cleanup_(buf_done) Buf plain = BUF_MAX(FILE_KEY_SIZE);
    Secret *key = NULL;
    size_t kid = 0;

    g_assert_cmpint(stream_header_parse(head->data, header, kids, 1, &p, &kid), ==, 0);
    g_assert_cmpint(package_check_sender(p, NULL, NULL), ==, 0);
    keys = test_person_unwrap(bob, p);
    g_assert_cmpint(package_open(p, keys, &plain), ==, 0);
    g_assert_cmpint(secret_new_copy(plain.data, plain.size, &key), ==, 0);
    return key;
}

static Buf head_of_stream(StreamKeys *ret)
{
    WireSession *session = test_session_new(NULL, bob, STREAM_NOW);
    const StreamRecipient to = {session, 0};
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    uint8_t context[SHA256_SIZE];
    Buf head = BUF_MAX(2 * STREAM_ROOM);

    g_assert_cmpint(stream_writer_new(&to, 1, STREAM_NOW, 0, &w, &head), ==, 0);
    size_t header = head.size - STREAM_PREFIX_SIZE;
    key = file_key(&head, header);
    g_assert_cmpint(crypto_sha256(head.data, header, context), ==, 0);
    g_assert_cmpint(stream_keys_derive(key, head.data + header, context, true, ret), ==, 0);
    (void)wire_session_free(session);
    return head;
}

static void add_piece(Buf *stream, const StreamKeys *keys, const Piece *p, const uint8_t *plain)
{
    uint8_t nonce[STREAM_NONCE_SIZE];
    g_autofree uint8_t *sealed = g_malloc(p->size + STREAM_TAG_SIZE);

    stream_nonce(keys, p->as, nonce);
    g_assert_cmpint(gcm_seal(keys->gcm[0], nonce, plain, p->size, sealed), ==, 0);
    if (p->bad_tag)
        sealed[p->size + STREAM_TAG_SIZE - 1] ^= 0x80;
    g_assert_cmpint(buf_append(stream, sealed, p->size + STREAM_TAG_SIZE), ==, 0);
}

static void test_case(gconstpointer data)
{
    const Case *c = data;
    static const size_t steps[] = {1, 4099, STREAM_SEALED_CHUNK_SIZE, STREAM_ROOM};
    g_autofree uint8_t *plain = stream_content(CHUNKS_MAX * 2 * FULL);
    StreamKeys keys = {0};
    _cleanup_(buf_done) Buf stream = head_of_stream(&keys);
    size_t at = 0;

    for (size_t i = 0; i < c->n; i++) {
        add_piece(&stream, &keys, &c->pieces[i], plain + at);
        at += c->pieces[i].size;
    }
    g_assert_cmpuint(stream.size, >, c->cut);
    stream.size -= c->cut;
    g_assert_cmpint(buf_append(&stream, plain, c->garbage), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
        bool verified = true;

        g_assert_cmpint(stream_read_all(&stream, bob, steps[i], &out, &verified), ==, c->expected);
        g_assert_false(verified); /* it is anonymous */
        if (c->expected == 0)
            g_assert_cmpuint(out.size, ==, c->content);
        g_assert_cmpuint(out.size, <=, c->content);
        g_assert_cmpmem(out.data ? out.data : plain, out.size, plain, out.size);
    }
    stream_keys_done(&keys);
}

/* The salt and the commitment in front of the chunks, changed and cut off; the hash of the header is in both.
 */
static void test_prefix(void)
{
    StreamKeys keys = {0};
    _cleanup_(buf_done) Buf stream = head_of_stream(&keys);
    const Piece piece = {700, 0};
    g_autofree uint8_t *plain = stream_content(700);
    size_t prefix = stream.size - STREAM_PREFIX_SIZE;

    add_piece(&stream, &keys, &piece, plain);
    for (size_t i = 0; i < STREAM_PREFIX_SIZE; i++)
        for (unsigned bit = 0; bit < 8; bit += 7) {
            stream.data[prefix + i] ^= (uint8_t)(1u << bit);
            stream_expect_refused(&stream, bob, plain, 0);
            stream.data[prefix + i] ^= (uint8_t)(1u << bit);
        }
    for (size_t n = prefix; n < prefix + STREAM_PREFIX_SIZE; n++) {
        stream.size = n;
        stream_expect_refused(&stream, bob, plain, 0);
    }
    stream_keys_done(&keys);
}

/* A byte of white space in the header's JSON changes no member, and still the stream is another. */
static void test_header_hash(void)
{
    StreamKeys keys = {0};
    _cleanup_(buf_done) Buf stream = head_of_stream(&keys), spaced = BUF_MAX(2 * STREAM_ROOM);
    const Piece piece = {700, 0};
    g_autofree uint8_t *plain = stream_content(700);
    uint8_t *size_byte;

    add_piece(&stream, &keys, &piece, plain);
    g_assert_cmpint(buf_append(&spaced, stream.data, STREAM_PREAMBLE_SIZE + 1), ==, 0);
    g_assert_cmpint(buf_append(&spaced, " ", 1), ==, 0);
    g_assert_cmpint(
        buf_append(&spaced, stream.data + STREAM_PREAMBLE_SIZE + 1, stream.size - STREAM_PREAMBLE_SIZE - 1),
        ==, 0);
    size_byte = spaced.data + sizeof(STREAM_MAGIC) - 1 + 3;
    if (++*size_byte == 0) /* the size of the packages, big-endian */
        size_byte[-1]++;
    _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
    bool verified = false;
    g_assert_cmpint(stream_read_all(&spaced, bob, STREAM_ROOM, &out, &verified), ==, AUTH);
    g_assert_cmpuint(out.size, ==, 0);
    stream_keys_done(&keys);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    bob = test_person_new();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/stream-cases/", cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/stream-cases/prefix", test_prefix);
    g_test_add_func("/stream-cases/header-hash", test_header_hash);
    status = g_test_run();
    test_person_free(bob);
    return status;
}
