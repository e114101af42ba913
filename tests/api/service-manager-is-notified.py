#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A service manager (sd_notify(3)) hears READY=1 when requests are answered, RELOADING=1 and READY=1
# at SIGHUP, WATCHDOG=1 before its watchdog's time is over, STOPPING=1 at SIGTERM, and no READY=1
# from a start that fails.
import os
import signal
import socket
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main


def next_message(manager):
    manager.settimeout(30)
    return manager.recv(4096).decode()


def received(manager):
    """All messages that have arrived."""
    messages = []
    manager.settimeout(0)
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test():
    with Daemon() as daemon, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = os.path.join(daemon.directory, "notify")
        manager.bind(path)
        daemon.environment["NOTIFY_SOCKET"] = path
        daemon.start()
        expect(next_message(manager) == "READY=1", "the first message is READY=1")
        expect(daemon.request("GET", "/readyz").status == 200, "ready means ready")
        expect(received(manager) == [], "nothing more")
        os.kill(daemon.pid, signal.SIGHUP)
        expect([next_message(manager), next_message(manager)] == ["RELOADING=1", "READY=1"], "SIGHUP is a reload")
        daemon.stop()
        expect(received(manager) == ["STOPPING=1"], "SIGTERM is STOPPING=1")

        daemon.environment["WATCHDOG_USEC"] = "300000"
        daemon.start()
        message = "WATCHDOG=1"  # also while it starts
        while message == "WATCHDOG=1":
            message = next_message(manager)
        expect(message == "READY=1", "%s", message)
        expect([next_message(manager) for _ in range(3)] == ["WATCHDOG=1"] * 3, "the watchdog is answered")
        daemon.stop()
        expect(received(manager)[-1] == "STOPPING=1", "SIGTERM is STOPPING=1")
        del daemon.environment["WATCHDOG_USEC"]

        refused = subprocess.run([daemon.executable, "--state-dir", daemon.state, "--image-dir", daemon.images,
                                  "--runtime-dir", daemon.runtime, "--listen", "192.0.2.1:1"],
                                 env=daemon.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        expect(refused.returncode == 1, "an address that must not be served: %s", refused.stderr)
        expect("READY=1" not in received(manager), "a start that fails is never ready")


main(test)
