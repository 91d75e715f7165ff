/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Another program at the same TPM: plain ESAPI. All of it fails the test when the TPM refuses. swtpm serves
 * one connection at a time: close it before the runner is to go on. */

#include <glib.h>
#include <stdbool.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

typedef struct Direct {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
} Direct;

void direct_open(Direct *d, const char *tcti);
/* Leaves in the TPM what was loaded. */
void direct_close(Direct *d);
/* A storage key in the owner hierarchy from the template of TSS2 key files, or from one with a unique of
 * one byte. */
ESYS_TR direct_primary(Direct *d, bool other);
/* Makes it persistent at 0x81000001. */
void direct_persist(Direct *d, ESYS_TR object);
void direct_flush(Direct *d, ESYS_TR object);
ESYS_TR direct_session(Direct *d);
/* Handles from first on. */
unsigned direct_handles(Direct *d, TPM2_HANDLE first);
void direct_owner_password(Direct *d, const char *password);
/* One failure is enough for a lockout; then it fails once. */
void direct_lock_out(Direct *d);
/* As if no PIN had been wrong. */
void direct_forgive(Direct *d);
/* TPM2_Clear: the owner's seed is a new one. */
void direct_clear(Direct *d);
/* Loads an RSA-2048 key of OpenSSL as a decrypt key with OAEP and this hash, outside all hierarchies;
 * ESYS_TR_NONE when the TPM does not take it. */
ESYS_TR direct_load_rsa(Direct *d, const void *modulus, const void *prime, TPMI_ALG_HASH hash);
/* TPM2_RSA_Decrypt with the key's scheme; the plaintext's size, or -1. */
int direct_decrypt(Direct *d, ESYS_TR key, const void *ciphertext, size_t n, guint8 ret[static 256]);
