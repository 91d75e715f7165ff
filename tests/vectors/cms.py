# SPDX-License-Identifier: LGPL-2.1-or-later
"""The CMS of docs/protocol.md for check.py: DER, SignedData, EnvelopedData and AuthEnvelopedData."""
import base64
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwcrypto import jwk

from errors import AuthenticationFailed, NotForUs, need


def tlv(data):
    """The first value in DER: its tag, its content, all of it, and what stands behind it."""
    need(len(data) >= 2 and data[0] & 31 != 31)
    size, start = data[1], 2
    if size & 128:
        start += size & 127
        need(2 < start <= 6 and len(data) >= start and data[2])
        size = int.from_bytes(data[2:start], 'big')
        need(size >= 128)
    need(len(data) >= start + size)
    return data[0], data[start:start + size], data[:start + size], data[start + size:]


def items(data):
    """All values in a row, without the rest of each."""
    found = []
    while data:
        tag, content, whole, data = tlv(data)
        found.append((tag, content, whole))
    return found


def only(data, tag):
    """The content of the one value that there is."""
    found = items(data)
    need(len(found) == 1 and found[0][0] == tag)
    return found[0][1]


def oid(text):
    arcs = [int(arc) for arc in text.split('.')]
    out = b''
    for arc in [40 * arcs[0] + arcs[1]] + arcs[2:]:
        digits = [arc & 127]
        while arc := arc >> 7:
            digits.append(128 | arc & 127)
        out += bytes(reversed(digits))
    return out


DATA, SIGNED, ENVELOPED, AUTH_ENVELOPED = map(oid, ['1.2.840.113549.1.7.1', '1.2.840.113549.1.7.2', '1.2.840.113549.1.7.3',
                                                   '1.2.840.113549.1.9.16.1.23'])
OAEP, MGF1, PSS = map(oid, ['1.2.840.113549.1.1.7', '1.2.840.113549.1.1.8', '1.2.840.113549.1.1.10'])
SHA256, AES_CBC, AES_GCM = map(oid, ['2.16.840.1.101.3.4.2.1', '2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.46'])
CONTENT_TYPE, MESSAGE_DIGEST = map(oid, ['1.2.840.113549.1.9.3', '1.2.840.113549.1.9.4'])
ARC = '2.25.274599300601827037952668195682984807465'
RECIPIENTS, SIGN_KEY = oid(ARC + '.1'), oid(ARC + '.2')


def thumbprint(digest):
    return base64.urlsafe_b64encode(digest).rstrip(b'=').decode()


def unpad(padded):
    size = padded[-1]
    need(1 <= size <= 16 and padded[-size:] == bytes([size]) * size, AuthenticationFailed)
    return padded[:-size]


def algorithm(content, name):
    """The parameters of an AlgorithmIdentifier, in DER."""
    found = items(content)
    need(1 <= len(found) <= 2 and found[0][:2] == (6, name))
    return found[1][2] if len(found) == 2 else b''


def is_sha256(whole):
    need(algorithm(only(whole, 48), SHA256) in (b'', b'\5\0'))


def hashes_of(found):
    """[0] SHA-256 and [1] MGF1 with SHA-256, of OAEP and of PSS."""
    need(len(found) >= 2 and (found[0][0], found[1][0]) == (0xa0, 0xa1))
    is_sha256(found[0][1])
    is_sha256(algorithm(only(found[1][1], 48), MGF1))


def check_recipient(whole):
    """(key identifier or None, encrypted key) of a KeyTransRecipientInfo."""
    version, name, how, key = (i[:2] for i in items(only(whole, 48)))
    need(version == (2, b'\2' if name[0] == 0x80 else b'\0') and name[0] in (0x80, 48) and how[0] == 48 and key[0] == 4)
    parameters = items(only(algorithm(how[1], OAEP), 48))
    hashes_of(parameters)
    need(len(parameters) == 2)  # no label
    return name[1] if name[0] == 0x80 else None, key[1]


def cms_key(recipients, reader):
    """The content key."""
    bits = reader.decrypt.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    for name, key in recipients:
        if name in (hashlib.sha1(bits).digest(), hashlib.sha256(bits).digest()[:20]):
            return reader.unwrap(key)
    need(len(recipients) == 1, NotForUs)
    return reader.unwrap(recipients[0][1])


def open_enveloped(kind, content, reader):
    found = items(only(content, 48))
    need(len(found) >= 3 and found[0][0] == 2 and found[0][1] in ((b'\0',) if kind == AUTH_ENVELOPED else (b'\0', b'\2')))
    need(found[1][0] == 49 and found[2][0] == 48)
    recipients = [check_recipient(whole) for _, _, whole in items(found[1][1])]
    inner, how, ciphertext = items(found[2][1])
    need(inner[:2] == (6, DATA) and how[0] == 48 and ciphertext[0] == 0x80)
    if kind == ENVELOPED:
        need(len(found) == 3)
        iv = only(algorithm(how[1], AES_CBC), 4)
        key = cms_key(recipients, reader)
        need(len(key) == 32, AuthenticationFailed)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        return unpad(decryptor.update(ciphertext[1]) + decryptor.finalize())
    nonce, size = items(only(algorithm(how[1], AES_GCM), 48))
    need(nonce[0] == 4 and len(nonce[1]) == 12 and size[:2] == (2, b'\x10') and found[-1][0] == 4 and len(found[-1][1]) == 16)
    need(len(found) == 4 or (len(found) == 5 and found[3][0] == 0xa1))
    aad = b'1' + found[3][2][1:] if len(found) == 5 else None  # as a SET
    key = cms_key(recipients, reader)
    try:
        return AESGCM(key).decrypt(nonce[1], ciphertext[1] + found[-1][1], aad)
    except (InvalidTag, ValueError) as error:
        raise AuthenticationFailed() from error


def open_signed(content):
    """(type of the content, content, thumbprint of the signer, kids that the signature is for or None)"""
    found = items(only(content, 48))
    need(found[1][0] == 49 and found[2][0] == 48 and found[-1][0] == 49)
    kind, explicit = items(found[2][1])
    need(kind[0] == 6 and explicit[0] == 0xa0)
    octets = only(explicit[1], 4) if kind[1] == DATA else explicit[1]
    _, _, digest, signed, how, signature = items(only(found[-1][1], 48))
    is_sha256(digest[2])
    need(signed[0] == 0xa0 and how[0] == 48 and signature[0] == 4)
    attributes = {}
    for attribute in items(signed[1]):
        name, values = items(attribute[1])
        attributes[name[1]] = items(values[1])[0]
    parameters = items(only(algorithm(how[1], PSS), 48))
    hashes_of(parameters)
    need(len(parameters) == 3 and parameters[2][0] == 0xa2)
    salt = int.from_bytes(only(parameters[2][1], 2), 'big')
    if SIGN_KEY in attributes:
        key = serialization.load_der_public_key(attributes[SIGN_KEY][2])
    else:
        need(found[3][0] == 0xa0)
        key = x509.load_der_x509_certificate(items(found[3][1])[0][2]).public_key()
    need(attributes[CONTENT_TYPE][1] == kind[1] and attributes[MESSAGE_DIGEST][1] == hashlib.sha256(octets).digest(), AuthenticationFailed)
    try:
        key.verify(signature[1], b'1' + signed[2][1:], padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    except InvalidSignature as error:
        raise AuthenticationFailed() from error
    kids = [thumbprint(i[1]) for i in items(attributes[RECIPIENTS][1])] if RECIPIENTS in attributes else None
    return kind[1], octets, jwk.JWK.from_pyca(key).thumbprint(), kids


def content_info(data):
    found = items(only(data, 48))
    need(len(found) == 2 and found[0][0] == 6 and found[1][0] == 0xa0)
    return found[0][1], found[1][1]


def open_cms(data, reader):
    """(plaintext, thumbprint of the signer or None)"""
    if data.startswith(b'-----BEGIN CMS-----'):
        data = base64.b64decode(b''.join(data.split(b'\n')[1:-2]), validate=True)
    kind, content = content_info(data)
    signer = None
    if kind == SIGNED:
        kind, content, signer, _ = open_signed(content)
        kind, content = content_info(content) if kind == DATA else (kind, content)
        need(kind in (ENVELOPED, AUTH_ENVELOPED))
    need(kind == AUTH_ENVELOPED or (kind == ENVELOPED and signer))
    plaintext = open_enveloped(kind, content, reader)
    if signer is None and plaintext[:1] == b'0':
        kind, content = content_info(plaintext)
        need(kind == SIGNED)
        _, plaintext, signer, kids = open_signed(content)
        need(kids and reader.kid in kids, AuthenticationFailed)
    return plaintext, signer
