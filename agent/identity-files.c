/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"

#define KEYS_FOLDER "keys"
#define DECRYPT_FILE "decrypt.pem"
#define SIGN_FILE "sign.pem"
#define FACTS_FILE "identity.json"
#define FACTS_SIZE_MAX 4096u
#define FACTS_VERSION 1
#define FIRST_GENERATION 1u
#define PIN_KDF "scrypt"

#define SRK_TEXT_SIZE (2 * TPM_NAME_SIZE + 1)
#define FOLDER_NAME_BYTES 12u /* of the SRK Name: algorithm and 80 bits */
#define FOLDER_NAME_SIZE (2 * FOLDER_NAME_BYTES + 1)
#define NEW_PREFIX ".new-"   /* while it is being made */
#define OLD_PREFIX ".old-"   /* while it is being removed */
#define FOLDER_FILES_MAX 64u /* three, and what is left of them */
#define FOLDER_PATH_SIZE (sizeof(NEW_PREFIX) + FOLDER_NAME_SIZE)

#define MACHINE_APPLICATION SD_ID128_MAKE(5d, 1f, 0a, c2, 7e, 93, 4b, 60, 8d, 14, e6, 2b, 90, f5, 3c, 77)

void identity_machine(char ret[static MACHINE_TEXT_SIZE])
{
    sd_id128_t id;

    if (sd_id128_get_machine_app_specific(MACHINE_APPLICATION, &id) < 0)
        ret[0] = 0;
    else
        hex_encode(id.bytes, sizeof(id.bytes), ret);
}

static int key_of(const TpmKeyFile *file, RsaKey **ret)
{
    size_t size = 0;
    const uint8_t *spki = tpm_keyfile_spki(file, &size);
    int r = rsa_key_from_spki(spki, size, ret);

    return r > 0 ? -EBADMSG : r;
}

int identity_keys_new(TpmKeyFile *decrypt, TpmKeyFile *sign, const uint8_t srk_name[static TPM_NAME_SIZE],
                      const char *machine, int64_t created, IdentityKeys **ret)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = calloc(1, sizeof(*k));
    uint8_t fingerprint[SHA256_SIZE];
    IdentityPublic *p;
    int r;

    if (!k)
        return -ENOMEM;
    if (tpm_keyfile_use(decrypt) != TPM_KEY_DECRYPT || tpm_keyfile_use(sign) != TPM_KEY_SIGN ||
        tpm_keyfile_needs_auth(decrypt) != tpm_keyfile_needs_auth(sign) ||
        strlen(machine) >= MACHINE_TEXT_SIZE)
        return -EBADMSG;
    k->decrypt = tpm_keyfile_ref(decrypt);
    k->sign = tpm_keyfile_ref(sign);
    memcpy(k->srk_name, srk_name, TPM_NAME_SIZE);
    memcpy(k->machine, machine, strlen(machine) + 1);
    p = &k->public;
    r = key_of(decrypt, &p->decrypt);
    if (r == 0)
        r = key_of(sign, &p->sign);
    if (r == 0)
        r = fingerprint_make(p->decrypt, p->sign, fingerprint);
    if (r != 0)
        return r;
    fingerprint_text(fingerprint, p->fingerprint);
    memcpy(p->kid_bytes, rsa_key_thumbprint(p->decrypt), KID_SIZE);
    memcpy(p->skid_bytes, rsa_key_thumbprint(p->sign), KID_SIZE);
    base64url_encode(p->kid_bytes, KID_SIZE, p->kid);
    base64url_encode(p->skid_bytes, KID_SIZE, p->skid);
    p->has_pin = tpm_keyfile_needs_auth(decrypt);
    p->generation = FIRST_GENERATION;
    p->created = created;
    p->srk_name = malloc(SRK_TEXT_SIZE);
    if (!p->srk_name)
        return -ENOMEM;
    hex_encode(srk_name, TPM_NAME_SIZE, p->srk_name);
    *ret = TAKE_PTR(k);
    return 0;
}

IdentityKeys *identity_keys_free(IdentityKeys *k)
{
    if (!k)
        return NULL;
    (void)tpm_keyfile_free(k->decrypt);
    (void)tpm_keyfile_free(k->sign);
    (void)rsa_key_free(k->public.decrypt);
    (void)rsa_key_free(k->public.sign);
    free(k->public.srk_name);
    free(k);
    return NULL;
}

static int open_folder(int dir_fd, const char *name, int *ret)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

/* prefix, then the start of the SRK Name. */
static void folder_path(const uint8_t *srk_name, const char *prefix, char ret[static FOLDER_PATH_SIZE])
{
    char name[FOLDER_NAME_SIZE];

    hex_encode(srk_name, FOLDER_NAME_BYTES, name);
    (void)snprintf(ret, FOLDER_PATH_SIZE, "%s%s", prefix, name);
}

/* pin: how the authorization value comes from the PIN. */
static int pin_write(const PinParameters *p, json_t *facts)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    char salt[BASE64URL_SIZE(PIN_SALT_SIZE) + 1];
    int r = json_put_text(j, "kdf", PIN_KDF);

    base64url_encode(p->salt, PIN_SALT_SIZE, salt);
    if (r == 0)
        r = json_put_number(j, "cost", p->cost);
    if (r == 0)
        r = json_put_text(j, "salt", salt);
    return r == 0 && json_object_set(facts, "pin", j) < 0 ? -ENOMEM : r;
}

static int pin_read(const json_t *facts, PinParameters *ret)
{
    static const char *const names[] = {"kdf", "cost", "salt", NULL};
    const json_t *j = json_object_get(facts, "pin");
    int64_t cost = 0;
    int r = json_is_object(j) ? json_check_names(j, names) : -EBADMSG;

    if (r == 0)
        r = json_expect_text(j, "kdf", PIN_KDF);
    if (r == 0)
        r = json_get_number(j, "cost", PIN_COST_MIN, PIN_COST_MAX, &cost);
    if (r == 0)
        r = json_get_bytes(j, "salt", ret->salt, PIN_SALT_SIZE);
    ret->cost = (unsigned)cost;
    return r;
}

static int facts_write(const IdentityKeys *k, Buf *ret)
{
    const IdentityPublic *p = &k->public;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_number(j, "hmsg", FACTS_VERSION);

    if (r == 0)
        r = json_put_text(j, "srk_name", p->srk_name);
    if (r == 0)
        r = json_put_text(j, "kid", p->kid);
    if (r == 0)
        r = json_put_text(j, "skid", p->skid);
    if (r == 0)
        r = json_put_text(j, "protection", "tpm");
    if (r == 0)
        r = json_put_number(j, "generation", (int64_t)p->generation);
    if (r == 0)
        r = json_put_number(j, "created", p->created);
    if (r == 0)
        r = json_put_text(j, "machine", k->machine);
    if (r == 0 && p->has_pin)
        r = pin_write(&k->pin, j);
    if (r == 0)
        r = json_write(j, ret);
    return r == 0 ? buf_append_string(ret, "\n") : r;
}

static int write_files(int fd, const IdentityKeys *k)
{
    _cleanup_(buf_done) Buf decrypt = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(buf_done) Buf sign = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(buf_done) Buf facts = BUF_MAX(FACTS_SIZE_MAX);
    int r = tpm_keyfile_to_pem(k->decrypt, &decrypt);

    if (r == 0)
        r = tpm_keyfile_to_pem(k->sign, &sign);
    if (r == 0)
        r = facts_write(k, &facts);
    if (r == 0)
        r = file_write_atomic(fd, DECRYPT_FILE, decrypt.data, decrypt.size, 0600, true);
    if (r == 0)
        r = file_write_atomic(fd, SIGN_FILE, sign.data, sign.size, 0600, true);
    if (r == 0)
        r = file_write_atomic(fd, FACTS_FILE, facts.data, facts.size, 0600, true);
    return r;
}

/* Calls f for what is in the folder, until it fails; takes over fd. */
static int each_entry(int fd, unsigned max, int (*f)(int fd, const char *name, void *userdata),
                      void *userdata)
{
    unsigned n = 0;
    struct dirent *entry;
    DIR *folder;
    int r = 0;

    folder = fdopendir(fd);
    if (!folder) {
        fd_close(fd);
        return -ENOMEM;
    }
    while (r == 0 && n < max && (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        r = f(fd, entry->d_name, userdata);
        n++;
    }
    closedir(folder);
    return r;
}

static int remove_file(int fd, const char *name, void *userdata)
{
    return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* With the temporary files that file_write_atomic leaves behind when it is killed. */
static int remove_folder(int keys_fd, const char *name)
{
    int fd = -1;
    int r = open_folder(keys_fd, name, &fd);

    if (r == 0)
        r = each_entry(fd, FOLDER_FILES_MAX, remove_file, NULL);
    if (r < 0)
        return r;
    if (unlinkat(keys_fd, name, AT_REMOVEDIR) < 0)
        return -errno;
    return fsync(keys_fd) < 0 ? -errno : 0;
}

/* Makes the folder under a temporary name and moves it to its own: RENAME_NOREPLACE, or RENAME_EXCHANGE,
 * which leaves the old one under the temporary name. */
static int store_folder(int data_fd, const IdentityKeys *k, unsigned flags)
{
    _cleanup_(fd_closep) int keys_fd = -1;
    _cleanup_(fd_closep) int fd = -1;
    char temporary[FOLDER_PATH_SIZE], final[FOLDER_PATH_SIZE];
    int r;

    folder_path(k->srk_name, NEW_PREFIX, temporary);
    folder_path(k->srk_name, "", final);
    r = open_folder(data_fd, KEYS_FOLDER, &keys_fd);
    if (r == 0 && fchmod(keys_fd, 0700) < 0)
        r = -errno;
    if (r < 0)
        return r;
    r = remove_folder(keys_fd, temporary);
    if (r < 0 && r != -ENOENT)
        return r;
    if (mkdirat(keys_fd, temporary, 0700) < 0)
        return -errno;
    r = open_folder(keys_fd, temporary, &fd);
    if (r == 0)
        r = write_files(fd, k);
    if (r == 0 && renameat2(keys_fd, temporary, keys_fd, final, flags) < 0)
        r = -errno;
    if (r == 0 && fsync(keys_fd) < 0) {
        r = -errno;
        if (flags == RENAME_EXCHANGE) /* the PIN of before is what holds, as the caller will say */
            (void)renameat2(keys_fd, temporary, keys_fd, final, flags);
    }
    if (r < 0 || flags == RENAME_EXCHANGE)
        (void)remove_folder(keys_fd, temporary);
    return r;
}

int identity_keys_store(int data_fd, const IdentityKeys *k)
{
    if (mkdirat(data_fd, KEYS_FOLDER, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (fsync(data_fd) < 0)
        return -errno;
    return store_folder(data_fd, k, RENAME_NOREPLACE);
}

int identity_keys_replace(int data_fd, const IdentityKeys *k)
{
    return store_folder(data_fd, k, RENAME_EXCHANGE);
}

static int read_key(int fd, const char *name, TpmKeyFile **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    int r = file_read(fd, name, &text);

    if (r == 0)
        r = tpm_keyfile_from_pem(buf_text(&text), text.size, ret);
    return r;
}

/* Facts that do not fit the keys are of another folder or forged. */
static int check_facts(const json_t *j, const IdentityKeys *k)
{
    static const char *const names[] = {"hmsg",       "srk_name", "kid",     "skid", "protection",
                                        "generation", "created",  "machine", "pin",  NULL};
    int64_t version = 0;
    int r = json_check_names(j, names);

    if (r == 0)
        r = json_get_number(j, "hmsg", FACTS_VERSION, FACTS_VERSION, &version);
    if (r == 0)
        r = json_expect_text(j, "kid", k->public.kid);
    if (r == 0)
        r = json_expect_text(j, "skid", k->public.skid);
    if (r == 0)
        r = json_expect_text(j, "protection", "tpm");
    return r;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_srk_name(const json_t *j, uint8_t ret[static TPM_NAME_SIZE])
{
    const char *text = NULL;
    size_t n = 0;
    int r = json_get_text(j, "srk_name", SRK_TEXT_SIZE - 1, &text, &n);

    if (r != 0)
        return r;
    if (n != SRK_TEXT_SIZE - 1)
        return -EBADMSG;
    for (size_t i = 0; i < TPM_NAME_SIZE; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -EBADMSG;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int read_facts(int fd, TpmKeyFile *decrypt, TpmKeyFile *sign, IdentityKeys **ret)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(FACTS_SIZE_MAX);
    uint8_t srk_name[TPM_NAME_SIZE];
    const char *machine = NULL;
    int64_t created = 0, generation = 0;
    int r = file_read(fd, FACTS_FILE, &text);

    if (r == 0)
        r = json_parse_object(buf_text(&text), text.size, &j);
    if (r == 0)
        r = read_srk_name(j, srk_name);
    if (r == 0)
        r = json_get_text(j, "machine", MACHINE_TEXT_SIZE - 1, &machine, NULL);
    if (r == 0)
        r = json_get_number(j, "created", 0, TIME_MAX, &created);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0)
        r = identity_keys_new(decrypt, sign, srk_name, machine, created, &k);
    if (r == 0)
        r = check_facts(j, k);
    if (r == 0 && k->public.has_pin != json_has(j, "pin"))
        r = -EBADMSG;
    if (r == 0 && k->public.has_pin)
        r = pin_read(j, &k->pin);
    if (r != 0)
        return r;
    k->public.generation = (uint64_t)generation;
    *ret = TAKE_PTR(k);
    return 0;
}

static int load_folder(int keys_fd, const char *name, IdentityKeys **ret)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *decrypt = NULL;
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *sign = NULL;
    _cleanup_(fd_closep) int fd = -1;
    char expected[FOLDER_PATH_SIZE];
    int r = open_folder(keys_fd, name, &fd);

    if (r < 0)
        return r;
    r = read_key(fd, DECRYPT_FILE, &decrypt);
    if (r == 0)
        r = read_key(fd, SIGN_FILE, &sign);
    if (r == 0)
        r = read_facts(fd, decrypt, sign, &k);
    if (r > 0 || r == -ENOENT || r == -EMSGSIZE)
        return -EBADMSG; /* the folder is there, but not whole */
    if (r < 0)
        return r;
    folder_path(k->srk_name, "", expected);
    if (strcmp(expected, name) != 0)
        return -EBADMSG;
    *ret = TAKE_PTR(k);
    return 0;
}

int identity_keys_load(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], IdentityKeys **ret)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    _cleanup_(fd_closep) int keys_fd = -1;
    char name[FOLDER_PATH_SIZE];
    int r = open_folder(data_fd, KEYS_FOLDER, &keys_fd);

    if (r < 0)
        return r;
    folder_path(srk_name, "", name);
    r = load_folder(keys_fd, name, &k);
    if (r < 0)
        return r;
    if (memcmp(k->srk_name, srk_name, TPM_NAME_SIZE) != 0) /* public */
        return -EBADMSG;
    *ret = TAKE_PTR(k);
    return 0;
}

/* Calls f for the folders of keys/, up to KEY_FOLDERS_MAX. */
static int each_folder(int data_fd, int (*f)(int keys_fd, const char *name, void *userdata), void *userdata)
{
    int fd = -1;
    int r = open_folder(data_fd, KEYS_FOLDER, &fd);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return each_entry(fd, KEY_FOLDERS_MAX, f, userdata);
}

typedef struct MachineSearch {
    const char *machine;
    IdentityKeys *found;
    bool damaged;
} MachineSearch;

static int search_machine(int keys_fd, const char *name, void *userdata)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    MachineSearch *s = userdata;
    int r;

    if (name[0] == '.')
        return 0;
    r = load_folder(keys_fd, name, &k);
    if (r == -EBADMSG || r == -ENOTDIR) {
        s->damaged = true;
        return 0;
    }
    if (r < 0)
        return r;
    if (*s->machine && *k->machine && strcmp(s->machine, k->machine) != 0)
        return 0;
    if (s->found && s->found->public.created >= k->public.created)
        return 0;
    identity_keys_free(s->found);
    s->found = TAKE_PTR(k);
    return 0;
}

int identity_keys_load_machine(int data_fd, const char *machine, IdentityKeys **ret)
{
    MachineSearch s = {.machine = machine};
    int r = each_folder(data_fd, search_machine, &s);

    if (r < 0) {
        identity_keys_free(s.found);
        return r;
    }
    if (!s.found)
        return s.damaged ? -EBADMSG : -ENOENT;
    *ret = s.found;
    return 0;
}

int identity_keys_remove(int data_fd, const IdentityKeys *k)
{
    _cleanup_(fd_closep) int keys_fd = -1;
    char name[FOLDER_PATH_SIZE], old[FOLDER_PATH_SIZE];
    int r = open_folder(data_fd, KEYS_FOLDER, &keys_fd);

    if (r < 0)
        return r;
    folder_path(k->srk_name, "", name);
    folder_path(k->srk_name, OLD_PREFIX, old);
    if (renameat2(keys_fd, name, keys_fd, old, RENAME_NOREPLACE) < 0)
        return -errno;
    if (fsync(keys_fd) < 0)
        return -errno;
    return remove_folder(keys_fd, old);
}

static int tidy_folder(int keys_fd, const char *name, void *userdata)
{
    if (strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) != 0 &&
        strncmp(name, OLD_PREFIX, strlen(OLD_PREFIX)) != 0)
        return 0;
    return remove_folder(keys_fd, name);
}

int identity_keys_tidy(int data_fd)
{
    return each_folder(data_fd, tidy_folder, NULL);
}
