/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>

#include "agent/identity-files-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/tpm/software.h"
#include "libhmsg/wire/pem.h"

#define KEYS_FOLDER "keys"
#define DECRYPT_FILE "decrypt.pem"
#define SIGN_FILE "sign.pem"
#define FIRST_GENERATION 1u
#define SPARE_SIZE_MAX 512u

#define FOLDER_NAME_BYTES 12u /* of the SRK Name: algorithm and 80 bits */
#define FOLDER_NAME_SIZE (2 * FOLDER_NAME_BYTES + 1)
#define NEW_PREFIX ".new-" /* while it is being made */
#define OLD_PREFIX ".old-" /* while it is being removed */
#define SPARE_PREFIX ".counter-"
#define FOLDER_FILES_MAX 256u /* three, the former keys, and what is left of them */
#define FOLDER_PATH_SIZE (sizeof(SPARE_PREFIX) + FOLDER_NAME_SIZE)

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
        tpm_keyfile_is_software(decrypt) != tpm_keyfile_is_software(sign) ||
        !tpm_policy_equal(tpm_keyfile_policy(decrypt), tpm_keyfile_policy(sign)) ||
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
    p->protection = tpm_keyfile_is_imported(decrypt) || tpm_keyfile_is_imported(sign) ? PROTECTION_IMPORTED
                                                                                      : PROTECTION_TPM;
    if (tpm_keyfile_is_software(decrypt))
        p->protection = PROTECTION_SOFTWARE;
    p->bound = tpm_keyfile_policy(decrypt) != NULL;
    p->generation = p->bound ? tpm_keyfile_policy(decrypt)->generation : FIRST_GENERATION;
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
    recovery_keys_done(&k->public.recovery);
    for (unsigned i = 0; i < k->n_former; i++)
        (void)tpm_keyfile_free(k->former[i].key);
    for (unsigned i = 0; i < k->n_rotations; i++)
        free(k->rotations[i]);
    bytes_wipe(&k->counter, sizeof(k->counter));
    free(k->pcrs);
    free(k);
    return NULL;
}

int identity_keys_add_former(IdentityKeys *k, const FormerKey *f)
{
    size_t size = 0;
    const uint8_t *spki = tpm_keyfile_spki(f->key, &size);
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    int r = rsa_key_from_spki(spki, size, &public);

    if (r != 0)
        return r > 0 ? -EBADMSG : r;
    if (k->n_former == KEYS_FORMER_MAX)
        return -ENOSPC;
    if (tpm_keyfile_use(f->key) != TPM_KEY_DECRYPT ||
        tpm_keyfile_is_software(f->key) != (k->public.protection == PROTECTION_SOFTWARE) ||
        f->generation >= k->public.generation || !bytes_equal(rsa_key_thumbprint(public), f->kid, KID_SIZE))
        return -EBADMSG;
    k->former[k->n_former] = *f;
    k->former[k->n_former++].key = tpm_keyfile_ref(f->key);
    return 0;
}

int identity_keys_add_rotation(IdentityKeys *k, const char *jws)
{
    char *text = strdup(jws);

    if (!text)
        return -ENOMEM;
    if (k->n_rotations == ROTATIONS_MAX) {
        free(k->rotations[0]);
        k->n_rotations--;
        memmove(k->rotations, k->rotations + 1, k->n_rotations * sizeof(*k->rotations));
    }
    k->rotations[k->n_rotations++] = text;
    return 0;
}

int identity_keys_copy_history(IdentityKeys *k, const IdentityKeys *old)
{
    int r = 0;

    k->has_counter = old->has_counter;
    k->counter = old->counter;
    recovery_keys_copy(&old->public.recovery, &k->public.recovery);
    if (old->pcrs) {
        k->pcrs = malloc(sizeof(*k->pcrs));
        if (!k->pcrs)
            return -ENOMEM;
        *k->pcrs = *old->pcrs;
    }
    for (unsigned i = 0; i < old->n_former && r == 0; i++)
        r = identity_keys_add_former(k, &old->former[i]);
    for (unsigned i = 0; i < old->n_rotations && r == 0; i++)
        r = identity_keys_add_rotation(k, old->rotations[i]);
    return r;
}

int identity_keys_retire(IdentityKeys *k, const IdentityKeys *old, int64_t until)
{
    FormerKey last = {.key = old->decrypt, .generation = old->public.generation, .until = until};

    memcpy(last.kid, old->public.kid_bytes, KID_SIZE);
    memcpy(last.skid, old->public.skid_bytes, KID_SIZE);
    for (unsigned i = 0; i < k->n_former; i++)
        if (k->former[i].until > until)
            k->former[i].until = until;
    return identity_keys_add_former(k, &last);
}

TpmKeyFile *identity_keys_find(const IdentityKeys *k, const uint8_t kid[static KID_SIZE])
{
    if (bytes_equal(k->public.kid_bytes, kid, KID_SIZE))
        return k->decrypt;
    for (unsigned i = 0; i < k->n_former; i++)
        if (bytes_equal(k->former[i].kid, kid, KID_SIZE))
            return k->former[i].key;
    return NULL;
}

static bool fits_counter(const IdentityKeys *k, const TpmKeyFile *key)
{
    const TpmKeyPolicy *p = tpm_keyfile_policy(key);

    return !p || (k->has_counter && p->index == k->counter.index);
}

bool identity_keys_fit_counter(const IdentityKeys *k)
{
    for (unsigned i = 0; i < k->n_former; i++)
        if (!fits_counter(k, k->former[i].key))
            return false;
    return fits_counter(k, k->decrypt);
}

uint64_t identity_keys_oldest(const IdentityKeys *k)
{
    const TpmKeyPolicy *p = tpm_keyfile_policy(k->decrypt);
    uint64_t oldest = p ? p->generation : 0;

    for (unsigned i = 0; i < k->n_former; i++) {
        p = tpm_keyfile_policy(k->former[i].key);
        if (p && (oldest == 0 || p->generation < oldest))
            oldest = p->generation;
    }
    return oldest;
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

static int write_key(int fd, const char *name, const TpmKeyFile *key)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    int r = tpm_keyfile_to_pem(key, &text);

    return r == 0 ? file_write_atomic(fd, name, text.data, text.size, 0600, true) : r;
}

static int write_files(int fd, const IdentityKeys *k)
{
    _cleanup_(buf_done) Buf facts = BUF_MAX(FACTS_SIZE_MAX);
    char name[FORMER_FILE_SIZE];
    int r = identity_facts_write(k, &facts);

    if (r == 0)
        r = write_key(fd, DECRYPT_FILE, k->decrypt);
    if (r == 0)
        r = write_key(fd, SIGN_FILE, k->sign);
    for (unsigned i = 0; i < k->n_former && r == 0; i++) {
        identity_former_file(k->former[i].generation, name);
        r = write_key(fd, name, k->former[i].key);
    }
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

/* What the TPM itself holds against a copy is the counter. */
static int remove_file(int fd, const char *name, void *userdata)
{
    int r = file_wipe(fd, name);

    return r == -ENOENT ? 0 : r;
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

static int make_keys_folder(int data_fd, int *ret)
{
    if (mkdirat(data_fd, KEYS_FOLDER, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (fsync(data_fd) < 0)
        return -errno;
    return open_folder(data_fd, KEYS_FOLDER, ret);
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
    _cleanup_(fd_closep) int keys_fd = -1;
    int r = make_keys_folder(data_fd, &keys_fd);

    return r == 0 ? store_folder(data_fd, k, RENAME_NOREPLACE) : r;
}

int identity_keys_replace(int data_fd, const IdentityKeys *k)
{
    return store_folder(data_fd, k, RENAME_EXCHANGE);
}

int identity_key_read(int fd, const char *name, TpmKeyFile **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    int r = file_read(fd, name, &text);

    if (r != 0)
        return r;
    if (pem_is(buf_text(&text), text.size, "ENCRYPTED PRIVATE KEY"))
        return software_from_pem(buf_text(&text), text.size,
                                 strcmp(name, SIGN_FILE) == 0 ? TPM_KEY_SIGN : TPM_KEY_DECRYPT, ret);
    return tpm_keyfile_from_pem(buf_text(&text), text.size, ret);
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
    r = identity_key_read(fd, DECRYPT_FILE, &decrypt);
    if (r == 0)
        r = identity_key_read(fd, SIGN_FILE, &sign);
    if (r == 0)
        r = identity_facts_read(fd, decrypt, sign, &k);
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

/* index and auth: as in identity.json. above: to which it is raised before it goes. */
int identity_spare_store(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], const SpareCounter *s)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    _cleanup_(buf_done) Buf text = BUF_MAX(SPARE_SIZE_MAX);
    _cleanup_(fd_closep) int keys_fd = -1;
    char name[FOLDER_PATH_SIZE];
    int r = make_keys_folder(data_fd, &keys_fd);

    if (r == 0)
        r = identity_counter_put(&s->counter, j);
    if (r == 0)
        r = json_put_number(j, "above", (int64_t)s->above);
    if (r == 0)
        r = json_write(j, &text);
    if (r != 0)
        return r;
    folder_path(srk_name, SPARE_PREFIX, name);
    return file_write_atomic(keys_fd, name, text.data, text.size, 0600, false);
}

int identity_spare_load(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], SpareCounter *ret)
{
    static const char *const names[] = {"index", "auth", "above", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(SPARE_SIZE_MAX);
    _cleanup_(fd_closep) int keys_fd = -1;
    char name[FOLDER_PATH_SIZE];
    int64_t above = 0;
    int r = open_folder(data_fd, KEYS_FOLDER, &keys_fd);

    folder_path(srk_name, SPARE_PREFIX, name);
    if (r == 0)
        r = file_read(keys_fd, name, &text);
    if (r == 0)
        r = json_parse_object(buf_text(&text), text.size, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        r = json_get_number(j, "above", 0, (int64_t)GENERATION_MAX, &above);
    if (r == 0)
        r = identity_counter_get(j, &ret->counter);
    ret->above = (uint64_t)above;
    return r > 0 || r == -EMSGSIZE ? -EBADMSG : r;
}

int identity_spare_remove(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE])
{
    _cleanup_(fd_closep) int keys_fd = -1;
    char name[FOLDER_PATH_SIZE];
    int r = open_folder(data_fd, KEYS_FOLDER, &keys_fd);

    folder_path(srk_name, SPARE_PREFIX, name);
    return r == 0 ? file_remove(keys_fd, name) : r;
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
