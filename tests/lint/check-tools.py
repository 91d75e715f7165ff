#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of swtpm-ci that judge the others: that what fails is counted as failed."""
import json
import os
import subprocess
import sys
import tempfile

from house import ROOT, Report

PYTHON = sys.executable
COUNT = os.path.join(ROOT, 'swtpm-ci', 'count.py')

# name, meson's result, output, expected (passed, failed), expected in the output
CASES = (
    ('all pass', 'OK', 'TAP version 13\n1..2\nok 1 a\nok 2 - b\n', (2, 0), ''),
    ('one fails', 'FAIL', '1..2\nok 1 a\nnot ok 2 b\n', (1, 1), 'not ok - log: one fails'),
    ('a skip is neither', 'OK', '1..2\nok 1 a\nok 2 b # SKIP no TPM\n', (1, 0), 'skipped - a skip is neither: b'),
    ('counts of vectors', 'OK', '1..1\n# wycheproof/x.json: 3 accepted, 4 refused\nok 1 a\n', (1, 0),
     'vectors - wycheproof/x.json: 3 accepted, 4 refused'),
    ('a whole program is skipped', 'SKIP', '1..0 # SKIP no vectors\n', (0, 0), 'no vectors'),
    ('crash after a pass', 'ERROR', '1..2\nok 1 a\n', (1, 1), 'not ok - log: crash after a pass'),
    ('time-out', 'TIMEOUT', '', (0, 1), 'not ok - log: time-out'),
    ('no TAP', 'OK', 'hello\n', (1, 0), ''),
    ('no TAP, fails', 'FAIL', 'hello\n', (0, 1), 'hello'),
    ('lines that only look like it', 'OK', '1..1\nokay\nnothing ok 3\n# not ok\nok 1 a\n', (1, 0), ''),
)


def count(case):
    name, result, output, expected, text = case
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'log'), 'w', encoding='ascii') as log:
            log.write(json.dumps({'name': name, 'result': result, 'stdout': output, 'returncode': 0}) + '\n')
        done = subprocess.run([PYTHON, COUNT, 'sum', 'log'], cwd=folder, capture_output=True, text=True)
        with open(os.path.join(folder, 'sum'), encoding='ascii') as total:
            got = tuple(int(word) for word in total.read().split())
    if got != expected:
        yield '%s:1: %s: counted %s, not %s' % (COUNT, name, got, expected)
    if text not in done.stdout:
        yield '%s:1: %s: does not say "%s"' % (COUNT, name, text)


report = Report()
for one in CASES:
    report.rule('count.py: ' + one[0], count(one))
report.finish()
