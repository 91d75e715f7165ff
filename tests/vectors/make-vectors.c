/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-vectors FOLDER: writes the test vectors of the protocol. Run by hand when the protocol changes; what
 * it writes is kept in this folder, so that others need nothing but the files. */

#include <openssl/pem.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "tests/vectors/make.h"

void vector_add(json_t *list, const char *name, const char *result, json_t *v)
{
    json_t *all = json_pack("{ss ss}", "name", name, "result", result);

    if (!v || !all || json_object_update(all, v) != 0 || json_array_append_new(list, all) != 0)
        g_error("%s: no memory", name);
    json_decref(v);
}

json_t *vector_bytes(const void *data, size_t n)
{
    g_autofree char *text = g_malloc(BASE64URL_SIZE(n) + 1);

    base64url_encode(data, n, text);
    return json_string(text);
}

char *vector_replace(const char *text, const char *old, const char *new)
{
    g_autoptr(GString) s = g_string_new(text);

    g_assert_cmpuint(g_string_replace(s, old, new, 0), ==, 1);
    return g_string_free(g_steal_pointer(&s), FALSE);
}

char *vector_spoil(const char *text, const char *before)
{
    char *copy = g_strdup(text), *at = strstr(copy, before);

    g_assert_nonnull(at);
    at += strlen(before);
    *at = *at == 'A' ? 'B' : 'A';
    return copy;
}

static void save(const char *folder, const char *name, json_t *root)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    if (!root || json_dump_file(root, path, JSON_INDENT(1)) != 0)
        g_error("%s cannot be written", path);
    json_decref(root);
}

static void save_vectors(const char *folder, const char *name, json_t *list)
{
    save(folder, name, json_pack("{sI so}", "now", (json_int_t)VECTORS_NOW, "vectors", list));
}

static json_t *pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;

    g_assert_cmpint(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    long n = BIO_get_mem_data(bio, &text);
    json_t *j = json_stringn(text, (size_t)n);
    BIO_free(bio);
    return j;
}

static json_t *keys_of(const TestPerson *p)
{
    uint8_t fingerprint[SHA256_SIZE];
    char text[FINGERPRINT_TEXT_SIZE];

    g_assert_cmpint(fingerprint_make(p->decrypt, p->sign, fingerprint), ==, 0);
    fingerprint_text(fingerprint, text);
    return json_pack("{so so ss ss ss}", "decrypt", pem(p->decrypt_private), "sign", pem(p->sign_private),
                     "kid", p->kid, "skid", p->skid, "fingerprint", text);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-vectors FOLDER");
    g_autoptr(TestPerson) alice = test_person_new(), bob = test_person_new(), carol = test_person_new();
    const Cast c = {alice, bob, carol};
    EVP_PKEY *relay = test_rsa_new(2048);
    _cleanup_(ec_key_freep) EcKey *online = NULL;

    g_assert_cmpint(ec_key_generate(&online), ==, 0);
    save(argv[1], "keys.json",
         json_pack("{so so so}", "alice", keys_of(alice), "bob", keys_of(bob), "carol", keys_of(carol)));
    save_vectors(argv[1], "packages.json", make_packages(&c));
    save_vectors(argv[1], "jwe.json", make_jwe(&c));
    save_vectors(argv[1], "seeds.json", make_seeds(&c));
    save_vectors(argv[1], "streams.json", make_streams(&c));
    save_vectors(argv[1], "statements.json", make_statements(&c, relay, online));
    save_vectors(argv[1], "derived.json", make_derived(&c));
    EVP_PKEY_free(relay);
    return 0;
}
