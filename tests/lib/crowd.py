# SPDX-License-Identifier: Apache-2.0
"""A server that a browser takes for a daemon with as many devices and groups as a test wants, and
with any text in them: it answers the lists itself, as api/openapi.yaml has them, and passes all
other requests, the dashboard's files among them, on to a daemon.

    with Crowd(daemon, devices=10000, groups=100000) as crowd:
        browser.go(crowd.url + "/ui/")
"""
import http.server
import json
import os
import threading
import urllib.parse

from snapgroupd import Connection

PAGE = 1000
TIME = "2026-01-31T12:%02d:%02d.%06dZ"


def time_of(number):
    return TIME % (number // 60 % 60, number % 60, number % 1000000)


def uuid_of(number):
    return "00000000-0000-4000-8000-%012d" % number


def device(number, **more):
    name = "disk-%06d" % number
    image = "/srv/images/%s.qcow2" % name
    return {"name": name, "engine": "native", "image": image, "top": image, "format": "qcow2", "size_bytes": 1 << 30,
            "read_only": False, "cluster_size_bytes": 65536, "extended_l2": True,
            "state": "failed" if number % 100 == 99 else "online",
            "reason": "its image is away" if number % 100 == 99 else None,
            "chain": [{"image": image, "format": "qcow2", "size_bytes": 1 << 30, "allocated_bytes": number << 12, "kept_for": []}],
            "export": {"uri": "nbd+unix:///%s?socket=/run/snapgroupd/nbd.sock" % name}, "clients": number % 3, "origin": None,
            "labels": {"number": str(number)}, "allowed_clients": None, "created_at": time_of(number), **more}


def member(name):
    return {"device": name, "backing_file": "/srv/images/a.qcow2", "base_file": None, "snapshot_file": "/srv/images/b.qcow2",
            "format": "qcow2", "size_bytes": 1 << 30, "ready_to_use": True, "pause_us": 0, "copy_wait_us": 12,
            "state": "committed", "waiting_for": None, "clones": []}


def group(number, **more):
    is_aborted = number % 50 == 49
    error = {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "device 'x' has failed; repair it",
             "instance": "/snapshot-groups/" + uuid_of(number), "code": "DeviceFailed", "retryable": False}
    return {"id": uuid_of(number), "name": "group-%06d" % number, "kind": "snapshot", "rolled_back_to": None,
            "state": "aborted" if is_aborted else "committed", "created_at": time_of(number),
            "cut_at": None if is_aborted else time_of(number), "pause_us": None if is_aborted else 0,
            "sealed_us": None if is_aborted else 900, "duration_us": None if is_aborted else 1000 + number % 9000,
            "consistency": {"requested": "crash", "achieved": None if is_aborted else "crash"},
            "members": [member("disk-000001")], "holds": [], "labels": {}, "error": error if is_aborted else None, **more}


class Crowd:
    def __init__(self, daemon, devices=0, groups=0, made=None):
        """`made`: objects in place of those of some numbers, {("device", 3): {...}}; they have the
        fields that are to be others."""
        self.daemon, self.counts, self.made = daemon, {"device": devices, "group": groups}, made or {}
        self.pages = []  # (kind, first) of each page that was asked for

    def __enter__(self):
        crowd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = lambda self: crowd.serve(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def make(self, kind, number):
        return {"device": device, "group": group}[kind](number, **self.made.get((kind, number), {}))

    def page(self, kind, query):
        """Devices by number, groups from the last."""
        count = self.counts[kind]
        first, limit = int(query.get("cursor") or 0), min(int(query.get("limit") or 100), PAGE)
        self.pages.append((kind, first))
        numbers = range(first, min(first + limit, count))
        items = [self.make(kind, count - 1 - number if kind == "group" else number) for number in numbers]
        return {"items": items, "next": str(first + limit) if first + limit < count else None}

    def one(self, kind, name):
        for number in {made for of, made in self.made if of == kind} | set(range(min(self.counts[kind], 1000))):
            found = self.make(kind, number)
            if name in (found["name"], found.get("id")):
                return found
        return self.make(kind, int("".join(filter(str.isdigit, name)) or 0) % (10 ** 12))

    def serve(self, handler):
        path, _, text = handler.path.partition("?")
        query = dict(urllib.parse.parse_qsl(text))
        parts = [urllib.parse.unquote(part) for part in path.split("/")[1:]]
        kind = {"devices": "device", "snapshot-groups": "group"}.get(parts[0])
        if handler.command == "GET" and kind and len(parts) <= 2:
            value = self.page(kind, query) if len(parts) == 1 else self.one(kind, parts[1])
            self.reply(handler, 200, [("Content-Type", "application/json")], json.dumps(value).encode())
        else:
            self.forward(handler)

    @staticmethod
    def reply(handler, status, headers, body):
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def forward(self, handler):
        """To the daemon; a stream piece by piece."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        connection = Connection(os.path.join(self.daemon.runtime, "api.sock"))
        try:
            connection.request(handler.command, handler.path, body or None, dict(handler.headers))
            response = connection.getresponse()
            response.asked = None
            kept = [(name, value) for name, value in response.getheaders()
                    if name.lower() not in ("content-length", "connection", "date")]
            if "event-stream" not in (response.getheader("Content-Type") or ""):
                self.reply(handler, response.status, kept, response.read())
                return
            handler.send_response(response.status)
            for name, value in kept:
                handler.send_header(name, value)
            handler.send_header("Connection", "close")
            handler.end_headers()
            while piece := response.read1(1 << 16):
                handler.wfile.write(piece)
                handler.wfile.flush()
        except (OSError, ValueError):
            handler.close_connection = True
        finally:
            connection.close()
