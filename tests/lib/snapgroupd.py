# SPDX-License-Identifier: Apache-2.0
"""The library of Python tests: functions.sh for tests that need threads or many connections.

    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 64 << 20)
        answer = daemon.request("POST", "/snapshot-groups", {"devices": [{"device": "vda"}]})

Leaving the block stops the daemon with SIGTERM and removes its directory; it raises Failure if the
daemon died by itself, did not stop cleanly, or a sanitizer reported anything. A Daemon is started
from the main thread (it dies with the thread that started it); everything else may be called from
any thread.
"""
import contextlib
import hashlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

SOURCE_DIR = os.environ.get("SOURCE_DIR") or os.path.realpath(
    os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD_DIR = os.environ.get("BUILD_DIR") or os.path.join(SOURCE_DIR, "build", "dev")
SNAPGROUPD = os.environ.get("SNAPGROUPD") or os.path.join(BUILD_DIR, "snapgroupd")
DEADLINE_S = float(os.environ.get("DEADLINE_S", "60"))

# The twin of sanitizers.sh.
SANITIZER_REPORT = re.compile(r"(ERROR|WARNING): (Address|Leak|Memory|Thread)Sanitizer|: runtime error: ")
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "halt_on_error=1:detect_leaks=1:exitcode=99",
    "LSAN_OPTIONS": "exitcode=99",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99:suppressions=" + os.path.join(
        os.path.dirname(os.path.realpath(__file__)), "tsan.supp"),
}


class Failure(Exception):
    """A test's expectation did not hold."""


def expect(condition, message, *args):
    if not condition:
        raise Failure(message % args if args else message)


def run(*command):
    """Runs a tool and returns its standard output; Failure, with its output, unless it succeeds."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=10 * DEADLINE_S)
    expect(done.returncode == 0, "%s ends with %d: %s%s", " ".join(command), done.returncode,
           done.stdout, done.stderr)
    return done.stdout


def wait_until(condition, what):
    """Waits until condition() is true, and returns its value."""
    end = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if value:
            return value
        expect(time.monotonic() < end, "not within %d s: %s", DEADLINE_S, what)
        time.sleep(POLL_S)


POLL_S = 0.01


def at_once(*calls):
    """What each of the calls returns, in order; they are made side by side."""
    results = [None] * len(calls)

    def make(number):
        results[number] = calls[number]()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def is_sanitized():
    """Sanitizers are slow, keep memory that was freed, and find leaks themselves."""
    with open(SNAPGROUPD, "rb") as program:
        text = program.read()
    return any(name in text for name in (b"__asan_", b"__tsan_", b"__sanitizer_"))


def qcow2_check(*paths):
    """qemu-img check finds no error in the qcow2 images; leaked clusters are allowed. Their chains,
    which may be long, are not opened. All are checked at the same time."""
    checks = []
    for path in paths:
        image = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": path}}
        checks.append(subprocess.Popen(["qemu-img", "check", "--force-share", "json:" + json.dumps(image)], text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    for path, check in zip(paths, checks):
        said = check.communicate(timeout=10 * DEADLINE_S)[0]
        expect(check.returncode in (0, 3), "qemu-img check %s ends with %d: %s", path, check.returncode, said)


def checksum(path):
    with open(path, "rb") as image:
        return hashlib.file_digest(image, "sha256").hexdigest()


def checksums(paths):
    return {path: checksum(path) for path in paths}


class Answer:
    """status, headers, and body: decoded JSON, or text if it is none."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        text = response.read().decode()
        self.body = json.loads(text) if text and "json" in (response.getheader("Content-Type") or "") else text

    def __str__(self):
        return "%d %s" % (self.status, self.body)


# (method, path, status, header, body) of every reply, for main(), which checks them.
EXCHANGES = []


class Response(http.client.HTTPResponse):
    """A reply; its body, once it is read as a whole, is kept in EXCHANGES."""
    asked = None

    def read(self, amt=None):
        data = super().read(amt)
        if amt is None and self.asked:
            EXCHANGES.append((*self.asked, self.status, tuple(self.headers.items()), data.decode()))
            self.asked = None
        return data


class Connection(http.client.HTTPConnection):
    """One keep-alive HTTP connection to the daemon: to its Unix socket, or to a port on loopback,
    from another address of loopback if `source` is one. `token`: the secret that every request
    has."""
    response_class = Response

    def __init__(self, address, token=None, source=None):
        is_port = isinstance(address, int)
        super().__init__("127.0.0.1" if is_port else "localhost", address if is_port else None,
                         timeout=DEADLINE_S, source_address=source and (source, 0))
        self.path = None if is_port else address
        self.token = token
        self.asked = None

    def putrequest(self, method, url, *arguments, **more):
        self.asked = (method, url)
        super().putrequest(method, url, *arguments, **more)

    def getresponse(self):
        response = super().getresponse()
        response.asked = self.asked
        return response

    def connect(self):
        if not self.path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None, **headers):
        """A header's name is given with _ for -."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            headers.setdefault("Content-Type", kind)
        if self.token is not None:
            headers["Authorization"] = "Bearer " + self.token
        self.request(method, path, None if body is None else json.dumps(body), headers)
        return Answer(self.getresponse())


class Daemon:
    def __init__(self, executable=SNAPGROUPD, arguments=(), environment=None):
        self.executable = executable
        self.environment = {**SANITIZER_OPTIONS, **os.environ, **(environment or {})}
        self.arguments = list(arguments)
        self.directory = tempfile.mkdtemp(prefix="sg.")  # short: a Unix socket's path has 107 bytes
        self.images = os.path.join(self.directory, "images")
        self.state = os.path.join(self.directory, "state")
        self.runtime = os.path.join(self.directory, "run")
        self.log_path = os.path.join(self.directory, "daemon.log")
        self.process = None
        self.make_directories()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if self.process and kind is None:
                self.stop()
            elif self.process:
                if self.process.poll() is not None:
                    sys.stderr.write("--- the daemon died, status %d\n" % self.process.returncode)
                self.process.kill()
                self.process.wait()
            with open(self.log_path, errors="replace") as log:
                text = log.read()
            expect(not SANITIZER_REPORT.search(text), "a sanitizer reported")
        except Failure:
            kind = kind or Failure
            raise
        finally:
            if kind is not None:
                sys.stderr.write("--- daemon.log\n")
                with open(self.log_path, errors="replace") as log:
                    sys.stderr.writelines(log.readlines()[-200:])
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- life ----

    def make_directories(self):
        for directory in (self.images, self.state, self.runtime):
            os.makedirs(directory)
        with open(self.log_path, "a"):
            pass

    def wipe(self):
        """Removes images and state of a stopped daemon, but not its log."""
        expect(self.process is None, "wipe: the daemon is running")
        for directory in (self.images, self.state, self.runtime):
            shutil.rmtree(directory)
        self.make_directories()

    def forget(self):
        """Kills the daemon; starts it again with the images, but without its state."""
        self.kill()
        shutil.rmtree(self.state)
        os.makedirs(self.state)
        self.start()

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        expect(self.process is None, "start: the daemon is running already")
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.launcher() + [
                self.executable, "--state-dir", self.state, "--image-dir", self.images, "--runtime-dir", self.runtime,
            ] + self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        self.await_ready()

    def start_with(self, disks, size_bytes):
        """disks: {name: format}, created empty."""
        self.start()
        for name, image_format in disks.items():
            self.create_device(name, image_format, size_bytes)

    def launcher(self):
        """A command that becomes the one after it, which ends with this process."""
        return ["setpriv", "--pdeathsig", "KILL"]

    def await_ready(self):
        end = time.monotonic() + DEADLINE_S
        said = b""
        while b"ready\n" not in said:
            left = end - time.monotonic()
            readable, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            expect(readable, "the daemon was not ready within %d s", DEADLINE_S)
            part = os.read(self.process.stdout.fileno(), 4096)
            # 126 or 127: there is no program that can be run, or it is being linked.
            expect(part, "the daemon ended before it was ready, with %s", part or self.process.wait(DEADLINE_S))
            said += part
        self.said = said.decode()  # the addresses, among others

    def end(self, number):
        """Sends the signal and returns the exit status."""
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            status = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failure("the daemon did not end within %d s" % DEADLINE_S) from None
        finally:
            process.stdout.close()
        return status

    def stop(self):
        status = self.end(signal.SIGTERM)
        expect(status == 0, "the daemon ended with status %d instead of 0", status)

    def kill(self):
        """Sends SIGKILL, or finds that it was sent."""
        status = self.end(signal.SIGKILL)
        expect(status == -signal.SIGKILL, "the daemon had ended by itself, status %d", status)

    def restart(self):
        self.stop()
        self.start()

    def recorded(self, query, *values):
        """Rows of the database itself, without a call, which might change it."""
        database = sqlite3.connect("file:%s/snapgroupd.db?mode=ro" % self.state, uri=True)
        with contextlib.closing(database):
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def stopped_database(self):
        """The database of the stopped daemon, which then starts again."""
        self.stop()
        database = sqlite3.connect(os.path.join(self.state, "snapgroupd.db"))
        with contextlib.closing(database), database:
            yield database
        self.start()

    # ---- REST ----

    def connection(self, token=None):
        return Connection(os.path.join(self.runtime, "api.sock"), token)

    def add_psk(self, *users):
        """Before start(): these users of NBD have pre-shared keys, in the file that is returned."""
        path = os.path.join(self.directory, "psk")
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as keys:
            keys.writelines("%s:%s\n" % (user, os.urandom(32).hex()) for user in users)
        self.arguments += ["--nbd-tls", "optional", "--nbd-tls-psk", path]
        return path

    def listen_on_tcp(self):
        """Before start(): the socket of connection(), and a port."""
        self.arguments += ["--listen", "unix:" + os.path.join(self.runtime, "api.sock"), "--listen", "127.0.0.1:0"]

    def listen_on_tls(self):
        """Before start(): the socket of connection(), and a port with TLS. Returns the directory of
        certificates.sh."""
        pki = os.path.join(self.directory, "pki")
        run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), pki)
        self.arguments += ["--listen", "unix:" + os.path.join(self.runtime, "api.sock"), "--listen", "tls:127.0.0.1:0",
                           "--tls-cert-dir", os.path.join(pki, "server")]
        return pki

    @property
    def port(self):
        return int(re.search(r"^api 127.0.0.1:(\d+)$", self.said, re.M)[1])

    def create_token(self, name, scope, **more):
        """Returns the secret."""
        answer = self.request("POST", "/tokens", {"name": name, "scope": scope, **more})
        expect(answer.status == 201, "POST /tokens %s: %s", name, answer)
        return answer.body["secret"]

    def request(self, method, path, body=None, **headers):
        connection = self.connection()
        try:
            return connection.ask(method, path, body, **headers)
        finally:
            connection.close()

    def get(self, path):
        """Returns the JSON of a GET, which must succeed."""
        answer = self.request("GET", path)
        expect(answer.status == 200, "GET %s: %s", path, answer)
        return answer.body

    def list(self, path):
        """Returns all items of a list, page by page."""
        page = self.get(path)
        items = page["items"]
        while page["next"]:
            page = self.get(path + "?cursor=" + page["next"])
            items += page["items"]
        return items

    def create_device(self, name, image_format, size_bytes, **more):
        answer = self.request("POST", "/devices", {
            "name": name, "image": "%s.%s" % (name, image_format), "format": image_format,
            "size_bytes": size_bytes, **more})
        expect(answer.status == 201, "POST /devices %s: %s", name, answer)
        return answer.body

    def attach_device(self, name, image, image_format):
        answer = self.request("POST", "/devices",
                              {"name": name, "image": image, "format": image_format})
        expect(answer.status == 201, "POST /devices %s: %s", name, answer)
        return answer.body

    def snapshot(self, name, devices):
        answer = self.request("POST", "/snapshot-groups", group_body(name, devices))
        expect(answer.status == 201, "POST /snapshot-groups %s: %s", name, answer)
        return answer.body

    def roll_back(self, group, name):
        answer = self.request("POST", "/snapshot-groups/%s/rollbacks" % group, {"name": name})
        expect(answer.status == 201, "rollback to %s: %s", group, answer)
        return answer.body

    def chain(self, device):
        """The paths of its images, the top first."""
        return [image["image"] for image in self.get("/devices/" + device)["chain"]]

    def change_job(self, job, body):
        answer = self.request("PATCH", "/jobs/" + job, body)
        expect(answer.status == 200, "PATCH /jobs/%s %s: %s", job, body, answer)
        return answer.body

    def await_job(self, answer):
        """Returns the job that the answer tells of, once it has ended."""
        expect(answer.status == 202, "%s", answer)
        path = "/jobs/" + answer.body["id"]
        wait_until(lambda: self.get(path)["state"] not in ("queued", "running"), "the job to end")
        return self.get(path)

    def job_bytes(self):
        """What its jobs have copied or pushed since its start."""
        lines = self.request("GET", "/metrics").body.splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("snapgroupd_job_bytes_total ")))

    def delete_group(self, name):
        """Returns the job, which must be done."""
        job = self.await_job(self.request("DELETE", "/snapshot-groups/" + name))
        expect(job["state"] == "done", "%s", job)
        return job

    # ---- NBD ----

    def nbd_uri(self, export):
        return "nbd+unix:///%s?socket=%s" % (export, os.path.join(self.runtime, "nbd.sock"))

    def nbd(self, export):
        """Returns a connected libnbd handle."""
        import nbd
        handle = nbd.NBD()
        handle.connect_uri(self.nbd_uri(export))
        return handle

    def get_when_open(self, path):
        """The same as get(), asked again while the daemon reads its database anew."""
        def ask():
            answer = self.request("GET", path)
            expect(answer.status in (200, 503), "GET %s: %s", path, answer)
            return answer.status == 200 and answer.body
        return wait_until(ask, "an answer of " + path)

    def write(self, export, data, offset=0):
        """By a client of its own, which does not flush."""
        handle = self.nbd(export)
        handle.pwrite(data, offset)
        handle.shutdown()

    def request_when_free(self, method, path, body=None):
        """Waits for a job that cuts one of the devices, or a reader that has not gone."""
        def ask():
            answer = self.request(method, path, body)
            return None if answer.status == 409 and answer.body["code"] == "DeviceInUse" else answer
        return wait_until(ask, "%s %s" % (method, path))

    def content_hash(self, export):
        handle = self.nbd(export)
        content = handle.pread(handle.get_size(), 0)
        handle.shutdown()
        return hashlib.sha256(content).hexdigest()

    # ---- files ----

    def image(self, name):
        return os.path.join(self.images, name)

    def image_names(self):
        return sorted(os.listdir(self.images))


def group_body(name, devices):
    return {"name": name, "devices": [{"device": device} for device in devices]}


def main(test):
    """Runs a test's function, checks every reply that it got, and exits with its status."""
    try:
        test()
        if EXCHANGES:
            import openapi  # it imports this file
            openapi.exchanges_check(EXCHANGES)
    except Failure as failure:
        sys.stderr.write("FAILED: %s\n" % failure)
        sys.exit(1)
