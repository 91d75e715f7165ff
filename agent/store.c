/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/crypto.h"

#define STORE_APPLICATION_ID 0x686d7361 /* "hmsa" */
#define FILE_NAME_BYTES ((STORE_FILE_NAME_SIZE - 1) / 2)

struct Store {
    Db *db;
    int mail_fd; /* the folder of bodies */
};

/* relay: host:port#PIN. confirmed: when the directory last gave these keys. new_*: other keys that a contact
 * presented. */
#define SCHEMA_CONTACTS                                                                                      \
    "CREATE TABLE contacts("                                                                                 \
    " id INTEGER PRIMARY KEY, name TEXT UNIQUE, address TEXT UNIQUE, relay TEXT,"                            \
    " kid TEXT NOT NULL, skid TEXT, decrypt_spki BLOB NOT NULL, sign_spki BLOB,"                             \
    " statement TEXT, statement_sha256 BLOB, generation INTEGER NOT NULL DEFAULT 0,"                         \
    " new_kid TEXT, new_skid TEXT, new_decrypt_spki BLOB, new_sign_spki BLOB,"                               \
    " new_statement TEXT, new_statement_sha256 BLOB, new_generation INTEGER,"                                \
    " verified INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0,"                              \
    " added INTEGER NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0);"                                        \
    "CREATE INDEX contacts_kid ON contacts(kid);"                                                            \
    "CREATE INDEX contacts_skid ON contacts(skid);"                                                          \
    "CREATE INDEX contacts_new_skid ON contacts(new_skid) WHERE new_skid IS NOT NULL;"

/* relays: trusted by the user's own word. registrations: our mailboxes; relay is host:port#PIN. */
#define SCHEMA_RELAYS                                                                                        \
    "CREATE TABLE relays(host_port TEXT PRIMARY KEY, pin TEXT NOT NULL, added INTEGER NOT NULL)"             \
    " WITHOUT ROWID;"                                                                                        \
    "CREATE TABLE registrations(address TEXT PRIMARY KEY, relay TEXT NOT NULL, kid TEXT NOT NULL,"           \
    " added INTEGER NOT NULL) WITHOUT ROWID;"

/* id: the message id of the relay. state: of InboxState. skid, sid, seq, session_expires: of a package that
 * was checked. body or file holds it as it came. acknowledged: the relay knows that we have it. */
#define SCHEMA_INBOX                                                                                         \
    "CREATE TABLE inbox("                                                                                    \
    " serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, relay TEXT NOT NULL,"               \
    " state INTEGER NOT NULL, skid TEXT, submitter TEXT NOT NULL, received INTEGER NOT NULL,"                \
    " size INTEGER NOT NULL, body BLOB, file TEXT, reason INTEGER NOT NULL DEFAULT 0,"                       \
    " acknowledged INTEGER NOT NULL DEFAULT 0);"                                                             \
    "CREATE INDEX inbox_state ON inbox(state);"                                                              \
    "CREATE INDEX inbox_acknowledged ON inbox(relay) WHERE acknowledged = 0;"

/* Messages seen, so that each gets into the inbox once: high is the greatest seq of the session, window has
 * bit n for high - n. done: ids of messages that are not in the inbox any more. */
#define SCHEMA_REPLAY                                                                                        \
    "CREATE TABLE replay(skid TEXT NOT NULL, sid BLOB NOT NULL, high INTEGER NOT NULL,"                      \
    " window INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(skid, sid)) WITHOUT ROWID;"               \
    "CREATE INDEX replay_until ON replay(until);"                                                            \
    "CREATE TABLE done(id TEXT PRIMARY KEY, relay TEXT NOT NULL, until INTEGER NOT NULL,"                    \
    " acknowledged INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"                                               \
    "CREATE INDEX done_until ON done(until);"                                                                \
    "CREATE INDEX done_acknowledged ON done(relay) WHERE acknowledged = 0;"

/* id: common to all recipients of one Send. message: the message id of the relay. state: of OutboxState. */
#define SCHEMA_OUTBOX                                                                                        \
    "CREATE TABLE outbox("                                                                                   \
    " serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, message TEXT NOT NULL UNIQUE,"             \
    " recipient TEXT NOT NULL, kid TEXT NOT NULL, relay TEXT NOT NULL, state INTEGER NOT NULL,"              \
    " queued INTEGER NOT NULL, expires INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB, file TEXT,"       \
    " body_sha256 BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,"                                       \
    " next_attempt INTEGER NOT NULL DEFAULT 0, error TEXT);"                                                 \
    "CREATE INDEX outbox_id ON outbox(id);"                                                                  \
    "CREATE INDEX outbox_state ON outbox(state, next_attempt);"

/* Keys that contacts have given up for others; serial: in this order. */
#define SCHEMA_FORMER                                                                                        \
    "CREATE TABLE contact_former("                                                                           \
    " contact INTEGER NOT NULL, skid TEXT NOT NULL, kid TEXT NOT NULL, retired INTEGER NOT NULL,"            \
    " serial INTEGER NOT NULL, PRIMARY KEY(contact, skid)) WITHOUT ROWID;"                                   \
    "CREATE INDEX contact_former_skid ON contact_former(skid);"

/* Our own keys, those of before as well: whoever follows a rotation needs the sign key that it is of. */
#define SCHEMA_OWN                                                                                           \
    "CREATE TABLE own_keys(skid TEXT PRIMARY KEY, kid TEXT NOT NULL, sign_spki BLOB NOT NULL) WITHOUT "      \
    "ROWID;"                                                                                                 \
    "CREATE INDEX own_keys_kid ON own_keys(kid);"

/* Relays where our keys are registered without a mailbox. */
#define SCHEMA_GUESTS                                                                                        \
    "CREATE TABLE guests(relay TEXT PRIMARY KEY, kid TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;"   \
    "CREATE INDEX guests_used ON guests(used);"

/* kid: of our key that the body hangs on; NULL: not known yet, "-": none that it opens with. kept: the body
 * is one that we made of it for a later key of ours; then skid, created (of its session) and sent are its
 * sender's. */
#define SCHEMA_KEPT                                                                                          \
    "ALTER TABLE inbox ADD COLUMN kid TEXT;"                                                                 \
    "ALTER TABLE inbox ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;"                                          \
    "ALTER TABLE inbox ADD COLUMN created INTEGER NOT NULL DEFAULT 0;"                                       \
    "ALTER TABLE inbox ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;"                                          \
    "CREATE INDEX inbox_kid ON inbox(kid);"

/* Which program may do what, and the log of who did: app as app_id, permission and verdict in words. */
#define SCHEMA_ACCESS                                                                                        \
    "CREATE TABLE access_rules(app TEXT NOT NULL, permission TEXT NOT NULL, verdict TEXT NOT NULL,"          \
    " since INTEGER NOT NULL, PRIMARY KEY(app, permission)) WITHOUT ROWID;"                                  \
    "CREATE TABLE access_uses("                                                                              \
    " serial INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, program TEXT NOT NULL,"                   \
    " permission TEXT NOT NULL, allowed INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"    \
    " uses INTEGER NOT NULL);"                                                                               \
    "CREATE INDEX access_uses_app ON access_uses(app, program, permission, allowed);"                        \
    "CREATE INDEX access_uses_last ON access_uses(last);"

/* kid: a decrypt key of ours that was lost; skid: of the recovery key that has signed for what came after. */
#define SCHEMA_RECOVERED "CREATE TABLE recovered(kid TEXT PRIMARY KEY, skid TEXT NOT NULL) WITHOUT ROWID;"

/* Keys of relays, each once; of those with the same root the last is the one of now. root: the pin by which
 * the other tables name the relay. next: the pin that follows, as the key itself says. */
#define SCHEMA_PINS                                                                                          \
    "CREATE TABLE relay_pins("                                                                               \
    " serial INTEGER PRIMARY KEY AUTOINCREMENT, host_port TEXT NOT NULL, pin TEXT NOT NULL,"                 \
    " root TEXT NOT NULL, next TEXT, UNIQUE(host_port, pin));"

/* The last tick that each relay told of, and when it signed that; back: when one was seen that does not
 * follow on the one before. */
#define SCHEMA_TICKS                                                                                         \
    "CREATE TABLE relay_ticks(relay TEXT PRIMARY KEY, tick INTEGER NOT NULL, id BLOB NOT NULL,"              \
    " signed INTEGER NOT NULL, back INTEGER NOT NULL) WITHOUT ROWID;"

/* Look-ups by a key that somebody has given up, and of those without an address by their statement. */
#define SCHEMA_CONTACT_KEYS                                                                                  \
    "CREATE INDEX contact_former_kid ON contact_former(kid);"                                                \
    "CREATE INDEX contacts_nameless ON contacts(statement_sha256) WHERE address IS NULL;"

/* code: by which we may send to a contact. capability_names: what the user calls those that we have given
 * out; relay and number say which. */
#define SCHEMA_CAPABILITIES                                                                                  \
    "CREATE TABLE contact_capabilities(contact INTEGER PRIMARY KEY, code TEXT NOT NULL);"                    \
    "CREATE TABLE capability_names(relay TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,"        \
    " PRIMARY KEY(relay, number)) WITHOUT ROWID;"

/* Our other devices; the keys are those that they had when they were added. */
#define SCHEMA_DEVICES                                                                                       \
    "CREATE TABLE own_devices(address TEXT PRIMARY KEY, kid TEXT NOT NULL, skid TEXT NOT NULL,"              \
    " added INTEGER NOT NULL) WITHOUT ROWID;"

/* devices: digest of those that the relay was told of there, own_devices_digest; NULL: none. */
#define SCHEMA_DEVICES_TOLD "ALTER TABLE registrations ADD COLUMN devices BLOB;"

/* What our keys, those of before too, have said of themselves at an address where they were registered: when
 * they first followed on others there, and last. */
#define SCHEMA_STATEMENTS                                                                                    \
    "CREATE TABLE own_statements(address TEXT NOT NULL, skid TEXT NOT NULL, first TEXT NOT NULL,"            \
    " last TEXT NOT NULL, added INTEGER NOT NULL, PRIMARY KEY(address, skid)) WITHOUT ROWID;"

/* allowed: the user says that the contact is no stranger. mailbox_settings: what a relay is to do and was
 * told (relays-settings.c); lifetime in seconds, 0: as long as the relay lets messages wait. */
#define SCHEMA_SETTINGS                                                                                      \
    "ALTER TABLE contacts ADD COLUMN allowed INTEGER NOT NULL DEFAULT 0;"                                    \
    "CREATE TABLE mailbox_settings(relay TEXT PRIMARY KEY, lifetime INTEGER NOT NULL,"                       \
    " revision INTEGER NOT NULL, digest BLOB) WITHOUT ROWID;"

static const char *const steps[] = {
    SCHEMA_CONTACTS SCHEMA_RELAYS SCHEMA_INBOX SCHEMA_REPLAY SCHEMA_OUTBOX,
    SCHEMA_FORMER SCHEMA_OWN,
    SCHEMA_GUESTS,
    SCHEMA_KEPT,
    SCHEMA_ACCESS,
    SCHEMA_RECOVERED,
    SCHEMA_PINS,
    SCHEMA_TICKS,
    SCHEMA_CONTACT_KEYS,
    SCHEMA_CAPABILITIES,
    SCHEMA_DEVICES,
    SCHEMA_DEVICES_TOLD,
    SCHEMA_STATEMENTS,
    SCHEMA_SETTINGS,
};
static const DbSchema schema = {STORE_APPLICATION_ID, steps, ELEMENTSOF(steps)};

static int open_mail_folder(Store *s, const char *folder, const char *suffix)
{
    _cleanup_(freep) char *path = NULL;
    int r;

    r = string_printf(&path, "%s/" STORE_MAIL_FOLDER "%s", folder, suffix);
    if (r == 0)
        r = file_make_folders(path, 0700);
    if (r < 0)
        return r;
    s->mail_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return s->mail_fd < 0 ? -errno : 0;
}

static int is_named(DbStatement *named, const char *name, bool *ret)
{
    bool row = false;
    int r;

    db_bind_text(named, 1, name);
    r = db_step(named, &row);
    db_reset(named);
    if (r == 0)
        *ret = row;
    return r;
}

/* What a crash left between a file and its row. */
static int sweep(Store *s)
{
    _cleanup_(db_statement_freep) DbStatement *named = NULL;
    struct dirent *entry;
    DIR *folder;
    int fd, r;

    r = db_prepare(
        s->db, "SELECT 1 FROM inbox WHERE file = ?1 UNION ALL SELECT 1 FROM outbox WHERE file = ?1", &named);
    if (r != 0)
        return r;
    fd = openat(s->mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    folder = fdopendir(fd);
    if (!folder) {
        r = -errno;
        fd_close(fd);
        return r;
    }
    while (r == 0 && (entry = readdir(folder))) {
        bool kept = true;

        if (entry->d_name[0] == '.')
            continue;
        r = is_named(named, entry->d_name, &kept);
        if (r == 0 && !kept)
            (void)unlinkat(s->mail_fd, entry->d_name, 0);
    }
    (void)closedir(folder);
    return r;
}

int store_is_sealed(int data_fd, const char *name, bool *ret)
{
    static const char magic[16] = "SQLite format 3";
    _cleanup_(fd_closep) int fd = openat(data_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char begin[sizeof(magic)];
    ssize_t n;

    *ret = false;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    n = read(fd, begin, sizeof(begin));
    if (n < 0)
        return -errno;
    *ret = n == (ssize_t)sizeof(begin) && memcmp(begin, magic, sizeof(magic)) != 0; /* public */
    return 0;
}

int store_new(const char *folder, const char *suffix, DbSeal *seal, Store **ret)
{
    _cleanup_(store_freep) Store *s = NULL;
    _cleanup_(freep) char *path = NULL;
    const DbOptions options = {.seal = seal};
    int r;

    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->mail_fd = -1;
    r = string_printf(&path, "%s/store%s.db", folder, suffix);
    if (r == 0 && seal)
        r = db_seal_file(path, &schema, seal);
    if (r == 0)
        r = db_open(path, &schema, &options, &s->db);
    if (r == 0)
        r = open_mail_folder(s, folder, suffix);
    if (r == 0)
        r = sweep(s);
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

Store *store_free(Store *s)
{
    if (!s)
        return NULL;
    (void)db_close(s->db);
    (void)fd_close(s->mail_fd);
    free(s);
    return NULL;
}

Db *store_db(Store *s)
{
    return s->db;
}

void store_body_done(StoreBody *b)
{
    b->file[0] = 0;
    buf_done(&b->bytes);
}

static int random_name(char ret[static STORE_FILE_NAME_SIZE])
{
    uint8_t random[FILE_NAME_BYTES];
    int r;

    r = crypto_random(random, sizeof(random));
    if (r == 0)
        hex_encode(random, sizeof(random), ret);
    return r;
}

int store_body_create(Store *s, char ret_name[static STORE_FILE_NAME_SIZE], int *ret_fd)
{
    char name[STORE_FILE_NAME_SIZE];
    int fd, r;

    r = random_name(name);
    if (r < 0)
        return r;
    fd = openat(s->mail_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    memcpy(ret_name, name, sizeof(name));
    *ret_fd = fd;
    return 0;
}

static int read_small(int fd, size_t size, Buf *ret)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(STORE_BODY_ROW_MAX);
    int r;

    r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : file_read_fd(fd, &b);
    if (r == 0 && b.size != size)
        r = -EBADMSG;
    if (r == 0) {
        *ret = b;
        b = (Buf){0};
    }
    return r;
}

int store_body_keep(Store *s, const char *name, int fd, uint64_t size, StoreBody *ret)
{
    StoreBody body = {0};
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < 0 || (uint64_t)st.st_size != size)
        return -EBADMSG;
    if (size <= STORE_BODY_ROW_MAX) {
        r = read_small(fd, (size_t)size, &body.bytes);
        if (r == 0)
            store_body_remove(s, name);
    } else {
        memcpy(body.file, name, strnlen(name, sizeof(body.file) - 1));
        r = fsync(fd) < 0 || fsync(s->mail_fd) < 0 ? -errno : 0;
    }
    if (r == 0)
        *ret = body;
    return r;
}

int store_body_put(Store *s, const Buf *content, StoreBody *ret)
{
    char name[STORE_FILE_NAME_SIZE];
    _cleanup_(fd_closep) int fd = -1;
    int r;

    if (content->size <= STORE_BODY_ROW_MAX) {
        ret->bytes = BUF_MAX(STORE_BODY_ROW_MAX);
        return buf_append(&ret->bytes, content->data, content->size);
    }
    r = store_body_create(s, name, &fd);
    if (r != 0)
        return r;
    r = file_write_fd(fd, content->data, content->size);
    if (r == 0)
        r = store_body_keep(s, name, fd, content->size, ret);
    if (r != 0)
        store_body_remove(s, name);
    return r;
}

int store_body_open(Store *s, const char *name, int *ret_fd)
{
    int fd = openat(s->mail_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

int store_body_link(Store *s, const char *name, char ret_name[static STORE_FILE_NAME_SIZE])
{
    char other[STORE_FILE_NAME_SIZE];
    int r;

    r = random_name(other);
    if (r < 0)
        return r;
    if (linkat(s->mail_fd, name, s->mail_fd, other, 0) < 0 || fsync(s->mail_fd) < 0)
        return -errno;
    memcpy(ret_name, other, sizeof(other));
    return 0;
}

void store_body_remove(Store *s, const char *name)
{
    if (name && *name)
        (void)unlinkat(s->mail_fd, name, 0);
}
