/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Our own JWE for several recipients, each of whom has the content key. */

#include <jansson.h>

#include "libhmsg/base/clock.h"
#include "tests/unit/wire/jwe-util.h"

/* From sender (NULL: anonymous) to Bob and Carol. */
static char *shared(const People *who, const TestPerson *sender)
{
    RsaKey *to[] = {who->bob->decrypt, who->carol->decrypt, who->bob->decrypt};
    _cleanup_(jwe_writer_freep) JweWriter *w = NULL;
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX), out = BUF_MAX(JWE_MESSAGE_SIZE_MAX);

    g_assert_cmpint(jwe_writer_new(to, G_N_ELEMENTS(to), sender ? sender->sign : NULL, clock_realtime(), TEXT,
                                   strlen(TEXT), &w),
                    ==, 0);
    if (sender) {
        g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, 0);
        g_assert_cmpint(jws_sign_rsa(&draft, sender->sign_private, &jws), ==, 0);
        g_assert_cmpint(jwe_writer_finish(w, NULL, &out), ==, -EINVAL);
        g_assert_cmpint(jwe_writer_finish(w, buf_text(&jws), &out), ==, 0);
    } else {
        g_assert_cmpint(jwe_writer_prepare(w, &draft), ==, -EINVAL);
        g_assert_cmpint(jwe_writer_finish(w, NULL, &out), ==, 0);
    }
    return g_strdup(buf_text(&out));
}

static void test_shared(gconstpointer data)
{
    const People *who = data;
    bool is_signed = false;
    g_autofree char *text = shared(who, who->alice), *anonymous = shared(who, NULL);

    g_assert_cmpint(open_all(text, who->bob, &is_signed), ==, 0);
    g_assert_true(is_signed);
    g_assert_cmpint(open_all(text, who->carol, &is_signed), ==, 0);
    expect(HMSG_ERROR_NOT_FOR_US, text, who->alice);
    g_assert_cmpint(open_all(anonymous, who->bob, &is_signed), ==, 0);
    g_assert_false(is_signed);
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    g_assert_cmpint(parse(text, who->bob, &j, &why), ==, 0);
    g_assert_cmpmem(j->skid, KID_SIZE, rsa_key_thumbprint(who->alice->sign), KID_SIZE);
    g_assert_cmpint(ABS(j->ts - clock_realtime()), <, 60);
}

/* Everything in it is signed or checked: no character can change and nobody notice. */
static void test_mutations(gconstpointer data)
{
    const People *who = data;
    g_autofree char *text = shared(who, who->alice);
    size_t n = strlen(text), refused = 0;

    for (size_t i = 0; i < n; i += 7) {
        g_autofree char *other = g_strdup(text);

        other[i] = other[i] == 'A' ? 'B' : 'A';
        if (wire_format_detect(other, n) != FORMAT_JWE)
            continue;
        int r = open_all(other, who->bob, NULL);
        if (r != HMSG_ERROR_BAD_PACKAGE && r != HMSG_ERROR_AUTHENTICATION_FAILED &&
            r != HMSG_ERROR_NOT_FOR_US)
            g_error("character %zu: %d", i, r);
        refused++;
    }
    g_assert_cmpuint(refused, >, n / 14);
}

/* The object without a member, or with another; to be freed. */
static char *with(const char *text, const char *path, const char *name, json_t *value)
{
    json_t *root = json_loads(text, 0, NULL);
    json_t *object = *path ? json_object_get(root, path) : root;

    g_assert_nonnull(object);
    if (value)
        json_object_set_new(object, name, value);
    else
        json_object_del(object, name);
    char *out = json_dumps(root, JSON_COMPACT), *copy = g_strdup(out);
    free(out);
    json_decref(root);
    return copy;
}

static const char *text_at(json_t *root, const char *path, const char *name)
{
    return json_string_value(json_object_get(*path ? json_object_get(root, path) : root, name));
}

/* Bob has the content key: he writes another content, adds recipients, and puts his own name to it. */
static void test_attacks(gconstpointer data)
{
    const People *who = data;
    g_autofree char *text = shared(who, who->alice), *second = shared(who, who->alice),
                    *of_carol = shared(who, who->carol);
    json_t *a = json_loads(text, 0, NULL), *b = json_loads(second, 0, NULL),
           *c = json_loads(of_carol, 0, NULL);
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(1024), ek = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;
    const char *why = NULL;
    uint8_t tag[32], sha256[SHA256_SIZE];

    /* a new content under the shared key, to Carol */
    g_assert_cmpint(parse(text, who->bob, &j, &why), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(who->bob->decrypt_private, j->encrypted_key.data,
                                             j->encrypted_key.size, &key),
                    ==, 0);
    g_assert_cmpint(crypto_cbc_hs512_seal(secret_bytes(key), j->iv, j->aad.data, j->aad.size, "Forged", 6,
                                          &ciphertext, tag),
                    ==, 0);
    g_autofree char *forged_text = encoded(ciphertext.data, ciphertext.size), *forged_tag = encoded(tag, 32);
    g_autofree char *half = with(text, "", "ciphertext", json_string(forged_text));
    g_autofree char *forged = with(half, "", "tag", json_string(forged_tag));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, forged, who->carol);

    /* the statement of another message of Alice's, or of another's message */
    g_autofree char *moved =
        with(text, "unprotected", "hmsg-signature", json_string(text_at(b, "unprotected", "hmsg-signature")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, moved, who->bob);
    g_autofree char *resigned =
        with(text, "", "unprotected", json_deep_copy(json_object_get(c, "unprotected")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, resigned, who->bob);
    g_autofree char *swapped =
        with(text, "unprotected", "hmsg-sender", json_string(text_at(c, "unprotected", "hmsg-sender")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, swapped, who->bob);
    g_autofree char *header = with(text, "", "protected", json_string(text_at(c, "", "protected")));
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, header, who->bob); /* skid is another's */

    /* without the signature, or half of it */
    g_autofree char *stripped = with(text, "", "unprotected", NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, stripped, who->bob);
    g_autofree char *no_signature = with(text, "unprotected", "hmsg-signature", NULL);
    expect(HMSG_ERROR_BAD_PACKAGE, no_signature, who->bob);

    /* the same to a third, Alice herself: the list of recipients is signed */
    g_assert_cmpint(rsa_key_oaep_encrypt(who->alice->decrypt, secret_bytes(key), SESSION_KEYS_SIZE, &ek), ==,
                    0);
    g_autofree char *ek_text = encoded(ek.data, ek.size);
    json_t *list = json_deep_copy(json_object_get(a, "recipients"));
    json_array_append_new(list,
                          json_pack("{s{ss}ss}", "header", "kid", who->alice->kid, "encrypted_key", ek_text));
    g_autofree char *third = with(text, "", "recipients", list);
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, third, who->alice);
    list = json_deep_copy(json_object_get(a, "recipients"));
    json_array_remove(list, 1);
    g_autofree char *fewer = with(text, "", "recipients", list);
    expect(HMSG_ERROR_AUTHENTICATION_FAILED, fewer, who->bob);

    /* it can be made into one that has no sender, and says so */
    g_autofree char *line = compact(who->carol->decrypt, HEADER);
    bool is_signed = true;
    g_assert_cmpint(open_all(line, who->carol, &is_signed), ==, 0);
    g_assert_false(is_signed);

    /* nor can a statement of another type stand for it */
    JwsDraft draft = {0};
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    g_assert_cmpint(crypto_sha256("", 0, sha256), ==, 0);
    g_assert_cmpint(jws_prepare(JWS_PS256, JWS_STREAM, rsa_key_thumbprint(who->alice->sign), "{}", 2, &draft),
                    ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, who->alice->sign_private, &jws), ==, 0);
    jws_draft_done(&draft);
    g_autofree char *other_type = with(text, "unprotected", "hmsg-signature", json_string(buf_text(&jws)));
    g_assert_cmpint(open_all(other_type, who->bob, NULL), !=, 0);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new(), carol = test_person_new();
    const People who = {alice, bob, carol};
    g_test_add_data_func("/jwe-shared/round-trip", &who, test_shared);
    g_test_add_data_func("/jwe-shared/mutations", &who, test_mutations);
    g_test_add_data_func("/jwe-shared/attacks", &who, test_attacks);
    return g_test_run();
}
