#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-policy.py CLASS.cil MODULE.pp: hmsg's SELinux policy is put into a copy of Debian's, which must accept it with
all neverallow rules checked, and is asked what it allows. SELinux need not be on. Prints TAP.

Each refusal is asked twice: of the policy, and of one that has a rule against it, which must be found.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

STORE = '/var/lib/selinux/default'
CONFIGURATION = '/etc/selinux/default'
TOOLS = ('semodule', 'matchpathcon')
OURS = {'hmsg_agent_t', 'hmsg_courier_t', 'hmsg_pinentry_t', 'hmsg_ctl_t', 'hmsg_relay_t'}
STARTERS = {'user_t', 'user_systemd_t', 'user_dbusd_t', 'staff_t', 'staff_systemd_t', 'staff_dbusd_t'}
# what a program of the role may become: Debian lets its X server do everything
OUTSIDE = OURS | {'xserver_t'}
NETWORK = ('tcp_socket', 'udp_socket', 'rawip_socket', 'packet_socket', 'icmp_socket', 'sctp_socket', 'vsock_socket',
           'netlink_route_socket', 'bluetooth_socket')
PRIVATE = {'hmsg_data_t', 'hmsg_key_t'}
MEMORY = {'hmsg_agent_tmpfs_t', 'hmsg_ctl_tmpfs_t'}
RELAY = {'hmsg_relay_key_t', 'hmsg_relay_var_lib_t'}
PROGRAMS = {'hmsg_agent_exec_t', 'hmsg_courier_exec_t', 'hmsg_ctl_exec_t', 'hmsg_relay_exec_t'}
HOME = os.path.join('/home', 'somebody')
LIBRARIES = {'ld_so_t', 'lib_t', 'textrel_shlib_t'}
CONTENT = {'user_home_t', 'user_tmp_t', 'user_tmpfs_t', 'xdg_documents_t', 'xdg_downloads_t'}
CHANGE = {'append', 'create', 'link', 'relabelfrom', 'relabelto', 'rename', 'setattr', 'unlink', 'write'}


class Refusal(NamedTuple):
    what: str
    sources: set
    targets: set  # None: whatever it is
    kind: str  # class
    permissions: set  # None: all

    def breach(self):
        """A rule in CIL that allows it."""
        source = sorted(self.sources)[0]
        target = sorted(self.targets)[0] if self.targets else source
        permission = sorted(self.permissions)[0] if self.permissions else {'dbus': 'send_msg',
                                                                           'hmsg': 'sign'}.get(self.kind, 'read')
        return '(allow %s %s (%s (%s)))' % (source, target, self.kind, permission)


def tool(name):
    return shutil.which(name) or shutil.which(name, path='/usr/sbin:/sbin')


def install(folder, modules, check):
    """A store in folder with these modules; returns what semodule complains of."""
    etc = os.path.join(folder, 'etc/selinux')
    shutil.copytree(STORE, os.path.join(folder, STORE[1:]), symlinks=True)
    shutil.copytree(CONFIGURATION, os.path.join(folder, CONFIGURATION[1:]), symlinks=True)
    with open(os.path.join(etc, 'semanage.conf'), 'w', encoding='utf-8') as conf:
        conf.write('module-store = direct\nexpand-check = %d\n' % check)
    command = [tool('semodule'), '-p', folder, '-s', 'default', '-n']
    for module in modules:
        command += ['-i', module]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    return done.stderr if done.returncode else ''


class Policy:
    """What one policy allows, whatever its booleans say."""

    def __init__(self, folder):
        import setools  # pylint: disable=import-outside-toplevel,import-error

        binaries = os.path.join(folder, CONFIGURATION[1:], 'policy')
        policy = setools.SELinuxPolicy(os.path.join(binaries, sorted(os.listdir(binaries))[-1]))
        self.attributes = {str(a): {str(t) for t in a.expand()} for a in policy.typeattributes()}
        self.types = {str(t) for t in policy.types()}
        self.roles = {str(role): {str(t) for t in role.types()} for role in policy.roles()}
        self.rules = {}
        self.changes = set()
        for rule in policy.terules():
            source, target, kind = str(rule.source), str(rule.target), str(rule.tclass)
            if rule.ruletype == setools.TERuletype.allow:
                self.rules.setdefault(kind, []).append((source, target, rule.perms))
            elif rule.ruletype == setools.TERuletype.type_transition:
                name = rule.filename if isinstance(rule, setools.policyrep.FileNameTERule) else None
                for each in self.expand(source):
                    self.changes.add((each, target, kind, name, str(rule.default)))

    def expand(self, name):
        return self.attributes.get(name, {name})

    def allows(self, sources, targets, kind, permissions):
        """The permissions of kind that one of sources has to one of targets: (source, target, permission)."""
        found = set()
        for source, target, given in self.rules.get(kind, ()):
            asked = given & permissions if permissions else given
            if not asked:
                continue
            froms = self.expand(source) & sources
            if froms:
                tos = self.expand(target)
                tos = tos & targets if targets else tos
                found |= {(s, t, p) for s in froms for t in tos for p in asked}
        return found


def refusals_of_users(users):
    """What no domain may that a program of user_u or staff_u can get into, but our own."""
    yield Refusal('programs of users trace none of ours', users, OURS, 'process', {'ptrace'})
    yield Refusal('programs of users clear no environment for ours', users, OURS, 'process',
                  {'dyntransition', 'noatsecure', 'rlimitinh', 'share'})
    yield Refusal('programs of users read no files', users, PRIVATE | MEMORY | RELAY, 'file',
                  {'execute', 'lock', 'map', 'open', 'read'})
    yield Refusal('programs of users change no files', users, PRIVATE | MEMORY | RELAY, 'file', CHANGE)
    for kind, own in (('dir', {'add_name', 'remove_name', 'reparent', 'rmdir', 'search', 'open', 'read'}),
                      ('lnk_file', {'read'}), ('sock_file', set())):
        yield Refusal('programs of users change no %s' % kind, users, PRIVATE | RELAY, kind, CHANGE | own)
    yield Refusal('programs of users reach no secret memory', users, {'hmsg_secret_t'}, 'anon_inode',
                  {'getattr', 'map', 'read', 'write'})
    yield Refusal('programs of users replace no program of ours', users, PROGRAMS, 'file', CHANGE)
    yield Refusal('programs of users open no TPM', users, {'tpm_device_t'}, 'chr_file',
                  {'append', 'ioctl', 'map', 'open', 'read', 'write'} | CHANGE)
    yield Refusal('programs of users reach no key of the agent', users, {'hmsg_agent_t'}, 'key', None)
    yield Refusal("programs of users do not take the agent's name", users, {'hmsg_agent_t'}, 'dbus', {'acquire_svc'})
    yield Refusal('programs of users do not listen in the place of the agent', users, OURS, 'unix_stream_socket',
                  {'accept', 'connectto', 'listen'})
    yield Refusal('user_t does not decrypt, sign or manage', {'user_t'}, None, 'hmsg', {'decrypt', 'sign', 'manage'})
    yield Refusal('staff_t does not manage', {'staff_t'}, None, 'hmsg', {'manage'})
    yield Refusal('no other program of users asks the agent', users - {'user_t', 'staff_t'}, None, 'hmsg', None)
    yield Refusal('only the agent is started in its domain',
                  users - STARTERS, {'hmsg_agent_t', 'hmsg_ctl_t'}, 'process', {'transition'})


def refusals_of_ours(types):
    for kind in NETWORK:
        yield Refusal('the agent makes no %s' % kind, {'hmsg_agent_t'}, None, kind,
                      {'accept', 'bind', 'connect', 'create', 'listen'})
    yield Refusal('the agent runs the courier and pinentry, nothing else', {'hmsg_agent_t'},
                  types - LIBRARIES - {'hmsg_agent_exec_t', 'hmsg_courier_exec_t', 'gpg_agent_exec_t'}, 'file',
                  {'execmod', 'execute', 'execute_no_trans'})
    yield Refusal('the agent makes no code', {'hmsg_agent_t'}, None, 'process', {'execheap', 'execmem', 'execstack'})
    yield Refusal("the agent opens no file of the user's", {'hmsg_agent_t'}, CONTENT, 'file', {'create', 'open', 'unlink'})
    yield Refusal("the agent opens no pipe of the user's that has a name", {'hmsg_agent_t'}, CONTENT, 'fifo_file', {'open'})
    yield Refusal('the agent is entered by its program alone', {'hmsg_agent_t'}, types - {'hmsg_agent_exec_t'}, 'file',
                  {'entrypoint'})
    yield Refusal('hmsgctl is entered by its program alone', {'hmsg_ctl_t'}, types - {'hmsg_ctl_exec_t'}, 'file',
                  {'entrypoint'})
    yield Refusal('the courier is entered by its program alone', {'hmsg_courier_t'}, types - {'hmsg_courier_exec_t'},
                  'file', {'entrypoint'})
    yield Refusal('only the agent of ours opens the TPM', OURS - {'hmsg_agent_t'}, {'tpm_device_t'}, 'chr_file',
                  {'ioctl', 'open', 'read', 'write'})
    yield Refusal('only the agent of ours uses the keyring', OURS - {'hmsg_agent_t'}, None, 'key', None)
    yield Refusal('only the agent of ours opens its files', OURS - {'hmsg_agent_t'}, PRIVATE, 'file',
                  {'open'} | CHANGE - {'write'})
    yield Refusal('only the agent of ours sees the wrapped keys', OURS - {'hmsg_agent_t'}, {'hmsg_key_t'}, 'file', None)
    yield Refusal('only the agent of ours has secret memory', OURS - {'hmsg_agent_t'}, {'hmsg_secret_t'}, 'anon_inode',
                  None)
    yield Refusal('ours relabel nothing of ours', OURS, PRIVATE | MEMORY | RELAY | PROGRAMS, 'file',
                  {'relabelfrom', 'relabelto'})
    yield Refusal('ours replace no program of ours', OURS, PROGRAMS, 'file', CHANGE)
    yield Refusal('ours trace nobody', OURS, None, 'process', {'ptrace'})
    yield Refusal('ours clear nobody an environment', OURS, OURS, 'process', {'dyntransition', 'noatsecure'})
    yield Refusal('ours have no privileges', OURS, None, 'capability', {'dac_override', 'setuid', 'sys_admin', 'sys_ptrace'})
    yield Refusal("the courier opens nothing of the user's", {'hmsg_courier_t'},
                  CONTENT | {'user_home_dir_t', 'xdg_config_t', 'xdg_data_t'}, 'file', {'open', 'read', 'write'})
    yield Refusal('the courier connects to no bus', {'hmsg_courier_t'},
                  {'hmsg_agent_t', 'staff_dbusd_t', 'system_dbusd_t', 'user_dbusd_t'}, 'unix_stream_socket', {'connectto'})
    yield Refusal('the courier asks the agent nothing', {'hmsg_courier_t'}, None, 'hmsg', None)
    yield Refusal('the courier starts nothing', {'hmsg_courier_t'}, types - LIBRARIES - {'hmsg_courier_exec_t'}, 'file',
                  {'execute', 'execute_no_trans'})
    yield Refusal('the relay changes no configuration of agents', {'hmsg_relay_t'}, {'hmsg_etc_t'}, 'file', CHANGE)
    yield Refusal('the relay asks no agent', {'hmsg_relay_t'}, None, 'hmsg', None)
    yield Refusal("the relay opens nothing of the user's", {'hmsg_relay_t'}, CONTENT | PRIVATE, 'file', {'open', 'read'})
    yield Refusal("systemd-tmpfiles reads and writes no key and no data of the relay's", {'systemd_tmpfiles_t'},
                  RELAY, 'file', {'append', 'open', 'read', 'write'})
    yield Refusal('pinentry asks the agent nothing', {'hmsg_pinentry_t'}, None, 'hmsg', None)


# what must be allowed, or nothing works
PERMISSIONS = (
    ('the agent opens the TPM', 'hmsg_agent_t', 'tpm_device_t', 'chr_file', {'open', 'read', 'write'}),
    ('the agent keeps keys in the kernel', 'hmsg_agent_t', 'hmsg_agent_t', 'key', {'create', 'read', 'search', 'write'}),
    ('the agent reads its keys', 'hmsg_agent_t', 'hmsg_key_t', 'file', {'open', 'read'}),
    ('the agent writes its store', 'hmsg_agent_t', 'hmsg_data_t', 'file', {'create', 'lock', 'map', 'open', 'write'}),
    ('the agent owns its name', 'hmsg_agent_t', 'hmsg_agent_t', 'dbus', {'acquire_svc'}),
    ("the agent asks the policy", 'hmsg_agent_t', 'security_t', 'security', {'compute_av'}),
    ('the agent has secret memory', 'hmsg_agent_t', 'hmsg_secret_t', 'anon_inode', {'create', 'map'}),
    ('the agent starts the courier', 'hmsg_agent_t', 'hmsg_courier_t', 'process', {'transition'}),
    ('the agent starts pinentry', 'hmsg_agent_t', 'hmsg_pinentry_t', 'process', {'transition'}),
    ('the agent answers hmsgctl', 'hmsg_agent_t', 'hmsg_ctl_t', 'dbus', {'send_msg'}),
    ('the agent opens pipes of users', 'hmsg_agent_t', 'user_t', 'fifo_file', {'open', 'read', 'write'}),
    ('the agent opens pipes of hmsgctl', 'hmsg_agent_t', 'hmsg_ctl_t', 'fifo_file', {'open', 'read', 'write'}),
    ('the courier makes connections', 'hmsg_courier_t', 'unreserved_port_t', 'tcp_socket', {'name_connect'}),
    ('the relay listens', 'hmsg_relay_t', 'unreserved_port_t', 'tcp_socket', {'name_bind'}),
    ('the relay reads its key', 'hmsg_relay_t', 'hmsg_relay_key_t', 'file', {'open', 'read'}),
    *(('systemd-tmpfiles sets owner and label of %s' % what, 'systemd_tmpfiles_t', what, 'file',
       {'relabelfrom', 'relabelto', 'setattr'}) for what in ('hmsg_agent_exec_t', 'hmsg_etc_t', 'hmsg_relay_key_t')),
    ("systemd-tmpfiles makes the relay's folder", 'systemd_tmpfiles_t', 'hmsg_relay_var_lib_t', 'dir',
     {'create', 'relabelto', 'setattr'}),
    ('systemd starts the relay', 'init_t', 'hmsg_relay_t', 'process', {'transition'}),
    ('systemd starts it without new privileges', 'init_t', 'hmsg_relay_t', 'process2', {'nnp_transition'}),
    ('user_t encrypts', 'user_t', 'hmsg_agent_t', 'hmsg', {'encrypt'}),
    ('staff_t encrypts, decrypts and signs', 'staff_t', 'hmsg_agent_t', 'hmsg', {'encrypt', 'decrypt', 'sign'}),
    ('unconfined_t encrypts, decrypts and signs', 'unconfined_t', 'hmsg_agent_t', 'hmsg', {'encrypt', 'decrypt', 'sign'}),
    ('hmsgctl locks memory for a PIN', 'hmsg_ctl_t', 'hmsg_ctl_t', 'process', {'setrlimit'}),
    ('hmsgctl does everything', 'hmsg_ctl_t', 'hmsg_agent_t', 'hmsg', {'encrypt', 'decrypt', 'sign', 'manage'}),
    *(('%s starts the agent' % who, who, 'hmsg_agent_t', 'process', {'transition'})
      for who in sorted(STARTERS | {'unconfined_t'})),
    *(('%s calls the agent' % who, who, 'hmsg_agent_t', 'dbus', {'send_msg'})
      for who in sorted(STARTERS | {'unconfined_t'})),
)

# (who does what, by which label, and what comes out): domains and labels change by themselves
CHANGES = (
    *((who, 'hmsg_agent_exec_t', 'process', None, 'hmsg_agent_t') for who in sorted(STARTERS | {'unconfined_t'})),
    *((who, 'hmsg_ctl_exec_t', 'process', None, 'hmsg_ctl_t') for who in ('user_t', 'staff_t', 'unconfined_t')),
    ('hmsg_agent_t', 'hmsg_courier_exec_t', 'process', None, 'hmsg_courier_t'),
    ('hmsg_agent_t', 'gpg_agent_exec_t', 'process', None, 'hmsg_pinentry_t'),
    ('init_t', 'hmsg_relay_exec_t', 'process', None, 'hmsg_relay_t'),
    ('hmsg_agent_t', 'xdg_data_t', 'dir', 'hmsg', 'hmsg_data_t'),
    ('hmsg_relay_t', 'hmsg_etc_t', 'file', None, 'hmsg_relay_key_t'),
    ('initrc_t', 'var_lib_t', 'dir', 'hmsg-relay', 'hmsg_relay_var_lib_t'),
    ('hmsg_agent_t', 'hmsg_data_t', 'dir', 'keys', 'hmsg_key_t'),
    ('hmsg_agent_t', 'tmpfs_t', 'file', None, 'hmsg_agent_tmpfs_t'),
    ('hmsg_agent_t', 'hmsg_agent_t', 'anon_inode', '[secretmem]', 'hmsg_secret_t'),
)

LABELS = (
    ('/usr/bin/hmsgctl', 'hmsg_ctl_exec_t'),
    ('/usr/bin/hmsg-relay', 'hmsg_relay_exec_t'),
    ('/usr/libexec/hmsg/hmsg-agent', 'hmsg_agent_exec_t'),
    ('/usr/libexec/hmsg/hmsg-courier', 'hmsg_courier_exec_t'),
    ('/usr/local/bin/hmsgctl', 'hmsg_ctl_exec_t'),
    ('/usr/local/bin/hmsg-relay', 'hmsg_relay_exec_t'),
    ('/usr/local/libexec/hmsg/hmsg-agent', 'hmsg_agent_exec_t'),
    ('/usr/local/libexec/hmsg/hmsg-courier', 'hmsg_courier_exec_t'),
    ('/etc/hmsg/agent.conf', 'hmsg_etc_t'),
    ('/etc/hmsg/identity.pem', 'hmsg_relay_key_t'),
    ('/var/lib/hmsg-relay/relay.db', 'hmsg_relay_var_lib_t'),
    (HOME + '/.local/share/hmsg', 'hmsg_data_t'),
    (HOME + '/.local/share/hmsg/store.db', 'hmsg_data_t'),
    (HOME + '/.local/share/hmsg/keys/0123/sign.pem', 'hmsg_key_t'),
    (HOME + '/.local/share/other', 'xdg_data_t'),
)


def label(folder, path):
    contexts = os.path.join(folder, CONFIGURATION[1:], 'contexts/files/file_contexts')
    done = subprocess.run([tool('matchpathcon'), '-n', '-f', contexts, path], text=True, capture_output=True, check=False)
    return done.stdout.split(':')[2] if done.stdout.count(':') >= 2 else done.stdout + done.stderr


def show(found):
    return ''.join('%s %s: %s\n' % rule for rule in sorted(found)[:8])


def ask(scratch, class_file, module):
    """Yields (what, good, why)."""
    debian = Policy('/')
    users = (debian.roles['user_r'] | debian.roles['staff_r']) - OUTSIDE
    refusals = [*refusals_of_users(users), *refusals_of_ours(debian.types)]
    breaches = os.path.join(scratch, 'breaches.cil')
    with open(breaches, 'w', encoding='utf-8') as file:
        file.write('\n'.join(sorted({each.breach() for each in refusals})) + '\n')

    good, bad, refused = (os.path.join(scratch, name) for name in ('good', 'bad', 'refused'))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = (pool.submit(install, good, [class_file, module], check=1),
                pool.submit(install, refused, [class_file, module, breaches], check=1),
                pool.submit(install, bad, [class_file, module, breaches], check=0))
    error = jobs[0].result()
    yield "Debian's policy takes ours", not error, error
    if error:
        return
    policy = Policy(good)
    missing = {name for each in refusals for name in each.sources | (each.targets or set())} - policy.types
    yield 'all types are there', not missing and STARTERS <= users, ' '.join(sorted(missing))
    error = jobs[1].result()
    yield 'our neverallow rules hold against other modules', 'neverallow' in error, error or 'it was installed'
    error = jobs[2].result()
    yield 'a policy with breaches, to compare', not error, error
    if error:
        return
    broken = Policy(bad)
    for each in refusals:
        found = policy.allows(*each[1:])
        yield each.what, not found, show(found)
        yield '(or would be found)', broken.allows(*each[1:]), each.breach()
    for what, source, target, kind, permissions in PERMISSIONS:
        found = {rule[2] for rule in policy.allows({source}, {target}, kind, permissions)}
        yield what, found == permissions, 'not allowed: ' + ' '.join(sorted(permissions - found))
    for change in CHANGES:
        yield '%s, %s: a %s becomes %s' % (*change[:3], change[4]), change in policy.changes, 'no such rule'
    for path, wanted in LABELS:
        found = label(good, path)
        yield path, found == wanted, found


def main():
    if len(sys.argv) != 3:
        print('1..0 # SKIP the SELinux policy is not tested: it was not built, for want of selinux-policy-dev')
        return 0
    missing = [name for name in TOOLS if not tool(name)]
    missing += [path for path in (STORE, CONFIGURATION) if not os.access(path, os.R_OK | os.X_OK)]
    try:
        import setools  # noqa: F401 pylint: disable=import-outside-toplevel,unused-import,import-error
    except ImportError:
        missing.append('setools of Python')
    if missing:
        print('1..0 # SKIP the SELinux policy is not tested: no %s (the policy of Debian can be read by root only)'
              % ', '.join(missing))
        return 0
    count = 0
    failed = 0
    with tempfile.TemporaryDirectory(prefix='hmsg-policy.') as scratch:
        for what, good, why in ask(scratch, sys.argv[1], sys.argv[2]):
            count += 1
            print('%sok %d - %s' % ('' if good else 'not ', count, what), flush=True)
            if not good:
                failed += 1
                print('\n'.join('# ' + line for line in why.splitlines()))
    print('1..%d' % count)
    return 1 if failed else 0


sys.exit(main())
