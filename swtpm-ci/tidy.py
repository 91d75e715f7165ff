#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tidy.py BUILD [--notes] [FILE...]: clang-tidy over the .c files of libhmsg, agent, cli and server, as BUILD
compiles them. --notes prints the analyzer's path to each finding. A file that was clean is not looked at again
until its preprocessed text, .clang-tidy or clang-tidy changes.
"""
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PARTS = ('libhmsg', 'agent', 'cli', 'server')
# What gcc takes and clang 14 does not, and what would only make clang complain.
FOREIGN = ('-ftrivial-auto-var-init=zero', '-Werror', '-fstack-clash-protection')
FINDING = re.compile(r'^\S+:\d+:\d+: (warning|error): ')
NOTE = re.compile(r'^\S+:\d+:\d+: note: ')
ASSIGNS = re.compile(r'\berrno = ')
# clang 14's analyzer knows neither __attribute__((cleanup)) nor that an object which points back at its list takes
# itself out of it: leaks and uses after free() are for LeakSanitizer, AddressSanitizer and gcc's -Wuse-after-free.
FALSE = re.compile(r': (Potential (leak of memory|memory leak)|Use of memory after it is freed).*unix\.Malloc')
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def commands(build):
    """The compile commands of our files, one for each file, without what clang does not know."""
    found = {}
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as text:
        for entry in json.load(text):
            path = os.path.realpath(os.path.join(entry['directory'], entry['file']))
            relative = os.path.relpath(path, ROOT)
            if relative.split(os.sep)[0] in PARTS and path not in found:
                words = [w for w in shlex.split(entry['command']) if w not in FOREIGN]
                if os.path.basename(words[0]) == 'ccache':
                    del words[0]
                words[1:1] = ['-include', os.path.join(ROOT, 'swtpm-ci', 'tidy.h')]
                found[path] = {'directory': entry['directory'], 'file': path, 'arguments': words}
    return found


def overlay(entries, folder):
    """Writes the clang overlay in which "errno =" is spelt so that it compiles with tidy.h."""
    files = []
    for path in entries:
        with open(path, encoding='utf-8') as source:
            text = source.read()
        if ASSIGNS.search(text):
            copy = os.path.abspath(os.path.join(folder, hashlib.sha256(path.encode()).hexdigest() + '.c'))
            with open(copy, 'w', encoding='utf-8') as out:
                out.write(ASSIGNS.sub('*__errno_location() = ', text))
            files.append({'name': path, 'type': 'file', 'external-contents': copy})
    with open(os.path.join(folder, 'overlay.yaml'), 'w', encoding='utf-8') as out:
        json.dump({'version': 0, 'use-external-names': 'false', 'roots': files}, out)


def fingerprint(entry, folder, tool):
    words = ['clang', '-E', '-C', '-ivfsoverlay', os.path.abspath(os.path.join(folder, 'overlay.yaml'))]
    rest = iter(entry['arguments'][1:])
    for word in rest:
        if word in ('-MQ', '-MF', '-o'):
            next(rest)
        elif word not in ('-MD', '-c'):
            words.append(word)
    text = subprocess.run(words, cwd=entry['directory'], capture_output=True, check=True)
    return hashlib.sha256(tool + text.stdout).hexdigest()


def findings(text, notes):
    """What is left of clang-tidy's output without false findings and, unless asked for, the notes."""
    kept, keep = [], False
    for line in text.splitlines():
        if FINDING.match(line):
            keep = not FALSE.search(line)
        elif NOTE.match(line) and not notes:
            keep = False
        if keep:
            kept.append(line)
    return '\n'.join(kept)


def check(entry, folder, cache, tool, notes):
    """Returns what clang-tidy found fault with: '' if nothing."""
    try:
        clean = os.path.join(cache, fingerprint(entry, folder, tool))
    except subprocess.CalledProcessError as error:
        return error.stderr.decode(errors='replace')
    if os.path.exists(clean):
        return ''
    done = subprocess.run(['clang-tidy', '--quiet', '--vfsoverlay=' + os.path.join(folder, 'overlay.yaml'), '-p', folder,
                           entry['file']], capture_output=True, text=True)
    found = findings(done.stdout, notes)
    if done.returncode and not any(FINDING.match(line) for line in done.stdout.splitlines()):
        found = done.stdout + done.stderr
    if not found:
        with open(clean, 'w', encoding='ascii'):
            pass
    return found


def main():
    notes = '--notes' in sys.argv
    build, *only = [word for word in sys.argv[1:] if word != '--notes']
    folder, cache = os.path.join(build, 'tidy'), os.path.join(build, 'tidy', 'clean')
    os.makedirs(cache, exist_ok=True)
    entries = commands(build)
    if not entries:
        sys.exit('tidy.py: nothing to look at')
    with open(os.path.join(folder, 'compile_commands.json'), 'w', encoding='utf-8') as out:
        json.dump(list(entries.values()), out)
    overlay(entries, folder)
    tool = subprocess.run(['clang-tidy', '--version'], capture_output=True, check=True).stdout
    for name in ('.clang-tidy', 'swtpm-ci/tidy.h', 'swtpm-ci/tidy.py'):
        with open(os.path.join(ROOT, name), 'rb') as config:
            tool += config.read()
    chosen = [e for path, e in entries.items() if not only or path in map(os.path.realpath, only)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda entry: check(entry, folder, cache, tool, notes), chosen))
    bad = [text for text in results if text]
    print('\n'.join(bad))
    print('%d files, %d with faults' % (len(results), len(bad)))
    sys.exit(1 if bad else 0)


main()
