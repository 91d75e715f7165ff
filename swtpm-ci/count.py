#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""count.py SUM LOG...: adds up the TAP subtests in meson's testlog.json files.

Prints the counts of others' vectors, skips and, last, the output of the programs that failed. Writes "passed failed" to SUM.
A program that meson calls failed (crashed, timed out, broke its plan) counts as one failure at least;
a skipped subtest counts as neither.
"""
import json
import re
import sys

LINE = re.compile(r'^(?P<verdict>ok|not ok)\b\s*(?P<number>\d*)\s*(?P<rest>.*)$')
SKIP = re.compile(r'#\s*skip\b\s*(.*)', re.IGNORECASE)
NONE = re.compile(r'^1\.\.0\b.*?#\s*skip\S*\s*(.*)', re.IGNORECASE)
VECTORS = re.compile(r'^# (wycheproof/\S+: \d+ accepted.*)$', re.MULTILINE)
OUTPUT_MAX = 20000


def count(test):
    """Returns (passed, failed, list of skips) of one test program."""
    passed, failed, skips, lines = 0, 0, [], 0
    for text in test.get('stdout', '').splitlines():
        none = NONE.match(text)
        if none:
            skips.append((test['name'], none.group(1)))
            lines += 1
            continue
        line = LINE.match(text)
        if not line:
            continue
        lines += 1
        skip = SKIP.search(line.group('rest'))
        if skip and line.group('verdict') == 'ok':
            skips.append((test['name'] + ': ' + line.group('rest').split('#')[0].strip(), skip.group(1)))
        elif line.group('verdict') == 'ok':
            passed += 1
        else:
            failed += 1
    good = test['result'] in ('OK', 'EXPECTEDFAIL', 'SKIP')
    if test['result'] == 'SKIP' and not lines:
        skips.append((test['name'], 'the whole program'))
    elif good and not lines:
        passed += 1
    if not good and not failed:
        failed = 1
    return passed, failed, skips


def show(log, test):
    print('=== %s: %s (%s, status %s)' % (log, test['name'], test['result'], test.get('returncode')))
    for stream in ('stdout', 'stderr'):
        text = test.get(stream, '')
        if len(text) > OUTPUT_MAX:
            text = text[:OUTPUT_MAX // 2] + '\n[...]\n' + text[-OUTPUT_MAX // 2:]
        if text.strip():
            print('--- ' + stream)
            print(text.rstrip())


def main():
    total = [0, 0]
    skipped, broken, vectors = {}, [], {}
    for log in sys.argv[2:]:
        sums = [0, 0]
        with open(log, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                test = json.loads(line)
                passed, failed, skips = count(test)
                sums[0] += passed
                sums[1] += failed
                for counts in VECTORS.findall(test.get('stdout', '')):
                    vectors.setdefault(counts, []).append(log.split('/')[0])
                for skip in skips:
                    skipped.setdefault(skip, []).append(log.split('/')[0])
                if failed:
                    broken.append((log, test))
        print('%s: %d passed, %d failed' % (log.split('/')[0], *sums))
        total[0] += sums[0]
        total[1] += sums[1]
    for counts, where in sorted(vectors.items()):
        print('vectors - %s (%s)' % (counts, ', '.join(where)))
    for (name, reason), where in sorted(skipped.items()):
        print('skipped - %s (%s): %s' % (name, ', '.join(where), reason))
    for log, test in broken:
        show(log, test)
    for log, test in broken:
        print('not ok - %s: %s' % (log.split('/')[0], test['name']))
    with open(sys.argv[1], 'w', encoding='ascii') as out:
        out.write('%d %d\n' % tuple(total))


main()
