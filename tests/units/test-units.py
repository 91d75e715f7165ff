#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-units.py SOURCE BUILD: what systemd does with our files, without a systemd that runs. Prints TAP."""
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile

WAIT = 120  # s, for what may be slow, not for what should be


class Skip(Exception):
    pass


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=WAIT, **options)


def tool(name):
    if not shutil.which(name):
        raise Skip('no ' + name)
    return name


def users(source, root):
    """The account of the relay in a system that is a folder: (user, group)."""
    for part in ('etc', 'usr/lib/sysusers.d', 'usr/lib/tmpfiles.d', 'var/lib'):
        os.makedirs(os.path.join(root, part), exist_ok=True)
    for kind in ('sysusers', 'tmpfiles'):
        shutil.copy(os.path.join(source, 'server/hmsg-relay.' + kind),
                    os.path.join(root, 'usr/lib/%s.d/hmsg-relay.conf' % kind))
    done = run(tool('systemd-sysusers'), '--root=' + root, 'hmsg-relay.conf')
    assert done.returncode == 0, done.stderr
    with open(os.path.join(root, 'etc/passwd'), encoding='utf-8') as file:
        entries = [line.rstrip('\n').split(':') for line in file if line.startswith('hmsg-relay:')]
    assert len(entries) == 1, entries
    entry = entries[0]
    assert entry[5] == '/var/lib/hmsg-relay' and entry[6].endswith('nologin'), entry
    with open(os.path.join(root, 'etc/shadow'), encoding='utf-8') as file:
        assert any(line.startswith('hmsg-relay:!') for line in file), 'a password'
    return int(entry[2]), int(entry[3])


def test_accounts(source, _build, scratch):
    if os.geteuid() != 0:
        raise Skip('only root can make accounts')
    root = os.path.join(scratch, 'root')
    owner = users(source, root)
    etc = os.path.join(root, 'etc/hmsg')
    os.makedirs(etc)
    for name in ('relay.conf', 'identity.pem', 'identity.passphrase', 'agent.conf'):
        with open(os.path.join(etc, name), 'w', encoding='utf-8') as file:
            os.fchmod(file.fileno(), 0o644)
    done = run(tool('systemd-tmpfiles'), '--root=' + root, '--create', 'hmsg-relay.conf')
    assert done.returncode == 0, done.stderr

    def is_so(path, mode, user, group):
        found = os.stat(os.path.join(root, path))
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, user, group), (path, found)

    is_so('var/lib/hmsg-relay', 0o700, *owner)
    is_so('etc/hmsg', 0o755, 0, 0)
    is_so('etc/hmsg/identity.pem', 0o600, *owner)
    is_so('etc/hmsg/identity.passphrase', 0o600, *owner)
    is_so('etc/hmsg/relay.conf', 0o640, 0, owner[1])
    is_so('etc/hmsg/agent.conf', 0o644, 0, 0)


def verify(scratch, text, name, *options):
    path = os.path.join(scratch, name)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    env = dict(os.environ, XDG_RUNTIME_DIR=scratch)
    return run(tool('systemd-analyze'), 'verify', '--man=no', '--recursive-errors=no', *options, path, env=env)


def verify_unit(scratch, unit, program, *options):
    """systemd finds nothing wrong in the unit, and would find it."""
    with open(unit, encoding='utf-8') as file:
        lines = file.read().splitlines()
    text = '\n'.join('ExecStart=%s serve' % program if line.startswith('ExecStart=') else line for line in lines) + '\n'
    name = os.path.basename(unit)
    done = verify(scratch, text, name, *options)
    assert done.returncode == 0 and name not in done.stderr, done.stderr
    done = verify(scratch, text.replace('UMask=', 'UnknownMask='), name, *options)
    assert 'UnknownMask' in done.stderr, 'a wrong line was not found: ' + done.stderr


def test_relay_unit(_source, build, scratch):
    verify_unit(scratch, os.path.join(build, 'server/hmsg-relay.service'), os.path.join(build, 'server/hmsg-relay'))


def test_agent_unit(_source, build, scratch):
    verify_unit(scratch, os.path.join(build, 'agent/hmsg-agent.service'), os.path.join(build, 'agent/hmsg-agent'), '--user')


def test_activation_file(_source, build, _scratch):
    """D-Bus and systemd start the same program."""
    def entries(path):
        with open(os.path.join(build, path), encoding='utf-8') as file:
            return dict(line.rstrip('\n').split('=', 1) for line in file if '=' in line and line[0] != '#')

    bus, unit = entries('dbus/org.hmsg.Agent1.service'), entries('agent/hmsg-agent.service')
    assert bus['SystemdService'] == 'hmsg-agent.service', bus
    assert bus['Name'] == unit['BusName'], (bus, unit)
    assert bus['Exec'] == unit['ExecStart'], (bus, unit)


class Relay:
    """hmsg-relay under a service manager that keeps its socket."""

    def __init__(self, build, scratch):
        self.program = os.path.join(build, 'server/hmsg-relay')
        self.folder = os.path.join(scratch, 'relay')
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = self.listener.getsockname()
        self.process = None
        done = run(self.program, 'init', '--host', '127.0.0.1:%d' % self.address[1], '--listen', '127.0.0.1:0', self.folder)
        assert done.returncode == 0, done.stderr

    def start(self):
        listener = self.listener.fileno()

        def pass_socket():
            os.dup2(listener, 3)
            os.set_inheritable(3, True)  # it may have been this number already
            os.environ['LISTEN_PID'] = str(os.getpid())
            os.environ['LISTEN_FDS'] = '1'

        child = os.fork()
        if child == 0:
            try:
                pass_socket()
                os.execv(self.program, [self.program, 'serve', '--config', os.path.join(self.folder, 'relay.conf')])
            finally:
                os._exit(127)
        self.process = child

    def stop(self, how):
        """Returns its exit status."""
        os.kill(self.process, how)
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self.process = None
        return status

    def connect(self):
        return socket.create_connection(self.address, timeout=WAIT)

    def close(self):
        if self.process:
            self.stop(signal.SIGKILL)
        self.listener.close()


def shake_hands(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whose it is is not asked here
    context.set_alpn_protocols(['h2'])
    with context.wrap_socket(connection) as secure:
        assert secure.selected_alpn_protocol() == 'h2'
        return secure.getpeercert(binary_form=True)


def test_restart(_source, build, scratch):
    """Who connects while the relay is down, killed or stopped, is served by the next one."""
    relay = Relay(build, scratch)
    try:
        early = relay.connect()  # before it ever ran
        relay.start()
        shake_hands(early)
        assert relay.stop(signal.SIGKILL) == -signal.SIGKILL
        waiting = relay.connect()
        relay.start()
        shake_hands(waiting)
        assert relay.stop(signal.SIGTERM) == 0
        waiting = relay.connect()
        relay.start()
        shake_hands(waiting)
        assert relay.stop(signal.SIGTERM) == 0
    finally:
        relay.close()


def main():
    tests = (test_accounts, test_relay_unit, test_agent_unit, test_activation_file, test_restart)
    print('1..%d' % len(tests))
    failed = 0
    for number, test in enumerate(tests, 1):
        name = test.__name__.replace('test_', '').replace('_', '-')
        with tempfile.TemporaryDirectory(prefix='hmsg-units.') as scratch:
            try:
                test(sys.argv[1], sys.argv[2], scratch)
                print('ok %d - %s' % (number, name), flush=True)
            except Skip as skip:
                print('ok %d - %s # SKIP %s' % (number, name, skip), flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print('not ok %d - %s' % (number, name))
                print('\n'.join('# ' + line for line in repr(error).split('\\n')), flush=True)
    return 1 if failed else 0


sys.exit(main())
