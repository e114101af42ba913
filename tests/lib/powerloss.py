# SPDX-License-Identifier: Apache-2.0
"""Power failures: a round of work is recorded (powerwork.py), disks that a power failure could have
left are made from the record (powerlog.py), and each is mounted, recovered by snapgroupd and
verified:

    store    opens, is intact; the daemon becomes ready and exits with status 0
    images   qemu-img check finds no error in any, before the recovery and after it
    groups   committed or aborted as a whole, as the reply said if there was one; frozen members
             have every write acknowledged before the call and none issued after the reply, and
             dependent writes up to one moment
    devices  exist as promised, on the chain of the groups; every change acknowledged before a
             completed flush, or with FUA, is present; nothing else is
    copies   exist if they were told to be done, and are what the group froze; others are made by
             themselves, or were never begun
    files    those of devices, groups and copies, and no others
    sizes    devices have grown as promised; what is past the old end is zeros
    use      the devices can be written, flushed and frozen

Everything happens in a mount namespace of the test's own, so that nothing stays mounted or looped,
however it ends. The file system is ext4, xfs or btrfs, and in some rounds it is filled and emptied
at random, as the seed says. POWER_LOSS_STATES, _SEED, _JOBS and _ROUND (states a round) say how
much is done; the work itself depends on the moment, so a seed repeats the kinds of failure but not
the bytes. POWER_LOSS_KEEP names a directory for disks that failed, as the power failure left them,
each with what the daemon and the kernel said.
"""
import collections
import concurrent.futures
import ctypes
import glob
import hashlib
import mmap
import multiprocessing
import os
import shutil
import signal
import sqlite3
import tempfile
import time

import powerlog
from filesystems import KINDS
from powerwork import BALLAST, UNKNOWN, DiskDaemon, Work, record
from snapgroupd import SNAPGROUPD, expect, qcow2_check, run, wait_until

GROUPS = 4  # taken in a round
SEED = 1
LIFE_EVERY = 4  # states
CLONE_NEWNS = 0x20000
PR_SET_PDEATHSIG = 1


def data_of(fd):
    """(offset, bytes) of all data."""
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # there is no more
            return
        end = os.lseek(fd, at, os.SEEK_HOLE)
        yield at, os.pread(fd, end - at, at)
        at = end


class Images:
    """qemu-img's results for images, cached by content."""

    def __init__(self, directory):
        self.directory = directory
        self.good = set()

    def check(self):
        # A staged image, whose name begins with a dot, need not be whole.
        digests = {path: self.digest(path) for path in sorted(glob.glob(os.path.join(self.directory, "*.qcow2")))}
        qcow2_check(*[path for path, digest in digests.items() if digest not in self.good])
        self.good.update(digests.values())

    @staticmethod
    def digest(path):
        content = hashlib.blake2b()
        with open(path, "rb") as image:
            for offset, data in data_of(image.fileno()):
                content.update(b"%d %d:" % (offset, len(data)) + data)
            content.update(b"%d" % os.fstat(image.fileno()).st_size)
        return content.digest()


class Checker:
    """Verifies the states of one round. `kind` is the part verified last."""

    def __init__(self, daemon, log, work):
        self.daemon, self.log, self.work = daemon, log, work
        self.images = Images(daemon.images)
        self.state = None
        self.kind = None

    def is_due(self, position):
        return position is not None and self.state.cut >= self.log.count(position)

    def is_possible(self, position):
        return position is not None and self.state.cut > self.log.count(position)

    def check(self, state, life):
        self.state = state
        self.kind = "images"
        self.images.check()
        self.kind = "store"
        shutil.rmtree(self.daemon.runtime)
        os.mkdir(self.daemon.runtime)
        self.daemon.start()
        self.check_groups()
        self.check_devices()
        if life:
            self.kind = "life"
            self.check_life()
        self.kind = "store"
        self.daemon.stop()
        self.check_store()
        self.kind = "images"
        self.images.check()

    def check_store(self):
        for path in glob.glob(os.path.join(self.daemon.state, "*.db")):
            with sqlite3.connect(path) as database:
                said = database.execute("PRAGMA integrity_check").fetchall()
            database.close()
            expect(said == [("ok",)], "the database: %s", said)

    def check_groups(self):
        self.kind = "groups"
        states = {group["name"]: group["state"] for group in self.daemon.list("/snapshot-groups")}
        self.committed = []
        for group in self.work.groups:
            state = states.pop(group.name, None)
            expect(state in (None, "committed", "aborted"), "%s is %s", group.name, state)
            expect(not state or self.is_possible(group.issued), "%s is there too early", group.name)
            if self.is_due(group.answered) and group.told != UNKNOWN:
                expect(state == group.told, "%s is %s, was %s", group.name, state, group.told)
            if state == "committed":
                self.committed.append(group)
        expect(not states, "nobody asked for %s", sorted(states))
        for group in self.committed:
            self.check_frozen(group)

    def check_frozen(self, group):
        contents = [self.read("%s@%s" % (device.name, group.name), device) for device in group.devices]
        for i, device in enumerate(group.devices):
            device.verify(contents[i], group.oldest[i], group.newest[i], "%s@%s" % (device.name, group.name))
        if group.devices == self.work.devices:
            self.work.dependent.verify(contents, group.name)

    def read(self, export, device):
        handle = self.daemon.nbd(export)
        content = bytes(handle.pread(device.size_bytes, 0))
        handle.shutdown()
        return content

    def check_devices(self):
        self.kind = "devices"
        there = {device["name"]: device for device in self.daemon.list("/devices")}
        files, self.grown = {"base.raw", "vdc.qcow2"}, set()
        self.contents = {}
        for creation in self.work.creations:
            is_there = creation.device.name in there
            self.check_creation(creation, is_there)
            if is_there:
                self.check_device(creation.device, there.pop(creation.device.name))
            if is_there or self.is_possible(creation.delete_issued):
                files.add(creation.image)
        expect(not there, "nobody asked for %s", sorted(there))
        self.check_dependent()
        files.update(self.check_copies())
        self.kind = "files"
        files = self.files_expected(files)
        names = set(self.daemon.image_names())
        expect(names == files, "orphans %s, missing %s", sorted(names - files), sorted(files - names))

    def files_expected(self, files):
        """`files` are of devices."""
        return files.union(self.grown, *[group.files for group in self.committed])

    def check_creation(self, creation, is_there):
        name = creation.device.name
        if is_there:
            expect(self.is_possible(creation.issued), "%s is there too early", name)
            expect(not self.is_due(creation.delete_answered), "%s is there after its end", name)
        else:
            expect(not self.is_due(creation.answered) or self.is_possible(creation.delete_issued),
                   "%s is not there", name)

    def check_device(self, device, shown):
        overlays = [(group.issued, group.files[group.devices.index(device)]) for group in self.committed
                    if device in group.devices]
        overlays += [(growth.issued, growth.file) for growth in self.check_size(device, shown)]
        chain = [file for _, file in sorted(overlays, reverse=True)]
        chain += self.work.chains.get(device.name, [os.path.basename(shown["image"])])
        found = [os.path.basename(image["image"]) for image in shown["chain"]]
        expect(shown["state"] == "online" and found == chain, "%s should have the chain %s: %s",
               device.name, chain, shown)
        oldest = [device.durable(block, self.is_due) for block in range(len(device.events))]
        self.contents[device] = self.read(device.name, device)
        device.verify(self.contents[device], oldest, device.issued_now(), device.name)

    def check_copies(self):
        """Their images, once all jobs have ended."""
        self.kind = "copies"
        jobs = {os.path.basename(job["image"]): job for job in self.ended_jobs() if job["kind"] == "copy"}
        copies = {copy.image: copy for copy in self.work.copies}
        expect(set(jobs) <= set(copies), "nobody asked for %s", sorted(set(jobs) - set(copies)))
        for image, copy in copies.items():
            expect(image in jobs or not self.is_due(copy.answered), "%s is lost", image)
            if image in jobs:
                self.check_job(copy, jobs[image])
        return {image for image, job in jobs.items() if job["state"] == "done"}

    def check_job(self, copy, job):
        """The file of one that was cancelled may go a moment later."""
        expect(copy.group in self.committed, "%s", job)
        if job["state"] == "done":
            expect(not self.is_due(copy.cancel_answered), "it was cancelled: %s", job)
            self.check_copy(copy)
        else:
            expect(job["state"] == "cancelled" and self.is_possible(copy.cancel_issued), "%s", job)
            wait_until(lambda: not any(job["id"] in name for name in self.daemon.image_names()),
                       "the file of a copy to go")

    def ended_jobs(self):
        wait_until(lambda: all(job["state"] not in ("queued", "running") for job in self.daemon.list("/jobs")),
                   "the jobs to end")
        return self.daemon.list("/jobs")

    def check_copy(self, copy):
        raw = os.path.join(self.daemon.directory, "raw")
        run("qemu-img", "convert", "-f", copy.format, "-O", "raw", self.daemon.image(copy.image), raw)
        handle = self.daemon.nbd("%s@%s" % (copy.device.name, copy.group.name))
        frozen = bytes(handle.pread(handle.get_size(), 0))
        handle.shutdown()
        with open(raw, "rb") as data:
            expect(data.read() == frozen, "%s is not what was frozen", copy.image)

    def check_size(self, device, shown):
        """The growths that have been."""
        there = [growth for growth in self.work.growths
                 if growth.device is device and growth.size_bytes <= shown["size_bytes"]]
        for growth in self.work.growths:
            expect(growth.device is not device or growth in there or not self.is_due(growth.answered),
                   "%s has not grown to %d: %s", device.name, growth.size_bytes, shown)
            expect(growth not in there or self.is_possible(growth.issued), "%s has grown too early", device.name)
        size_bytes = max([growth.size_bytes for growth in there], default=device.size_bytes)
        expect(shown["size_bytes"] == size_bytes, "%s should have %d bytes: %s", device.name, size_bytes, shown)
        self.grown.update(growth.file for growth in there)
        handle = self.daemon.nbd(device.name)
        past = size_bytes - device.size_bytes
        expect(not past or handle.pread(past, device.size_bytes) == bytes(past), "%s past its old end", device.name)
        handle.shutdown()
        return there

    def check_dependent(self):
        promised = max([number for position, number in self.work.dependent.promises
                        if self.is_due(position)], default=0)
        if promised:
            contents = [self.contents[device] for device in self.work.devices]
            last = self.work.dependent.verify(contents, "the devices")
            expect(last >= promised, "dependent number %d is lost, %d is there", promised, last)

    def check_life(self):
        names = sorted(device["name"] for device in self.daemon.list("/devices"))
        block = b"life" * 1024
        handles = [self.daemon.nbd(name) for name in names]
        for handle in handles:
            handle.pwrite(block, 65536 + 512)
        if names:
            self.daemon.snapshot("life", names)
        for name, handle in zip(names, handles):
            handle.pwrite(bytes(len(block)), 65536 + 512)
            handle.flush()
            frozen = self.daemon.nbd(name + "@life")
            expect(bytes(frozen.pread(len(block), 65536 + 512)) == block, "%s@life", name)
            frozen.shutdown()
            handle.shutdown()


# ---- many states ----

class Round:
    """State that workers inherit."""
    current = None

    def __init__(self, name, directory, mountpoint, log, work, disk):
        self.name, self.directory, self.mountpoint = name, directory, mountpoint
        self.log, self.work, self.base, self.parts = log, work, disk.base, disk.parts

    def is_whole(self, offset, block):
        return any(part.is_whole(offset, block) for part in self.parts)


def worker_begin():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    expect(libc.unshare(CLONE_NEWNS) == 0, "unshare: %s", os.strerror(ctypes.get_errno()))


def copy_sparse(source, target):
    """What of the target is not written reads as zeros."""
    os.ftruncate(target, 0)
    os.ftruncate(target, os.fstat(source).st_size)
    for offset, data in data_of(source):
        os.pwrite(target, data, offset)


def check_mounted(checker, path, state, life):
    """What is wrong with the state, as (kind, text), or None."""
    try:
        checker.kind = "mount"
        with powerlog.mounted(path, Round.current.parts):
            try:
                for path in glob.glob(os.path.join(Round.current.mountpoint, BALLAST)) + \
                        glob.glob(os.path.join(checker.daemon.images, BALLAST)):
                    os.unlink(path)
                    run("sync", "--file-system", os.path.dirname(path))
                checker.check(state, life)
            finally:
                if checker.daemon.process:
                    checker.daemon.end(signal.SIGKILL)
    except Exception as failure:  # Failure, or libnbd's
        return checker.kind, str(failure)
    return None


def check_states(numbered):
    """Runs in a worker: [(state, kind, text)] of those that failed."""
    this = Round.current
    failures = []
    directory = tempfile.mkdtemp(dir=this.directory)
    durable_path, crash_path = (os.path.join(directory, name) for name in ("durable", "crash"))
    run("cp", "--sparse=always", this.base, durable_path)
    with open(durable_path, "r+b") as durable, open(crash_path, "w+b") as crash, \
            DiskDaemon(this.mountpoint) as daemon:
        disk = mmap.mmap(durable.fileno(), 0)
        checker = (this.work.checker or Checker)(daemon, this.log, this.work)
        done = 0
        for number, state in numbered:
            this.log.apply(disk, done, state.flush)
            done = state.flush
            copy_sparse(durable.fileno(), crash.fileno())
            with mmap.mmap(crash.fileno(), 0) as left:
                state.apply(this.log, left, this.is_whole)
            failure = check_mounted(checker, crash_path, state, number % LIFE_EVERY == 0)
            if failure:
                failures.append((str(state),) + failure)
                keep(this, durable, state, failure, daemon)
            os.truncate(daemon.log_path, 0)
    shutil.rmtree(directory)
    return failures


def keep(this, durable, state, failure, daemon):
    directory = os.environ.get("POWER_LOSS_KEEP")
    if not directory:
        return
    path = os.path.join(directory, "%s %s" % (this.name, state)).replace(" ", "-").replace(",", "")
    with open(path + ".raw", "w+b") as kept:
        copy_sparse(durable.fileno(), kept.fileno())
        with mmap.mmap(kept.fileno(), 0) as left:
            state.apply(this.log, left, this.is_whole)
    with open(path + ".txt", "w") as text, open(daemon.log_path, errors="replace") as log:
        text.write("%s: %s\n--- daemon\n%s--- kernel\n%s" % (*failure, log.read(), kernel_says()))


def kernel_says():
    return "".join(run("dmesg").splitlines(True)[-40:])


def one_round(directory, count, jobs, seed, groups, executable, environment, work_kind):
    """Records a round and checks `count` states of it: (states by kind, failures). What the seed
    says:

        seed % 2 == 1         the round ends with a kill
        seed // 2 % 2 == 1    images and state are on different file systems
        seed % 3              ext4, xfs, btrfs
        seed % 5 in (1, 3)    the images' file system is filled and emptied
    """
    kind = KINDS[seed % len(KINDS)]
    if kind == "btrfs":
        jobs = 1  # the second copy that is mounted has another fsid, and its files another identity
    mountpoint = os.path.join(directory, "disk.d")
    os.makedirs(mountpoint, exist_ok=True)
    with powerlog.Disk(directory, mountpoint, kind, seed // 2 % 2 == 1, work_kind.spare_bytes) as disk:
        work = record(disk, seed, seed % 5 in (1, 3), groups, executable, environment, work_kind)
    log = powerlog.Log(disk.log)
    log.verify(disk)
    work.daemon = work.disk = None
    this = Round.current = Round("seed %d %s" % (seed, kind), directory, mountpoint, log, work, disk)
    spans = [(log.count(begin), log.count(end)) for begin, end in work.spans]
    states = powerlog.states(log, log.count(work.begin), count, seed, this.is_whole, spans)
    numbered = list(enumerate(states))
    share = -(-len(states) // (jobs * 4))
    with concurrent.futures.ProcessPoolExecutor(
            jobs, multiprocessing.get_context("fork"), worker_begin) as pool:
        parts = pool.map(check_states, [numbered[i:i + share] for i in range(0, len(states), share)])
        failures = [failure for part in parts for failure in part]
    print("seed %d: %d %s, %d entries, %d flushes, %d groups, %d changes refused" %
          (seed, len(disk.parts), kind, len(log.entries), len(log.flushes), len(work.groups), work.refusals()),
          flush=True)
    return collections.Counter(state.kind for state in states), failures


def number(name, default):
    return int(os.environ.get("POWER_LOSS_" + name) or default)


def power_losses(count, seed, rounds=1, groups=GROUPS, executable=SNAPGROUPD, environment=None, kind=Work):
    """(kind, text) of all that was lost in `count` states of so many rounds at least, with that
    many groups."""
    jobs = number("JOBS", os.cpu_count())
    in_round = number("ROUND", min(1250, -(-count // rounds)))
    began = time.monotonic()
    kinds, failures = collections.Counter(), []
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        run("mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", directory)
        tempfile.tempdir = directory
        try:
            for first in range(0, count, in_round):
                work = (seed, groups, executable, environment, kind)
                of_round = one_round(directory, min(in_round, count - first), jobs, *work)
                kinds += of_round[0]
                failures += [("seed %d: %s" % (seed, state), kind, text) for state, kind, text in of_round[1]]
                seed += 1
        finally:
            tempfile.tempdir = None
            run("umount", "--lazy", directory)
    print("%d states in %.0f s, %d failed: %s" %
          (sum(kinds.values()), time.monotonic() - began, len(failures), dict(kinds)), flush=True)
    for state, kind, text in failures[:10]:
        print("%s: %s: %s" % (state, kind, text))
    return [(kind, text) for _, kind, text in failures]


def expect_no_losses(count, kind=Work, rounds=len(KINDS)):
    """Half as many states where every call takes longer, as tests/run.sh says."""
    if int(os.environ.get("CRASH_STRIDE") or 1) > 1:
        count //= 2
    failures = power_losses(number("STATES", count), number("SEED", SEED), rounds, kind=kind)
    expect(not failures, "%d states failed", len(failures))
