#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stores, fetches and deletes messages of 4 KiB at the relay, and at other servers of this machine: Postfix
with Dovecot (SMTP and LMTP in, IMAP out), Mosquitto (MQTT, QoS 1) and RabbitMQ (a quorum queue). Each of them
runs in a folder of its own, on loopback; one that is not installed, or does not start here, is left out, and
that is said. The clients are on the same processors, and for the others they are Python or the tools that
come with the server: who is fast enough to wait for them is not shown to be slow.

peers.py BUILD [MESSAGES]
"""
import concurrent.futures
import imaplib
import os
import pwd
import re
import secrets
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

SIZE = 4096
CLIENTS = 8
START_SECONDS = 60


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def await_port(port, process=None):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process and process.poll() is not None:
            raise RuntimeError('it ends with %d' % process.returncode)
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError('it does not listen')


def body():
    return secrets.token_hex(SIZE // 2)


def shares(total):
    return [total // CLIENTS + (1 if i < total % CLIENTS else 0) for i in range(CLIENTS)]


def in_parallel(function, *columns):
    """Runs function in CLIENTS processes; the seconds that all together took."""
    with concurrent.futures.ProcessPoolExecutor(CLIENTS) as pool:
        list(pool.map(pause, range(CLIENTS)))  # until all of them run
        begin = time.monotonic()
        list(pool.map(function, *columns))
        return time.monotonic() - begin


def pause(_):
    time.sleep(0.05)


class Server:
    """A server in a folder that goes with it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='hmsg-peers.')
        os.chmod(self.folder, 0o755)
        self.processes = []

    def path(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, 'w', encoding='ascii') as f:
                f.write(text)
        return path

    def start(self, arguments, environment=None):
        with open(self.path('log'), 'ab') as log:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=dict(os.environ, **(environment or {})))
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Mosquitto(Server):
    name = 'Mosquitto, QoS 1 (which does not wait for the disk)'
    programs = ('mosquitto', 'mosquitto_pub', 'mosquitto_sub')

    def open(self):
        self.port = free_port()
        user = pwd.getpwuid(os.getuid()).pw_name
        config = self.path('conf', 'listener %d 127.0.0.1\nallow_anonymous true\npersistence true\n'
                           'persistence_location %s/\nmax_queued_messages 0\nuser %s\n'
                           % (self.port, self.folder, user))
        await_port(self.port, self.start(['mosquitto', '-c', config]))
        for i in range(CLIENTS):  # subscribes, and leaves: from now on its messages are kept
            subprocess.run(self.tool('mosquitto_sub', i, '-E'), check=True)

    def tool(self, program, i, *more):
        extra = ['-c', '-i', 'reader%d' % i] if program == 'mosquitto_sub' else []
        return [program, '-h', '127.0.0.1', '-p', str(self.port), '-q', '1', '-t', 'mailbox%d' % i, *extra, *more]

    def all_tools(self, program, feeds, *more):
        begin = time.monotonic()
        running = [subprocess.Popen(self.tool(program, i, *more[i]), stdout=subprocess.DEVNULL,
                                    stdin=feeds[i] if feeds else subprocess.DEVNULL) for i in range(CLIENTS)]
        for process in running:
            if process.wait() != 0:
                raise RuntimeError(program + ' fails')
        return time.monotonic() - begin

    def store(self, total):
        feeds = []
        for i, n in enumerate(shares(total)):
            feeds.append(open(self.path('feed%d' % i, ''.join(body() + '\n' for _ in range(n))), 'rb'))
        return self.all_tools('mosquitto_pub', feeds, *[['-l']] * CLIENTS)

    def fetch(self, total):
        return self.all_tools('mosquitto_sub', None, *[['-C', str(n)] for n in shares(total)])


def rabbit_channel(port):
    import pika
    connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', port))
    channel = connection.channel()
    channel.queue_declare('mailbox', durable=True, arguments={'x-queue-type': 'quorum'})
    return connection, channel


def rabbit_store(port, n):
    import pika
    connection, channel = rabbit_channel(port)
    channel.confirm_delivery()
    for _ in range(n):
        while True:
            try:
                channel.basic_publish('', 'mailbox', body().encode(), pika.BasicProperties(delivery_mode=2))
                break
            except pika.exceptions.NackError:  # the queue has no leader yet
                time.sleep(0.1)
    connection.close()


def rabbit_fetch(port, n):
    connection, channel = rabbit_channel(port)
    channel.basic_qos(prefetch_count=64)
    for done, (method, _, _) in enumerate(channel.consume('mailbox'), 1):
        channel.basic_ack(method.delivery_tag)
        if done == n:
            break
    channel.cancel()
    connection.close()


class RabbitMQ(Server):
    name = 'RabbitMQ, quorum queue'
    programs = ('/usr/lib/rabbitmq/bin/rabbitmq-server',)
    module = 'pika'

    def open(self):
        self.port = free_port()
        self.path('plugins', '[].\n')
        self.path('rabbitmq.conf', 'listeners.tcp.1 = 127.0.0.1:%d\n' % self.port)
        process = self.start(list(self.programs), {
            'HOME': self.folder, 'ERL_EPMD_PORT': str(free_port()), 'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODENAME': 'hmsg@localhost', 'RABBITMQ_MNESIA_BASE': self.folder,
            'RABBITMQ_LOG_BASE': self.folder, 'RABBITMQ_LOGS': '-', 'RABBITMQ_DIST_PORT': str(free_port()),
            'RABBITMQ_CONFIG_FILE': self.path('rabbitmq'), 'RABBITMQ_PID_FILE': self.path('pid'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': self.path('plugins'), 'RABBITMQ_CONF_ENV_FILE': '/dev/null'})
        await_port(self.port, process)
        rabbit_store(self.port, 1)
        rabbit_fetch(self.port, 1)

    def store(self, total):
        return in_parallel(rabbit_store, [self.port] * CLIENTS, shares(total))

    def fetch(self, total):
        return in_parallel(rabbit_fetch, [self.port] * CLIENTS, shares(total))


def smtp_store(port, i, n):
    with smtplib.SMTP('127.0.0.1', port) as smtp:
        for _ in range(n):
            text = body()
            lines = '\r\n'.join(text[at:at + 76] for at in range(0, SIZE, 76))
            smtp.sendmail('a@hmsg.invalid', ['mailbox%d@hmsg.invalid' % i],
                          'Subject: x\r\n\r\n' + lines + '\r\n')


def imap_count(port, i):
    with imaplib.IMAP4('127.0.0.1', port) as imap:
        imap.login('mailbox%d' % i, 'x')
        return int(imap.select()[1][0])


def imap_fetch(port, i, n):
    with imaplib.IMAP4('127.0.0.1', port) as imap:
        imap.login('mailbox%d' % i, 'x')
        imap.select()
        for at in range(1, n + 1):
            imap.fetch(str(at), '(RFC822)')
            imap.store(str(at), '+FLAGS.SILENT', '\\Deleted')
            if at % 8 == 0:  # as our clients acknowledge
                imap.noop()
        imap.expunge()


class PostfixDovecot(Server):
    name = 'Postfix and Dovecot, LMTP and IMAP'
    programs = ('postfix', 'dovecot', '/usr/lib/dovecot/lmtp', '/usr/lib/dovecot/imap')
    root = True

    def open(self):
        self.imap, self.lmtp, self.smtp = free_port(), free_port(), free_port()
        mail = self.path('mail')
        os.mkdir(mail)
        shutil.chown(mail, 'mail', 'mail')
        uid, gid = pwd.getpwnam('mail').pw_uid, pwd.getpwnam('mail').pw_gid
        config = self.path('dovecot.conf', '''
base_dir = %s/run
state_dir = %s/state
log_path = %s/dovecot.log
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:%s/%%n
auth_username_format = %%n
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=%d gid=%d home=%s/%%n allow_all_users=yes
}
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = %d
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = %d
  }
}
''' % (self.folder, self.folder, self.folder, mail, uid, gid, mail, self.imap, self.lmtp))
        await_port(self.imap, self.start(['dovecot', '-F', '-c', config]))
        self.open_postfix()
        await_port(self.smtp)

    def open_postfix(self):
        for name in ('postfix', 'queue', 'data'):
            os.mkdir(self.path(name))
        shutil.chown(self.path('data'), 'postfix')
        self.path('postfix/main.cf', '''compatibility_level = 3.6
queue_directory = %s/queue
data_directory = %s/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
myhostname = hmsg.invalid
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = hmsg.invalid
virtual_transport = lmtp:inet:127.0.0.1:%d
alias_maps =
alias_database =
maillog_file = %s/mail.log
maillog_file_prefixes = %s
smtpd_client_connection_count_limit = 0
''' % (self.folder, self.folder, self.lmtp, self.folder, self.folder))
        services = [('rewrite', 'trivial-rewrite'), ('cleanup', 'cleanup'), ('bounce', 'bounce'),
                    ('defer', 'bounce'), ('trace', 'bounce'), ('verify', 'verify'), ('proxymap', 'proxymap'),
                    ('error', 'error'), ('retry', 'error'), ('lmtp', 'lmtp'), ('flush', 'flush'),
                    ('anvil', 'anvil'), ('scache', 'scache')]
        self.path('postfix/master.cf', '127.0.0.1:%d inet n - n - - smtpd\n' % self.smtp +
                  'qmgr unix n - n 300 1 qmgr\npickup unix n - n 60 1 pickup\n'
                  'postlog unix-dgram n - n - 1 postlogd\n' +
                  ''.join('%s unix %s - n - %s %s\n' % (s, 'n' if s in ('cleanup', 'flush') else '-',
                                                       {'cleanup': '0', 'anvil': '1', 'scache': '1'}.get(s, '-'), p)
                          for s, p in services))
        with open(self.path('log'), 'ab') as log:
            subprocess.run(['postfix', '-c', self.path('postfix'), 'start'], check=True, stdout=log, stderr=log)

    def store(self, total):
        taken = in_parallel(smtp_store, [self.smtp] * CLIENTS, range(CLIENTS), shares(total))
        for i, n in enumerate(shares(total)):  # all is in the queue; not in the mailboxes yet
            while imap_count(self.imap, i) < n:
                time.sleep(0.2)
        return taken

    def fetch(self, total):
        return in_parallel(imap_fetch, [self.imap] * CLIENTS, range(CLIENTS), shares(total))

    def close(self):
        if os.path.isdir(self.path('postfix')):
            subprocess.run(['postfix', '-c', self.path('postfix'), 'stop'], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().close()


def missing(server):
    if getattr(server, 'root', False) and os.geteuid() != 0:
        return 'needs root'
    for program in server.programs:
        if not shutil.which(program):
            return program + ' is not installed'
    try:
        __import__(getattr(server, 'module', 'os'))
    except ImportError:
        return server.module + ' is not installed'
    return None


def measure_relay(build):
    """The best of the rounds of our own benchmark: accepts, and fetched and acknowledged, a second."""
    out = subprocess.run([os.path.join(build, 'tests/bench/bench-accept')], check=True, text=True,
                         stdout=subprocess.PIPE, env=dict(os.environ, HMSG_BUILD=build)).stdout
    return (max(map(float, re.findall(r'^accepts of .*?: (\d+)/s', out, re.M))),
            max(map(float, re.findall(r'^fetched and acknowledged: (\d+)/s', out, re.M))))


def measure_peer(kind, total, relay):
    server = kind()
    try:
        server.open()
        store = total / server.store(total)
        fetch = total / server.fetch(total)
        print('%s: store %.0f/s, fetch and delete %.0f/s; the relay does %.1f and %.1f times as many'
              % (kind.name, store, fetch, relay[0] / store, relay[1] / fetch), flush=True)
    except (OSError, RuntimeError, subprocess.SubprocessError, smtplib.SMTPException, imaplib.IMAP4.error) as e:
        print('%s: does not run here: %s' % (kind.name, e), flush=True)
    finally:
        server.close()


def main():
    build, total = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4000
    relay = measure_relay(build)
    print('hmsg-relay, 64 clients: store %.0f/s, fetch and delete %.0f/s' % relay, flush=True)
    for kind in (PostfixDovecot, Mosquitto, RabbitMQ):
        why = missing(kind)
        if why:
            print('%s: left out: %s' % (kind.name, why), flush=True)
        else:
            measure_peer(kind, total, relay)


if __name__ == '__main__':
    main()
