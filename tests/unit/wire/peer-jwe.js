// SPDX-License-Identifier: LGPL-2.1-or-later
// peer-jwe.js open KEY.pem FILE, or make BOB.pem KID-OF-BOB CAROL.pem KID-OF-CAROL TEXT: Debian's node-jose as
// another implementation; as open-jwe.py and make-jwe.py. Exit 77: there is no node-jose.
'use strict';
const crypto = require('crypto');
const fs = require('fs');

let jose;
try {
    jose = require('/usr/share/nodejs/jose');
} catch (error) {
    process.exit(77);
}

async function open(keyFile, file) {
    const key = crypto.createPrivateKey(fs.readFileSync(keyFile));
    const text = fs.readFileSync(file, 'utf8').trim();
    const options = {keyManagementAlgorithms: ['RSA-OAEP-256'], contentEncryptionAlgorithms: ['A256CBC-HS512']};
    const token = text.startsWith('{') ? JSON.parse(text) : text;
    const decrypt = typeof token === 'string' ? jose.compactDecrypt
        : token.recipients ? jose.generalDecrypt : jose.flattenedDecrypt;
    try {
        process.stdout.write((await decrypt(token, key, options)).plaintext);
    } catch (error) {
        process.exit(5);
    }
}

function give(name, jwe, refused) {
    console.log(JSON.stringify({name, jwe: typeof jwe === 'string' ? jwe : JSON.stringify(jwe), refused}));
}

async function make(bobFile, kid, carolFile, kidOfCarol, text) {
    const bob = crypto.createPublicKey(fs.readFileSync(bobFile)), carol = crypto.createPublicKey(fs.readFileSync(carolFile));
    const plaintext = Buffer.from(text);
    for (const enc of ['A256GCM', 'A256CBC-HS512']) {
        const header = {alg: 'RSA-OAEP-256', enc};
        give(`compact ${enc}`, await new jose.CompactEncrypt(plaintext).setProtectedHeader(header).encrypt(bob));
        give(`compact, kid ${enc}`,
            await new jose.CompactEncrypt(plaintext).setProtectedHeader({...header, kid, cty: 'x', typ: 'JWE'}).encrypt(bob));
        give(`flattened, aad ${enc}`, await new jose.FlattenedEncrypt(plaintext).setProtectedHeader(header)
            .setAdditionalAuthenticatedData(Buffer.from('known to both')).encrypt(bob));
        give(`flattened, three headers ${enc}`, await new jose.FlattenedEncrypt(plaintext).setProtectedHeader(header)
            .setSharedUnprotectedHeader({cty: 'x'}).setUnprotectedHeader({kid}).encrypt(bob));
        give(`general ${enc}`, await new jose.GeneralEncrypt(plaintext).setProtectedHeader(header)
            .addRecipient(carol).setUnprotectedHeader({kid: kidOfCarol})
            .addRecipient(bob).setUnprotectedHeader({kid}).encrypt());
    }
    give('alg outside', await new jose.FlattenedEncrypt(plaintext).setProtectedHeader({enc: 'A256GCM'})
        .setUnprotectedHeader({alg: 'RSA-OAEP-256'}).encrypt(bob), 'alg is outside');
    for (const enc of ['A256GCM', 'A256CBC-HS512']) {
        give(`SHA-1 ${enc}`, await new jose.CompactEncrypt(plaintext).setProtectedHeader({alg: 'RSA-OAEP', enc}).encrypt(bob),
            'alg RSA-OAEP uses SHA-1');
    }
}

const [command, ...rest] = process.argv.slice(2);
(command === 'open' ? open : make)(...rest).catch((error) => {
    console.error(error);
    process.exit(1);
});
