#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tidy.py BUILD: clang-tidy over every .c file of libhmsg, agent, cli and server, as BUILD compiles it.

A file that was clean is not looked at again until its preprocessed text, .clang-tidy or clang-tidy changes.
"""
import hashlib
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PARTS = ('libhmsg', 'agent', 'cli', 'server')
# What gcc takes and clang 14 does not, and what would only make clang complain.
FOREIGN = ('-ftrivial-auto-var-init=zero', '-Werror', '-fstack-clash-protection')
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
                found[path] = {'directory': entry['directory'], 'file': path, 'arguments': words}
    return found


def fingerprint(entry, tool):
    words, rest = ['clang', '-E', '-C'], iter(entry['arguments'][1:])
    for word in rest:
        if word in ('-MQ', '-MF', '-o'):
            next(rest)
        elif word not in ('-MD', '-c'):
            words.append(word)
    text = subprocess.run(words, cwd=entry['directory'], capture_output=True, check=True)
    return hashlib.sha256(tool + text.stdout).hexdigest()


def check(entry, folder, cache, tool):
    """Returns what clang-tidy found fault with, or None."""
    try:
        clean = os.path.join(cache, fingerprint(entry, tool))
    except subprocess.CalledProcessError as error:
        return error.stderr.decode(errors='replace')
    if os.path.exists(clean):
        return None
    done = subprocess.run(['clang-tidy', '--quiet', '-p', folder, entry['file']], capture_output=True, text=True)
    if done.returncode or ' warning: ' in done.stdout or ' error: ' in done.stdout:
        return done.stdout + done.stderr
    with open(clean, 'w', encoding='ascii'):
        return None


def main():
    build = sys.argv[1]
    folder, cache = os.path.join(build, 'tidy'), os.path.join(build, 'tidy', 'clean')
    os.makedirs(cache, exist_ok=True)
    entries = commands(build)
    if not entries:
        sys.exit('tidy.py: nothing to look at')
    with open(os.path.join(folder, 'compile_commands.json'), 'w', encoding='utf-8') as out:
        json.dump(list(entries.values()), out)
    with open(os.path.join(ROOT, '.clang-tidy'), 'rb') as config:
        tool = config.read() + subprocess.run(['clang-tidy', '--version'], capture_output=True, check=True).stdout
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda entry: check(entry, folder, cache, tool), entries.values()))
    bad = [text for text in results if text is not None]
    print('\n'.join(bad))
    print('%d files, %d with faults' % (len(results), len(bad)))
    sys.exit(1 if bad else 0)


main()
