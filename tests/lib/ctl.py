# SPDX-License-Identifier: Apache-2.0
"""snapgroupctl, and servers that it should not trust or rely on.

    done = ctl(socket_path, "device", "list")     # .status, .output, .errors
    with FakeServer(answer) as server:            # answer(request) -> Reply or None: hang up
        ctl(server.path, "status")
        server.requests                           # [(method, path, {header: value}, body), ...]
"""
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from snapgroupd import BUILD_DIR, DEADLINE_S, SANITIZER_OPTIONS, SANITIZER_REPORT, expect

SNAPGROUPCTL = os.environ.get("SNAPGROUPCTL") or os.path.join(BUILD_DIR, "snapgroupctl")


class Done:
    def __init__(self, process):
        self.status, self.output, self.errors = process.returncode, process.stdout, process.stderr

    def __str__(self):
        return "status %d: %r %r" % (self.status, self.output[-500:], self.errors[-500:])


def environment(**more):
    """No settings but these."""
    kept = {name: value for name, value in os.environ.items()
            if name != "HOME" and not name.startswith(("SNAPGROUPCTL", "LC_", "LANG", "XDG_"))}
    return {**SANITIZER_OPTIONS, **kept, "LC_ALL": "C.UTF-8", **more}


def ctl(path, *arguments, **more):
    process = subprocess.run([SNAPGROUPCTL, "--socket", path, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                             env=environment(**more), timeout=DEADLINE_S)
    expect(not SANITIZER_REPORT.search(process.stderr.decode(errors="replace")), "%s: %s", arguments,
           process.stderr.decode(errors="replace"))
    return Done(process)


def reply(status, body, kind="application/json", **headers):
    """The bytes of a reply."""
    body = body if isinstance(body, bytes) else body.encode()
    lines = ["HTTP/1.1 %d Text" % status, "Content-Type: " + kind, "Content-Length: %d" % len(body)]
    lines += ["%s: %s" % (name.replace("_", "-"), value) for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class FakeServer:
    """A server of HTTP on a Unix socket, one thread for each connection. `answer` gets a request as
    in `requests`, and returns the bytes to send, or None to hang up."""

    def __init__(self, answer):
        self.answer, self.requests = answer, []

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="sg.")
        self.path = os.path.join(self.directory, "s")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        shutil.rmtree(self.directory)

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        try:
            with connection, connection.makefile("rb") as file:
                while self.request(connection, file):
                    pass
        except OSError:
            pass

    def request(self, connection, file):
        line = file.readline().split()
        if len(line) < 3:
            return False
        headers = {}
        while True:
            name, _, value = file.readline().decode("latin-1").partition(":")
            if not value:
                break
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", "0")))
        request = (line[0].decode(), line[1].decode(), headers, body)
        self.requests.append(request)
        answer = self.answer(request)
        if answer:
            connection.sendall(answer)
        return answer is not None
