/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where SELinux is on, its policy says which program may ask the agent for what, by a class of our own:
 * hmsg { encrypt decrypt sign manage }, declared in selinux/hmsg-class.cil. libselinux allows what it does
 * not know; here a class or a permission that is missing refuses everything while SELinux enforces.
 * One thread only. */

#include <stdbool.h>

#include "libhmsg/base/macro.h"

typedef struct Confinement Confinement;

/* *ret is NULL where SELinux is off. -EINVAL: no security context of our own. */
int confinement_new(Confinement **ret);
Confinement *confinement_free(Confinement *c);
DEFINE_CLEANUP(Confinement *, confinement_free)

/* Does the policy that is loaded have the class with all its permissions? */
bool confinement_complete(void);

/* The permission that a call of the method needs, by name. What is not known needs manage. */
const char *confinement_permission(const char *interface, const char *member);

/* May a caller with this context (NULL: it has none) do that? 0, or -EACCES. c NULL: 0. */
int confinement_check(const Confinement *c, const char *context, const char *permission);
