#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sockets that the service manager passes (sd_listen_fds(3)) are served in place of the defaults,
are not removed at the end, and keep what connects during a restart. Others are refused by name."""
import os
import socket
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Connection, Daemon, expect, main

# Passes descriptors from 3 on, as systemd does.
PASS = 'n=3; for fd in $FDS; do eval "exec $n<&$fd"; n=$((n + 1)); done; LISTEN_PID=$$ exec "$0" "$@"'


def listening(where, kind=socket.SOCK_STREAM):
    passed = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET, kind)
    passed.bind(where)
    if kind == socket.SOCK_STREAM:
        passed.listen()
    return passed


class Activated(Daemon):
    """A daemon that gets sockets passed: (name, socket)."""

    def pass_sockets(self, sockets):
        fds = []
        for _, passed in sockets:
            fds.append(os.dup2(passed.fileno(), 20 + len(fds)))  # out of the way of 3, 4, ...
            os.set_inheritable(fds[-1], True)
        self.environment.update(FDS=" ".join(map(str, fds)), LISTEN_FDS=str(len(fds)),
                                LISTEN_FDNAMES=":".join(name for name, _ in sockets))

    def command(self):
        return ["setpriv", "--pdeathsig", "KILL", "bash", "-c", PASS, self.executable, "--state-dir", self.state,
                "--image-dir", self.images, "--runtime-dir", self.runtime] + self.arguments

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env=self.environment, close_fds=False)
        self.await_ready()

    def refusal(self, sockets):
        self.pass_sockets(sockets)
        done = subprocess.run(self.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              env=self.environment, close_fds=False)
        expect(done.returncode in (1, 2), "status %d", done.returncode)
        return done.stderr


def test():
    with Activated() as daemon:
        api = os.path.join(daemon.directory, "api")
        rest, nbd = listening(api), listening(("127.0.0.1", 0))
        daemon.pass_sockets([("api", rest), ("nbd", nbd)])
        daemon.start()
        port = nbd.getsockname()[1]
        expect(daemon.said.splitlines() == ["api unix:" + api, "nbd 127.0.0.1:%d" % port, "ready"], "%s", daemon.said)
        expect(not os.path.exists(os.path.join(daemon.runtime, "api.sock")), "the default is served too")
        body = {"name": "vda", "image": "vda.raw", "format": "raw", "size_bytes": 1 << 20}
        created = Connection(api).ask("POST", "/devices", body)
        expect(created.status == 201, "POST /devices: %s", created)
        uri = created.body["export"]["uri"]
        expect(uri == "nbd://127.0.0.1:%d/vda" % port, "%s", uri)
        expect("export-size: 1048576" in subprocess.run(["nbdinfo", uri], capture_output=True, text=True, check=True).stdout,
               "NBD")
        daemon.stop()
        expect(os.path.exists(api), "the passed socket was removed")
        waiting = Connection(api)
        waiting.request("GET", "/devices/vda")  # nobody accepts it yet
        daemon.arguments = ["--listen", "unix:" + os.path.join(daemon.runtime, "more.sock")]
        daemon.start()
        expect(waiting.getresponse().status == 200, "who connected during the restart")
        expect(Connection(os.path.join(daemon.runtime, "more.sock")).ask("GET", "/livez").status == 200, "an address besides")
        daemon.stop()

        daemon.arguments = ["--listen", "unix:" + api]
        daemon.start()
        expect(daemon.said.splitlines()[0] == "api unix:" + api, "an address that is passed too: %s", daemon.said)
        daemon.stop()
        daemon.arguments = []
        said = daemon.refusal([("web", rest)])
        expect("called 'web'" in said, "%s", said)
        datagrams = listening(os.path.join(daemon.directory, "datagrams"), socket.SOCK_DGRAM)
        for passed in (datagrams, socket.socket(socket.AF_INET)):
            said = daemon.refusal([("api", passed)])
            expect("descriptor 3 is not a listening socket" in said, "%s", said)
        anywhere = listening(("0.0.0.0", 0))
        said = daemon.refusal([("api", anywhere)])
        expect("descriptor 3 is no socket on loopback" in said, "%s", said)


main(test)
