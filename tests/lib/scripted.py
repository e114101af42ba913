# SPDX-License-Identifier: Apache-2.0
"""HTTP servers on a Unix socket, in place of a daemon or in front of one.

    server = Server(path, Scripted)
    server.script = lambda method, path: problem(409, "GroupExists")     # status, header, body
    ... server.seen ...                                                   # method, path, key
    server = Server(path, Losing)
    server.host = host                                                    # collection.py
    ... server.met ...                                                    # method, path
    server.close()
"""
import http.server
import json
import socketserver
import threading


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path, handler):
        super().__init__(path, handler)
        self.path, self.seen, self.met = path, [], []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_):
        pass  # the client has hung up, as a test wants

    def close(self):
        self.shutdown()
        self.server_close()


class Passing(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the daemon."""
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        headers = {name.replace("-", "_"): value for name, value in self.headers.items()
                   if name in ("Idempotency-Key", "Content-Type", "If-Match", "Prefer")}
        self.close_connection = True
        self.carry_out(json.loads(body) if body else None, headers)

    def is_first(self):
        """Whether this is a change, and the first of its kind."""
        if self.command == "GET" or (self.command, self.path) in self.server.met:
            return False
        self.server.met.append((self.command, self.path))
        return True

    def ask(self, body, headers):
        return self.server.host.daemon.request(self.command, self.path, body, **headers)

    def reply(self, answer):
        data = b"" if answer.status == 204 else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name in ("ETag", "Idempotency-Replayed", "Retry-After"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on

    def log_message(self, *_):
        pass


class Losing(Passing):
    """Loses the first answer to each change."""

    def carry_out(self, body, headers):
        answer = self.ask(body, headers)
        if not self.is_first():
            self.reply(answer)


class Overtaken(Passing):
    """Somebody else is faster with each change."""

    def carry_out(self, body, headers):
        if self.is_first():
            other = self.ask(body, {name: value for name, value in headers.items() if name != "Idempotency_Key"})
            if self.command == "DELETE" and other.status == 202:
                self.server.host.daemon.await_job(other)
        self.reply(self.ask(body, headers))


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers as a test says, and keeps what it was sent."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, self.headers.get("Idempotency-Key")))
        status, headers, body = self.server.script(self.command, self.path)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.close_connection = True
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data)), "ETag": '"1"'}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def problem(status, code, retryable=False):
    return status, {}, {"type": "about:blank", "title": "T", "status": status, "detail": "\u202e<b>'\"{{ 7*7 }}", "instance": "/",
                        "code": code, "retryable": retryable}
