/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The end of RSAES-OAEP decryption (RFC 8017 section 7.1.2, step 3) with SHA-256, MGF1-SHA-256 and an empty
 * label, for devices that do no more than the RSA operation itself. */

#include "libhmsg/base/secret.h"

/* encoded: EM, as many bytes as the modulus. HMSG_ERROR_AUTHENTICATION_FAILED for everything that is not of
 * the form, in a time that depends on its size alone; an empty message is one of these. */
int oaep_decode(const Secret *encoded, Secret **ret);
