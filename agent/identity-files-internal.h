/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What identity-files.c (folders) and identity-facts.c (identity.json) share. */

#include "agent/identity-files.h"
#include "libhmsg/wire/json.h"

#define FACTS_FILE "identity.json"
#define FACTS_SIZE_MAX (128u * 1024u) /* bytes: ROTATIONS_MAX statements are most of it */
#define FORMER_FILE_SIZE 32u
#define SRK_TEXT_SIZE (2 * TPM_NAME_SIZE + 1)

/* The file of the decrypt key of that generation, which is a former one. */
void identity_former_file(uint64_t generation, char ret[static FORMER_FILE_SIZE]);

/* Appends identity.json. */
int identity_facts_write(const IdentityKeys *k, Buf *ret);
/* Reads it, with the keys that it is about and the former ones that it names, out of the folder at fd. */
int identity_facts_read(int fd, TpmKeyFile *decrypt, TpmKeyFile *sign, IdentityKeys **ret);
int identity_key_read(int fd, const char *name, TpmKeyFile **ret);

/* A counter, as members of j. */
int identity_counter_put(const TpmCounter *c, json_t *j);
int identity_counter_get(const json_t *j, TpmCounter *ret);

/* identity-software.c: do the files belong to what identity.json says of the password? */
bool identity_software_fits(const IdentityKeys *k);

/* identity-pcr-facts.c: the member "pcrs". */
int identity_pcrs_write(const TpmPcrPolicy *p, json_t *facts);
int identity_pcrs_read(const json_t *facts, TpmPcrPolicy **ret);
