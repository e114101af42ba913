#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# With a limit of 64 descriptors and 200 idle NBD clients REST replies, a group is taken or fails as
# retryable, and the daemon does not spin. After the clients have disconnected, everything works
# again.
import os
import resource
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main, run, wait_until

REQUESTS = 50
GREETING = b"NBDMAGICIHAVEOPT\0\3"


def cpu_ticks(daemon):
    with open("/proc/%d/stat" % daemon.pid) as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def client(path):
    """A connection, and whether it was served rather than closed at once."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE_S)
    peer.connect(path)
    try:
        said = peer.recv(len(GREETING), socket.MSG_WAITALL)
    except ConnectionResetError:
        said = b""
    expect(said in (GREETING, b""), "an NBD client is told %r", said)
    return peer, said == GREETING


def take(daemon, name):
    return daemon.request("POST", "/snapshot-groups", {"name": name, "devices": [{"device": "vda"}]})


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, limits[1]))
        path = os.path.join(daemon.runtime, "nbd.sock")
        clients = [client(path) for _ in range(200)]
        served = sum(is_served for _, is_served in clients)
        expect(0 < served < 64, "%d clients are served", served)
        before = cpu_ticks(daemon)
        for _ in range(REQUESTS):
            answer = daemon.request("GET", "/devices")
            expect(answer.status == 200, "GET /devices: %s", answer)
        spent = (cpu_ticks(daemon) - before) / os.sysconf("SC_CLK_TCK")
        expect(spent < REQUESTS * 0.02, "%d requests took %.2f s of CPU", REQUESTS, spent)
        answer = take(daemon, "short")
        expect(answer.status == 201 or (answer.status == 503 and answer.headers["Retry-After"]),
               "POST /snapshot-groups: %s", answer)
        for peer, _ in clients:
            peer.close()
        wait_until(lambda: client(path)[1], "an NBD client is served again")
        answer = take(daemon, "after")
        expect(answer.status == 201, "POST /snapshot-groups: %s", answer)
        run("nbdinfo", "--size", daemon.nbd_uri("vda"))


main(test)
