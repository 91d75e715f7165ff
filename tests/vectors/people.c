/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/vectors/people.h"

#include <openssl/pem.h>
#include <string.h>

#include "libhmsg/base/encode.h"

static const char *text_of(const json_t *keys, const char *name)
{
    const char *text = json_string_value(json_object_get(keys, name));

    if (!text)
        g_error("keys.json lacks %s", name);
    return text;
}

static EVP_PKEY *read_key(const json_t *keys, const char *name)
{
    BIO *bio = BIO_new_mem_buf(text_of(keys, name), -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    g_assert_nonnull(key);
    BIO_free(bio);
    return key;
}

TestPerson *vector_person(const json_t *people, const char *name)
{
    const json_t *keys = json_object_get(people, name);
    TestPerson *p = g_new0(TestPerson, 1);

    p->decrypt_private = read_key(keys, "decrypt");
    p->sign_private = read_key(keys, "sign");
    g_assert_cmpint(rsa_key_from_evp(p->decrypt_private, &p->decrypt), ==, 0);
    g_assert_cmpint(rsa_key_from_evp(p->sign_private, &p->sign), ==, 0);
    memcpy(p->kids[0], rsa_key_thumbprint(p->decrypt), KID_SIZE);
    base64url_encode(p->kids[0], KID_SIZE, p->kid);
    base64url_encode(rsa_key_thumbprint(p->sign), KID_SIZE, p->skid);
    g_assert_cmpstr(p->kid, ==, text_of(keys, "kid"));
    g_assert_cmpstr(p->skid, ==, text_of(keys, "skid"));
    return p;
}

VectorPeople vector_people(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "keys.json", NULL);
    json_error_t error;
    json_t *keys = json_load_file(path, 0, &error);

    if (!keys)
        g_error("%s: %s", path, error.text);
    VectorPeople p = {
        .alice = vector_person(keys, "alice"),
        .bob = vector_person(keys, "bob"),
        .carol = vector_person(keys, "carol"),
    };
    json_decref(keys);
    return p;
}

void vector_people_done(VectorPeople *p)
{
    test_person_free(p->alice);
    test_person_free(p->bob);
    test_person_free(p->carol);
}
