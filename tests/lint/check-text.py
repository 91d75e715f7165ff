#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules for every text file: license line, length, no notes to self, no place of one machine, no registry."""
import re

from house import Report, files, is_data, read

SPDX = 'SPDX-License-Identifier: LGPL-2.1-or-later'
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 90
HEAD_LINES = 5
NOTES = re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b')
MACHINE = re.compile(r'(?<![\w.~}-])/(wo' r'rk|ro' r'ot|ho' r'me/[a-z]+)\b(?!-)[/\w]*')
# Spelt in pieces, for this file is checked too.
HOSTS = ['.'.join(words) for words in (
    ('deb', 'debian', 'org'), ('security', 'debian', 'org'), ('snapshot', 'debian', 'org'), ('ftp', 'debian', 'org'),
    ('pypi', 'org'), ('pythonhosted', 'org'), ('npmjs', 'org'), ('npmjs', 'com'), ('crates', 'io'),
    ('proxy', 'golang', 'org'), ('rubygems', 'org'), ('docker', 'io'), ('archive', 'ubuntu', 'com'), ('quay', 'io'))]


def lines(select):
    for path in files():
        if is_data(path) or path == 'LICENSE' or not select(path):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            yield path, number, line


def without_license():
    for path in files():
        if is_data(path) or path == 'LICENSE':
            continue
        if not any(SPDX in line for line in read(path).splitlines()[:HEAD_LINES]):
            yield '%s:1: no SPDX line in the first %d lines' % (path, HEAD_LINES)


def too_long():
    for path in files('.c', '.h', '.py', '.sh', '.build', '.xml'):
        count = len(read(path).splitlines())
        if count > FILE_LINES_MAX:
            yield '%s:%d: a file of %d lines, at most %d' % (path, FILE_LINES_MAX, count, FILE_LINES_MAX)


def long_functions():
    """clang-format puts the braces of functions, and of nothing else, into the first column on lines of their own."""
    for path in files('.c', '.h'):
        begin = None
        for number, line in enumerate(read(path).splitlines(), 1):
            if line == '{':
                begin = number
            elif line == '}' and begin:
                if number - begin - 1 > FUNCTION_LINES_MAX:
                    yield '%s:%d: a function of %d lines, at most %d' % (
                        path, begin, number - begin - 1, FUNCTION_LINES_MAX)
                begin = None


def found(pattern, text, select=lambda path: True):
    for path, number, line in lines(select):
        if pattern.search(line):
            yield '%s:%d: %s: %s' % (path, number, text, line.strip())


def registries():
    for path, number, line in lines(lambda path: True):
        for host in HOSTS:
            if host in line:
                yield '%s:%d: names a package registry: %s' % (path, number, line.strip())


def untidy():
    for path, number, line in lines(lambda path: True):
        if line != line.rstrip() or '\r' in line:
            yield '%s:%d: space at the end of the line' % (path, number)
        if '\t' in line and not path.endswith(('.te', '.if', '.fc')):
            yield '%s:%d: a tab' % (path, number)


report = Report()
report.rule('every file has its license line', without_license())
report.rule('no file over %d lines' % FILE_LINES_MAX, too_long())
report.rule('no function over %d lines' % FUNCTION_LINES_MAX, long_functions())
report.rule('no notes to self', found(NOTES, 'a note to self'))
report.rule('no path of one machine', found(MACHINE, 'a path of one machine'))
report.rule('no package registry', registries())
report.rule('no stray white space', untidy())
report.finish()
