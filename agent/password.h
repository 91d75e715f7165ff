/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How hard it is to guess a password that is all that protects a key file. */

#include "libhmsg/base/secret.h"

#define PASSWORD_BITS_MIN 60u

/* An estimate, which knows no dictionary: 3 bits for each character when all are of one kind (small letters
 * and spaces, capitals, digits, others), 4 when they are of two kinds, 5 of more; but 1 for one that is among
 * the two before it or follows the one before it in order. */
unsigned password_bits(const Secret *password);
