/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/contact-store.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

#define COLUMNS                                                                                              \
    "id, name, address, relay, kid, skid, decrypt_spki, sign_spki, statement, statement_sha256, generation," \
    " new_kid, new_skid, new_decrypt_spki, new_sign_spki, new_statement, new_statement_sha256,"              \
    " new_generation, verified, blocked, added, confirmed, allowed"
#define N_COLUMNS 23
#define FIRST_KEYS_COLUMN 4
#define FIRST_PRESENTED_COLUMN 11
#define SELECT                                                                                               \
    "SELECT " COLUMNS ", (SELECT count(*) FROM contact_capabilities WHERE contact = contacts.id)"            \
    " FROM contacts "

struct ContactStore {
    Db *db;
    DbStatement *find[CONTACT_COLUMN_MAX_];
    DbStatement *nameless, *all, *count, *insert, *update, *remove;
    DbStatement *capability_put, *capability_get, *capability_remove;
    DbStatement *former_add, *former_trim, *former_retired, *former_is, *former_remove;
};

static ContactKeys no_keys(void)
{
    return (ContactKeys){.decrypt_spki = BUF_MAX(SPKI_SIZE_MAX),
                         .sign_spki = BUF_MAX(SPKI_SIZE_MAX),
                         .statement = BUF_MAX(JWS_SIZE_MAX)};
}

int contact_new(Contact **ret)
{
    Contact *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->keys = no_keys();
    p->presented = no_keys();
    *ret = p;
    return 0;
}

void contact_keys_done(ContactKeys *k)
{
    buf_done(&k->decrypt_spki);
    buf_done(&k->sign_spki);
    buf_done(&k->statement);
    *k = no_keys();
}

Contact *contact_free(Contact *p)
{
    if (!p)
        return NULL;
    contact_keys_done(&p->keys);
    contact_keys_done(&p->presented);
    free(p->name);
    free(p->address);
    free(p->relay);
    free(p);
    return NULL;
}

ContactTrust contact_trust(const Contact *p)
{
    if (p->blocked)
        return CONTACT_BLOCKED;
    if (p->presented.kid[0])
        return CONTACT_CHANGED;
    return p->verified ? CONTACT_VERIFIED : CONTACT_PINNED;
}

const char *contact_label(const Contact *p)
{
    if (p->name)
        return p->name;
    return p->address ? p->address : p->keys.kid;
}

int contact_fingerprint(const ContactKeys *k, char ret[static FINGERPRINT_TEXT_SIZE])
{
    _cleanup_(rsa_key_freep) RsaKey *decrypt = NULL, *sign = NULL;
    uint8_t fingerprint[SHA256_SIZE];
    int r;

    if (!k->skid[0]) {
        ret[0] = 0;
        return 0;
    }
    r = rsa_key_from_spki(k->decrypt_spki.data, k->decrypt_spki.size, &decrypt);
    if (r == 0)
        r = rsa_key_from_spki(k->sign_spki.data, k->sign_spki.size, &sign);
    if (r == 0)
        r = fingerprint_make(decrypt, sign, fingerprint);
    if (r == 0)
        fingerprint_text(fingerprint, ret);
    return r;
}

static int copy_key(const RsaKey *key, char kid[static CONTACT_KID_TEXT], Buf *spki)
{
    size_t n = 0;
    const uint8_t *der = rsa_key_spki(key, &n);

    base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
    return buf_append(spki, der, n);
}

int contact_keys_from_rsa(const RsaKey *decrypt, const RsaKey *sign, ContactKeys *ret)
{
    ContactKeys k = no_keys();
    int r;

    r = copy_key(decrypt, k.kid, &k.decrypt_spki);
    if (r == 0 && sign)
        r = copy_key(sign, k.skid, &k.sign_spki);
    if (r == 0)
        *ret = k;
    else
        contact_keys_done(&k);
    return r;
}

int contact_keys_from_statement(const IdentityStatement *s, const char *statement, ContactKeys *ret)
{
    ContactKeys k = no_keys();
    int r;

    r = contact_keys_from_rsa(s->decrypt, s->sign, &k);
    if (r == 0)
        r = buf_append_string(&k.statement, statement);
    if (r != 0) {
        contact_keys_done(&k);
        return r;
    }
    memcpy(k.statement_sha256, s->sha256, SHA256_SIZE);
    k.generation = s->generation;
    *ret = k;
    return 0;
}

const char *contact_keys_protection(const ContactKeys *k)
{
    return k->statement.size > 0 ? identity_statement_protection(buf_text(&k->statement), k->statement.size)
                                 : "";
}

int contact_keys_recovery(const ContactKeys *k, RecoveryKeys *ret)
{
    *ret = (RecoveryKeys){0};
    return k->statement.size > 0
               ? identity_statement_recovery(buf_text(&k->statement), k->statement.size, ret)
               : 0;
}

int contact_keys_devices(const ContactKeys *k, Devices *ret, int64_t *ret_iat)
{
    *ret = (Devices){0};
    *ret_iat = 0;
    return k->statement.size > 0
               ? identity_statement_devices(buf_text(&k->statement), k->statement.size, ret, ret_iat)
               : 0;
}

bool contact_keys_equal(const ContactKeys *a, const ContactKeys *b)
{
    return strcmp(a->kid, b->kid) == 0 && strcmp(a->skid, b->skid) == 0;
}

/* One pair of keys may have several addresses: what the user holds against one of them holds for the keys. */
#define STRICTEST " ORDER BY blocked DESC, new_kid IS NOT NULL DESC, id LIMIT 1"

static int prepare_former(ContactStore *s)
{
    const struct {
        DbStatement **statement;
        const char *sql;
    } all[] = {
        {&s->former_add, "INSERT OR IGNORE INTO contact_former(contact, skid, kid, retired, serial)"
                         " VALUES(?1, ?2, ?3, ?4, (SELECT coalesce(max(serial), 0) + 1 FROM contact_former"
                         " WHERE contact = ?1))"},
        {&s->former_trim, "DELETE FROM contact_former WHERE contact = ?1 AND serial <= (SELECT max(serial)"
                          " FROM contact_former WHERE contact = ?1) - ?2"},
        {&s->former_retired, "SELECT min(retired) FROM contact_former WHERE skid = ?1"},
        {&s->former_is,
         "SELECT 1 FROM contact_former WHERE contact = ?1 AND (skid IN (?2, ?3) OR kid IN (?2, ?3))"},
        {&s->former_remove, "DELETE FROM contact_former WHERE contact = ?1"},
        {&s->capability_put, "INSERT OR REPLACE INTO contact_capabilities(contact, code) VALUES(?1, ?2)"},
        {&s->capability_get, "SELECT code FROM contact_capabilities WHERE contact = ?1"},
        {&s->capability_remove, "DELETE FROM contact_capabilities WHERE contact = ?1"},
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(all); i++)
        r = db_prepare(s->db, all[i].sql, all[i].statement);
    return r;
}

static int prepare(ContactStore *s)
{
    static const char *const where[CONTACT_COLUMN_MAX_] = {
        [CONTACT_BY_ADDRESS] = SELECT "WHERE address = ?1",
        [CONTACT_BY_NAME] = SELECT "WHERE name = ?1",
        [CONTACT_BY_KID] = SELECT "WHERE kid = ?1" STRICTEST,
        [CONTACT_BY_SKID] = SELECT "WHERE skid = ?1" STRICTEST,
        [CONTACT_BY_PRESENTED_SKID] = SELECT "WHERE new_skid = ?1" STRICTEST,
        [CONTACT_BY_FORMER_SKID] =
            SELECT "WHERE id IN (SELECT contact FROM contact_former WHERE skid = ?1)" STRICTEST,
        [CONTACT_BY_FORMER_KID] =
            SELECT "WHERE id IN (SELECT contact FROM contact_former WHERE kid = ?1)" STRICTEST,
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(where); i++)
        r = db_prepare(s->db, where[i], &s->find[i]);
    if (r == 0)
        r = db_prepare(s->db, SELECT "WHERE statement_sha256 = ?1 AND address IS NULL" STRICTEST,
                       &s->nameless);
    if (r == 0)
        r = db_prepare(s->db, SELECT "ORDER BY id", &s->all);
    if (r == 0)
        r = db_prepare(s->db, "SELECT count(*) FROM contacts", &s->count);
    if (r == 0)
        r = db_prepare(s->db,
                       "INSERT INTO contacts(" COLUMNS
                       ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
                       " ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
                       &s->insert);
    if (r == 0)
        r = db_prepare(s->db,
                       "UPDATE contacts SET name = ?2, address = ?3, relay = ?4, kid = ?5, skid = ?6,"
                       " decrypt_spki = ?7, sign_spki = ?8, statement = ?9, statement_sha256 = ?10,"
                       " generation = ?11, new_kid = ?12, new_skid = ?13, new_decrypt_spki = ?14,"
                       " new_sign_spki = ?15, new_statement = ?16, new_statement_sha256 = ?17,"
                       " new_generation = ?18, verified = ?19, blocked = ?20, added = ?21, confirmed = ?22,"
                       " allowed = ?23"
                       " WHERE id = ?1",
                       &s->update);
    if (r == 0)
        r = db_prepare(s->db, "DELETE FROM contacts WHERE id = ?1", &s->remove);
    return r == 0 ? prepare_former(s) : r;
}

int contact_store_new(Db *db, ContactStore **ret)
{
    _cleanup_(contact_store_freep) ContactStore *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->db = db;
    r = prepare(s);
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

ContactStore *contact_store_free(ContactStore *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < ELEMENTSOF(s->find); i++)
        (void)db_statement_free(s->find[i]);
    (void)db_statement_free(s->nameless);
    (void)db_statement_free(s->all);
    (void)db_statement_free(s->count);
    (void)db_statement_free(s->insert);
    (void)db_statement_free(s->update);
    (void)db_statement_free(s->remove);
    (void)db_statement_free(s->former_add);
    (void)db_statement_free(s->former_trim);
    (void)db_statement_free(s->former_retired);
    (void)db_statement_free(s->former_is);
    (void)db_statement_free(s->former_remove);
    (void)db_statement_free(s->capability_put);
    (void)db_statement_free(s->capability_get);
    (void)db_statement_free(s->capability_remove);
    free(s);
    return NULL;
}

static int read_text(DbStatement *row, int column, char **ret)
{
    if (db_column_null(row, column))
        return 0;
    *ret = strdup(db_column_text(row, column, NULL));
    return *ret ? 0 : -ENOMEM;
}

static int read_kid(DbStatement *row, int column, char ret[static CONTACT_KID_TEXT])
{
    size_t n = 0;
    const char *text = db_column_text(row, column, &n);

    if (n >= CONTACT_KID_TEXT)
        return -EBADMSG;
    memcpy(ret, text, n + 1);
    return 0;
}

static int read_bytes(DbStatement *row, int column, Buf *ret)
{
    size_t n = 0;
    const void *data = db_column_bytes(row, column, &n);
    int r = data ? buf_append(ret, data, n) : 0;

    return r == -EMSGSIZE ? -EBADMSG : r;
}

/* Seven columns from first on. */
static int read_keys(DbStatement *row, int first, ContactKeys *k)
{
    int r;

    r = read_kid(row, first, k->kid);
    if (r == 0)
        r = read_kid(row, first + 1, k->skid);
    if (r == 0)
        r = read_bytes(row, first + 2, &k->decrypt_spki);
    if (r == 0)
        r = read_bytes(row, first + 3, &k->sign_spki);
    if (r == 0)
        r = read_bytes(row, first + 4, &k->statement);
    if (r == 0 && !db_column_null(row, first + 5))
        r = db_column_exact(row, first + 5, k->statement_sha256, SHA256_SIZE);
    if (r == 0)
        k->generation = (uint64_t)db_column_number(row, first + 6);
    return r;
}

static int read_contact(DbStatement *row, Contact **ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = contact_new(&p);
    if (r < 0)
        return r;
    p->row = db_column_number(row, 0);
    r = read_text(row, 1, &p->name);
    if (r == 0)
        r = read_text(row, 2, &p->address);
    if (r == 0)
        r = read_text(row, 3, &p->relay);
    if (r == 0)
        r = read_keys(row, FIRST_KEYS_COLUMN, &p->keys);
    if (r == 0)
        r = read_keys(row, FIRST_PRESENTED_COLUMN, &p->presented);
    if (r < 0)
        return r;
    p->verified = db_column_number(row, 18) != 0;
    p->blocked = db_column_number(row, 19) != 0;
    p->added = db_column_number(row, 20);
    p->confirmed = db_column_number(row, 21);
    p->allowed = db_column_number(row, 22) != 0;
    p->capable = db_column_number(row, N_COLUMNS) != 0;
    *ret = TAKE_PTR(p);
    return 0;
}

static int find_one(DbStatement *find, Contact **ret)
{
    bool row = false;
    int r = db_step(find, &row);

    if (r == 0 && !row)
        r = HMSG_ERROR_NOT_FOUND;
    return r == 0 ? read_contact(find, ret) : r;
}

int contact_store_find(ContactStore *s, ContactColumn column, const char *value, Contact **ret)
{
    _cleanup_(db_resetp) DbStatement *find = s->find[column];

    db_bind_text(find, 1, value);
    return find_one(find, ret);
}

int contact_store_find_nameless(ContactStore *s, const uint8_t statement_sha256[static SHA256_SIZE],
                                Contact **ret)
{
    _cleanup_(db_resetp) DbStatement *find = s->nameless;

    db_bind_bytes(find, 1, statement_sha256, SHA256_SIZE);
    return find_one(find, ret);
}

static void bind_bytes(DbStatement *s, int index, const Buf *b)
{
    if (b->size > 0)
        db_bind_bytes(s, index, b->data, b->size);
    else
        db_bind_null(s, index);
}

static void bind_optional(DbStatement *s, int index, const char *text)
{
    db_bind_text(s, index, text[0] ? text : NULL);
}

/* Parameters are counted from 1, columns from 0. */
static void bind_keys(DbStatement *s, int first, const ContactKeys *k)
{
    bind_optional(s, first, k->kid);
    bind_optional(s, first + 1, k->skid);
    bind_bytes(s, first + 2, &k->decrypt_spki);
    bind_bytes(s, first + 3, &k->sign_spki);
    bind_optional(s, first + 4, buf_text(&k->statement));
    if (k->statement.size > 0)
        db_bind_bytes(s, first + 5, k->statement_sha256, SHA256_SIZE);
    else
        db_bind_null(s, first + 5);
    db_bind_number(s, first + 6, (int64_t)k->generation);
}

static int check_room(ContactStore *s)
{
    _cleanup_(db_resetp) DbStatement *count = s->count;
    bool row = false;
    int r;

    r = db_step(count, &row);
    if (r == 0 && db_column_number(count, 0) >= (int64_t)CONTACTS_MAX)
        r = HMSG_ERROR_QUOTA_EXCEEDED;
    return r;
}

int contact_store_save(ContactStore *s, Contact *p)
{
    DbStatement *save = p->row ? s->update : s->insert;
    int r;

    if (!p->row) {
        r = check_room(s);
        if (r != 0)
            return r;
    }
    if (p->row)
        db_bind_number(save, 1, p->row);
    else
        db_bind_null(save, 1);
    db_bind_text(save, 2, p->name);
    db_bind_text(save, 3, p->address);
    db_bind_text(save, 4, p->relay);
    bind_keys(save, FIRST_KEYS_COLUMN + 1, &p->keys);
    bind_keys(save, FIRST_PRESENTED_COLUMN + 1, &p->presented);
    db_bind_number(save, 19, p->verified);
    db_bind_number(save, 20, p->blocked);
    db_bind_number(save, 21, p->added);
    db_bind_number(save, 22, p->confirmed);
    db_bind_number(save, N_COLUMNS, p->allowed);
    r = db_run(save);
    if (r == 0 && !p->row)
        p->row = db_last_row_id(s->db);
    return r;
}

static int add_former(ContactStore *s, const Contact *p, const RotationKeys *k)
{
    char skid[CONTACT_KID_TEXT], kid[CONTACT_KID_TEXT];

    base64url_encode(k->skid, KID_SIZE, skid);
    base64url_encode(k->kid, KID_SIZE, kid);
    db_bind_number(s->former_add, 1, p->row);
    db_bind_text(s->former_add, 2, skid);
    db_bind_text(s->former_add, 3, kid);
    db_bind_number(s->former_add, 4, k->retired);
    return db_run(s->former_add);
}

int contact_store_save_rotated(ContactStore *s, Contact *p, const Rotation *rotation)
{
    _cleanup_(db_rollbackp) Db *transaction = s->db;
    bool new = p->row == 0;
    int r;

    r = db_begin(transaction);
    if (r != 0)
        return r;
    r = contact_store_save(s, p);
    for (size_t i = 0; r == 0 && i < rotation->n; i++)
        r = add_former(s, p, &rotation->keys[i]);
    if (r == 0) {
        db_bind_number(s->former_trim, 1, p->row);
        db_bind_number(s->former_trim, 2, CONTACT_FORMER_MAX);
        r = db_run(s->former_trim);
    }
    if (r == 0)
        r = db_commit(transaction);
    if (r != 0 && new)
        p->row = 0;
    return r;
}

int contact_store_retired(ContactStore *s, const char *skid, int64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *find = s->former_retired;
    bool row = false;
    int r;

    db_bind_text(find, 1, skid);
    r = db_step(find, &row);
    if (r == 0)
        *ret = row ? db_column_number(find, 0) : 0;
    return r;
}

int contact_store_is_former(ContactStore *s, const Contact *p, const ContactKeys *keys, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *find = s->former_is;

    db_bind_number(find, 1, p->row);
    db_bind_text(find, 2, keys->skid);
    db_bind_text(find, 3, keys->kid);
    return db_step(find, ret);
}

int contact_store_remove(ContactStore *s, const Contact *p)
{
    _cleanup_(db_rollbackp) Db *transaction = s->db;
    int r;

    r = db_begin(transaction);
    db_bind_number(s->former_remove, 1, p->row);
    db_bind_number(s->capability_remove, 1, p->row);
    db_bind_number(s->remove, 1, p->row);
    if (r == 0)
        r = db_run(s->former_remove);
    if (r == 0)
        r = db_run(s->capability_remove);
    if (r == 0)
        r = db_run(s->remove);
    return r == 0 ? db_commit(transaction) : r;
}

int contact_store_set_capability(ContactStore *s, Contact *p, const char *code)
{
    int r;

    db_bind_number(s->capability_put, 1, p->row);
    db_bind_text(s->capability_put, 2, code);
    r = db_run(s->capability_put);
    p->capable = p->capable || r == 0;
    return r;
}

int contact_store_capability(ContactStore *s, const Contact *p, char ret[static HASH_TEXT_SIZE])
{
    _cleanup_(db_resetp) DbStatement *find = s->capability_get;
    bool row = false;
    int r;

    ret[0] = 0;
    db_bind_number(find, 1, p->row);
    r = db_step(find, &row);
    return r == 0 && row ? read_kid(find, 0, ret) : r;
}

int contact_store_each(ContactStore *s, int (*f)(const Contact *p, void *userdata), void *userdata)
{
    _cleanup_(db_resetp) DbStatement *all = s->all;
    bool row = false;
    int r;

    while ((r = db_step(all, &row)) == 0 && row) {
        _cleanup_(contact_freep) Contact *p = NULL;

        r = read_contact(all, &p);
        if (r == 0)
            r = f(p, userdata);
        if (r != 0)
            return r;
    }
    return r;
}
