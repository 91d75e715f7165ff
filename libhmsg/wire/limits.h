/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Every limit of the protocol, in one place. Sizes in bytes, times in seconds, unless said otherwise. A
 * change here is a change of docs/protocol.md. Limits of one program (queues, deadlines) live with that
 * program. */

/* Fixed sizes */
#define SHA256_SIZE 32u
#define SHA512_SIZE 64u
#define KID_SIZE 32u          /* RFC 7638 thumbprint of a key: kid, skid */
#define PIN_SIZE 32u          /* SHA-256 of a relay's identity SPKI */
#define ID_SIZE 32u           /* message id */
#define NONCE_SIZE 32u        /* challenges of a relay */
#define EXPORTER_SIZE 32u     /* tls-exporter, RFC 9266 */
#define SESSION_KEYS_SIZE 64u /* MAC key 32, then AES-256 key 32 */
#define SESSION_ID_SIZE 16u   /* sid */
#define KEY_COMMITMENT_SIZE 32u
#define FILE_KEY_SIZE 32u
#define ACK_KEY_SIZE 32u
#define POP_SECRET_SIZE 32u
#define X25519_SIZE 32u
#define ES256_SIGNATURE_SIZE 64u /* r, then s */

/* Text forms of the above: base64url without padding, and the final 0 */
#define HASH_TEXT_SIZE 44u /* of 32 bytes: kid, skid, pin, id */

/* RSA: 2048, 3072 or 4096 bits, e = 65537 */
#define RSA_BITS_MIN 2048u
#define RSA_BITS_MAX 4096u
#define RSA_SIZE_MAX 512u  /* of a signature or an OAEP ciphertext */
#define SPKI_SIZE_MAX 800u /* DER of a public key; 550 for RSA-4096 */

/* JSON */
#define JSON_DEPTH_MAX 8u      /* nested objects and arrays */
#define JSON_VALUES_MAX 16384u /* of one text; a page of LIST_MAX messages has 6 for each */

/* Packages */
#define PLAINTEXT_SIZE_MAX (1024u * 1024u)             /* of one package; more is a stream */
#define CIPHERTEXT_SIZE_MAX (PLAINTEXT_SIZE_MAX + 16u) /* CBC padding */
#define PROTECTED_TEXT_SIZE_MAX 1024u                  /* base64url of the protected header */
#define PACKAGE_OVERHEAD_MAX 8192u                     /* all of a package but its ciphertext */
#define PACKAGE_SIZE_MAX (((CIPHERTEXT_SIZE_MAX + 2u) / 3u) * 4u + PACKAGE_OVERHEAD_MAX)
#define JWE_SIZE_MAX (PACKAGE_SIZE_MAX + 64u)       /* its names are longer */
#define RECIPIENTS_MAX 64u                          /* of one message */
#define PACKAGE_LIST_SIZE_MAX (96u * 1024u * 1024u) /* JSON array of packages; below the 128 MiB of D-Bus */
#define MAIL_PACKAGES_SIZE_MAX                                                                               \
    ((RECOVERY_KEYS_MAX + 1u) * (PACKAGE_SIZE_MAX + 1u) + 1u) /* a package for each key of one recipient */
#define PACKAGE_EXPIRY_MAX (30u * 86400u)                     /* exp - ts */
#define TIME_MAX 253402300799    /* end of the year 9999: bounds every time on the wire */
#define SEQUENCE_MAX 0xffffffffu /* seq */

/* JWE that are no packages */
#define JWE_HEADER_SIZE_MAX 8192u            /* base64url of the protected header */
#define JWE_AAD_SIZE_MAX (64u * 1024u)       /* base64url of aad */
#define JWE_OVERHEAD_SIZE_MAX (256u * 1024u) /* all but the ciphertext */
#define JWE_MESSAGE_SIZE_MAX (((CIPHERTEXT_SIZE_MAX + 2u) / 3u) * 4u + JWE_OVERHEAD_SIZE_MAX)

/* Seed form */
#define SEED_SIZE_MAX (((CIPHERTEXT_SIZE_MAX + 2u) / 3u) * 4u + PACKAGE_OVERHEAD_MAX)

/* CMS */
#define CMS_OVERHEAD_MAX (128u * 1024u) /* all but its content: 64 recipients, certificates */
#define CMS_SIZE_MAX (PLAINTEXT_SIZE_MAX + CMS_OVERHEAD_MAX) /* DER */
#define CMS_TEXT_SIZE_MAX                                                                                    \
    (CMS_SIZE_MAX / 48u * 66u + 4096u) /* PEM, with two characters for the end of a line */
#define CMS_ATTRIBUTES_SIZE_MAX 8192u  /* signed or authenticated */
#define CMS_CERTIFICATES_MAX 16u       /* of one message */
#define ISSUER_SERIAL_SIZE_MAX 1024u   /* issuer and serial number of a certificate */

/* Streams */
#define STREAM_CHUNK_SIZE 16384u
#define STREAM_TAG_SIZE 16u
#define STREAM_SALT_SIZE 24u
#define STREAM_COMMITMENT_SIZE 32u
#define STREAM_PREAMBLE_SIZE 16u /* magic, size of the packages, size of the trailer */
#define STREAM_PACKAGES_SIZE_MAX (RECIPIENTS_MAX * 4096u) /* the packages of a stream's header */
#define STREAM_TRAILER_SIZE_MAX 2048u
#define STREAM_CHUNKS_MAX (1ull << 38)

/* Signed statements */
#define JWS_SIZE_MAX 8192u         /* compact form */
#define JWS_HEADER_SIZE_MAX 256u   /* base64url */
#define JWS_PAYLOAD_SIZE_MAX 6144u /* base64url */
#define CLOCK_SKEW_MAX 300u        /* between two clocks */
#define REQUEST_LIFETIME_MAX 300u  /* exp - iat of a registration or login */
#define RELAY_STATEMENT_LIFETIME_MAX (24u * 3600u)
#define BINDING_LIFETIME_MAX 3600u
#define ROTATION_STEPS_MAX 64u /* rotations from one identity statement to the next of an address */
#define ROTATION_CHAIN_MAX 64u /* such changes that a relay keeps of an address, the newest */
#define ROTATION_KEYS_MAX 128u /* superseded pairs of keys in one chain */
#define SUCCESSIONS_MAX 16u    /* changes of its identity key that a relay tells of, the newest */
#define TICK_SIZE 8u           /* the id of a tick of a relay */
#define TICKS_MAX 16u          /* that it tells of, the newest */
#define SUCCESSIONS_SIZE_MAX (48u * 1024u) /* of their JSON array */
#define CAPABILITY_SIZE 32u                /* the code of a sending capability */
#define CAPABILITY_USES_MAX 1000000u       /* messages */
#define CAPABILITY_LIFETIME_MAX (366u * 86400u)
#define CAPABILITIES_MAX 1000u            /* of one mailbox, until their time is over */
#define SENDER_RULES_MAX 1000u            /* senders that one mailbox allows or blocks */
#define MAILBOX_LIFETIME_MIN 3600u        /* that a mailbox may ask for its messages */
#define INVITE_SIZE_MAX 256u              /* bytes: the code of an invitation */
#define RECOVERY_KEYS_MAX 2u              /* that one identity names: more do not fit into JWS_SIZE_MAX */
#define DEVICES_MAX 8u                    /* that one identity names, besides itself */
#define GENERATION_MAX ((1ull << 53) - 1) /* exact in every JSON reader */

/* Sessions (one per sender and recipient key) */
#define SESSION_LIFETIME_MAX (24u * 3600u)
#define SESSION_IDLE_MAX 3600u
#define SESSION_MESSAGES_MAX 65536u
#define SESSION_BYTES_MAX (64ull << 30)
#define SESSION_RETENTION (30u * 86400u) /* replay records are kept until expires and this */
#define REPLAY_WINDOW 64u                /* sequence numbers */

/* Cache of session keys at the recipient */
#define SESSION_CACHE_IDLE (15u * 60u)
#define SESSION_CACHE_LIFETIME (8u * 3600u)
#define SESSION_CACHE_HOT_MAX 64u      /* kernel keys; the rest is wrapped */
#define SESSION_CACHE_MAX 65536u       /* entries altogether */
#define SESSION_CACHE_FAILED_MAX 1024u /* remembered hashes of keys that do not open */

/* Names and addresses */
#define NAME_SIZE_MAX 64u  /* the part before @ */
#define HOST_SIZE_MAX 253u /* RFC 1035 */
#define ADDRESS_SIZE_MAX                                                                                     \
    (NAME_SIZE_MAX + 1u + HOST_SIZE_MAX + 2u + 6u + 1u + 43u) /* with [], port and pin                       \
                                                               */
#define RELAY_PORT_DEFAULT 7443u

/* Relay */
#define MESSAGE_SIZE_MAX (64u * 1024u)               /* bodies up to here live in the database row */
#define ATTACHMENT_SIZE_MAX (256ull * 1024u * 1024u) /* default largest body */
#define MESSAGE_EXPIRY_MAX PACKAGE_EXPIRY_MAX
#define NONCE_LIFETIME 300u
#define ACKNOWLEDGE_IDS_MAX 1000u         /* of one request */
#define LIST_MAX 1000u                    /* messages of one page */
#define RELAY_BODY_SIZE_MAX (64u * 1024u) /* JSON bodies of the HTTP API */
#define ROTATION_BODY_SIZE_MAX                                                                               \
    (192u * 1024u) /* of a rotation: ROTATION_STEPS_MAX of them with the largest keys */
#define ROTATION_ANSWER_SIZE_MAX (768u * 1024u) /* of a look-up: a longer chain is not given */

/* Files that name a key */
#define KEY_FILE_SIZE_MAX 16384u
