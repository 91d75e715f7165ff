/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys in a token, which SoftHSM 2 is here. */

#include <dlfcn.h>
#include <errno.h>
#include <glib.h>
#include <p11-kit/p11-kit.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/token.h"
#include "tests/lib/process.h"
#include "tests/lib/softhsm.h"

#define BITS 2048

typedef struct Fixture {
    char *folder;
    Secret *pin;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    static const char *const tokens[] = {"relay", "other", NULL};

    f->folder = test_folder_new();
    test_softhsm_set_up(f->folder, tokens);
    g_assert_cmpint(secret_new_copy(TEST_SOFTHSM_PIN, strlen(TEST_SOFTHSM_PIN), &f->pin), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)secret_free(f->pin);
    test_folder_remove(f->folder);
}

static Token *open_token(const Fixture *f, const char *attributes)
{
    g_autofree char *uri = test_softhsm_uri(attributes);
    Token *t = NULL;

    g_assert_cmpint(token_open(uri, f->pin, &t), ==, 0);
    return t;
}

static RsaKey *make_key(const Fixture *f, const char *attributes)
{
    _cleanup_(token_freep) Token *t = open_token(f, attributes);
    RsaKey *public = NULL;

    g_assert_cmpint(token_make_key(t, BITS, &public), ==, 0);
    return public;
}

static void expect_works(Token *t, const RsaKey *public)
{
    static const uint8_t digest[SHA256_SIZE] = {1, 2, 3};
    static const char text[] = "what only the key opens";
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), wrapped = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *got = NULL;
    unsigned salt = 0;

    g_assert_cmpint(token_sign(t, digest, &signature), ==, 0);
    g_assert_cmpint(rsa_key_verify_ps256_salt(public, digest, signature.data, signature.size, &salt), ==, 0);
    g_assert_cmpuint(salt, ==, SHA256_SIZE);
    g_assert_cmpint(rsa_key_oaep_encrypt(public, text, sizeof(text), &wrapped), ==, 0);
    g_assert_cmpint(token_decrypt(t, wrapped.data, wrapped.size, &got), ==, 0);
    g_assert_cmpmem(secret_bytes(got), secret_size(got), text, sizeof(text));
}

static void test_made(Fixture *f, gconstpointer data)
{
    static const char *const names[] = {"token=relay;object=mine;id=%01", "token=relay;object=mine",
                                        "token=relay;id=%01", "token=relay"};
    RsaKey *made = make_key(f, names[0]);

    g_assert_cmpuint(rsa_key_bits(made), ==, BITS);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        _cleanup_(token_freep) Token *t = open_token(f, names[i]);
        _cleanup_(buf_done) Buf uri = BUF_MAX(TOKEN_URI_MAX);
        RsaKey *found = NULL, *again = NULL;

        g_assert_cmpint(token_find_key(t, &found), ==, 0);
        g_assert_true(rsa_key_equal(found, made));
        expect_works(t, found);
        g_assert_cmpint(token_make_key(t, BITS, &again), ==, -EEXIST);
        g_assert_null(again);
        g_assert_cmpint(token_key_uri(t, &uri), ==, 0);
        g_assert_nonnull(strstr(buf_text(&uri), "id=%01"));
        g_assert_nonnull(strstr(buf_text(&uri), "module-path="));
        (void)rsa_key_free(found);
    }
    (void)rsa_key_free(made);
}

/* What another key's is does not open, nor what is damaged or of another size; and the token is none the
 * worse for it. */
static void test_undecryptable(Fixture *f, gconstpointer data)
{
    RsaKey *other = make_key(f, "token=other;id=%01"), *public = NULL;
    _cleanup_(token_freep) Token *t = open_token(f, "token=relay;id=%01");
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *got = NULL;
    const uint8_t zero[BITS / 8] = {0};
    uint8_t ones[BITS / 8];

    g_assert_cmpint(token_make_key(t, BITS, &public), ==, 0);
    memset(ones, 0xff, sizeof(ones)); /* above the modulus */
    g_assert_cmpint(rsa_key_oaep_encrypt(other, "x", 1, &wrapped), ==, 0);
    wrapped.data[0] = 0; /* below any modulus */
    const int no = HMSG_ERROR_AUTHENTICATION_FAILED;
    g_assert_cmpint(token_decrypt(t, wrapped.data, wrapped.size, &got), ==, no);
    g_assert_cmpint(token_decrypt(t, wrapped.data, wrapped.size - 1, &got), ==, no);
    g_assert_cmpint(token_decrypt(t, "", 0, &got), ==, no);
    g_assert_cmpint(token_decrypt(t, zero, sizeof(zero), &got), ==, no);
    g_assert_cmpint(token_decrypt(t, ones, sizeof(ones), &got), ==, no);
    g_assert_null(got);
    expect_works(t, public);
    (void)rsa_key_free(other);
    (void)rsa_key_free(public);
}

static void expect_open(const char *uri, const Secret *pin, int expected)
{
    Token *t = NULL;

    g_assert_cmpint(token_open(uri, pin, &t), ==, expected);
    g_assert_null(t);
}

static void test_not_opened(Fixture *f, gconstpointer data)
{
    g_autofree char *good = test_softhsm_uri("token=relay"), *none = test_softhsm_uri("token=none"),
                    *any = test_softhsm_uri("model=SoftHSM%20v2");
    g_autofree char *with_pin = g_strdup_printf("%s&pin-value=" TEST_SOFTHSM_PIN, good),
                    *with_source = g_strdup_printf("%s&pin-source=file:/dev/null", good),
                    *unknown = test_softhsm_uri("token=relay;colour=blue"),
                    *too_long = g_strdup_printf("%s&x-long=%0*d", good, TOKEN_URI_MAX, 0);
    const char *const bad[] = {"",      "pkcs11", "pkcs11:token=%0g", "https://relay", with_pin, with_source,
                               unknown, too_long};
    Secret *wrong = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        expect_open(bad[i], f->pin, HMSG_ERROR_INVALID_ARGS);
    expect_open(none, f->pin, -ENODEV);
    expect_open(any, f->pin, -ENOTUNIQ);
    expect_open("pkcs11:token=relay?module-path=/nonexistent", f->pin, -ENODEV);
    expect_open("pkcs11:token=relay?module-path=/etc/passwd", f->pin, -ENODEV);
    expect_open(good, NULL, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(secret_new_copy("7654321", 7, &wrong), ==, 0);
    expect_open(good, wrong, HMSG_ERROR_AUTHENTICATION_FAILED);
    (void)secret_free(wrong);
    _cleanup_(token_freep) Token *t = open_token(f, "token=relay"); /* after all of that */
}

static void test_which(Fixture *f, gconstpointer data)
{
    RsaKey *public = NULL;

    (void)rsa_key_free(make_key(f, "token=relay;object=a;id=%01"));
    (void)rsa_key_free(make_key(f, "token=relay;object=a;id=%02"));
    _cleanup_(token_freep) Token *both = open_token(f, "token=relay;object=a"),
                                 *none = open_token(f, "token=relay;object=b");
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    const uint8_t digest[SHA256_SIZE] = {0};
    g_assert_cmpint(token_find_key(both, &public), ==, -ENOTUNIQ);
    g_assert_cmpint(token_make_key(both, BITS, &public), ==, -ENOTUNIQ);
    g_assert_cmpint(token_find_key(none, &public), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(token_make_key(none, 1024, &public), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(token_sign(none, digest, &signature), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_null(public);
}

static void test_renewed_uri(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf kept = BUF_MAX(TOKEN_URI_MAX), other = BUF_MAX(TOKEN_URI_MAX),
                            named = BUF_MAX(TOKEN_URI_MAX), bad = BUF_MAX(TOKEN_URI_MAX);
    const char *uri = "pkcs11:token=relay;object=a?module-path=%2Fx";

    g_assert_true(token_is_uri(uri));
    g_assert_false(token_is_uri("identity.pem"));
    g_assert_cmpint(token_uri_renew(uri, true, &kept), ==, 0);
    g_assert_cmpint(token_uri_renew(uri, false, &other), ==, 0);
    g_assert_cmpint(token_uri_renew("pkcs11:token=relay", true, &named), ==, 0);
    g_assert_nonnull(strstr(buf_text(&kept), "object=a"));
    g_assert_nonnull(strstr(buf_text(&kept), "module-path=%2Fx"));
    g_assert_nonnull(strstr(buf_text(&other), "object=hmsg-relay-"));
    g_assert_nonnull(strstr(buf_text(&named), "object=hmsg-relay-"));
    g_assert_nonnull(strstr(buf_text(&named), "id=%"));
    g_assert_cmpint(token_uri_renew("pkcs11:?pin-value=1", true, &bad), ==, HMSG_ERROR_INVALID_ARGS);
}

/* The module as another program part sees it, without p11-kit. */
static CK_FUNCTION_LIST *get_functions(void **ret_library)
{
    CK_FUNCTION_LIST *functions = NULL;
    CK_C_GetFunctionList get;

    *ret_library = dlopen(test_softhsm_module(), RTLD_NOW | RTLD_LOCAL);
    g_assert_nonnull(*ret_library);
    *(void **)&get = dlsym(*ret_library, "C_GetFunctionList");
    g_assert_cmpuint(get(&functions), ==, CKR_OK);
    return functions;
}

/* The token was away, and has forgotten who was logged in. */
static void test_lost(Fixture *f, gconstpointer data)
{
    _cleanup_(token_freep) Token *t = open_token(f, "token=relay;id=%01");
    RsaKey *public = NULL;
    void *library = NULL;
    CK_FUNCTION_LIST *functions = get_functions(&library);

    g_assert_cmpint(token_make_key(t, BITS, &public), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(functions->C_Finalize(NULL), ==, CKR_OK);
        expect_works(t, public);
    }
    (void)rsa_key_free(public);
    dlclose(library);
}

static CK_ULONG find_private(CK_FUNCTION_LIST *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *ret)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof(class)};
    CK_ULONG n = 0;

    g_assert_cmpuint(m->C_FindObjectsInit(session, &template, 1), ==, CKR_OK);
    g_assert_cmpuint(m->C_FindObjects(session, ret, 1, &n), ==, CKR_OK);
    g_assert_cmpuint(m->C_FindObjectsFinal(session), ==, CKR_OK);
    return n;
}

/* The key does not leave the token; and once it is removed there nothing is signed with another. */
static void test_kept_and_removed(Fixture *f, gconstpointer data)
{
    _cleanup_(token_freep) Token *t = open_token(f, "token=relay;id=%01");
    RsaKey *public = NULL;
    void *library = NULL;
    CK_FUNCTION_LIST *m = get_functions(&library);
    CK_SLOT_ID slots[8];
    CK_ULONG n = G_N_ELEMENTS(slots);
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    const uint8_t digest[SHA256_SIZE] = {0};
    unsigned removed = 0;

    g_assert_cmpint(token_make_key(t, BITS, &public), ==, 0);
    g_assert_cmpuint(m->C_GetSlotList(CK_TRUE, slots, &n), ==, CKR_OK);
    for (CK_ULONG i = 0; i < n; i++) {
        CK_SESSION_HANDLE session = 0;
        CK_OBJECT_HANDLE key = 0;
        CK_BBOOL sensitive = CK_FALSE, extractable = CK_TRUE;
        CK_ATTRIBUTE a[] = {{CKA_SENSITIVE, &sensitive, 1}, {CKA_EXTRACTABLE, &extractable, 1}};

        if (m->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) != CKR_OK)
            continue;
        if (find_private(m, session, &key) == 1) {
            g_assert_cmpuint(m->C_GetAttributeValue(session, key, a, 2), ==, CKR_OK);
            g_assert_true(sensitive && !extractable);
            g_assert_cmpuint(m->C_DestroyObject(session, key), ==, CKR_OK);
            removed++;
        }
        g_assert_cmpuint(m->C_CloseSession(session), ==, CKR_OK);
    }
    g_assert_cmpuint(removed, ==, 1);
    g_assert_cmpint(token_sign(t, digest, &signature), !=, 0);
    g_assert_cmpuint(signature.size, ==, 0);
    (void)rsa_key_free(public);
    dlclose(library);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {{"/server/token/made", test_made},
                 {"/server/token/undecryptable", test_undecryptable},
                 {"/server/token/not-opened", test_not_opened},
                 {"/server/token/which", test_which},
                 {"/server/token/renewed-uri", test_renewed_uri},
                 {"/server/token/lost", test_lost},
                 {"/server/token/kept-and-removed", test_kept_and_removed}};

    g_test_init(&argc, &argv, NULL);
    if (!test_softhsm_available()) {
        g_print("1..0 # SKIP SoftHSM 2 is not installed\n");
        return 0;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
