/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How X.509 names RSASSA-PSS (RFC 4055 section 3.1): SHA-256, MGF1 with it, and the size of the salt. */

struct X509_algor_st; /* X509_ALGOR */

/* salt in bytes. The caller frees with X509_ALGOR_free; NULL: no memory. */
struct X509_algor_st *pss_algorithm(unsigned salt);
