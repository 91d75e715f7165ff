#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules for interfaces and documents: D-Bus XML, manual pages, the relay's OpenAPI document, links."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as tree

from house import ROOT, Report, files, read

NAME = re.compile(r'^[A-Z][A-Za-z0-9]*$')
ARGUMENT = re.compile(r'^[a-z][a-z0-9_]*$')
LINK = re.compile(r'\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)')
REFERENCE = re.compile(r'\$ref["\']?:\s*["\']?#/([^"\'\s}]+)')
SINGLE = frozenset('ybnqiuxtdsogvh')


def signature(text):
    """Whether text is one complete D-Bus type: returns what is left of it, or None."""
    if not text:
        return None
    if text[0] in SINGLE:
        return text[1:]
    if text.startswith('a{'):
        rest = signature(text[3:]) if text[2:3] in SINGLE - {'v'} else None
        return rest[1:] if rest and rest[0] == '}' else None
    if text[0] == 'a':
        return signature(text[1:])
    if text[0] == '(':
        rest = signature(text[1:])
        while rest and rest[0] != ')':
            rest = signature(rest)
        return rest[1:] if rest else None
    return None


def members(path):
    for interface in tree.fromstring(read(path)).iter('interface'):
        for member in interface:
            if member.tag in ('method', 'signal', 'property'):
                yield interface.get('name'), member


def bad_member(interface, member):
    where = '%s.%s' % (interface, member.get('name'))
    if not NAME.match(member.get('name', '')):
        yield where + ': not a member name'
    if member.tag == 'property':
        if signature(member.get('type', '')) != '' or member.get('access') not in ('read', 'readwrite'):
            yield where + ': type or access'
        return
    names = []
    for arg in member.findall('arg'):
        names.append(arg.get('name', ''))
        if not ARGUMENT.match(names[-1]):
            yield '%s: an argument without a name' % where
        if signature(arg.get('type', '')) != '':
            yield '%s: %s is not a complete type: %s' % (where, names[-1], arg.get('type'))
        if member.tag == 'method' and arg.get('direction') not in ('in', 'out'):
            yield '%s: %s has no direction' % (where, names[-1])
    if len(set(names)) != len(names):
        yield where + ': two arguments of one name'


def bad_xml():
    for path in files('.xml', under=('dbus',)):
        lines = read(path).splitlines()
        try:
            found = list(members(path))
        except tree.ParseError as error:
            yield '%s:%d: %s' % (path, error.position[0], error)
            continue
        for interface, member in found:
            number = next((n for n, line in enumerate(lines, 1) if 'name="%s"' % member.get('name') in line), 1)
            for fault in bad_member(interface, member):
                yield '%s:%d: %s' % (path, number, fault)


def bad_manuals():
    for path in files('.1', '.3', '.5', '.7', '.8', under=('docs',)):
        done = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', path], cwd=ROOT, capture_output=True, text=True)
        for line in (done.stdout + done.stderr).splitlines():
            yield line.replace('mandoc: ', '', 1)


def bad_links():
    for path in files('.md'):
        for number, line in enumerate(read(path).splitlines(), 1):
            for target in LINK.findall(line):
                if '://' not in target and not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)):
                    yield '%s:%d: no such file: %s' % (path, number, target)


def bad_openapi(yaml):
    for path in files('.yaml', under=('docs',)):
        text = read(path)
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            yield '%s:1: %s' % (path, str(error).replace('\n', ' '))
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for reference in REFERENCE.findall(line):
                node = document
                for key in reference.split('/'):
                    node = node.get(key.replace('~1', '/')) if isinstance(node, dict) else None
                if node is None:
                    yield '%s:%d: refers to nothing: #/%s' % (path, number, reference)


def yaml_module():
    try:
        import yaml
        return yaml
    except ImportError:
        return None


report = Report()
report.rule('D-Bus interfaces are well formed and name each argument', bad_xml())
report.rule('links lead somewhere', bad_links())
if shutil.which('mandoc'):
    report.rule('manual pages', bad_manuals())
else:
    report.rule('manual pages', [], skip='no mandoc')
parser = yaml_module()
if parser:
    report.rule('the OpenAPI document', bad_openapi(parser))
else:
    report.rule('the OpenAPI document', [], skip='no python3-yaml')
report.finish()
