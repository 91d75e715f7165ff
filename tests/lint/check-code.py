#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules for C: which way the layers depend, which calls are not made, and no hidden state.

A line that has a reason to break a rule says so in a comment: /* public */ for memcmp of what is no secret,
/* lint: global: why */ for a static variable.
"""
import re

from house import PROGRAM_PARTS, Report, files, read

# Layer: what its files may include besides their own folder. The longest prefix counts.
LAYERS = {
    'libhmsg/base': (),
    'libhmsg/sandbox': ('libhmsg/base',),
    'libhmsg/wire': ('libhmsg/base',),
    'libhmsg/db': ('libhmsg/base', 'libhmsg/wire'),
    'libhmsg/tpm': ('libhmsg/base', 'libhmsg/wire'),
    'libhmsg/client': ('libhmsg/base',),
    'agent/courier': ('libhmsg/base', 'libhmsg/sandbox', 'libhmsg/wire'),
    'agent': ('libhmsg/base', 'libhmsg/sandbox', 'libhmsg/wire', 'libhmsg/db', 'libhmsg/tpm'),
    'server': ('libhmsg/base', 'libhmsg/sandbox', 'libhmsg/wire', 'libhmsg/db', 'libhmsg/tpm'),
    'cli': ('libhmsg/base', 'libhmsg/client'),
}
# Header of another project: the layers that use it.
FOREIGN = {
    'tss2/': ('libhmsg/tpm',),
    'libpq-fe.h': ('server',),
    'sqlite3.h': ('libhmsg/db', 'agent', 'server'),
    'curl/': ('agent/courier',),
    'nghttp2/': ('server',),
    'p11-kit/': ('server',),
    'keyutils.h': ('agent',),
    'openssl/ssl.h': ('server', 'agent/courier'),
    'openssl/': ('libhmsg/base', 'libhmsg/wire', 'libhmsg/db', 'libhmsg/tpm', 'agent', 'agent/courier', 'server'),
    'selinux/': ('agent',),
    'systemd/': ('libhmsg/client', 'agent', 'agent/courier', 'cli', 'server'),
    'jansson.h': ('libhmsg/base', 'libhmsg/wire', 'agent', 'agent/courier', 'cli', 'server'),
    'glib': (),
    'gio/': (),
}
# The agent, hmsgctl and the libraries speak to no network.
NETWORK = re.compile(r'\b(AF_INET6?|getaddrinfo|SOCK_RAW)\b')
PARSED = re.compile(r'\binet_(pton|ntop)\b')  # text only
NETWORKED = ('agent/courier', 'server', 'libhmsg/sandbox')

INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')
BANNED = re.compile(r'(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|system|popen|strtok|strncpy|strncat|alloca|rand|'
                    r'srand|mktemp|tmpnam|tempnam|atoi|atol|atof|gmtime|localtime|ctime|asctime)\s*\(')
MEMCMP = re.compile(r'(?<!\w)(memcmp|bcmp)\s*\(')
PRINT = re.compile(r'(?<!\w)(printf|vprintf|puts|putchar|perror|syslog|sd_journal_\w+|log_\w+)\s*\(|'
                   r'(?<!\w)fprintf\s*\(\s*std')
STATE = re.compile(r'^\s*(static\s+|_Thread_local\s+|__thread\s+)+(?!inline\b)(?P<rest>[^()]*?)(\[[^\]]*\])*\s*(=|;)')
COMMENT = re.compile(r'/\*.*?\*/|//.*')
STRING = re.compile(r'"(\\.|[^"\\])*"')


def layer(path):
    found = [name for name in LAYERS if path.startswith(name + '/')]
    return max(found, key=len) if found else None


def code(path):
    """Lines without comments and strings, so that prose may name what code may not use."""
    inside = False
    for number, line in enumerate(read(path).splitlines(), 1):
        bare = STRING.sub('""', line)
        if inside:
            if '*/' not in bare:
                continue
            bare = bare.split('*/', 1)[1]
            inside = False
        bare = COMMENT.sub('', bare)
        if '/*' in bare:
            bare = bare.split('/*', 1)[0]
            inside = True
        yield number, line, bare


def sources():
    return files('.c', '.h', under=PROGRAM_PARTS)


def includes():
    for path in sources():
        for number, line in enumerate(read(path).splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                yield path, number, match.group(1), match.group(2)


def wrong_direction():
    for path, number, _, header in includes():
        mine, other = layer(path), layer(header)
        if mine is None:
            yield '%s:%d: in no layer' % (path, number)
        elif other and other != mine and other not in LAYERS[mine]:
            yield '%s:%d: %s must not include %s' % (path, number, mine, header)


def relative_includes():
    for path, number, mark, header in includes():
        if mark == '"' and header != 'hmsg-build.h' and not header.startswith(PROGRAM_PARTS):
            yield '%s:%d: includes are from the root: "%s"' % (path, number, header)


def foreign_includes():
    for path, number, mark, header in includes():
        known = [prefix for prefix in FOREIGN if mark == '<' and header.startswith(prefix)]
        if known and layer(path) not in FOREIGN[max(known, key=len)]:
            yield '%s:%d: %s must not use <%s>' % (path, number, layer(path), header)


def network():
    for path in sources():
        if layer(path) not in NETWORKED:
            for number, line, bare in code(path):
                if NETWORK.search(bare) and not PARSED.search(bare):
                    yield '%s:%d: only courier and relay speak to a network: %s' % (path, number, line.strip())


def banned():
    for path in files('.c', '.h'):
        for number, line, bare in code(path):
            match = BANNED.search(bare)
            if match:
                yield '%s:%d: %s is not used here' % (path, number, match.group(1))


def comparisons():
    for path in sources():
        for number, line, bare in code(path):
            if MEMCMP.search(bare) and '/* public' not in line:
                yield '%s:%d: bytes_equal, or say /* public */: %s' % (path, number, line.strip())


def printing():
    for path in files('.c', under=('libhmsg',)):
        if path == 'libhmsg/base/log.c':
            continue
        for number, line, bare in code(path):
            if PRINT.search(bare):
                yield '%s:%d: libraries print and log nothing: %s' % (path, number, line.strip())


def state():
    for path in sources():
        for number, line, bare in code(path):
            match = STATE.match(bare)
            if match and not re.search(r'\bconst\b(?![^=;]*\*(?!\s*const))', match.group('rest')):
                if 'lint: global: ' not in line and not read(path).splitlines()[number - 2].count('lint: global: '):
                    yield '%s:%d: hidden state: %s' % (path, number, line.strip())


def guards():
    for path in files('.h'):
        if '#pragma once' not in read(path):
            yield '%s:1: no #pragma once' % path


report = Report()
report.rule('layers depend one way', wrong_direction())
report.rule('includes are from the root', relative_includes())
report.rule('each library is used where it belongs', foreign_includes())
report.rule('only courier and relay use the network', network())
report.rule('no banned calls', banned())
report.rule('secrets are compared in constant time', comparisons())
report.rule('libraries do not print', printing())
report.rule('no hidden state', state())
report.rule('headers are guarded', guards())
report.finish()
