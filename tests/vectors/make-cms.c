/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-cms FOLDER: writes cms.json, with the people of keys.json: to bob, some by alice, some by the program
 * openssl. Run by hand, as make-vectors. */

#include <string.h>

#include "libhmsg/wire/cms.h"
#include "tests/unit/wire/openssl-util.h"
#include "tests/vectors/make.h"
#include "tests/vectors/people.h"

#define TEXT "Dear Bob, here are the plans."

static const char bad[] = "BadPackage", forged[] = "AuthenticationFailed";

static TestPerson *alice, *bob, *carol;
static Workshop shop; /* with bob's key and alice's */
static json_t *list;

/* signer: whose signature is on it; NULL: nobody's. */
static void add(const char *name, const char *result, const void *cms, size_t n, const TestPerson *signer)
{
    json_t *v = json_pack("{ss so}", "recipient", "bob", "cms", vector_bytes(cms, n));

    if (strcmp(result, "valid") == 0)
        json_object_set_new(v, "plaintext", json_string(TEXT));
    if (signer)
        json_object_set_new(v, "signed_by", json_string(signer->skid));
    vector_add(list, name, result, v);
}

static Buf build(const TestPerson *first, const TestPerson *second, const void *content, size_t n, bool pem)
{
    const CmsRecipient to[] = {{.key = first->decrypt}, {.key = second ? second->decrypt : NULL}};
    Buf b = BUF_MAX(CMS_TEXT_SIZE_MAX);

    g_assert_cmpint(cms_build(to, second ? 2 : 1, content, n, pem, &b), ==, 0);
    return b;
}

/* By alice, to whom it says. */
static Buf sign(const TestPerson *to)
{
    const CmsRecipient r = {.key = to->decrypt};
    _cleanup_(cms_draft_freep) CmsDraft *d = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    Buf b = BUF_MAX(CMS_SIZE_MAX);

    g_assert_cmpint(cms_draft_new(alice->sign, &r, 1, VECTORS_NOW, TEXT, strlen(TEXT), &d), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(alice->sign_private, cms_draft_digest(d), &signature), ==, 0);
    g_assert_cmpint(cms_draft_finish(d, TEXT, strlen(TEXT), signature.data, signature.size, &b), ==, 0);
    return b;
}

static void add_bit(const char *name, const char *result, const Buf *b, size_t at, uint8_t bits)
{
    g_autofree uint8_t *copy = g_memdup2(b->data, b->size);

    g_assert_cmpuint(at, <, b->size);
    copy[at] ^= bits;
    add(name, result, copy, b->size, NULL);
}

/* Where these bytes stand for the first time. */
static size_t find(const Buf *b, const void *what, size_t n)
{
    const uint8_t *at = memmem(b->data, b->size, what, n);

    g_assert_nonnull(at);
    return (size_t)(at - b->data);
}

static void add_damaged(const Buf *b)
{
    static const uint8_t sha256[] = {0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01};
    _cleanup_(cms_freep) Cms *c = NULL;
    const char *why = NULL;

    g_assert_cmpint(cms_parse(b->data, b->size, &c, &why), ==, 0);
    const uint8_t *start = c->der.data;
    size_t hash = find(b, sha256, sizeof(sha256));
    add_bit("one bit of the tag", forged, b, (size_t)(c->tag.data - start), 1);
    add_bit("one bit of the ciphertext", forged, b, (size_t)(c->ciphertext.data - start), 1);
    add_bit("one bit of the encrypted key", forged, b,
            (size_t)(c->recipients[0].encrypted_key.data - start) + 100, 1);
    add_bit("OAEP with SHA-384", bad, b, hash + sizeof(sha256) - 1, 0x01 ^ 0x02);
    add_bit("malformed parameters of OAEP", bad, b, hash - 4, 0x03); /* [0] becomes [3] */
    add_bit("another version", bad, b, find(b, "\x02\x01", 2) + 2, 0x08);
    add("ends a byte too soon", bad, b->data, b->size - 1, NULL);
    g_autofree uint8_t *more = g_malloc0(b->size + 1);
    memcpy(more, b->data, b->size);
    add("a byte too many", bad, more, b->size + 1, NULL);
}

static void add_own(void)
{
    _cleanup_(buf_done) Buf der = build(bob, NULL, TEXT, strlen(TEXT), false),
                            pem = build(bob, NULL, TEXT, strlen(TEXT), true),
                            two = build(carol, bob, TEXT, strlen(TEXT), false),
                            others = build(carol, alice, TEXT, strlen(TEXT), false);

    add("AuthEnvelopedData", "valid", der.data, der.size, NULL);
    add("a PEM block", "valid", pem.data, pem.size, NULL);
    add("for two", "valid", two.data, two.size, NULL);
    add("for two others", "NotForUs", others.data, others.size, NULL);
    add_damaged(&der);
}

static void add_signed(void)
{
    _cleanup_(buf_done) Buf right = sign(bob), of_carol = sign(carol);
    _cleanup_(buf_done) Buf good = build(bob, NULL, right.data, right.size, false),
                            handed_on = build(bob, NULL, of_carol.data, of_carol.size, false);

    add("SignedData inside", "valid", good.data, good.size, alice);
    add("SignedData inside, for another", forged, handed_on.data, handed_on.size, NULL);
    right.data[right.size - 1] ^= 1;
    _cleanup_(buf_done) Buf spoilt = build(bob, NULL, right.data, right.size, false);
    add("SignedData inside, one bit of the signature", forged, spoilt.data, spoilt.size, NULL);
    right.data[right.size - 1] ^= 1;
    right.data[find(&right, "plans", 5)] ^= 1;
    _cleanup_(buf_done) Buf changed = build(bob, NULL, right.data, right.size, false);
    add("SignedData inside, one bit of the content", forged, changed.data, changed.size, NULL);
}

/* What a script leaves in "m". */
static void add_script(const char *name, const char *result, const char *script, const TestPerson *signer)
{
    static const char prelude[] =
        "oaep='-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256'\n"
        "pss='-keyopt rsa_padding_mode:pss -md sha256'\n"
        "encrypt() { openssl cms -encrypt -binary -in plain -outform DER -recip bob.crt \"$@\"; }\n"
        "sign() { openssl cms -sign -binary -nodetach -outform DER -signer alice.crt -inkey alice.pem $pss "
        "\"$@\"; "
        "}\n";
    size_t n = 0;

    run_script(&shop, prelude, script);
    g_autofree char *m = load(&shop, "m", &n);
    add(name, result, m, n, signer);
}

static void add_of_openssl(void)
{
    static const char cbc[] = "encrypt -aes-256-cbc $oaep -out inner\n";
    g_autofree char *around = g_strconcat(cbc, "sign -in inner -out m", NULL);
    g_autofree char *by_key = g_strconcat(cbc, "sign -in inner -keyid -out m", NULL);
    g_autofree char *v15 = g_strconcat(cbc,
                                       "openssl cms -sign -binary -nodetach -outform DER -signer alice.crt "
                                       "-inkey alice.pem -md sha256 -in inner -out m",
                                       NULL);

    add_script("by openssl, to a certificate", "valid", "encrypt -aes-256-gcm $oaep -out m", NULL);
    add_script("by openssl, to a key identifier", "valid", "encrypt -aes-256-gcm $oaep -keyid -out m", NULL);
    add_script("by openssl, SignedData around EnvelopedData", "valid", around, alice);
    add_script("by openssl, the same with a key identifier", "valid", by_key, alice);
    add_script("EnvelopedData without a signature", bad, "encrypt -aes-256-cbc $oaep -out m", NULL);
    add_script("PKCS#1 v1.5", bad, "encrypt -aes-256-gcm -out m", NULL);
    add_script("OAEP with SHA-1", bad, "encrypt -aes-256-gcm -keyopt rsa_padding_mode:oaep -out m", NULL);
    add_script("OAEP with a label", bad, "encrypt -aes-256-gcm $oaep -keyopt rsa_oaep_label:61 -out m", NULL);
    add_script("AES-128-GCM", bad, "encrypt -aes-128-gcm $oaep -out m", NULL);
    add_script("a signature with PKCS#1 v1.5", bad, v15, NULL);
}

static void save_key(const char *name, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;

    g_assert_cmpint(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    long n = BIO_get_mem_data(bio, &text);
    save(&shop, name, text, (size_t)n);
    BIO_free(bio);
}

static void open_shop(void)
{
    shop.folder = test_folder_new();
    save_key("bob.pem", bob->decrypt_private);
    save_key("alice.pem", alice->sign_private);
    save(&shop, "plain", TEXT, strlen(TEXT));
    run_script(&shop, "",
               "for who in alice bob; do openssl req -x509 -new -key $who.pem -subj /CN=$who -days 36500 "
               "-out $who.crt; done");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-cms FOLDER");
    g_autofree char *path = g_build_filename(argv[1], "cms.json", NULL);
    VectorPeople people = vector_people(argv[1]);

    alice = people.alice;
    bob = people.bob;
    carol = people.carol;
    open_shop();
    list = json_array();
    add_own();
    add_signed();
    add_of_openssl();
    vector_save(path, list);
    test_folder_remove(shop.folder);
    vector_people_done(&people);
    return 0;
}
