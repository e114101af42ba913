#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP applies every option that --help marks as reloadable, and docs/operations.md lists the
# same: each has a function here that changes it and sees the effect, while one NBD connection and
# one REST connection go on. Rights that were given or taken hold for connections that are open.
# With anything wrong, be it an option or a file of TLS, nothing changes.
import http.client
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, SOURCE_DIR, SNAPGROUPD, Daemon, expect, main, wait_until

STARTTLS = 5
NOBODY, USERS = 65534, "users"


class Reloaded(Daemon):
    def __init__(self):
        super().__init__()
        self.config = os.path.join(self.directory, "conf")
        self.pki = os.path.join(self.directory, "pki")
        for pki in (self.pki, self.pki + "2"):
            subprocess.run([os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki], check=True,
                           stdout=subprocess.DEVNULL)
        self.settings = {"tls-cert-dir": self.pki + "/server", "nbd-tls": "optional", "nbd-tls-cert-dir": self.pki + "/server",
                         "nbd-tls-psk": self.pki + "/psk-mallory"}
        self.arguments = ["--config", self.config, "--listen", "unix:" + self.api, "--listen", "tls:127.0.0.1:0",
                          "--nbd", "unix:%s/nbd.sock" % self.runtime, "--nbd", "127.0.0.1:0"]
        self.write({})

    @property
    def api(self):
        return os.path.join(self.runtime, "api.sock")

    def write(self, changes):
        """Changes the file; a value of None takes the line away."""
        self.settings = {name: value for name, value in {**self.settings, **changes}.items() if value is not None}
        with open(self.config, "w") as config:
            config.write("[snapgroupd]\n" + "".join("%s = %s\n" % item for item in self.settings.items()))

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def reload(self, changes, said=None):
        before = len(self.log())
        self.write(changes)
        self.process.send_signal(signal.SIGHUP)
        said = said or "reloaded: changed " + ", ".join("--" + name for name in changes)
        wait_until(lambda: said in self.log()[before:], "the log says '%s'" % said)
        self.held()

    def hold(self):
        """From now on every reload finds these two connections as they were."""
        client, rest = self.nbd("vda"), self.connection()

        def held():
            used = rest.sock
            expect(rest.ask("GET", "/devices").status == 200 and used in (None, rest.sock), "REST was disconnected")
            client.pwrite(b"x" * 512, 0)
            expect(client.pread(512, 0) == b"x" * 512, "NBD was disconnected")
        self.held = held
        held()
        return client, rest

    def port_of(self, what):
        return int(re.search(r"^%s127.0.0.1:(\d+)$" % what, self.said, re.M)[1])

    def tls(self, client=None):
        context = ssl.create_default_context(cafile=self.pki + "/ca-cert.pem")
        if client:
            context.load_cert_chain(*("%s/%s/client-%s.pem" % (self.pki, client, part) for part in ("cert", "key")))
        else:  # whose certificate it is, is compared here
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def rest_certificate(self):
        with socket.create_connection(("127.0.0.1", self.port_of("api tls:")), DEADLINE_S) as peer:
            with self.tls().wrap_socket(peer) as session:
                return session.getpeercert(True)

    def nbd_certificate(self):
        with socket.create_connection(("127.0.0.1", self.port_of("nbd ")), DEADLINE_S) as peer:
            peer.recv(18, socket.MSG_WAITALL)
            peer.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", STARTTLS, 0))
            peer.recv(20, socket.MSG_WAITALL)
            with self.tls().wrap_socket(peer) as session:
                return session.getpeercert(True)


def certificate(folder):
    with open(os.path.join(folder, "server-cert.pem")) as file:
        return ssl.PEM_cert_to_DER_cert(file.read())


def log_level(daemon):
    daemon.reload({"log-level": "debug"})
    expect("GET /devices: 200" in daemon.log(), "calls are not logged")
    daemon.reload({"log-level": "error"})  # which is said all the same
    daemon.reload({"log-level": None})


def log_format(daemon):
    daemon.reload({"log-format": "json"}, '"message":"reloaded: changed --log-format"')
    daemon.reload({"log-format": None})


def memory(daemon, budget, default):
    def limit():
        pattern = r'memory_limit_bytes{budget="%s"} (\S+)' % budget
        return float(re.search(pattern, daemon.request("GET", "/metrics").body)[1])
    daemon.reload({budget + "-memory": "64M"})
    expect(limit() == 64 << 20, "the limit is %d", limit())
    daemon.reload({budget + "-memory": None})
    expect(limit() == default, "the limit is %d", limit())


def index_memory(daemon):
    memory(daemon, "index", 256 << 20)


def table_memory(daemon):
    memory(daemon, "table", 1 << 30)


def idempotency_retention(daemon):
    # keys-are-kept-as-long-as-configured.py sees the effect.
    daemon.reload({"idempotency-retention": "60"})
    daemon.reload({"idempotency-retention": None})


def connect_as_nobody(daemon):
    """A connection of a user whose group is USERS."""
    import grp
    connection = daemon.connection()
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(grp.getgrnam(USERS).gr_gid)
    os.seteuid(NOBODY)
    try:
        connection.connect()
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    return connection


def allow_group(daemon):
    if os.getuid() != 0:
        return
    token = {"scope": "read"}

    def refused():
        try:
            connect_as_nobody(daemon)
        except PermissionError:
            return True
        return False
    expect(refused(), "another user can connect")
    daemon.reload({"allow-group": USERS + "=read"})
    connection = connect_as_nobody(daemon)
    expect(connection.ask("GET", "/devices").status == 200, "read is not enough to read")
    expect(connection.ask("POST", "/tokens", {"name": "one", **token}).status == 403, "read makes a token")
    daemon.reload({"allow-group": USERS})
    expect(connection.sock, "the connection was closed")
    expect(connection.ask("POST", "/tokens", {"name": "two", **token}).status == 201, "the open connection has no new right")
    daemon.reload({"allow-group": None})
    expect(connection.sock, "the connection was closed")
    expect(connection.ask("GET", "/devices").status == 403, "the open connection keeps its right")
    expect(refused(), "another user can connect again")


def tls_client_scope(daemon):
    connection = http.client.HTTPSConnection("localhost", daemon.port_of("api tls:"), timeout=DEADLINE_S,
                                             context=daemon.tls("client"))

    def status(method, path, body=None):
        expect(connection.sock, "the connection was closed")
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    connection.connect()
    expect(status("GET", "/devices") == 401, "a certificate is enough")  # which ends the connection
    daemon.reload({"tls-client-scope": "client=read"})
    connection.connect()
    expect(status("GET", "/devices") == 200, "read is not enough to read")
    daemon.reload({"tls-client-scope": "client=admin"})
    expect(status("POST", "/tokens", '{"name":"three","scope":"read"}') == 201, "the open connection has no new right")
    daemon.reload({"tls-client-scope": None})
    expect(status("GET", "/devices") == 401, "the open connection keeps its right")
    connection.close()


def tls_cert_dir(daemon):
    expect(daemon.rest_certificate() == certificate(daemon.pki + "/server"), "not the certificate of the start")
    daemon.reload({"tls-cert-dir": daemon.pki + "2/server"})
    expect(daemon.rest_certificate() == certificate(daemon.pki + "2/server"), "not the new certificate")
    daemon.reload({"tls-cert-dir": daemon.pki + "/server"})


def nbd_tls_cert_dir(daemon):
    expect(daemon.nbd_certificate() == certificate(daemon.pki + "/server"), "not the certificate of the start")
    daemon.reload({"nbd-tls-cert-dir": daemon.pki + "2/server"})
    expect(daemon.nbd_certificate() == certificate(daemon.pki + "2/server"), "not the new certificate")
    daemon.reload({"nbd-tls-cert-dir": daemon.pki + "/server"})


def is_taken(daemon, uri):
    uri = uri % (daemon.port_of("nbd "), daemon.pki)
    return subprocess.run(["nbdinfo", "--size", uri], capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0


PLAIN = "nbd://127.0.0.1:%d/vda#%s"
BY_KEY = "nbds://alice@127.0.0.1:%d/vda?tls-psk-file=%s/psk"
NAMELESS = "nbds://localhost:%d/vda?tls-certificates=%s"
BY_NAME = NAMELESS + "/client"


def nbd_tls_psk(daemon):
    expect(not is_taken(daemon, BY_KEY), "another key is taken")
    daemon.reload({"nbd-tls-psk": daemon.pki + "/psk"})
    expect(is_taken(daemon, BY_KEY), "the new key is not taken")


def nbd_tls(daemon):
    """Text that was kept does not say how to connect before."""
    def find(is_plain, is_tls, scheme):
        shown = [daemon.get("/devices/vda"), *daemon.list("/devices")]
        expect(all(device["export"]["uri"].startswith(scheme + "+unix:") for device in shown), "%s: %s", scheme, shown)
        expect(is_taken(daemon, PLAIN) == is_plain, "plain text, as %s", daemon.settings)
        expect(is_taken(daemon, NAMELESS) == is_tls, "TLS, as %s", daemon.settings)

    given = {name: value for name, value in daemon.settings.items() if name.startswith("nbd-tls")}
    find(True, True, "nbd")
    daemon.reload({"nbd-tls": "required"})
    find(False, True, "nbds")
    daemon.reload(dict.fromkeys(given))
    find(True, False, "nbd")
    daemon.reload(given)
    find(True, True, "nbd")


def nbd_tls_verify_peer(daemon):
    expect(is_taken(daemon, NAMELESS), "a client without a certificate, before")
    daemon.reload({"nbd-tls-verify-peer": "1"})
    expect(not is_taken(daemon, NAMELESS), "a client without a certificate is taken")
    expect(is_taken(daemon, BY_NAME), "a client with a certificate is not taken")
    daemon.reload({"nbd-tls-verify-peer": None})
    expect(is_taken(daemon, NAMELESS), "a client without a certificate, afterwards")


def nothing_changes(daemon):
    """Of several changes one is wrong: the others are not made, and the log says why."""
    good = {"log-level": "debug", "tls-client-scope": "client=admin", "tls-cert-dir": daemon.pki + "2/server",
            "nbd-tls-cert-dir": daemon.pki + "2/server", "index-memory": "64M"}
    before, settings = len(daemon.log()), daemon.settings
    for wrong, reason in (({"index-memory": "much"}, "'much' is no size"),
                          ({"allow-group": "no-such-group"}, "no group of this machine"),
                          ({"tls-cert-dir": daemon.pki}, "TLS file '%s/server-cert.pem" % daemon.pki),
                          ({"nbd-tls-cert-dir": daemon.pki + "/none"}, "TLS file '%s/none" % daemon.pki),
                          ({"nbd-tls-psk": daemon.pki + "/none"}, "%s/none" % daemon.pki),
                          ({"tls-cert-dir": daemon.pki + "/server-expired"}, "has expired")):
        daemon.reload({**good, **wrong}, "nothing was reloaded: ")
        expect(reason in daemon.log()[before:].splitlines()[-1], "the log says %s", daemon.log()[before:])
        expect("GET /devices" not in daemon.log()[before:], "%s: the level was changed", wrong)
        expect('{budget="index"} %d' % (256 << 20) in daemon.request("GET", "/metrics").body, "%s: the memory was changed", wrong)
        expect(daemon.rest_certificate() == daemon.nbd_certificate() == certificate(daemon.pki + "/server"),
               "%s: a certificate was changed", wrong)
        daemon.settings = dict(settings)


def test():
    shown = subprocess.run([SNAPGROUPD, "--help"], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^  --(\S+)(.*?)(?=^  --|^$)", shown, re.M | re.S)
    names = [name for name, text in rows if "(reloadable)" in text]
    with open(os.path.join(SOURCE_DIR, "docs/operations.md")) as file:
        listed = re.search(r"^SIGHUP .*?applies (.*?);", file.read(), re.M | re.S)[1]
    expect(re.findall(r"`--([\w-]+)`", listed) == names, "docs/operations.md lists %s, --help %s", listed, names)
    with Reloaded() as daemon:
        os.chmod(daemon.directory, 0o711)
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        client, rest = daemon.hold()
        for name in names:
            expect(name.replace("-", "_") in globals(), "nothing here changes --%s", name)
            globals()[name.replace("-", "_")](daemon)
        nothing_changes(daemon)
        client.shutdown()
        rest.close()


main(test)
