#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# SIGHUP reads the files of TLS again, for REST and for NBD: connections that begin later get the
# new certificate, those that are open go on. Files that are no good change nothing, and the log
# says why.
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, SOURCE_DIR, Daemon, expect, main, wait_until

STARTTLS = 5


def make(path):
    subprocess.run([os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), path], check=True,
                   stdout=subprocess.DEVNULL)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # whose certificate it is, is compared here
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def rest_certificate(port):
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as peer:
        with context().wrap_socket(peer) as session:
            return session.getpeercert(True)


def nbd_certificate(port):
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as peer:
        expect(peer.recv(18, socket.MSG_WAITALL)[:8] == b"NBDMAGIC", "no NBD")
        peer.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", STARTTLS, 0))
        peer.recv(20, socket.MSG_WAITALL)
        with context().wrap_socket(peer) as session:
            return session.getpeercert(True)


def test():
    with Daemon() as daemon:
        first, second, used = (os.path.join(daemon.directory, name) for name in ("first", "second", "used"))
        make(first)
        make(second)

        def install(folder):
            for name in ("server-cert.pem", "server-key.pem", "ca-cert.pem"):
                shutil.copy(os.path.join(folder, name), used)

        def reload(said):
            before = len(log())
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: said in log()[before:], "the log says '%s'" % said)

        def log():
            with open(daemon.log_path) as file:
                return file.read()

        def der(folder):
            with open(os.path.join(folder, "server-cert.pem")) as file:
                return ssl.PEM_cert_to_DER_cert(file.read())

        os.mkdir(used)
        install(first + "/server")
        daemon.arguments += ["--listen", "tls:127.0.0.1:0", "--tls-cert-dir", used, "--nbd", "127.0.0.1:0",
                             "--nbd-tls", "required"]
        daemon.start()
        rest, nbd = (int(re.search(r"^%s127.0.0.1:(\d+)$" % what, daemon.said, re.M)[1]) for what in ("api tls:", "nbd "))
        open_one = http.client.HTTPSConnection("127.0.0.1", rest, timeout=DEADLINE_S, context=context())

        def is_open():
            before = open_one.sock
            open_one.request("GET", "/livez")
            answer = open_one.getresponse()
            answer.read()
            return answer.status == 200 and (before is None or open_one.sock is before)

        expect(is_open(), "no answer")
        expect(rest_certificate(rest) == nbd_certificate(nbd) == der(first + "/server"), "not the first certificate")

        install(second + "/server")
        expect(rest_certificate(rest) == der(first + "/server"), "files are read before the signal")
        reload("reloaded")
        expect(rest_certificate(rest) == nbd_certificate(nbd) == der(second + "/server"), "not the second certificate")
        expect(is_open(), "the reload dropped a connection")

        os.chmod(os.path.join(used, "server-key.pem"), 0o644)
        reload("nothing was reloaded: TLS file '%s" % used)
        install(first + "/server-expired")
        os.chmod(os.path.join(used, "server-key.pem"), 0o600)
        reload("has expired")
        expect(rest_certificate(rest) == der(second + "/server"), "a bad file changed something")
        expect(is_open(), "a failed reload dropped a connection")
        open_one.close()


main(test)
