/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-vectors FOLDER: writes the test vectors of the protocol. Run by hand when the protocol changes; what
 * it writes is kept in this folder, so that others need nothing but the files. */

#include <openssl/pem.h>

#include "tests/vectors/make.h"

static void save_vectors(const char *folder, const char *name, json_t *vectors)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    vector_save(path, vectors);
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
    g_autofree char *keys = g_build_filename(argv[1], "keys.json", NULL);
    vector_save_json(
        keys, json_pack("{so so so}", "alice", keys_of(alice), "bob", keys_of(bob), "carol", keys_of(carol)));
    save_vectors(argv[1], "packages.json", make_packages(&c));
    save_vectors(argv[1], "jwe.json", make_jwe(&c));
    save_vectors(argv[1], "seeds.json", make_seeds(&c));
    save_vectors(argv[1], "streams.json", make_streams(&c));
    save_vectors(argv[1], "statements.json", make_statements(&c, relay, online));
    save_vectors(argv[1], "derived.json", make_derived(&c));
    EVP_PKEY_free(relay);
    return 0;
}
