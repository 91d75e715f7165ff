/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A package by the names of JWE (RFC 7516 section 7.2.2, flattened JSON), and back. No key is needed, nothing
 * is verified, and no byte of what is authenticated changes. What JWE has no name for travels in the shared
 * unprotected header (section 7.2.1): hmsg-sender and hmsg-signature, both or none, which is as good as where
 * it was, for the signature covers itself. So a package comes back from JWE with the same members. */

#include "libhmsg/wire/package.h"

/* One package, no array; appended. HMSG_ERROR_BAD_PACKAGE: it is not of the form (docs/protocol.md).
 * HMSG_ERROR_TOO_LARGE. */
int jwe_from_package(const char *text, size_t n, Buf *ret);
/* A JWE of exactly the members that jwe_from_package writes. */
int jwe_to_package(const char *text, size_t n, Buf *ret);

/* to: FORMAT_PACKAGE, FORMAT_JWE, or FORMAT_UNKNOWN for the other one of the two. What is of that form
 * already is checked and stays as it is. */
int jwe_convert(const char *text, size_t n, WireFormat to, Buf *ret);
