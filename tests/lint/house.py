# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the house rules' checks share: the files of the project, and TAP with one line for each finding."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM_PARTS = ('libhmsg', 'agent', 'cli', 'server')
DATA = ('.json', '.pem', '.der', '.bin', '.hex', '.png')


def files(*endings, under=('',)):
    """Paths relative to ROOT of the project's files, without build folders and what git keeps for itself."""
    for part in under:
        for folder, names, found in os.walk(os.path.join(ROOT, part)):
            relative = os.path.relpath(folder, ROOT)
            names[:] = sorted(n for n in names if n not in ('.git', '.cache', '__pycache__')
                              and not (relative == '.' and n.startswith('build')))
            for name in sorted(found):
                if name != '.git' and (not endings or name.endswith(endings)):
                    yield os.path.normpath(os.path.join(relative, name))


def is_data(path):
    """Test inputs: their bytes are what they are."""
    return '/corpus/' in path or path.endswith(DATA)


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as text:
        return text.read()


class Report:
    """TAP: one test for each rule, failed when it has findings."""

    def __init__(self):
        self.rules = []

    def rule(self, name, findings, skip=None):
        self.rules.append((name, list(findings), skip))

    def finish(self):
        print('TAP version 13\n1..%d' % len(self.rules))
        for number, (name, findings, skip) in enumerate(self.rules, 1):
            for finding in findings:
                print('# ' + finding)
            print('%s %d %s%s' % ('not ok' if findings else 'ok', number, name, ' # SKIP ' + skip if skip else ''))
        sys.stdout.flush()
        sys.exit(1 if any(findings for _, findings, _ in self.rules) else 0)
