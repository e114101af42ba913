# SPDX-License-Identifier: Apache-2.0
"""Chromium for tests of clients/dashboard, driven through tests/lib/dashboard/bridge.mjs.

    with Browser() as browser:
        browser.open(1280, "dark")
        browser.go(gate.url + "/ui/")
        browser.click(role="link", name="vda")

What the page complains about (exceptions, console errors, its content security policy) fails the
test when the page is left. A Gate is a TCP port in front of the daemon's Unix socket, as socat or
ssh make one: a browser cannot connect to the socket itself.
"""
import json
import os
import select
import socket
import subprocess
import sys
import threading

from snapgroupd import BUILD_DIR, DEADLINE_S, SOURCE_DIR, expect

MODULES = "/var/cache/snapgroupd-tests/dashboard/node_modules"
BRIDGE = os.path.join(SOURCE_DIR, "tests/lib/dashboard/bridge.mjs")
CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = os.path.join(BUILD_DIR, "screenshots")


class Browser:
    def __enter__(self):
        expect(os.path.isdir(MODULES), "%s is missing: run deploy/install-packages.sh test", MODULES)
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "node", BRIDGE, MODULES, CHROMIUM],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.expect_no_complaint("the end")
            elif self.process.poll() is None:
                self.shoot("failed-" + os.path.basename(sys.argv[0]).rsplit(".", 1)[0])
                sys.stderr.write("--- the page says: %s\n" % self.ask("complaints"))
        except Exception as failure:
            if kind is None:
                raise
            sys.stderr.write("--- no screenshot: %s\n" % failure)
        finally:
            self.process.stdin.close()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()

    def read(self):
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        line = self.process.stdout.readline() if readable else ""
        expect(line, "the browser does not answer")
        return json.loads(line)

    def ask(self, op, **call):
        self.process.stdin.write(json.dumps({"op": op, **call}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        expect("error" not in answer, "%s %s: %s", op, call, answer.get("error"))
        return answer["value"]

    def open(self, width, theme="light", height=None):
        """A new page, without anything that an earlier one has stored."""
        self.ask("open", width=width, height=height or {390: 844, 1280: 800, 2560: 1440}[width], theme=theme)

    def go(self, url):
        self.ask("goto", url=url)

    def click(self, **where):
        self.ask("click", **where)

    def fill(self, value, **where):
        self.ask("fill", value=value, **where)

    def wait(self, **where):
        self.ask("wait", **where)

    def text(self, **where):
        return self.ask("text", **where)

    def count(self, **where):
        return self.ask("count", **where)

    def run(self, script):
        return self.ask("evaluate", script=script)

    def shoot(self, name, full=False):
        """Keeps a screenshot beside the build."""
        os.makedirs(SCREENSHOTS, exist_ok=True)
        self.ask("screenshot", path=os.path.join(SCREENSHOTS, name + ".png"), full=full)

    def picture(self, name):
        """Keeps one for docs/dashboard/, smaller: copy it there when the page looks otherwise."""
        os.makedirs(os.path.join(SCREENSHOTS, "docs"), exist_ok=True)
        self.ask("picture", path=os.path.join(SCREENSHOTS, "docs", name + ".webp"))

    def expect_no_complaint(self, where):
        complaints = self.ask("complaints")
        expect(not complaints, "%s: the page complains: %s", where, complaints)

    def expect_accessible(self, where):
        found = self.ask("axe")
        expect(not found, "%s: axe finds %s", where, found)

    def expect_fits(self, where):
        """Nothing is wider than the window."""
        wide = self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        expect(wide <= 0, "%s: the page is %s pixels too wide", where, wide)


class Gate:
    """A port on loopback whose connections go to the Unix socket `path`."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                daemon = socket.socket(socket.AF_UNIX)
                daemon.connect(self.path)
            except OSError:
                daemon.close()
                client.close()
                continue
            for source, target in ((client, daemon), (daemon, client)):
                threading.Thread(target=self.copy, args=(source, target), daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
