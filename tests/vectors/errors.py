# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a vector is refused, by the names of the protocol."""


class BadPackage(Exception):
    pass


class NotForUs(Exception):
    pass


class AuthenticationFailed(Exception):
    pass


def need(condition, error=BadPackage):
    if not condition:
        raise error()
