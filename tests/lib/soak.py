# SPDX-License-Identifier: Apache-2.0
"""What works on a daemon in a soak, each on a thread of its own: clients that remember what they
were told, and what goes wrong. A daemon that is away is no error; what contradicts a client's
memory is.

    loop = Groups(daemon)
    loop.start()
    ... loop.verify() ... loop.error ...
    loop.end()              raises what went wrong
"""
import array
import hashlib
import http.client
import json
import os
import random
import socket
import subprocess
import threading
import time

from snapgroupd import Connection, expect, wait_until

SIZE_BYTES = 1 << 20  # as chains of hundreds of groups need much space
BLOCK_BYTES = 4096
BLOCKS = SIZE_BYTES // BLOCK_BYTES
DISKS = ("vda", "vdb", "vdc")
GROUP_PAUSE_S = 4  # between two groups, so that chains stay openable
GONE = (OSError, http.client.HTTPException)  # the daemon was killed, or the connection was cut


class Loop(threading.Thread):
    """step() again and again until end(); a daemon that is away is no error."""

    def __init__(self, pause_s=0.0):
        super().__init__(daemon=True)
        self.pause_s, self.ending, self.error = pause_s, threading.Event(), None

    def run(self):
        try:
            while not self.ending.is_set():
                try:
                    self.step()
                except GONE:
                    self.ending.wait(0.05)
                self.ending.wait(self.pause_s)
        except Exception as error:  # noqa: end() raises it
            self.error = error

    def end(self):
        self.ending.set()
        self.join()
        if self.error:
            raise self.error


class Writer(Loop):
    """allowed[block]: the numbers that each word of the block may be. unflushed[block]: the others
    since the last flush, which it may be once unflushed data are discarded."""

    def __init__(self, daemon, name):
        super().__init__()
        self.daemon, self.name, self.handle, self.number = daemon, name, None, 0
        self.random = random.Random(name)
        self.allowed = [{0} for _ in range(BLOCKS)]
        self.unflushed, self.returned = {}, 0  # blocks that lost their last write
        self.lock = threading.Lock()  # held while a request is under way
        self.end_of = None  # (the handle, its descriptor)
        self.writes = 0

    def step(self):
        import nbd
        try:
            with self.lock:
                self.connect()
                self.write(self.random.randrange(BLOCKS))
        except nbd.Error as error:
            if self.handle and (self.handle.aio_is_dead() or self.handle.aio_is_closed()) or not self.handle:
                self.handle = None
                raise ConnectionError(str(error)) from None

    def connect(self):
        if not self.handle:
            self.handle = self.daemon.nbd(self.name)
            self.end_of = self.handle, self.handle.aio_get_fd()

    def die(self):
        """From another thread: the daemon sees what it sees of a client that was killed."""
        end = self.end_of  # which keeps the descriptor open
        if end:
            with socket.socket(fileno=os.dup(end[1])) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def write(self, block):
        if self.random.random() < 0.05:
            self.handle.flush()
            self.unflushed.clear()
            return
        number = 0
        if self.random.random() < 0.9:
            number = self.number = self.number + 1
        self.unflushed.setdefault(block, set()).update(self.allowed[block])
        self.allowed[block] = self.allowed[block] | {number}
        if number:
            self.handle.pwrite(array.array("Q", [number]).tobytes() * (BLOCK_BYTES // 8), block * BLOCK_BYTES)
        else:
            self.handle.zero(BLOCK_BYTES, block * BLOCK_BYTES)  # only tables record it
        self.allowed[block] = {number}
        self.writes += 1

    def verify(self):
        with self.lock:
            for block, found in enumerate(self.read()):
                self.expect(block, found, self.allowed[block])

    def accept(self):
        """Unflushed data were discarded: what is read now counts. The caller has the lock."""
        for block, found in enumerate(self.read()):
            self.expect(block, found, self.allowed[block] | self.unflushed.get(block, set()))
            self.returned += not found <= self.allowed[block]
            self.allowed[block] = found
        self.unflushed.clear()

    def read(self):
        """The numbers of each block."""
        handle = self.daemon.nbd(self.name)
        there = array.array("Q", bytes(handle.pread(SIZE_BYTES, 0)))
        handle.shutdown()
        words = BLOCK_BYTES // 8
        return [set(there[first:first + words]) for first in range(0, len(there), words)]

    def expect(self, block, found, allowed):
        expect(found <= allowed, "%s, block %d: %s, allowed %s", self.name, block, found, allowed)


class Operator(Loop):
    """Accepts what a failed sync has lost: detaches the device, discarding unflushed data, and
    attaches its image again, through kills and full disks. Nothing else is a reason to discard."""

    def __init__(self, daemon, writers):
        super().__init__(0.2)
        self.daemon, self.writers, self.accepted = daemon, writers, 0

    def step(self):
        for writer in self.writers:
            if self.find_failed(writer.name):
                with writer.lock:
                    self.attach_anew(writer)

    def find_failed(self, name):
        """Its answer, if a sync has failed the device."""
        answer = self.daemon.request("GET", "/devices/" + name)
        return answer.status == 200 and "could not be made durable" in (answer.body["reason"] or "") and answer

    def attach_anew(self, writer):
        import nbd
        self.top, self.is_answered = None, True
        while not self.ending.is_set():
            try:
                self.detach(writer.name)
                if self.top and self.attach(writer.name):
                    writer.accept()
                    self.accepted += 1
                    return
            except (*GONE, nbd.Error):
                pass
            time.sleep(0.05)

    def detach(self, name):
        """Keeps what was the top until this call, however that ends."""
        failed = self.find_failed(name)
        if failed:
            self.top, self.is_answered = failed.body["top"], False
            self.daemon.request("DELETE", "/devices/" + name, {"discard_unflushed": True}, If_Match=failed.headers["ETag"])
            self.is_answered = True

    def attach(self, name):
        """A start ends a detach that a kill interrupted, and discards nothing: the attach does."""
        body = {"name": name, "image": self.top, "format": "qcow2", "discard_unflushed": not self.is_answered}
        answer = self.daemon.request("POST", "/devices", body)
        expect(answer.status == 201 or answer.body["retryable"] or answer.body["code"] == "DeviceExists", "%s", answer)
        there = self.daemon.request("GET", "/devices/" + name)
        return there.status == 200 and there.body["state"] == "online"


class Groups(Loop):
    """Takes groups, each with a key, and repeats a call until it has an answer that is final."""

    def __init__(self, daemon):
        super().__init__(GROUP_PAUSE_S)
        self.daemon, self.number, self.answers = daemon, 0, {}
        self.random, self.deaths, self.frozen = random.Random("groups"), 0, {}

    def step(self):
        self.number += 1
        name = "g%d" % self.number
        while not self.ending.is_set():
            try:
                if self.random.random() < 0.3:
                    self.die(name)
                answer = self.ask(name)
            except GONE:
                time.sleep(0.05)
                continue
            if answer.status == 201 or answer.status < 500 and not answer.body["retryable"]:
                self.answers[name] = answer
                return
            time.sleep(0.1)  # as Retry-After would have it, but for the second

    @staticmethod
    def body(name):
        members = [{"device": disk, "snapshot_file": "disk/%s+%s.qcow2" % (disk, name)} for disk in DISKS]
        return {"name": name, "devices": members}

    def ask(self, name):
        return self.daemon.request("POST", "/snapshot-groups", self.body(name), Idempotency_Key='"%s"' % name)

    def die(self, name):
        """A client that is gone before its answer."""
        connection = self.daemon.connection()
        connection.request("POST", "/snapshot-groups", json.dumps(self.body(name)),
                           {"Content-Type": "application/json", "Idempotency-Key": '"%s"' % name})
        time.sleep(self.random.random() * 0.02)  # so that the group has come to any of its steps
        connection.close()
        self.deaths += 1

    def verify_newest(self):
        """Its key has one answer, and its members do not change from now on."""
        names = [name for name, answer in self.answers.items() if answer.status == 201]
        if names and names[-1] not in self.frozen:
            again = self.ask(names[-1])
            expect(again.status == 201 and again.headers["Idempotency-Replayed"] and
                   again.body == self.answers[names[-1]].body, "%s, then %s", self.answers[names[-1]], again)
            self.frozen[names[-1]] = self.sum_of(names[-1])

    def sum_of(self, name):
        whole = hashlib.sha256()
        for disk in DISKS:
            handle = self.daemon.nbd("%s@%s" % (disk, name))
            whole.update(handle.pread(SIZE_BYTES, 0))
            handle.shutdown()
        return whole.hexdigest()

    def verify_frozen(self):
        for name, was in self.frozen.items():
            expect(self.sum_of(name) == was, "the members of %s have changed", name)

    def verify(self):
        self.verify_newest()
        for name, answer in list(self.answers.items()):
            if answer.status != 201:
                continue
            found = self.daemon.get("/snapshot-groups/" + name)
            expect(found["id"] == answer.body["id"] and found["state"] == "committed", "%s: %s, but %s", name, answer, found)


class Events(Loop):
    """Follows the events across kills, by the id of the last one."""

    def __init__(self, daemon):
        super().__init__(0.2)
        self.daemon, self.items = daemon, []
        self.lock = threading.Lock()  # also catch_up() steps

    def step(self):
        with self.lock:
            self.read_on()

    def read_on(self):
        last = self.items[-1]["id"] if self.items else 0
        answer = self.daemon.request("GET", "/events?limit=100&after=%d" % last)
        if answer.status != 200:
            expect(answer.body["retryable"], "GET /events: %s", answer)
            return
        for event in answer.body["items"]:
            expect(not self.items or event["id"] == self.items[-1]["id"] + 1, "after %s came %s",
                   self.items and self.items[-1], event)
            self.items.append(event)

    def catch_up(self):
        while True:
            count = len(self.items)
            self.step()
            if len(self.items) == count:
                return


class Stream(Loop):
    """Follows them as a stream, resumed by Last-Event-ID."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon, self.ids, self.resumed = daemon, [], -1

    def step(self):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(os.path.join(self.daemon.runtime, "api.sock"))
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                               b"Last-Event-ID: %d\r\n\r\n" % (self.ids[-1] if self.ids else 0))
            self.resumed += 1
            self.follow(connection)

    def follow(self, connection):
        text = b""
        while not self.ending.is_set():
            try:
                part = connection.recv(65536)
            except TimeoutError:
                continue
            if not part:
                return
            text += part
            *messages, text = text.split(b"\n\n")
            for message in messages:
                self.take(dict(line.split(": ", 1) for line in message.decode().splitlines() if ": " in line))

    def take(self, fields):
        if "data" not in fields:
            return
        last = self.ids[-1] if self.ids else 0
        expect(fields["event"] != "gap" and int(fields["id"]) == last + 1, "after %d came %s", last, fields)
        self.ids.append(int(fields["id"]))

    def catch_up(self, events):
        last = events.items[-1]["id"]
        wait_until(lambda: self.error or self.ids and self.ids[-1] >= last, "the stream to come to event %d" % last)


class Tokens(Loop):
    def __init__(self, daemon):
        super().__init__(0.5)
        self.daemon, self.number, self.used, self.revoked = daemon, 0, 0, []

    def get(self, secret):
        connection = Connection(self.daemon.port, secret)
        try:
            return connection.ask("GET", "/devices").status
        finally:
            connection.close()

    def step(self):
        self.number += 1
        made = self.daemon.request("POST", "/tokens", {"name": "t%d" % self.number, "scope": "read"})
        if made.status != 201:
            expect(made.body["retryable"] or made.status == 409, "POST /tokens: %s", made)
            return
        expect(self.get(made.body["secret"]) in (200, 503, 507), "a token that is new")
        self.used += 1
        gone = self.daemon.request("DELETE", "/tokens/" + made.body["id"])
        if gone.status == 204:
            self.revoked.append(made.body["id"])
            expect(self.get(made.body["secret"]) in (401, 429), "a token that is revoked")


class Faults(Loop):
    def __init__(self, daemon, disks, writers, seed):
        super().__init__(0.3)
        self.daemon, self.disks, self.writers = daemon, disks, writers
        self.random = random.Random(seed)
        self.counts = {"full": 0, "room": 0, "EIO": 0, "log": 0, "sync": 0, "cut": 0, "dead": 0}

    def step(self):
        kind = self.random.choice(sorted(self.counts))
        self.counts[kind] += 1
        if kind == "full":
            self.random.choice(self.disks).leave(self.random.randrange(4 << 20))
        elif kind == "room":
            for disk in self.disks:
                disk.leave(None)
        elif kind == "EIO":
            self.fail_calls("pwrite64")
        elif kind == "log":
            self.fail_calls("fdatasync", os.path.join(self.daemon.state, "snapgroupd.db-wal"))
        elif kind == "sync":
            self.fail_sync_of(self.random.choice(self.writers).name)
        elif kind == "dead":
            self.random.choice(self.writers).die()
        else:
            connection = self.daemon.connection()
            connection.request("GET", "/snapshot-groups?limit=1000")
            connection.sock.close()

    def fail_sync_of(self, name):
        device, process = self.daemon.request("GET", "/devices/" + name), self.daemon.process
        path = process and device.status == 200 and name_when_opened(process.pid, self.daemon.image(device.body["top"]))
        if path:
            self.fail_calls("fdatasync", path)

    def fail_calls(self, name, path=None):
        """strace may wait for ever for a thread of a daemon that is killed meanwhile."""
        process = self.daemon.process
        if process:
            first = self.random.randrange(1, 4 if path else 40)
            subprocess.run(["timeout", "--kill-after=1", "0.5", "strace", "-f", "-q", "-o", "/dev/null", "-p", str(process.pid),
                            "-e", "inject=%s:error=EIO:when=%d+40" % (name, first), *(["-P", path] if path else [])],
                           stderr=subprocess.DEVNULL, check=False)


def name_when_opened(pid, path):
    """An overlay was opened by the name that it had before it was published, by which strace knows
    it. None: the process does not have it open, or is gone."""
    folder = "/proc/%d/fd" % pid
    try:
        wanted = os.stat(path)
        for number in os.listdir(folder):
            link = os.path.join(folder, number)
            if os.path.samestat(os.stat(link), wanted):
                return os.readlink(link).removesuffix(" (deleted)")
    except FileNotFoundError:
        pass
    return None
