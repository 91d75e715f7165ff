#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""open-jwe.py KEY.pem FILE: has jwcrypto decrypt a JWE, which is an implementation that shares nothing with ours. A
package is renamed as docs/protocol.md says first; a JWE is taken as it is. Exit 77: there is no jwcrypto."""
import json
import sys

try:
    from jwcrypto import jwe, jwk
except ImportError:
    sys.exit(77)


def renamed(text):
    names = {'protected': 'protected', 'encrypted_aes_key': 'encrypted_key', 'iv': 'iv', 'ciphertext': 'ciphertext',
             'mac': 'tag'}
    package = json.loads(text) if text.startswith('{') else {}
    return json.dumps({new: package[old] for old, new in names.items()}) if 'hmsg' in package else text


def main():
    with open(sys.argv[1], 'rb') as text:
        key = jwk.JWK.from_pem(text.read())
    with open(sys.argv[2], encoding='utf-8') as text:
        package = renamed(text.read())
    token = jwe.JWE(algs=['RSA-OAEP-256', 'A256CBC-HS512'])
    token.deserialize(package)
    try:
        token.decrypt(key)
    except jwe.InvalidJWEData:
        sys.exit(5)
    sys.stdout.buffer.write(token.payload)


main()
