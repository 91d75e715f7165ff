/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* hmsgctl as a user has it: encrypt and decrypt without any relay, what it writes where, and how it ends. */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/mail.h"
#include "tests/lib/swtpm.h"

#define TEXT "Dear Bob,\nhere are the plans.\n"
#define LARGE_SIZE (3 * 1024 * 1024 + 7)
#define NOWHERE "bob@127.0.0.1:1#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define NO_ID "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

enum { DONE, FAILED, USAGE, NO_IDENTITY, NOT_FOUND, FORGED, NO_TPM, NO_RELAY, UNTRUSTED };

/* Alice writes, Bob reads; there is no relay. */
typedef struct Pair {
    Scene *scene;
    SceneUser *alice, *bob;
} Pair;

static void set_up(Pair *p, gconstpointer data)
{
    p->scene = scene_new();
    p->alice = scene_user_new(p->scene, "alice");
    p->bob = scene_user_new(p->scene, "bob");
    scene_ctl_expect(p->bob, DONE, "identity", "create", NULL);
}

static void tear_down(Pair *p, gconstpointer data)
{
    scene_free(p->scene);
}

/* identity export; "key:FILE", to be freed. */
static char *key_of(Pair *p, SceneUser *u, const char *format)
{
    g_autofree char *path = g_strdup_printf("%s/key-%p-%s", scene_folder(p->scene), (void *)u, format);

    scene_ctl_expect(u, DONE, "identity", "export", "--format", format, "-o", path, NULL);
    return g_strconcat("key:", path, NULL);
}

/* decrypt of a text, which must give TEXT. */
static void opens(SceneUser *u, const char *package, const char *option)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    int status = scene_ctl(u, package, &out, &err, "decrypt", option, NULL);

    if (status != DONE)
        g_error("decrypt exits with %d: %s", status, err);
    g_assert_cmpstr(out, ==, TEXT);
}

/* decrypt fails so, and says nothing but why. */
static void refuses(SceneUser *u, int expected, const char *package, const char *option)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    g_assert_cmpint(scene_ctl(u, package, &out, &err, "decrypt", option, NULL), ==, expected);
    g_assert_cmpstr(out, ==, "");
    g_assert_true(g_str_has_prefix(err, "hmsgctl: "));
}

/* encrypt; option may be NULL. To be freed. */
static char *package_for(SceneUser *u, const char *key, const char *option)
{
    g_autofree char *err = NULL;
    char *out = NULL;
    int status = scene_ctl(u, TEXT, &out, &err, "encrypt", "-r", key, option, NULL);

    if (status != DONE)
        g_error("encrypt exits with %d: %s", status, err);
    return out;
}

static void test_keys(Pair *p, gconstpointer data)
{
    static const char *const formats[] = {"pem", "jwk", "identity"};
    g_autofree char *other = key_of(p, p->bob, "pem");

    scene_ctl_expect(p->alice, DONE, "identity", "create", NULL);
    g_autofree char *alice = key_of(p, p->alice, "identity");
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *key = key_of(p, p->bob, formats[i]);
        g_autofree char *signed_one = package_for(p->alice, key, NULL);
        g_autofree char *anonymous = package_for(p->alice, key, "--no-sign");

        if (i == 0)
            refuses(p->bob, UNTRUSTED, signed_one, NULL);
        refuses(p->bob, UNTRUSTED, anonymous, NULL);
        opens(p->bob, anonymous, "--allow-unknown");
        if (i == 0)
            scene_ctl_expect(p->bob, DONE, "contact", "add", alice, "--name", "Alice", NULL);
        opens(p->bob, signed_one, NULL);
        /* not for her who wrote it */
        refuses(p->alice, FORGED, signed_one, "--allow-unknown");
    }

    /* for both: an array, from which each takes their own */
    g_autofree char *out = NULL;
    g_assert_cmpint(scene_ctl(p->alice, TEXT, &out, NULL, "encrypt", "-r", other, "-r", alice, NULL), ==,
                    DONE);
    g_assert_cmpint(*out, ==, '[');
    opens(p->bob, out, NULL);
    opens(p->alice, out, NULL);
}

static void test_stream(Pair *p, gconstpointer data)
{
    g_autofree char *file = mail_file(p->scene, "plans.bin", LARGE_SIZE);
    g_autofree char *sealed = scene_path(p->scene, "plans.hmsg");
    g_autofree char *got = scene_path(p->scene, "got.bin");
    g_autofree char *key = key_of(p, p->bob, "jwk");

    scene_ctl_expect(p->alice, DONE, "encrypt", "--no-sign", "-r", key, "-o", sealed, file, NULL);
    scene_ctl_expect(p->bob, UNTRUSTED, "decrypt", "-o", got, sealed, NULL);
    g_assert_false(g_file_test(got, G_FILE_TEST_EXISTS));
    scene_ctl_expect(p->bob, DONE, "decrypt", "--allow-unknown", "-o", got, sealed, NULL);
    mail_files_equal(file, got);
    /* by pipes */
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *const argv[] = {
        "/bin/sh", "-c", "\"$0\" decrypt --allow-unknown <\"$1\" | cat >\"$2\"", ctl, sealed, got, NULL};
    g_assert_cmpint(unlink(got), ==, 0);
    g_assert_cmpint(test_run(argv, scene_environment(p->bob), NULL, NULL, NULL), ==, 0);
    mail_files_equal(file, got);
}

static void test_no_tpm(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");
    g_autofree char *own = package_for(p->bob, bob, NULL);
    g_autofree char *other = package_for(p->bob, bob, "--fresh");

    opens(p->bob, own, NULL);
    test_swtpm_stop(scene_tpm(p->alice));
    test_swtpm_stop(scene_tpm(p->bob));
    scene_agent_stop(p->alice);
    scene_agent_start(p->alice);
    g_autofree char *anonymous = package_for(p->alice, bob, "--no-sign");
    scene_ctl_expect(p->alice, NO_IDENTITY, "encrypt", "-r", bob, NULL);
    scene_ctl_expect(p->alice, NO_TPM, "identity", "create", NULL);

    /* the key of one session is here, that of the other is not */
    opens(p->bob, own, NULL);
    refuses(p->bob, NO_TPM, other, NULL);
    refuses(p->bob, NO_TPM, anonymous, "--allow-unknown");
    scene_ctl_expect(p->bob, NO_TPM, "encrypt", "--fresh", "-r", bob, NULL);
    g_autofree char *unsigned_one = package_for(p->bob, bob, "--no-sign");
    scene_ctl_expect(p->bob, FAILED, "doctor", NULL);
    test_swtpm_start(scene_tpm(p->bob));
    scene_ctl_expect(p->bob, DONE, "unlock",
                     NULL); /* tries at once what the agent does by itself in a while */
    opens(p->bob, other, NULL);
    opens(p->bob, anonymous, "--allow-unknown");
    opens(p->bob, unsigned_one, "--allow-unknown");
}

static void test_seed(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    scene_ctl_expect(p->alice, DONE, "identity", "create", NULL);
    g_assert_cmpint(scene_ctl(p->alice, TEXT, &out, &err, "encrypt", "-r", bob, "--format", "seed", NULL), ==,
                    DONE);
    g_assert_nonnull(strstr(err, "warning"));
    refuses(p->bob, UNTRUSTED, out, NULL);
    opens(p->bob, out, "--allow-unknown");

    json_t *seed = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
    g_assert_cmpint(json_object_del(seed, "hmac"), ==, 0);
    char *bare = json_dumps(seed, JSON_COMPACT);
    json_decref(seed);
    refuses(p->bob, FORGED, bare, NULL);
    refuses(p->bob, FORGED, bare, "--allow-unknown");
    opens(p->bob, bare, "--allow-unauthenticated");
    g_autofree char *warning = NULL;
    g_assert_cmpint(
        scene_ctl(p->bob, bare, NULL, &warning, "decrypt", "--allow-unauthenticated", "--json", NULL), ==,
        DONE);
    g_assert_nonnull(strstr(warning, "warning: this has no MAC"));
    free(bare);
}

/* convert of a text. To be freed. */
static char *converted(SceneUser *u, const char *text, const char *option)
{
    g_autofree char *err = NULL;
    char *out = NULL;
    int status = scene_ctl(u, text, &out, &err, "convert", option, NULL);

    if (status != DONE)
        g_error("convert exits with %d: %s", status, err);
    return out;
}

static void test_jwe(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");

    /* Alice has no keys yet: converting needs none */
    g_autofree char *package = package_for(p->bob, bob, NULL);
    g_autofree char *jwe = converted(p->alice, package, NULL);
    g_autofree char *same = converted(p->alice, jwe, "--to=jwe");
    g_autofree char *back = converted(p->alice, jwe, NULL);
    g_assert_nonnull(strstr(jwe, "\"hmsg-signature\""));
    g_assert_cmpstr(same, ==, jwe);
    g_assert_cmpstr(back, ==, package);
    opens(p->bob, jwe, NULL);
    opens(p->bob, back, NULL);

    g_autofree char *written = package_for(p->bob, bob, "--format=jwe");
    g_assert_true(g_str_has_prefix(written, "{\"protected\""));
    opens(p->bob, written, NULL);
    g_autofree char *native = converted(p->bob, written, "--to=hmsg");
    opens(p->bob, native, NULL);
    g_autofree char *array = g_strdup_printf("[%s]", package);
    g_assert_cmpint(scene_ctl(p->bob, array, NULL, NULL, "convert", NULL), ==, FORGED);
    g_assert_cmpint(scene_ctl(p->bob, TEXT, NULL, NULL, "convert", NULL), ==, FORGED);
    g_assert_cmpint(scene_ctl(p->bob, package, NULL, NULL, "convert", "--to=cms", NULL), ==, USAGE);
    g_assert_cmpint(
        scene_ctl(p->bob, TEXT, NULL, NULL, "encrypt", "--format=jwe-compact", "-r", bob, "-r", bob, NULL),
        ==, USAGE);

    /* without what says who signed it, it is none of ours */
    g_auto(GStrv) halves = g_strsplit(jwe, "\"unprotected\":{", 2);
    g_autofree char *stripped = g_strconcat(halves[0], strstr(halves[1], "\"encrypted_key\""), NULL);
    refuses(p->bob, FORGED, stripped, "--allow-unknown");
}

/* JWE that are no packages: for several, and in one line. */
static void test_jwe_message(Pair *p, gconstpointer data)
{
    scene_ctl_expect(p->alice, DONE, "identity", "create", NULL);
    g_autofree char *alice = key_of(p, p->alice, "pem"), *bob = key_of(p, p->bob, "pem"), *err = NULL,
                    *both = NULL, *line = NULL;

    g_assert_cmpint(
        scene_ctl(p->bob, TEXT, &both, NULL, "encrypt", "--format=jwe", "-r", alice, "-r", bob, NULL), ==,
        DONE);
    g_assert_nonnull(strstr(both, "\"recipients\""));
    opens(p->bob, both, NULL);
    refuses(p->alice, UNTRUSTED, both, NULL); /* Bob is no contact of hers */
    opens(p->alice, both, "--allow-unknown");
    g_assert_cmpint(scene_ctl(p->bob, both, NULL, NULL, "convert", NULL), ==, FORGED);
    g_assert_cmpint(
        scene_ctl(p->bob, TEXT, &line, &err, "encrypt", "--format=jwe-compact", "-r", alice, NULL), ==, DONE);
    g_assert_nonnull(strstr(err, "does not say who made it"));
    g_autofree char *with_end = g_strconcat(line, "\n", NULL);
    refuses(p->alice, UNTRUSTED, with_end, NULL);
    opens(p->alice, with_end, "--allow-unknown");
    refuses(p->bob, FORGED, line, "--allow-unknown"); /* not for him */
}

/* The exported JWK is all that another program needs to write to Alice. */
static void test_jwe_of_others(Pair *p, gconstpointer data)
{
    static const char script[] =
        "import sys\n"
        "try:\n"
        "    from jwcrypto import jwe, jwk\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "key = jwk.JWK.from_json(open(sys.argv[1], encoding='utf-8').read())\n"
        "token = jwe.JWE(sys.stdin.buffer.read(), '{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256GCM\"}')\n"
        "token.add_recipient(key)\n"
        "sys.stdout.write(token.serialize(compact=sys.argv[2] == 'compact'))\n";
    static const char *const forms[] = {"compact", "flattened"};

    scene_ctl_expect(p->alice, DONE, "identity", "create", NULL);
    g_autofree char *key = key_of(p, p->alice, "jwk");
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        const char *const argv[] = {"/usr/bin/python3",   "-B",     "-c", script,
                                    key + strlen("key:"), forms[i], NULL};
        g_autofree char *out = NULL, *err = NULL, *changed = NULL;
        int status = test_run(argv, NULL, TEXT, &out, &err);

        if (status == 77) {
            g_test_skip("python3-jwcrypto is missing");
            return;
        }
        if (status != 0)
            g_error("jwcrypto: %s", err);
        refuses(p->alice, UNTRUSTED, out, NULL);
        opens(p->alice, out, "--allow-unknown");
        changed = g_strdup(out);
        char *last = &changed[strlen(changed) - 10]; /* of the tag, or of what stands last */
        *last = *last == 'A' ? 'B' : 'A';
        refuses(p->alice, FORGED, changed, "--allow-unknown");
    }
}

/* hmsgctl with its standard output in a full disk. */
static void expect_full(SceneUser *u, const char *input, const char *command)
{
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    g_autofree char *script = g_strdup_printf("exec \"$0\" %s >/dev/full", command);
    const char *const argv[] = {"/bin/sh", "-c", script, ctl, NULL};
    g_autofree char *err = NULL;
    int status = test_run(argv, scene_environment(u), input, NULL, &err);

    if (status != FAILED)
        g_error("hmsgctl %s >/dev/full exits with %d: %s", command, status, err);
    g_assert_true(g_str_has_prefix(err, "hmsgctl: "));
}

static void test_full(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");
    g_autofree char *own = package_for(p->bob, bob, NULL);
    g_autofree char *file = mail_file(p->scene, "plans.bin", LARGE_SIZE);
    g_autofree char *sealed = scene_path(p->scene, "plans.hmsg");
    g_autofree char *encrypt = g_strdup_printf("encrypt -r %s", bob);
    g_autofree char *encrypt_file = g_strdup_printf("encrypt -r %s %s", bob, file);
    g_autofree char *decrypt_file = g_strdup_printf("decrypt %s", sealed);

    scene_ctl_expect(p->bob, DONE, "encrypt", "-r", bob, "-o", sealed, file, NULL);
    expect_full(p->bob, TEXT, encrypt);
    expect_full(p->bob, NULL, encrypt_file);
    expect_full(p->bob, own, "decrypt");
    expect_full(p->bob, own, "decrypt --json");
    expect_full(p->bob, NULL, decrypt_file);
    expect_full(p->bob, own, "decrypt -o /dev/full");
    static const char *const facts[] = {"status",       "status --json",   "doctor",       "identity show",
                                        "inbox --json", "identity export", "session list", "help"};
    for (size_t i = 0; i < G_N_ELEMENTS(facts); i++)
        expect_full(p->bob, NULL, facts[i]);
}

/* Nothing in the folder but what was there. */
static void expect_files(const char *folder, size_t n)
{
    g_autoptr(GDir) all = g_dir_open(folder, 0, NULL);
    size_t found = 0;

    while (g_dir_read_name(all))
        found++;
    g_assert_cmpuint(found, ==, n);
}

static void test_whole_or_not(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");
    g_autofree char *file = mail_file(p->scene, "plans.bin", LARGE_SIZE);
    g_autofree char *sealed = scene_path(p->scene, "plans.hmsg");
    g_autofree char *cut = scene_path(p->scene, "cut.hmsg");
    g_autofree char *folder = scene_path(p->scene, "results");
    g_autofree char *got = g_build_filename(folder, "got", NULL);
    g_autofree char *pipe = scene_path(p->scene, "pipe");
    g_autofree char *bytes = NULL;
    g_autofree char *kept = NULL;
    gsize size;

    g_assert_cmpint(mkdir(folder, 0700), ==, 0);
    scene_ctl_expect(p->bob, DONE, "encrypt", "-r", bob, "-o", sealed, file, NULL);
    g_assert_true(g_file_get_contents(sealed, &bytes, &size, NULL));

    /* cut off anywhere: what was there stays */
    const gsize cuts[] = {0, 1, 100, size / 2, size - 1};
    g_assert_true(g_file_set_contents(got, TEXT, -1, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(cuts); i++) {
        g_assert_true(g_file_set_contents(cut, bytes, (gssize)cuts[i], NULL));
        scene_ctl_expect(p->bob, FORGED, "decrypt", "-o", got, cut, NULL);
    }
    g_assert_true(g_file_get_contents(got, &kept, NULL, NULL));
    g_assert_cmpstr(kept, ==, TEXT);
    expect_files(folder, 1);

    /* killed in the middle */
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *const argv[] = {ctl, "decrypt", "-o", got, pipe, NULL};
    g_assert_cmpint(unlink(got), ==, 0);
    g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    TestProcess *decrypt = test_process_start(argv, scene_environment(p->bob), NULL);
    int fd = open(pipe, O_WRONLY | O_CLOEXEC);
    gssize half = (gssize)(size / 2);
    g_assert_cmpint(fd, >=, 0);
    for (gssize at = 0, n; at < half; at += n) {
        n = write(fd, bytes + at, (size_t)(half - at));
        g_assert_cmpint(n, >, 0);
    }
    g_assert_false(g_file_test(got, G_FILE_TEST_EXISTS));
    test_process_signal(decrypt, SIGKILL);
    (void)test_process_wait(decrypt);
    close(fd);
    expect_files(folder, 0);

    /* and whole, in place of a file */
    g_assert_true(g_file_set_contents(got, TEXT, -1, NULL));
    scene_ctl_expect(p->bob, DONE, "decrypt", "-o", got, sealed, NULL);
    mail_files_equal(file, got);
    expect_files(folder, 1);
}

static void test_exit(Pair *p, gconstpointer data)
{
    g_autofree char *bob = key_of(p, p->bob, "pem");
    g_autofree char *own = package_for(p->bob, bob, NULL);

    scene_ctl_expect(p->bob, USAGE, NULL);
    scene_ctl_expect(p->bob, USAGE, "no-such-command", NULL);
    scene_ctl_expect(p->bob, USAGE, "status", "--no-such-option", NULL);
    scene_ctl_expect(p->bob, USAGE, "status", "operand", NULL);
    scene_ctl_expect(p->bob, USAGE, "read", NULL);
    scene_ctl_expect(p->bob, USAGE, "encrypt", NULL);
    scene_ctl_expect(p->bob, USAGE, "encrypt", "-r", bob, "--format", "zip", NULL);
    scene_ctl_expect(p->bob, USAGE, "register", "no address", NULL);

    /* Alice has no identity */
    scene_ctl_expect(p->alice, NO_IDENTITY, "identity", "show", NULL);
    scene_ctl_expect(p->alice, NO_IDENTITY, "identity", "export", NULL);
    scene_ctl_expect(p->alice, NO_IDENTITY, "encrypt", "-r", bob, NULL);
    scene_ctl_expect(p->alice, NO_IDENTITY, "register", NOWHERE, NULL);
    refuses(p->alice, NO_IDENTITY, own, NULL);

    scene_ctl_expect(p->bob, NOT_FOUND, "read", NO_ID, NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "delete", "--yes", NO_ID, NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "outbox", "cancel", NO_ID, NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "outbox", "retry", NO_ID, NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "contact", "show", "nobody", NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "session", "flush", "nothing", NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "encrypt", "-r", "nobody", NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "encrypt", "-r", "key:/no/such/file", NULL);
    scene_ctl_expect(p->bob, NOT_FOUND, "decrypt", "/no/such/file", NULL);
    scene_ctl_expect(p->bob, NO_RELAY, "send", "-r", NOWHERE, NULL);
    scene_ctl_expect(p->bob, NO_RELAY, "register", NOWHERE, NULL);
    scene_ctl_expect(p->bob, NO_RELAY, "contact", "add", NOWHERE, NULL);

    scene_ctl_expect(p->bob, DONE, "lock", NULL);
    refuses(p->bob, NO_IDENTITY, own, NULL);
    scene_ctl_expect(p->bob, NO_IDENTITY, "encrypt", "-r", bob, NULL);
    scene_ctl_expect(p->bob, DONE, "unlock", NULL);
    opens(p->bob, own, NULL);
    refuses(p->bob, FORGED, "", NULL);
    refuses(p->bob, FORGED, "Good morning", NULL);
}

static void check_json(SceneUser *u, const char *command, const char *one, const char *two, const char *three)
{
    json_decref(scene_ctl_json(u, command, one, two, three, NULL));
}

/* scene_ctl_json() fails the test when it is none. */
static void test_json(Pair *p, gconstpointer data)
{
    static const char *const words[][3] = {
        {"status"},
        {"identity", "show"},
        {"identity", "export"},
        {"contact", "list"},
        {"session", "list"},
        {"inbox"},
        {"outbox"},
        {"register", "--list"},
        {"lock"},
        {"unlock"},
        {"session", "flush"},
        {"outbox", "retry"},
        {"identity", "export", "--format=pem"},
    };
    g_autofree char *sealed = scene_path(p->scene, "sealed");
    g_autofree char *got = scene_path(p->scene, "got");

    scene_relay_start(p->scene);
    json_decref(scene_ctl_json(p->alice, "identity", "create", NULL));
    g_autofree char *alice = key_of(p, p->alice, "identity");
    g_autofree char *bob = g_strdup_printf("bob@%s", scene_relay(p->scene));
    check_json(p->bob, "register", bob, NULL, NULL);
    check_json(p->alice, "contact", "add", bob, NULL);
    check_json(p->bob, "contact", "add", alice, "--name=alice");
    check_json(p->bob, "contact", "show", "alice", NULL);
    check_json(p->bob, "contact", "block", "alice", NULL);
    check_json(p->bob, "contact", "allow", "alice", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        check_json(p->bob, words[i][0], words[i][1], words[i][2], NULL);

    json_decref(scene_ctl_json(p->alice, "encrypt", "-r", bob, "-o", sealed, NULL));
    json_decref(scene_ctl_json(p->bob, "decrypt", "-o", got, sealed, NULL));
    json_t *facts = scene_ctl_json(p->bob, "decrypt", sealed, NULL);
    g_assert_cmpstr(mail_fact(facts, "content"), ==, "");
    g_assert_true(json_is_true(json_object_get(facts, "verified")));
    json_decref(facts);
    facts = scene_ctl_json(p->alice, "send", "-r", bob, NULL);
    g_assert_cmpuint(strlen(mail_fact(facts, "id")), >, 0);
    json_decref(facts);
    g_autofree char *text = mail_await(p->bob, 1);
    g_auto(GStrv) ids = mail_ids(p->bob);
    check_json(p->bob, "read", ids[0], NULL, NULL);
    check_json(p->bob, "inbox", "--sync", NULL, NULL);
    check_json(p->bob, "delete", "--yes", ids[0], NULL);
    check_json(p->bob, "contact", "forget", "alice", NULL);
    check_json(p->bob, "register", "--remove", bob, NULL);
    check_json(p->bob, "identity", "delete", "--yes", NULL);

    /* a failure has no facts */
    g_autofree char *out = NULL;
    g_assert_cmpint(scene_ctl(p->bob, NULL, &out, NULL, "identity", "show", "--json", NULL), ==, NO_IDENTITY);
    g_assert_cmpstr(out, ==, "");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Pair *, gconstpointer);
    } tests[] = {
        {"/cli/keys", test_keys},
        {"/cli/stream", test_stream},
        {"/cli/no-tpm", test_no_tpm},
        {"/cli/seed", test_seed},
        {"/cli/full", test_full},
        {"/cli/whole-or-not", test_whole_or_not},
        {"/cli/exit", test_exit},
        {"/cli/json", test_json},
        {"/cli/jwe", test_jwe},
        {"/cli/jwe-message", test_jwe_message},
        {"/cli/jwe-of-others", test_jwe_of_others},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Pair, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
