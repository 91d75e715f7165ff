#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check.py [FOLDER]: reads the test vectors of the protocol as docs/protocol.md says, with Python's cryptography and
jwcrypto and nothing of hmsg, so that both can only agree when the document is right. Prints TAP."""
import base64
import hashlib
import hmac
import json
import os
import re
import struct
import sys

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
    from jwcrypto import jwe, jwk, jws

    from cms import open_cms, unpad
    from errors import AuthenticationFailed, BadPackage, NotForUs, need
except ImportError as missing:
    print(f'1..0 # SKIP {missing.name} is missing')
    sys.exit(0)

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))


def sha256(data):
    return hashlib.sha256(data).digest()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def decode(text):
    need(isinstance(text, str) and re.fullmatch(r'[A-Za-z0-9_-]*', text) and len(text) % 4 != 1)
    data = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    need(encode(data) == text)  # no trailing bits
    return data


def unique(pairs):
    need(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def parse(text):
    try:
        return json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        raise BadPackage() from error


def names(value, needed, optional=()):
    need(isinstance(value, dict) and set(needed) <= set(value) <= set(needed) | set(optional))


class Person:
    """Somebody of keys.json, with private keys."""

    def __init__(self, keys):
        self.decrypt = serialization.load_pem_private_key(keys['decrypt'].encode(), None)
        self.sign = serialization.load_pem_private_key(keys['sign'].encode(), None)
        self.kid, self.skid = keys['kid'], keys['skid']

    def unwrap(self, encrypted_key):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        try:
            return self.decrypt.decrypt(encrypted_key, oaep)
        except ValueError as error:
            raise AuthenticationFailed() from error


def spki(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_spki(der):
    try:
        key = serialization.load_der_public_key(der)
    except ValueError as error:
        raise BadPackage() from error
    need(spki(key) == der)
    return jwk.JWK.from_pem(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def open_statement(text, typ, key):
    """The payload of a compact JWS, verified."""
    need(isinstance(text, str) and text.count('.') == 2)
    header = parse(decode(text.split('.')[0]))
    decode(text.split('.')[1])
    decode(text.split('.')[2])
    names(header, ['alg', 'typ', 'kid'])
    alg = 'ES256' if key['kty'] == 'EC' else 'PS256'
    need(header['alg'] == alg and header['typ'] == typ)
    need(header['kid'] == key.thumbprint(), AuthenticationFailed)
    token = jws.JWS()
    token.allowed_algs = [alg]
    try:
        token.deserialize(text, key)
    except jws.InvalidJWSSignature as error:
        raise AuthenticationFailed() from error
    return parse(token.payload)


def commitment(keys):
    return hmac.new(keys, b'hmsg/1 key commitment', 'sha256').digest()


def open_cbc(keys, iv, aad, ciphertext, tag):
    bits = struct.pack('>Q', 8 * len(aad))
    expected = hmac.new(keys[:32], aad + iv + ciphertext + bits, 'sha512').digest()[:32]
    need(hmac.compare_digest(expected, tag), AuthenticationFailed)
    return open_bare_cbc(keys[32:], iv, ciphertext)


def open_bare_cbc(key, iv, ciphertext):
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return unpad(decryptor.update(ciphertext) + decryptor.finalize())


def read_header(package, typ):
    header = parse(decode(package['protected']))
    names(header, ['alg', 'enc', 'typ', 'kid', 'hm'])
    need((header['alg'], header['enc'], header['typ']) == ('RSA-OAEP-256', 'A256CBC-HS512', typ))
    need(len(decode(header['kid'])) == 32)
    hm = header['hm']
    names(hm, ['v', 'sid', 'seq', 'ts', 'kc'] + (['rcpts'] if typ == 'hmsg-stream+json' else []), ['skid', 'exp'])
    need(hm['v'] == 1 and 0 <= hm['seq'] < 2**32 and len(decode(hm['kc'])) == 32 and len(decode(hm['sid'])) == 16)
    need('exp' not in hm or hm['ts'] <= hm['exp'] <= hm['ts'] + 30 * 86400)
    return header


def check_session(package, header):
    """The sender's statement."""
    hm = header['hm']
    present = {'sender_public_key' in package, 'signature' in package, 'skid' in hm}
    need(len(present) == 1)
    if 'skid' not in hm:
        return None
    key = load_spki(decode(package['sender_public_key']))
    need(key.thumbprint() == hm['skid'], AuthenticationFailed)
    s = open_statement(package['signature'], 'hmsg-session+jwt', key)
    names(s, ['sid', 'skid', 'kid', 'ek_sha256', 'alg', 'enc', 'kc', 'created', 'expires'])
    same = [s['sid'] == hm['sid'], s['skid'] == hm['skid'], s['kid'] == header['kid'], s['kc'] == hm['kc'],
            s['ek_sha256'] == encode(sha256(decode(package['encrypted_aes_key']))),
            (s['alg'], s['enc']) == (header['alg'], header['enc']),
            s['created'] <= hm['ts'] <= s['expires'] <= s['created'] + 86400]
    need(all(same), AuthenticationFailed)
    return key


def open_package(package, reader, typ='hmsg+json'):
    """(plaintext, header, key of the sender or None)"""
    names(package, ['hmsg', 'protected', 'encrypted_aes_key', 'iv', 'ciphertext', 'mac'], ['sender_public_key', 'signature'])
    need(package['hmsg'] == 1)
    header = read_header(package, typ)
    iv, ciphertext, tag = decode(package['iv']), decode(package['ciphertext']), decode(package['mac'])
    encrypted_key = decode(package['encrypted_aes_key'])
    need(len(iv) == 16 and len(tag) == 32 and ciphertext and len(ciphertext) % 16 == 0 and len(encrypted_key) in (256, 384, 512))
    need(header['kid'] == reader.kid, NotForUs)
    sender = check_session(package, header)
    keys = reader.unwrap(encrypted_key)
    need(len(keys) == 64 and hmac.compare_digest(commitment(keys), decode(header['hm']['kc'])), AuthenticationFailed)
    return open_cbc(keys, iv, package['protected'].encode(), ciphertext, tag), header, sender


def find_package(value, reader, typ='hmsg+json'):
    """The reader's one of an array."""
    if not isinstance(value, list):
        return open_package(value, reader, typ)
    for package in value:
        if parse(decode(package['protected']))['kid'] == reader.kid:
            return open_package(package, reader, typ)
    raise NotForUs()


def package_vector(v, reader):
    return find_package(parse(v['text']), reader)[0]


def check_shared(token, header):
    """The sender of a JWE for several."""
    hm = header['hm']
    names(header, ['alg', 'enc', 'typ', 'hm'])
    names(hm, ['v', 'ts', 'kc'], ['skid'])
    need(hm['v'] == 1 and ('unprotected' in token) == ('skid' in hm))
    if 'skid' not in hm:
        return
    names(token['unprotected'], ['hmsg-sender', 'hmsg-signature'])
    key = load_spki(decode(token['unprotected']['hmsg-sender']))
    need(key.thumbprint() == hm['skid'], AuthenticationFailed)
    s = open_statement(token['unprotected']['hmsg-signature'], 'hmsg-shared+jwt', key)
    names(s, ['skid', 'protected', 'recipients', 'content'])
    recipients = b''.join(decode(r['header']['kid']) + sha256(decode(r['encrypted_key'])) for r in token['recipients'])
    content = decode(token['iv']) + decode(token['ciphertext']) + decode(token['tag'])
    same = [s['skid'] == hm['skid'], s['protected'] == encode(sha256(token['protected'].encode())),
            s['recipients'] == encode(sha256(recipients)), s['content'] == encode(sha256(content))]
    need(all(same), AuthenticationFailed)


def jwe_vector(v, reader):
    text = v['text']
    compact = not text.startswith('{')
    need(not compact or text.count('.') == 4)
    token = {'protected': text.split('.')[0]} if compact else parse(text)
    header = parse(decode(token['protected']))
    if header.get('typ') == 'hmsg+json':
        package = {'hmsg': 1, 'encrypted_aes_key': token['encrypted_key'], 'mac': token['tag']}
        package.update({name: token[name] for name in ('protected', 'iv', 'ciphertext')})
        sender = token.get('unprotected', {})
        for new, old in (('sender_public_key', 'hmsg-sender'), ('signature', 'hmsg-signature')):
            package.update({new: sender[old]} if old in sender else {})
        return open_package(package, reader)[0]
    need(header.get('alg') == 'RSA-OAEP-256' and header.get('enc') in ('A256CBC-HS512', 'A256GCM'))
    need('zip' not in header and 'crit' not in header)
    if header.get('typ') == 'hmsg-shared+json':
        check_shared(token, header)
    opened = jwe.JWE(algs=['RSA-OAEP-256', 'A256CBC-HS512', 'A256GCM'])
    opened.deserialize(text)
    try:
        opened.decrypt(jwk.JWK.from_pyca(reader.decrypt))
    except jwe.InvalidJWEData as error:
        raise AuthenticationFailed() from error
    return opened.payload


def cms_vector(v, reader):
    try:
        plaintext, signer = open_cms(decode(v['cms']), reader)
    except (ValueError, LookupError) as error:  # more values in a row, or fewer
        raise BadPackage() from error
    need(signer == v.get('signed_by'), AuthenticationFailed)
    return plaintext


def seed_vector(v, reader):
    seed = parse(v['text'])
    names(seed, ['sender_public_key', 'encrypted_aes_key', 'iv', 'ciphertext'], ['hmac'])
    key, iv, ciphertext = (base64.b64decode(seed[name], validate=True) for name in ('encrypted_aes_key', 'iv', 'ciphertext'))
    key = reader.unwrap(key)
    mac_key = HKDF(hashes.SHA256(), 32, None, b'hmsg seed mac').derive(key)
    if 'hmac' in seed:
        expected = hmac.new(mac_key, iv + ciphertext, 'sha256').digest()
        need(hmac.compare_digest(expected, base64.b64decode(seed['hmac'])), AuthenticationFailed)
    return open_bare_cbc(key, iv, ciphertext)


def open_chunks(key, nonce, data):
    plaintext = b''
    number = 0
    while True:
        chunk, data = data[:16400], data[16400:]
        this = (int.from_bytes(nonce, 'big') ^ number).to_bytes(12, 'big')
        try:
            plaintext += AESGCM(key).decrypt(this, chunk, None)
        except (InvalidTag, ValueError) as error:
            raise AuthenticationFailed() from error
        number += 1
        if len(chunk) < 16400:  # the last one
            need(not data, AuthenticationFailed)
            return plaintext


def stream_vector(v, reader):
    """True when the sender is known to have written it."""
    stream = decode(v['stream'])
    need(stream[:8] == b'hmsgstr1')
    size, trailer_size = struct.unpack('>II', stream[8:16])
    header, rest = stream[:16 + size], stream[16 + size:]
    file_key, protected, sender = find_package(parse(header[16:]), reader, 'hmsg-stream+json')
    need(len(file_key) == 32, AuthenticationFailed)
    salt, committed = rest[:24], rest[24:56]
    info = b'c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0' + salt + sha256(header)
    keys = HKDFExpand(hashes.SHA512(), 76, info).derive(file_key)
    need(hmac.compare_digest(keys[44:], committed), AuthenticationFailed)
    ciphertext = rest[:len(rest) - trailer_size]
    plaintext = open_chunks(keys[:32], keys[32:44], ciphertext[56:])
    several = protected['hm']['rcpts'] > 1
    if trailer_size:
        try:
            s = open_statement(rest[len(rest) - trailer_size:].decode(), 'hmsg-stream+jwt', sender)
        except (UnicodeDecodeError, BadPackage) as error:
            raise AuthenticationFailed() from error
        same = s == {'header': encode(sha256(header)), 'ciphertext': encode(sha256(ciphertext))}
        need(same, AuthenticationFailed)
    need(plaintext == bytes(i % 251 for i in range(v['size'])), AuthenticationFailed)
    need((sender is not None and (bool(trailer_size) or not several)) == v['verified'], AuthenticationFailed)


def statement_vector(v, reader):
    payload = open_statement(v['jws'], v['type'], load_spki(decode(v['key'])))
    need(payload == v['payload'], AuthenticationFailed)


def open_identity(jws):
    """(payload, keys, recovery keys) of an identity statement; keys are those that it is about and those that it names."""
    need(jws.count('.') == 2)
    s = parse(decode(jws.split('.')[1]))
    own = [load_spki(decode(s['sign'])), load_spki(decode(s['decrypt']))]
    need(open_statement(jws, 'hmsg-identity+jwt', own[0]) == s)
    names(s, ['address', 'sign', 'decrypt', 'generation', 'devices', 'protection', 'iat'], ['previous', 'recovery'])
    need(s['devices'] == [] and s['protection'] in ('tpm', 'software', 'imported'))
    recovery = s.get('recovery', [])
    need(isinstance(recovery, list) and len(recovery) <= 2 and (recovery or 'recovery' not in s))
    named = []
    for one in recovery:
        names(one, ['decrypt'], ['sign'])
        named.append({role: load_spki(decode(one[role])) for role in one})
    kids = [key.thumbprint() for key in own] + [key.thumbprint() for one in named for key in one.values()]
    need(len(set(kids)) == len(kids))
    return s, [key.thumbprint() for key in own], named


def follow_link(link, start, end, former):
    """From one identity statement to the next, both as of open_identity; whether a recovery key signed."""
    signers = [start[1][0]] + [one['sign'].thumbprint() for one in start[2] if 'sign' in one]
    pair, generation, seen, recovered = start[1], start[0]['generation'], set(start[1]), False
    need(isinstance(link['steps'], list) and 1 <= len(link['steps']) <= 64)
    for number, step in enumerate(link['steps']):
        names(step, ['rotate', 'sign'])
        key = load_spki(decode(step['sign']))
        s = open_statement(step['rotate'], 'hmsg-rotate+jwt', key)
        names(s, ['skid', 'next_skid', 'next_kid', 'generation', 'iat'])
        need(s['skid'] == key.thumbprint() and s['skid'] in signers and s['generation'] > generation, AuthenticationFailed)
        need(len({s['next_skid'], s['next_kid']} - seen) == 2, AuthenticationFailed)
        recovered |= number == 0 and s['skid'] != pair[0]
        former.append(pair)
        pair, generation = [s['next_skid'], s['next_kid']], s['generation']
        signers, seen = [pair[0]], seen | set(pair)
    need(pair == end[1] and generation == end[0]['generation'] and end[0]['address'] == start[0]['address'], AuthenticationFailed)
    need(end[0].get('previous') == encode(sha256(link['from'].encode())), AuthenticationFailed)
    return recovered


def follow(v):
    """Whether a recovery key signed, and all pairs that were given up, the oldest first."""
    chain, current = v['chain'], open_identity(v['current'])
    need(1 <= len(chain) <= 64, AuthenticationFailed)
    recovered, former, at = False, [], None
    for link, after in zip(chain, chain[1:] + [None]):
        names(link, ['from', 'steps'], ['to'])
        start = open_identity(link['from'])
        need(at is None or at == (start[1], start[0]['generation']), AuthenticationFailed)
        end = open_identity(link.get('to') or (after['from'] if after else v['current']))
        recovered |= follow_link(link, start, end, former)
        at = end[1], end[0]['generation']
    need(at == (current[1], current[0]['generation']) and v['asked'] in former[0], AuthenticationFailed)
    used = [key for pair in former + [current[1]] for key in pair]
    need(len(set(used)) == len(used), AuthenticationFailed)  # nobody comes back
    return recovered, [{'skid': skid, 'kid': kid} for skid, kid in former]


def recovery_vector(v, reader):
    if 'chain' in v:
        recovered, former = follow(v)
        need(recovered == v.get('recovered', False) and former == v.get('former', former))
        return
    named = open_identity(v['statement'])[2]
    kids = [{'kid': one['decrypt'].thumbprint(), **({'skid': one['sign'].thumbprint()} if 'sign' in one else {})} for one in named]
    need(kids == v['recovery'], AuthenticationFailed)


def derived_vector(v, reader):
    """What has no text of its own."""
    if 'body' in v:
        need(v['id'] == encode(sha256(decode(v['kid']) + v['body'].encode())))
    elif 'challenge' in v:
        form = b'hmsg/1 pop' + decode(v['pin'])
        plaintext = reader.unwrap(decode(v['challenge']))
        need(plaintext[:-32] == form)
        need(v['answer'] == encode(hmac.new(plaintext[-32:], v['request'].encode(), 'sha256').digest()))
    else:
        shared = X25519PrivateKey.from_private_bytes(decode(v['private'])).exchange(X25519PublicKey.from_public_bytes(decode(v['peer'])))
        info = b'hmsg/1 ack' + decode(v['pin']) + decode(v['skid'])
        key = HKDF(hashes.SHA256(), 32, decode(v['nonce']), info).derive(shared)
        mac = hmac.new(key, b'hmsg/1 ack' + decode(v['pin']) + decode(v['ids']), 'sha256').digest()
        need((encode(key), encode(mac)) == (v['key'], v['mac']))


def check_fingerprint(keys, person):
    number = int.from_bytes(sha256(spki(person.decrypt.public_key()) + spki(person.sign.public_key())), 'big') % 10**60
    digits = f'{number:060d}'
    return ' '.join(digits[i:i + 5] for i in range(0, 60, 5)) == keys['fingerprint'] and \
        jwk.JWK.from_pyca(person.decrypt.public_key()).thumbprint() == person.kid and \
        jwk.JWK.from_pyca(person.sign.public_key()).thumbprint() == person.skid


def outcome(check, v, people):
    """The name of the error, or valid."""
    try:
        plaintext = check(v, people[v.get('recipient', 'bob')])
    except (BadPackage, NotForUs, AuthenticationFailed) as error:
        return type(error).__name__
    return 'valid' if 'plaintext' not in v or plaintext.decode() == v['plaintext'] else 'another plaintext'


def load(name):
    with open(os.path.join(FOLDER, name), encoding='utf-8') as text:
        return json.load(text)


def main():
    keys = load('keys.json')
    people = {name: Person(of) for name, of in keys.items()}
    results = [(f'fingerprint and kids of {name}', check_fingerprint(keys[name], people[name]), '') for name in keys]
    files = {'packages': package_vector, 'jwe': jwe_vector, 'cms': cms_vector, 'seeds': seed_vector, 'streams': stream_vector,
             'statements': statement_vector, 'derived': derived_vector, 'recovery': recovery_vector, 'rotations': recovery_vector}
    for name, check in files.items():
        for v in load(name + '.json')['vectors']:
            got = outcome(check, v, people)
            results.append((f'{name}: {v["name"]}', got == v['result'], f'{got} in place of {v["result"]}'))
    print(f'1..{len(results)}')
    for number, (name, good, why) in enumerate(results, 1):
        print(f'ok {number} {name}' if good else f'not ok {number} {name}: {why}')
    sys.exit(0 if all(good for _, good, _ in results) else 1)


main()
