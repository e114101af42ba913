# SPDX-License-Identifier: Apache-2.0
"""EIO, ENOSPC and ENOMEM from every single system call of a request that takes a group, rolls one
back, clones a member or lets a disk grow, of the thread that runs it; and of one that finishes a
member."""
import os
import re
import sys

from gates import Call, GatedDaemon
from snapgroupd import DEADLINE_S, Daemon, checksums, expect, group_body, run, wait_until
from strace import STRIDE, Strace, Walk, await_idle_runs, run_by, served_by, threads_named
from writers import Disk, start_writers, stop_writers

WRITING = {"openat", "openat2", "linkat", "unlinkat", "renameat2", "pwrite64", "pwritev", "pwritev2", "fsync",
           "fdatasync", "sync_file_range", "ftruncate", "fallocate", "io_uring_enter", "fchown", "fchmod", "fsetxattr",
           "fremovexattr"}
READING = {"pread64", "preadv", "preadv2", "fstat", "newfstatat", "statx", "lseek", "fcntl", "faccessat",
           "faccessat2", "ioctl", "fgetxattr", "readlink", "readlinkat", "dup3", "getdents64", "io_uring_setup"}
# What the kernel needs memory for; of the first ones the C library makes its own.
MEMORY = {"mmap", "brk", "mprotect", "clone3", "openat", "openat2", "linkat", "unlinkat", "renameat2", "fstat",
          "newfstatat", "statx", "readlink", "readlinkat", "faccessat2", "fsetxattr", "getdents64", "io_uring_setup",
          "io_uring_enter", "fcntl", "pwrite64", "pread64", "preadv2", "fdatasync", "fsync", "sync_file_range"}
CALLS = {"EIO": WRITING | READING, "ENOSPC": WRITING, "ENOMEM": MEMORY}
SIZE_BYTES = 1 << 20
NAMES = ["busya", "quieta", "busyb", "quietb"]
FORMATS = ["raw", "raw", "qcow2", "qcow2"]
GROUPS_MAX = 12  # then everything starts afresh, with short chains


class GroupErrors:
    """Snapshots of four disks, two of them busy."""
    STATUS = 201
    find_thread = staticmethod(run_by)

    def __init__(self, daemon, error):
        self.daemon = daemon
        self.error = error
        self.refusals = self.survivals = self.failed_devices = 0
        self.writers = []
        self.is_begun = False

    def begin_afresh(self):
        self.end()
        self.is_begun = True
        self.daemon.start()
        for name, image_format in zip(NAMES, FORMATS):
            self.daemon.create_device(name, image_format, SIZE_BYTES)
        self.disks = [Disk(name, SIZE_BYTES) for name in NAMES if name.startswith("busy")]
        for name in ("quieta", "quietb"):
            handle = self.daemon.nbd(name)
            handle.pwrite(name.encode() * 4096, 4096 * 7)
            handle.flush()
            handle.shutdown()
        self.groups = 0
        self.start_clients()

    def start_clients(self):
        self.writers = start_writers(self.daemon, self.disks)

    def before(self, name):
        pass

    def after(self, name):
        pass

    def request(self, name):
        return "POST", "/snapshot-groups", group_body(name, NAMES)

    def end(self):
        if self.daemon.process:
            stop_writers(self.writers)
            self.daemon.stop()
            self.daemon.wipe()

    def quiet_images(self):
        return [image["image"] for name in ("quieta", "quietb")
                for image in self.daemon.get("/devices/" + name)["chain"]]

    def step(self, step, *injection):
        """One attempt; its trace."""
        if not self.is_begun or self.groups > GROUPS_MAX:
            self.begin_afresh()
        name = "%s-%d" % (self.error.lower(), step)
        self.before(name)
        names = self.daemon.image_names()
        sums = checksums(self.quiet_images())
        answer, strace = self.ask(name, *injection)
        try:
            if not strace.injected:
                expect(answer and answer.status == self.STATUS, "there was no fault")
            self.judge(name, answer, names, sums)
            self.judge_devices(strace.injected or "")
            for writer in self.writers:
                writer.expect_progress()
            # Else run_by() finds two, and starts the daemon again beneath its clients.
            await_idle_runs(self.daemon)
            again = self.daemon.request(*self.request(name + "-next"))
            expect(again.status == self.STATUS, "without a fault: %s", again)
            self.groups += 1
            self.after(name + "-next")
        except Exception:
            sys.stderr.write("spoiled: %s\nanswer: %s\n" % (strace.injected, answer))
            raise
        return strace

    def strace(self, thread, *injection):
        return Strace(thread, *injection, output=os.path.join(self.daemon.directory, "strace"))

    def ask(self, name, *injection):
        """The request; its answer, and the trace of the thread that faults hit."""
        connection, thread = self.find_thread(self.daemon)
        with self.strace(thread, *injection) as strace:
            answer = connection.ask(*self.request(name))
        connection.close()
        return answer, strace

    def judge(self, name, answer, names, sums):
        groups = self.daemon.get("/snapshot-groups?limit=1")["items"]
        state = groups[0]["state"] if groups and groups[0]["name"] == name else None
        if state == "committed":
            self.judge_survival(name, answer, names)
        else:
            self.judge_refusal(answer, state, names)
        changed = [image for image, now in checksums(sums).items() if now != sums[image]]
        expect(not changed, "of the quiet images have changed: %s", changed)

    def judge_devices(self, injected):
        """One device may fail, if what failed was the sync of its own image or a write to it."""
        failed = [device for device in NAMES
                  if self.daemon.get("/devices/" + device)["state"] == "failed"]
        is_its_own = re.match(r"f(data)?sync|pwrite", injected) and self.daemon.images in injected
        expect(not failed or (len(failed) == 1 and is_its_own), "failed devices: %s", failed)
        if failed:
            self.restart_failed(failed[0], injected.startswith("fdatasync"))

    def judge_refusal(self, answer, state, names):
        self.refusals += 1
        expect(400 <= answer.status < 600 and answer.headers["Content-Type"].startswith(
            "application/problem+json"), "the refusal is %s", answer)
        expect(state in ("aborted", None), "the group is %s", state)
        there = self.daemon.image_names()
        expect(there == names, "the directory was %s and is %s", names, there)

    def judge_survival(self, name, answer, names):
        """201, or the daemon could not tell and the row did."""
        self.survivals += 1
        self.groups += 1
        expect(answer.status in (201, 503), "the group is committed, the answer %s", answer)
        group = self.daemon.get("/snapshot-groups/" + name)
        made = [os.path.basename(member["snapshot_file"]) for member in group["members"]]
        there = self.daemon.image_names()
        expect(there == sorted(names + made), "the directory was %s and is %s", names, there)

    def restart_failed(self, failed, is_sync):
        """A failed device stopped its own client only."""
        self.failed_devices += 1
        for writer in self.writers:
            if writer.disk.name != failed:
                writer.expect_progress()
        stop_writers(self.writers)
        self.daemon.end(15)
        self.daemon.start()
        device = self.daemon.get("/devices/" + failed)
        expect(device["state"] == ("failed" if is_sync else "online"), "after a restart: %s", device)
        if is_sync:
            self.attach_anew(device)
        self.start_clients()

    def attach_anew(self, device):
        """What the image holds is what was acknowledged all the same: the kernel has lost nothing
        here."""
        answer = self.daemon.request("DELETE", "/devices/" + device["name"], {"discard_unflushed": True})
        expect(answer.status == 204, "the failed device is not detached: %s", answer)
        self.daemon.attach_device(device["name"], device["top"], device["format"])


class RollbackErrors(GroupErrors):
    """Rollbacks of the same disks, which have no clients then, to one group."""

    def start_clients(self):
        if not self.disks[0].number:
            stop_writers(start_writers(self.daemon, self.disks))
            self.daemon.snapshot("target", NAMES)

    def before(self, name):
        handle = self.daemon.nbd("quieta")
        handle.pwrite(name.encode().ljust(512), 4096 * 7)
        handle.flush()
        handle.shutdown()

    def request(self, name):
        return "POST", "/snapshot-groups/target/rollbacks", {"name": name}

    def read(self, export):
        handle = self.daemon.nbd(export)
        text = bytes(handle.pread(512, 4096 * 7)).rstrip().decode()
        handle.shutdown()
        return text

    def judge_refusal(self, answer, state, names):
        super().judge_refusal(answer, state, names)
        if self.daemon.get("/devices/quieta")["state"] == "online":
            expect("-" in self.read("quieta"), "quieta is rolled back")

    def judge_survival(self, name, answer, names):
        super().judge_survival(name, answer, names)
        if self.daemon.get("/devices/quieta")["state"] == "online":
            expect(self.read("quieta@" + name) == name, "quieta had something else")
            expect(self.read("quieta").startswith("quieta" * 9), "quieta is not rolled back")


class FinishErrors(GroupErrors):
    """The same; what is hit is the thread that finishes `member` after the cut, once it is the last
    one. The group is committed whatever fails there."""
    member = "busyb"

    def ask(self, name, *injection):
        gate = "seal-" + self.member
        self.daemon.close_gate(gate)
        call = Call(self.daemon, *self.request(name))
        self.daemon.await_gate(gate)
        thread = wait_until(lambda: (lambda named: len(named) == 1 and named[0])(
            threads_named(self.daemon.pid, "group-finish")), "one thread to be left")
        with self.strace(thread, *injection) as strace:
            self.daemon.open_gate(gate)
            call.join(DEADLINE_S)
        return call.result, strace

    def judge_refusal(self, answer, state, names):
        expect(False, "the group is %s: %s", state, answer)


class FinishRawErrors(FinishErrors):
    member = "busya"


class ResizeErrors(GroupErrors):
    """A busy one of the disks grows."""
    STATUS = 200
    device = "busyb"

    def before(self, name):
        self.size_bytes = self.daemon.get("/devices/" + self.device)["size_bytes"]

    def request(self, name):
        growth = 8192 if name.endswith("-next") else 4096
        return "PATCH", "/devices/" + self.device, {"size_bytes": self.size_bytes + growth, "labels": {"last": name}}

    def judge(self, name, answer, names, sums):
        device = self.daemon.get("/devices/" + self.device)
        if device["size_bytes"] == self.size_bytes:
            self.judge_refusal(answer, None, names)
            expect(device["labels"].get("last") != name, "the labels were changed alone: %s", device)
        else:
            self.survivals += 1
            self.groups += 1
            expect(answer.status in (200, 503), "it has grown, the answer is %s", answer)
            expect(device["size_bytes"] == self.size_bytes + 4096, "%s", device)
            there = self.daemon.image_names()
            expect(there == sorted([*names, os.path.basename(device["top"])]), "%s, %s: %s", names, there, device)
            handle = self.daemon.nbd(self.device)
            expect(handle.pread(4096, self.size_bytes) == bytes(4096), "what is past the old end")
            handle.shutdown()
        changed = [image for image, now in checksums(sums).items() if now != sums[image]]
        expect(not changed, "of the quiet images have changed: %s", changed)


class CloneErrors(GroupErrors):
    """Clones of a member of a group of the same disks, which goes when it was compared with it."""
    find_thread = staticmethod(served_by)

    def begin_afresh(self):
        super().begin_afresh()
        self.daemon.snapshot("target", NAMES)

    def request(self, name):
        return "POST", "/devices", {"name": name, "from": {"group": "target", "device": "quietb"}}

    def judge(self, name, answer, names, sums):
        wait_until(lambda: self.daemon.request("GET", "/readyz").status == 200, "the daemon to be ready again")
        found = self.daemon.request("GET", "/devices/" + name)
        expect(found.status in (200, 404), "GET of the clone: %s", found)
        if found.status == 404:
            self.judge_refusal(answer, None, names)
        else:
            self.survivals += 1
            expect(answer.status in (201, 503), "there is a clone, the answer is %s", answer)
            there = self.daemon.image_names()
            expect(there == sorted([*names, name + ".qcow2"]), "the directory was %s and is %s", names, there)
            self.after(name)
        changed = [image for image, now in checksums(sums).items() if now != sums[image]]
        expect(not changed, "of the quiet images have changed: %s", changed)

    def after(self, name):
        """The clone is as what it was made of; it goes, and its file with it."""
        device = self.daemon.get("/devices/" + name)
        expect(device["state"] == "online" and len(device["chain"]) == 2, "the clone: %s", device)
        run("qemu-img", "compare", "--force-share", "-f", "qcow2", "-F", "qcow2", device["top"],
            device["chain"][1]["image"])
        answer = self.daemon.request("DELETE", "/devices/%s?files=delete" % name)
        expect(answer.status == 204, "DELETE of the clone: %s", answer)


def error_walk(kind, errors=("EIO", "ENOSPC"), stride=STRIDE, refusals_min=10):
    """Each fault at each call; what `kind` takes must be refused, or whole."""
    with GatedDaemon() if issubclass(kind, FinishErrors) else Daemon() as daemon:
        for error in errors:
            test = kind(daemon, error)
            walk = Walk(lambda name: name in CALLS[error], stride)
            walk.inject(test.step, error)
            test.end()
            print("%s: %d refusals, %d faults survived, %d failed devices, at %d kinds of call" %
                  (error, test.refusals, test.survivals, test.failed_devices, len(walk.names)), flush=True)
            expect(test.refusals >= refusals_min / stride, "only %d refusals", test.refusals)
