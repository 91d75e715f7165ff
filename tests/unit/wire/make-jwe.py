#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make-jwe.py BOB.pem CAROL.pem KID-OF-BOB KID-OF-CAROL TEXT: has jwcrypto write JWE of all forms to Bob, and some
that must be refused. A line of JSON each: name, jwe (text), and refused (how the reason begins) when it is.
Exit 77: there is no jwcrypto."""
import json
import sys

try:
    from jwcrypto import jwe, jwk
except ImportError:
    sys.exit(77)

SHA1 = 'alg RSA-OAEP uses SHA-1'
ALGS = ['RSA-OAEP-256', 'RSA-OAEP', 'RSA1_5', 'A256CBC-HS512', 'A256GCM', 'A128GCM']


def key(path):
    with open(path, 'rb') as text:
        return jwk.JWK.from_pem(text.read())


def seal(plaintext, recipients, protected, compact=False, unprotected=None, aad=None):
    token = jwe.JWE(plaintext, json.dumps(protected), algs=ALGS, aad=aad,
                    unprotected=json.dumps(unprotected) if unprotected else None)
    for recipient, header in recipients:
        token.add_recipient(recipient, json.dumps(header) if header else None)
    return token.serialize(compact=compact)


def give(name, text, refused=None):
    print(json.dumps({'name': name, 'jwe': text, 'refused': refused}))


def main():
    bob, carol = key(sys.argv[1]), key(sys.argv[2])
    kid, kid_of_carol = sys.argv[3], sys.argv[4]
    text = sys.argv[5].encode()
    for enc in ('A256GCM', 'A256CBC-HS512'):
        plain = {'alg': 'RSA-OAEP-256', 'enc': enc}
        named = dict(plain, kid=kid, cty='text/plain', more={'x': 1})
        give(f'compact {enc}', seal(text, [(bob, None)], plain, compact=True))
        give(f'compact, kid, cty {enc}', seal(text, [(bob, None)], named, compact=True))
        give(f'flattened {enc}', seal(text, [(bob, None)], plain))
        give(f'flattened, aad {enc}', seal(text, [(bob, None)], plain, aad=b'known to both'))
        give(f'flattened, three headers {enc}', seal(text, [(bob, {'kid': kid})], plain, unprotected={'cty': 'x', 'y': [2]}))
        give(f'general {enc}', seal(text, [(carol, {'kid': kid_of_carol}), (bob, {'kid': kid})], plain))
        give(f'general, aad {enc}',
             seal(text, [(bob, {'kid': kid}), (carol, {'kid': kid_of_carol})], plain, aad=b'\x00\xff', unprotected={'y': 'ä'}))
    good = {'alg': 'RSA-OAEP-256', 'enc': 'A256GCM'}
    for enc in ('A256GCM', 'A256CBC-HS512'):
        old = {'alg': 'RSA-OAEP', 'enc': enc}
        give(f'SHA-1 {enc}', seal(text, [(bob, None)], old, compact=True), SHA1)
        give(f'SHA-1, general {enc}', seal(text, [(carol, {'kid': kid_of_carol}), (bob, {'kid': kid})], old), SHA1)
    give('PKCS #1 v1.5', seal(text, [(bob, None)], dict(good, alg='RSA1_5')), 'alg RSA1_5')
    give('zip', seal(text, [(bob, None)], dict(good, zip='DEF'), compact=True), 'zip')
    give('A128GCM', seal(text, [(bob, None)], dict(good, enc='A128GCM')), 'enc of the JWE')
    give('alg outside', seal(text, [(bob, {'alg': 'RSA-OAEP-256'})], {'enc': 'A256GCM'}), 'alg is outside')
    give('two of us', seal(text, [(bob, {'kid': kid}), (bob, {'kid': kid})], good), 'Several recipients')


main()
