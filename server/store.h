/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the relay keeps, whatever database is behind it: who is registered, and the messages of mailboxes.
 * Changes are requests (StoreWrite) that any thread may hand in; they are gathered into transactions, and
 * each is answered by its done function once it is on disk. Reads go through a StoreReader, one per thread,
 * and see every change that was answered before. A mailbox is named by the kid of its owner. */

#include <errno.h>
#include <sys/types.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/limits.h"
#include "libhmsg/wire/mailbox-settings.h"

#define STORE_QUEUE_MAX 4096u             /* requests that wait */
#define STORE_QUEUE_BYTES_MAX (64u << 20) /* of the bodies of those */
#define STORE_BATCH_MAX 256u              /* requests of one transaction */
#define STORE_BATCH_BYTES_MAX (8u << 20)
#define STORE_SECRETS_MAX (2u * STORE_QUEUE_MAX) /* for secret_init_more */
#define STORE_SWEEP_MAX 1000u                    /* messages that one sweep ends */
#define STORE_REKEY_MAX 200u                     /* rows that one step of a change of keys seals anew */
#define STORE_EXPIRED_RETENTION (7 * 86400) /* seconds that an expired message's state can be asked for */
#define STORE_SPACE_RESERVE (32ull << 20)   /* bytes kept free on the disk, so that deleting goes on */
#define STORE_MAILBOX_BYTES (1ull << 30)    /* defaults of StoreLimits */
#define STORE_MAILBOX_MESSAGES 10000u
#define STORE_SENDER_BYTES (512ull << 20)
#define STORE_SENDER_MESSAGES 5000u
#define STORE_STRANGERS_BYTES (512ull << 20)
#define STORE_STRANGERS_MESSAGES 2000u
#define STORE_FORMER_SECONDS (30u * 86400u)
#define STORE_INVITES_MAX 10000u
/* A guest is forgotten who has sent nothing for so long that nothing of his can wait any more, and as long
 * again: his agent registers anew when it needs to. */
#define STORE_GUEST_SECONDS (2 * MESSAGE_EXPIRY_MAX)
#define STORE_GUEST_STEP 86400 /* seconds in which it is noted once that he has */

typedef struct StoreLimits {
    uint64_t mailbox_bytes, mailbox_messages;
    uint64_t sender_bytes, sender_messages;       /* of one sender in one mailbox */
    uint64_t strangers_bytes, strangers_messages; /* of all guests together in one mailbox */
    uint64_t body_bytes;                          /* of one body */
    uint64_t total_bytes;                         /* of all messages; 0: no limit */
    uint64_t space_reserve;                       /* free bytes of the disk that puts leave alone */
    uint64_t size_max;                            /* of the database file; 0: no limit */
    uint64_t former_seconds; /* after a rotation, in which messages to the former key are taken */
    uint64_t key_seals;      /* messages under one data key */
} StoreLimits;

/* The defaults above, ATTACHMENT_SIZE_MAX, STORE_SPACE_RESERVE and AT_REST_SEALS_MAX. */
void store_limits_init(StoreLimits *l);

typedef struct StoreIdentity {
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    char name[NAME_SIZE_MAX + 1]; /* "": a guest, who has no mailbox */
    uint8_t sign[SPKI_SIZE_MAX], decrypt[SPKI_SIZE_MAX];
    size_t sign_size, decrypt_size;
    char statement[JWS_SIZE_MAX + 1]; /* JWS */
    uint64_t generation;
    int64_t created;
    bool blocked; /* by an administrator; not looked at where one is stored */
} StoreIdentity;

/* What a mailbox holds; nothing when there is none. */
typedef struct StoreUse {
    uint64_t messages, bytes;
} StoreUse;

/* An invitation; its code is known to whoever has it alone. */
typedef struct StoreInvite {
    int64_t number;
    uint64_t uses; /* left */
    int64_t created, expires;
} StoreInvite;

/* A sending capability of a mailbox. */
typedef struct StoreCapability {
    int64_t number;
    uint64_t uses; /* left */
    int64_t created, expires;
} StoreCapability;

/* What a mailbox was told by its owner; zeros when nothing. */
typedef struct StoreSettings {
    uint64_t revision, lifetime, rules; /* rules: senders allowed or blocked */
} StoreSettings;

/* What the owner of a mailbox says of a sender. */
typedef enum StoreRule {
    STORE_RULE_NONE,
    STORE_RULE_ALLOWED,
    STORE_RULE_BLOCKED,
} StoreRule;

typedef enum StoreState {
    STORE_ACCEPTED,
    STORE_DELIVERED,
    STORE_EXPIRED,
    STORE_STATE_MAX_,
} StoreState;
const char *store_state_text(StoreState s);
/* What to tell people about a store that cannot be opened or checked. Never NULL. */
const char *store_problem(int r);

/* A waiting message. */
typedef struct StoreMessage {
    int64_t seq; /* grows within a mailbox */
    uint8_t id[ID_SIZE], submitter[KID_SIZE];
    uint64_t size;
    int64_t expires;
} StoreMessage;

/* One change of keys that was made here: statement, and the steps (libhmsg/wire/rotation.h, as JSON) that led
 * from it to next. */
typedef struct StoreLink {
    const char *statement, *steps, *next;
} StoreLink;

/* Keys that somebody has had before they are registered here, and how they led on. */
typedef struct StoreFormer {
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    StoreLink link;
} StoreFormer;

/* A message that is no longer waiting. submitter: by the sign key that he has now. */
typedef struct StoreChange {
    uint8_t id[ID_SIZE], submitter[KID_SIZE];
    StoreState state;
} StoreChange;

/* What another relay that shares the store has changed. */
typedef enum StoreNewsKind {
    STORE_NEWS_MAIL,  /* for the mailbox of the decrypt key */
    STORE_NEWS_STATE, /* of a message, for who submitted it by the sign key */
    STORE_NEWS_GONE,  /* the sign key is no longer somebody's, or he is blocked */
    STORE_NEWS_LOST,  /* something may be missing: anything may have changed for anybody */
} StoreNewsKind;
typedef struct StoreNews {
    StoreNewsKind kind;
    uint8_t key[KID_SIZE]; /* store_index of it */
    StoreState state;
    uint8_t id[ID_SIZE];
} StoreNews;

typedef struct StoreCounts {
    uint64_t identities, mailboxes, messages, bytes, blobs;
    uint64_t key;         /* number of the root key, which grows with each change of keys */
    int64_t key_created;  /* when it was made */
    uint64_t key_pending; /* identities and former data keys that still wait for the change */
} StoreCounts;

/* What a check finds damaged. */
typedef enum StoreDamageKind {
    STORE_DAMAGED_DATABASE, /* text: what the database says of itself; it has no number */
    STORE_DAMAGED_TABLE,    /* text: its name; what comes behind row `number` cannot be read */
    STORE_DAMAGED_CLIENT,   /* keys, name and statement of who is registered */
    STORE_DAMAGED_FORMER,   /* keys that a client has given up */
    STORE_DAMAGED_MESSAGE,  /* one that waits */
    STORE_DAMAGED_FILE,     /* the body of a large one; text: the name of its file, "" if it has none */
    STORE_DAMAGE_MAX_,
} StoreDamageKind;
typedef struct StoreDamage {
    StoreDamageKind kind;
    int64_t number; /* of the row */
    int64_t client; /* number of the client whose it is, as of store_next_identity; 0: nobody's */
    const char *text;
} StoreDamage;
typedef void (*store_damage_t)(const StoreDamage *d, void *userdata);

typedef struct Store Store;
typedef struct StoreReader StoreReader;
typedef struct StoreBlob StoreBlob; /* a large body on its way in */
typedef struct StoreFile StoreFile; /* and out */

typedef enum StoreKind {
    STORE_REGISTER,
    STORE_UNREGISTER,
    STORE_ROTATE,
    STORE_PUT,
    STORE_ACKNOWLEDGE,
    STORE_SWEEP,
    STORE_REKEY,
    STORE_INVITE,
    STORE_REVOKE,
    STORE_BLOCK,
    STORE_GRANT,
    STORE_WITHDRAW,
    STORE_SETTINGS,
    STORE_KIND_MAX_,
} StoreKind;

/* A change. Memory of the caller, untouched by him until done is called, on a thread of the store: done does
 * little more than to pass it back to where it came from. result is 0 or
 *   register     HMSG_ERROR_ALREADY_EXISTS: name or a key belongs to another; HMSG_ERROR_DENIED: no such
 *                invitation, or its time is over
 *   unregister   HMSG_ERROR_NOT_FOUND: no such key, or another name
 *   rotate       HMSG_ERROR_NOT_FOUND: the former key is not registered, nor was its rotation to these keys
 *                made before; HMSG_ERROR_ALREADY_EXISTS: a new key is or was somebody's, the generation is
 *                not greater, or the former statement is another by now
 *   put          HMSG_ERROR_NOT_FOUND: no such mailbox; HMSG_ERROR_DENIED: the submitter is not registered,
 *                or one of the two is blocked, or the owner refuses him; HMSG_ERROR_TOO_LARGE;
 * HMSG_ERROR_QUOTA_EXCEEDED invite       HMSG_ERROR_QUOTA_EXCEEDED: STORE_INVITES_MAX. The same code again is
 * the same invitation revoke       HMSG_ERROR_NOT_FOUND: no such invitation block HMSG_ERROR_NOT_FOUND: no
 * such key grant        HMSG_ERROR_NOT_FOUND: no such mailbox; HMSG_ERROR_QUOTA_EXCEEDED: CAPABILITIES_MAX;
 *                HMSG_ERROR_ALREADY_EXISTS: this one was revoked, or has another end
 *   withdraw     HMSG_ERROR_NOT_FOUND: no such mailbox or capability; one that was revoked is there until its
 *                time is over
 *   settings     HMSG_ERROR_NOT_FOUND: no such mailbox; HMSG_ERROR_ALREADY_EXISTS: the revision is not
 * greater than that of now, unless it is exactly the same settings any          HMSG_ERROR_STORAGE_FULL;
 * negative: the store failed and nothing is changed then. */
typedef struct StoreWrite StoreWrite;
struct StoreWrite {
    StoreKind kind;
    void (*done)(StoreWrite *w);
    void *userdata;
    int result;
    union {
        struct {
            const StoreIdentity *identity;
            bool by_invite;     /* a name that is new here needs one, which is used up with it */
            const char *invite; /* its code; may be NULL */
            int64_t now;        /* for by_invite */
            /* How the sign key was come to, the oldest first. Kept when none is kept yet, and none of these
             * keys is or was anybody's here; then the sign keys register nothing here any more. */
            const StoreFormer *former;
            size_t n_former; /* at most ROTATION_CHAIN_MAX */
            bool created;    /* out: not known before with these keys and this name */
        } reg;
        struct {
            int64_t number; /* as of store_next_identity, of one that is damaged; 0: by the two others */
            uint8_t skid[KID_SIZE];
            char name[NAME_SIZE_MAX + 1];
        } unregister;
        struct {
            /* The new keys; its name is not looked at: name, mailbox and messages stay. */
            const StoreIdentity *identity;
            const uint8_t *from;        /* the former sign key, KID_SIZE */
            const char *from_statement; /* that the steps begin at */
            const char *steps;
            bool created; /* out: false when it was made before */
        } rotate;
        struct {
            uint8_t mailbox[KID_SIZE], id[ID_SIZE], submitter[KID_SIZE];
            uint8_t owner[KID_SIZE]; /* out: the decrypt key of now of whose mailbox it is */
            const void *body;
            size_t size;
            StoreBlob *blob;  /* instead of body; belongs to the store once store_write took it */
            int64_t accepted; /* now; out: when it was first accepted */
            int64_t expires;  /* out: earlier when the owner of the mailbox said so */
            int64_t begins;   /* what the owner's lifetime is counted from (steady.h); 0: accepted */
            bool created;     /* out: false when it was here before */
            int64_t seq;      /* out */
            bool share;       /* out, QUOTA_EXCEEDED: of this sender or of guests, not of the mailbox */
            bool blocked;     /* out, DENIED: by an administrator */
            bool refused;     /* out, DENIED: by the owner */
            /* Of a guest: counts as a sender of its own as long as it is good. One that is not is as none.
             */
            bool has_capability;
            uint8_t capability[SHA256_SIZE]; /* capability_hash */
        } put;
        struct {
            uint8_t mailbox[KID_SIZE];
            const uint8_t *ids; /* n times ID_SIZE */
            size_t n;           /* at most ACKNOWLEDGE_IDS_MAX */
        } acknowledge;
        struct {
            int64_t now;
            bool more; /* out: call again */
        } sweep;
        struct { /* new keys: goes on with a change, or begins one when it was asked for or is due */
            int64_t now;
            uint64_t age_max; /* seconds until a root key is replaced; 0: only when asked for */
            bool more;        /* out: call again */
        } rekey;
        struct {
            const char *code;
            uint64_t uses;
            int64_t now, expires;
            int64_t number; /* out */
        } invite;
        struct {
            int64_t number;
        } revoke;
        struct {
            uint8_t skid[KID_SIZE];
            bool blocked;
        } block;
        struct {
            uint8_t mailbox[KID_SIZE], hash[SHA256_SIZE]; /* capability_hash */
            uint64_t uses;
            int64_t now, expires;
            int64_t number; /* out */
            bool created;   /* out: false when it was here before */
        } grant;
        struct {
            uint8_t mailbox[KID_SIZE];
            int64_t number;
        } withdraw;
        struct {
            uint8_t mailbox[KID_SIZE];
            const MailboxSettings *all; /* checked */
        } settings;
    };
    StoreChange *changes; /* out, of acknowledge and sweep: freed by store_write_done */
    size_t n_changes;
    /* of the store */
    StoreWrite *next;
    void *prepared;
    bool maybe_done; /* by a commit of which nobody knows whether it succeeded */
};
void store_write_done(StoreWrite *w);
/* Hands w in and waits for its answer, which it returns; done and userdata are its own. */
int store_write_wait(Store *s, StoreWrite *w);

typedef struct StoreOps {
    Store *(*free)(Store *s);
    void (*stop)(Store *s);
    int (*write)(Store *s, StoreWrite *w);
    int (*blob_new)(Store *s, StoreBlob **ret);
    int (*blob_append)(StoreBlob *b, const void *data, size_t n);
    StoreBlob *(*blob_free)(StoreBlob *b);
    int (*reader_new)(Store *s, StoreReader **ret);
    StoreReader *(*reader_free)(StoreReader *r);
    int (*find_name)(StoreReader *r, const char *name, StoreIdentity *ret);
    int (*find_key)(StoreReader *r, const uint8_t *kid, StoreIdentity *ret);
    int (*find_former)(StoreReader *r, const uint8_t *kid, StoreIdentity *ret);
    int (*chain)(StoreReader *r, const uint8_t *skid, const uint8_t *from,
                 int (*f)(const StoreLink *l, void *userdata), void *userdata);
    int (*snapshot)(StoreReader *r);
    void (*snapshot_end)(StoreReader *r);
    int (*list)(StoreReader *r, const uint8_t *mailbox, int64_t after, size_t max, StoreMessage *ret,
                size_t *ret_n);
    int (*fetch)(StoreReader *r, const uint8_t *mailbox, const uint8_t *id, Buf *ret, StoreFile **ret_file,
                 uint64_t *ret_size);
    ssize_t (*file_read)(StoreFile *f, uint64_t offset, void *to, size_t n);
    StoreFile *(*file_free)(StoreFile *f);
    int (*status)(StoreReader *r, const uint8_t *submitter, const uint8_t *id, StoreState *ret);
    int (*room)(StoreReader *r, const uint8_t *mailbox, uint64_t size);
    int (*counts)(StoreReader *r, StoreCounts *ret);
    int (*next_identity)(StoreReader *r, int64_t *number, StoreIdentity *ret);
    int (*next_invite)(StoreReader *r, StoreInvite *i);
    int (*index)(StoreReader *r, const uint8_t *kid, uint8_t *ret);
    int (*news)(StoreReader *r, void (*f)(const StoreNews *news, void *userdata), void *userdata);
    int (*use)(StoreReader *r, const uint8_t *mailbox, StoreUse *ret);
    int (*capability)(StoreReader *r, const uint8_t *mailbox, const uint8_t *hash);
    int (*next_capability)(StoreReader *r, const uint8_t *mailbox, StoreCapability *c);
    int (*settings)(StoreReader *r, const uint8_t *mailbox, StoreSettings *ret);
    int (*rule)(StoreReader *r, const uint8_t *mailbox, const uint8_t *submitter, StoreRule *ret);
} StoreOps;

/* The beginning of each backend's objects. */
struct Store {
    const StoreOps *ops;
};
struct StoreReader {
    const StoreOps *ops;
};
struct StoreBlob {
    const StoreOps *ops;
};
struct StoreFile {
    const StoreOps *ops;
};

/* Answers what waits, stops its threads. Readers and blobs must be gone. */
static inline Store *store_free(Store *s)
{
    return s ? s->ops->free(s) : NULL;
}
DEFINE_CLEANUP(Store *, store_free)

/* Answers what waits, also when a remote database never would, and takes nothing any more; then whoever waits
 * for an answer on a thread of his own can be waited for. Not by two threads at once. */
static inline void store_stop(Store *s)
{
    if (s)
        s->ops->stop(s);
}

/* -EAGAIN: too much waits already, or it was stopped; done is not called then, and a blob stays the caller's.
 */
static inline int store_write(Store *s, StoreWrite *w)
{
    return s->ops->write(s, w);
}

/* A body over MESSAGE_SIZE_MAX, in pieces; used by one thread at a time. Freed without having been put, it
 * leaves nothing. HMSG_ERROR_TOO_LARGE: more than StoreLimits.body_bytes. */
static inline int store_blob_new(Store *s, StoreBlob **ret)
{
    return s->ops->blob_new(s, ret);
}
static inline int store_blob_append(StoreBlob *b, const void *data, size_t n)
{
    return b->ops->blob_append(b, data, n);
}
static inline StoreBlob *store_blob_free(StoreBlob *b)
{
    return b ? b->ops->blob_free(b) : NULL;
}
DEFINE_CLEANUP(StoreBlob *, store_blob_free)

static inline int store_reader_new(Store *s, StoreReader **ret)
{
    return s->ops->reader_new(s, ret);
}
static inline StoreReader *store_reader_free(StoreReader *r)
{
    return r ? r->ops->reader_free(r) : NULL;
}
DEFINE_CLEANUP(StoreReader *, store_reader_free)

/* HMSG_ERROR_NOT_FOUND; find_key takes the kid of either key. */
static inline int store_find_name(StoreReader *r, const char *name, StoreIdentity *ret)
{
    return r->ops->find_name(r, name, ret);
}
static inline int store_find_key(StoreReader *r, const uint8_t kid[static KID_SIZE], StoreIdentity *ret)
{
    return r->ops->find_key(r, kid, ret);
}
/* Who has had this key, of either kind, and has others now: those. HMSG_ERROR_NOT_FOUND. */
static inline int store_find_former(StoreReader *r, const uint8_t kid[static KID_SIZE], StoreIdentity *ret)
{
    return r->ops->find_former(r, kid, ret);
}
/* How the owner of the sign key skid has come to it from a former key of either kind: each change, the oldest
 * first, until f returns non-zero. At most ROTATION_CHAIN_MAX are kept. */
static inline int store_chain(StoreReader *r, const uint8_t skid[static KID_SIZE],
                              const uint8_t from[static KID_SIZE],
                              int (*f)(const StoreLink *l, void *userdata), void *userdata)
{
    return r->ops->chain(r, skid, from, f, userdata);
}
/* What is read between these two is of one moment. */
static inline int store_snapshot(StoreReader *r)
{
    return r->ops->snapshot(r);
}
static inline void store_snapshot_end(StoreReader *r)
{
    r->ops->snapshot_end(r);
}
/* The oldest messages with seq > after, at most max; those that are damaged are left out. */
static inline int store_list(StoreReader *r, const uint8_t mailbox[static KID_SIZE], int64_t after,
                             size_t max, StoreMessage *ret, size_t *ret_n)
{
    return r->ops->list(r, mailbox, after, max, ret, ret_n);
}
/* A waiting message: its body is appended to ret (*ret_file is NULL then), or it is *ret_file. */
static inline int store_fetch(StoreReader *r, const uint8_t mailbox[static KID_SIZE],
                              const uint8_t id[static ID_SIZE], Buf *ret, StoreFile **ret_file,
                              uint64_t *ret_size)
{
    return r->ops->fetch(r, mailbox, id, ret, ret_file, ret_size);
}
/* At least 1 and at most n bytes from offset; fast when offsets grow. Never anything but what was put:
 * -EBADMSG. 0: the end. By one thread at a time; the message may go meanwhile. */
static inline ssize_t store_file_read(StoreFile *f, uint64_t offset, void *to, size_t n)
{
    return f->ops->file_read(f, offset, to, n);
}
static inline StoreFile *store_file_free(StoreFile *f)
{
    return f ? f->ops->file_free(f) : NULL;
}
DEFINE_CLEANUP(StoreFile *, store_file_free)
/* HMSG_ERROR_NOT_FOUND unless submitter submitted it. */
static inline int store_status(StoreReader *r, const uint8_t submitter[static KID_SIZE],
                               const uint8_t id[static ID_SIZE], StoreState *ret)
{
    return r->ops->status(r, submitter, id, ret);
}
/* Whether a body of this size would fit now, as put says it; so that a large one is refused before it came.
 */
static inline int store_room(StoreReader *r, const uint8_t mailbox[static KID_SIZE], uint64_t size)
{
    return r->ops->room(r, mailbox, size);
}
static inline int store_counts(StoreReader *r, StoreCounts *ret)
{
    return r->ops->counts(r, ret);
}
/* For administrators. The first identity whose number is greater than *number, which becomes its number:
 * HMSG_ERROR_NOT_FOUND at the end. Numbers are never used again. One that is damaged has its number and
 * -EBADMSG; when *number stays with that, none behind it can be read. */
static inline int store_next_identity(StoreReader *r, int64_t *number, StoreIdentity *ret)
{
    return r->ops->next_identity ? r->ops->next_identity(r, number, ret) : -EOPNOTSUPP;
}
/* The same of invitations; i->number is the one before. */
static inline int store_next_invite(StoreReader *r, StoreInvite *i)
{
    return r->ops->next_invite ? r->ops->next_invite(r, i) : -EOPNOTSUPP;
}
/* As what a key is named in news; -EOPNOTSUPP: the store is of one relay alone. */
static inline int store_index(StoreReader *r, const uint8_t kid[static KID_SIZE],
                              uint8_t ret[static KID_SIZE])
{
    return r->ops->index ? r->ops->index(r, kid, ret) : -EOPNOTSUPP;
}
/* What other relays have changed since the last call with this reader, or since the first. STORE_NEWS_LOST
 * comes with the first. */
static inline int store_news(StoreReader *r, void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    return r->ops->news ? r->ops->news(r, f, userdata) : -EOPNOTSUPP;
}
static inline int store_use(StoreReader *r, const uint8_t mailbox[static KID_SIZE], StoreUse *ret)
{
    return r->ops->use ? r->ops->use(r, mailbox, ret) : -EOPNOTSUPP;
}
/* Is this a capability of the mailbox that is good now? HMSG_ERROR_NOT_FOUND. hash: capability_hash. */
static inline int store_capability(StoreReader *r, const uint8_t mailbox[static KID_SIZE],
                                   const uint8_t hash[static SHA256_SIZE])
{
    return r->ops->capability ? r->ops->capability(r, mailbox, hash) : HMSG_ERROR_NOT_FOUND;
}
/* The first capability of the mailbox behind c->number that was not revoked and whose time is not over, used
 * up or not: HMSG_ERROR_NOT_FOUND at the end. */
static inline int store_next_capability(StoreReader *r, const uint8_t mailbox[static KID_SIZE],
                                        StoreCapability *c)
{
    return r->ops->next_capability ? r->ops->next_capability(r, mailbox, c) : -EOPNOTSUPP;
}
static inline int store_settings(StoreReader *r, const uint8_t mailbox[static KID_SIZE], StoreSettings *ret)
{
    return r->ops->settings ? r->ops->settings(r, mailbox, ret) : -EOPNOTSUPP;
}
/* Of who has the sign key submitter; put has the last word. */
static inline int store_rule(StoreReader *r, const uint8_t mailbox[static KID_SIZE],
                             const uint8_t submitter[static KID_SIZE], StoreRule *ret)
{
    return r->ops->rule ? r->ops->rule(r, mailbox, submitter, ret) : -EOPNOTSUPP;
}
