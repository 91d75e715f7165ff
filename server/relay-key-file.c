/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/relay-key-internal.h"

#define PASSPHRASE_BYTES 32u /* of the random one, before base64url */
#define SCRYPT_N 16384u      /* RFC 7914 section 2; 16 MiB of memory, some 50 ms */
#define SCRYPT_R 8u
#define SCRYPT_P 1u

/* Reads a file that is for its owner, us or root, alone. Root reads what the relay's account owns, whichever
 * it is: whoever owns the key knows it, and all that root learns here is its pin. */
int relay_key_read_private(const char *path, Buf *ret)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return HMSG_ERROR_DENIED;
    if (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0)
        return HMSG_ERROR_DENIED;
    return file_read_fd(fd, ret);
}

int relay_key_read_passphrase(const char *path, Buf *ret)
{
    int r = relay_key_read_private(path, ret);

    if (r != 0)
        return r;
    while (ret->size > 0 && (ret->data[ret->size - 1] == '\n' || ret->data[ret->size - 1] == '\r'))
        buf_truncate(ret, ret->size - 1);
    return ret->size > 0 ? 0 : HMSG_ERROR_INVALID_ARGS;
}

/* Only PBES2 with AES-256-CBC is good enough to hold this key (RFC 8018 section 6.2). */
static int check_encryption(const X509_SIG *sig)
{
    const X509_ALGOR *alg;
    const ASN1_OBJECT *object;
    const void *parameter;
    PBE2PARAM *pbe2;
    int type;
    bool good;

    X509_SIG_get0(sig, &alg, NULL);
    X509_ALGOR_get0(&object, &type, &parameter, alg);
    if (OBJ_obj2nid(object) != NID_pbes2 || type != V_ASN1_SEQUENCE)
        return HMSG_ERROR_BAD_PACKAGE;
    pbe2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), alg->parameter);
    if (!pbe2)
        return HMSG_ERROR_BAD_PACKAGE;
    good = OBJ_obj2nid(pbe2->encryption->algorithm) == NID_aes_256_cbc &&
           (OBJ_obj2nid(pbe2->keyfunc->algorithm) == NID_id_scrypt ||
            OBJ_obj2nid(pbe2->keyfunc->algorithm) == NID_id_pbkdf2);
    PBE2PARAM_free(pbe2);
    return good ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

static int decrypt(const X509_SIG *sig, const Buf *passphrase, RelayKey **ret)
{
    PKCS8_PRIV_KEY_INFO *info = PKCS8_decrypt(sig, buf_text(passphrase), (int)passphrase->size);
    int r;

    if (!info)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    r = relay_key_from_pkcs8(info, ret);
    PKCS8_PRIV_KEY_INFO_free(info);
    return r;
}

int relay_key_load(const char *path, const char *passphrase_path, const char **ret_file, RelayKey **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(buf_done) Buf passphrase = BUF_MAX(RELAY_KEY_PASSPHRASE_MAX);
    X509_SIG *sig;
    BIO *bio;
    int r;

    if (ret_file)
        *ret_file = path;
    r = relay_key_read_private(path, &text);
    if (r != 0)
        return r;
    r = relay_key_read_passphrase(passphrase_path, &passphrase);
    if (r != 0) {
        if (ret_file)
            *ret_file = passphrase_path;
        return r;
    }
    bio = BIO_new_mem_buf(buf_text(&text), (int)text.size);
    if (!bio)
        return -ENOMEM;
    sig = PEM_read_bio_PKCS8(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!sig)
        return HMSG_ERROR_BAD_PACKAGE;
    r = check_encryption(sig);
    if (r == 0)
        r = decrypt(sig, &passphrase, ret);
    X509_SIG_free(sig);
    return r;
}

const char *relay_key_problem(int r)
{
    switch (r) {
    case HMSG_ERROR_AUTHENTICATION_FAILED:
        return "the passphrase or the PIN does not open it";
    case HMSG_ERROR_LOCKED:
        return "the token takes no PIN any more: it is locked";
    case HMSG_ERROR_TPM_UNAVAILABLE:
        return "the TPM that the key is in cannot be used, or is another one";
    case HMSG_ERROR_NOT_FOUND:
        return "the token has no such key";
    case HMSG_ERROR_DENIED:
        return "must be a file that only its owner can read (chmod 600)";
    case HMSG_ERROR_INVALID_ARGS:
        return "no passphrase, PIN or pkcs11: URI is in it";
    case HMSG_ERROR_BAD_PACKAGE:
        return "not an RSA key of 2048, 3072 or 4096 bits, in PKCS#8 under AES-256, in a token or a TPM";
    case -EBADMSG:
        return "the key is damaged: take it from a copy";
    case -ENODEV:
        return "the token is not there, or its module does not load";
    case -ENOTUNIQ:
        return "more than one token or key is of this name";
    case -EPERM:
        return "the key may not sign and decrypt";
    case -EOPNOTSUPP:
        return "the key is in a device that does not give it out";
    default:
        return r < 0 ? strerror(-r) : error_message(r);
    }
}

static X509_SIG *encrypt(EVP_PKEY *pkey, const Buf *passphrase)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    X509_ALGOR *alg = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), NULL, 0, NULL, SCRYPT_N, SCRYPT_R, SCRYPT_P);
    X509_SIG *sig = NULL;

    if (info && alg)
        sig = PKCS8_set0_pbe(buf_text(passphrase), (int)passphrase->size, info, alg);
    if (!sig)
        X509_ALGOR_free(alg);
    PKCS8_PRIV_KEY_INFO_free(info);
    return sig;
}

static int encrypt_pem(EVP_PKEY *pkey, const Buf *passphrase, Buf *ret)
{
    X509_SIG *sig = encrypt(pkey, passphrase);
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    int r = -EIO;

    if (sig && bio && PEM_write_bio_PKCS8(bio, sig) == 1) {
        long n = BIO_get_mem_data(bio, &data);

        r = buf_append(ret, data, (size_t)n);
    }
    BIO_free(bio);
    X509_SIG_free(sig);
    return r;
}

static int write_key(const RelayKey *k, const Buf *passphrase, const char *path)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    EVP_PKEY *private = relay_key_software(k);
    int r = private ? encrypt_pem(private, passphrase, &pem) : -EOPNOTSUPP;

    return r == 0 ? file_write_atomic(AT_FDCWD, path, pem.data, pem.size, 0600, true) : r;
}

int relay_key_save(const RelayKey *k, const char *path, const char *passphrase_path)
{
    _cleanup_(buf_done) Buf passphrase = BUF_MAX(RELAY_KEY_PASSPHRASE_MAX);
    _cleanup_(buf_done) Buf line = BUF_MAX(RELAY_KEY_PASSPHRASE_MAX);
    _cleanup_(secret_freep) Secret *random = NULL;
    int r;

    r = secret_new_random(PASSPHRASE_BYTES, &random);
    if (r == 0)
        r = base64url_append(&passphrase, secret_bytes(random), secret_size(random));
    if (r == 0)
        r = buf_printf(&line, "%s\n", buf_text(&passphrase));
    if (r == 0)
        r = file_write_atomic(AT_FDCWD, passphrase_path, line.data, line.size, 0600, true);
    if (r != 0)
        return r;
    r = write_key(k, &passphrase, path);
    if (r != 0)
        (void)file_remove(AT_FDCWD, passphrase_path);
    return r;
}

int relay_key_save_under(const RelayKey *k, const char *path, const char *passphrase_path)
{
    _cleanup_(buf_done) Buf passphrase = BUF_MAX(RELAY_KEY_PASSPHRASE_MAX);
    int r = relay_key_read_passphrase(passphrase_path, &passphrase);

    return r == 0 ? write_key(k, &passphrase, path) : r;
}
