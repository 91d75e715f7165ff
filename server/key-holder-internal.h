/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes over the socket pair (SOCK_SEQPACKET): a request and its answer, each with the number of the
 * request, so that an answer that came too late is not taken for that of another. */

#include <stddef.h>

#include "server/key-holder.h"

#define HOLDER_DATA_MAX 2048u /* of one message; two SPKIs fit */

typedef enum HolderCommand {
    HOLDER_OPEN = 1, /* answer: HolderFile, then size (2 bytes, big-endian) and SPKI of the identity, then
                        those of the key that secrets are encrypted to */
    HOLDER_SIGN,     /* data: a SHA-256 digest; answer: the signature */
    HOLDER_UNWRAP,   /* data: what relay_key_wrap gave; answer: the secret */
} HolderCommand;

/* What an error of HOLDER_OPEN is about. */
typedef enum HolderFile {
    HOLDER_FILE_KEY,
    HOLDER_FILE_PASSPHRASE,
    HOLDER_FILE_PIN,
} HolderFile;

typedef struct HolderMessage {
    uint32_t number;
    int32_t what; /* a HolderCommand; in an answer: 0, -errno or an HmsgError */
    uint8_t data[HOLDER_DATA_MAX];
} HolderMessage;
#define HOLDER_HEADER_SIZE offsetof(HolderMessage, data)

/* The holder's side: answers until the other end is closed. */
int key_holder_serve(int fd, const KeyFiles *f);

typedef struct Holder {
    const KeyFiles *files;
    RelayKey *key; /* NULL before HOLDER_OPEN */
} Holder;
/* Does what a message of which n bytes came asks for, and makes it the answer; the bytes that go back. n is
 * at least HOLDER_HEADER_SIZE. */
size_t key_holder_answer(Holder *h, HolderMessage *m, size_t n);

/* The other side: the two keys of an answer to HOLDER_OPEN. -EBADMSG: not of this form. */
int key_holder_read_keys(const Buf *answer, RsaKey **ret_identity, RsaKey **ret_keeper);
