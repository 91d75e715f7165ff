#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-build.py BUILD: what can be told from the compile commands and tests of a build.

Every .c file is built, every header compiles alone, every module has a test that includes its header.
"""
import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from house import PROGRAM_PARTS, ROOT, Report, files, read

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
PUBLIC = ('hmsg/', 'libhmsg/client/')  # how desktop programs spell the headers of the client library
UNTESTED = 'tests/lint/untested.txt'
THREATS = 'docs/threat-model.md'


def commands(build):
    found = {}
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as text:
        for entry in json.load(text):
            path = os.path.relpath(os.path.realpath(os.path.join(entry['directory'], entry['file'])), ROOT)
            found.setdefault(path, entry)
    return found


def unbuilt(built):
    for path in files('.c'):
        if path not in built:
            yield '%s:1: no meson.build lists it' % path


def flags(header, built):
    """The options of the source in the header's folder, or in the nearest folder above that has one, whose
    name begins most like the header's: parts of a folder may be built with libraries that others are not."""
    folder = os.path.dirname(header)
    alike = lambda path: -len(os.path.commonprefix([os.path.basename(path), os.path.basename(header)]))
    while True:
        for path, entry in sorted(built.items(), key=lambda item: (alike(item[0]), item[0])):
            if os.path.dirname(path) == folder or (folder == '' and path.startswith('libhmsg/')):
                words, kept = iter(shlex.split(entry['command'])), []
                for word in words:
                    if word in ('-MQ', '-MF', '-o', '-c'):
                        next(words)
                    elif word != '-MD':
                        kept.append(word)
                return kept, entry['directory']
        folder = os.path.dirname(folder)


def compile_alone(header, built):
    command, folder = flags(header, built)
    done = subprocess.run([*command, '-fdiagnostics-color=never', '-fsyntax-only', '-Werror', '-x', 'c', '-'], cwd=folder, text=True,
                          capture_output=True, input='#include "%s"\nextern int not_empty;\n' % os.path.join(ROOT, header))
    return ['%s:1: does not compile alone: %s' % (header, line) for line in done.stderr.splitlines()[:3]] \
        if done.returncode else []


def dependent_headers(built):
    headers = [path for path in files('.h')]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for findings in pool.map(lambda header: compile_alone(header, built), headers):
            yield from findings


def excused():
    """pattern -> reason, from untested.txt: "PATTERN: REASON"."""
    found = {}
    for line in read(UNTESTED).splitlines():
        if line and not line.startswith('#'):
            path, _, reason = line.partition(': ')
            found[path] = reason.strip()
    return found


def tested():
    names = set()
    for path in files('.c', '.h', under=('tests',)):
        for name in INCLUDE.findall(read(path)):
            names.add(PUBLIC[1] + name[len(PUBLIC[0]):] if name.startswith(PUBLIC[0]) else name)
    return names


def header_of(path):
    """The module's header; a part of a module that was cut up (key-read.c) belongs to the whole's (key.h)."""
    folder, name = os.path.split(path[:-2])
    while '-' in name and not os.path.exists(os.path.join(ROOT, folder, name + '.h')):
        name = name.rpartition('-')[0]
    return os.path.join(folder, name + '.h')


def untested():
    reasons, included = excused(), tested()
    modules = list(files('.c', under=PROGRAM_PARTS))
    for path in modules:
        known = header_of(path) in included
        excuse = any(reason and fnmatch.fnmatch(path, pattern) for pattern, reason in reasons.items())
        if not known and not excuse:
            yield '%s:1: no test includes its header, and %s gives no reason' % (path, UNTESTED)
        if known and path in reasons:
            yield '%s:1: %s excuses it, but it is tested' % (path, UNTESTED)
    for pattern in reasons:
        if not fnmatch.filter(modules, pattern):
            yield '%s:1: excuses what is not there: %s' % (UNTESTED, pattern)


def unknown_proofs():
    """The last column of the threat model's table names tests of meson."""
    with open(os.path.join(sys.argv[1], 'meson-info', 'intro-tests.json'), encoding='utf-8') as file:
        known = {test['name'] for test in json.load(file)}
    table = read(THREATS).partition('## In short\n')[2].partition('\n## ')[0]
    rows = [line.rstrip('| ').rpartition('|')[2] for line in table.splitlines() if line.startswith('| ')]
    names = [name for cell in rows for name in re.findall('`([^`]*)`', cell)]
    if not names:
        yield '%s:1: its table names no test' % THREATS
    for name in names:
        if name not in known:
            yield '%s:1: there is no test %s' % (THREATS, name)


built = commands(sys.argv[1])
report = Report()
report.rule('every .c file is built', unbuilt(built))
report.rule('every header compiles alone', dependent_headers(built))
report.rule('every module has a test', untested())
report.rule('the tests that the threat model names are there', unknown_proofs())
report.finish()
