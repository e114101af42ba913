# SPDX-License-Identifier: Apache-2.0
"""Calls that race, on a daemon whose system calls take time at random (seams/slow-calls.c).

A race is up to ten calls about a few devices and groups, made at once, while clients write and
jobs of earlier races go on. Some races end with SIGKILL. After each one there must be an order of
the calls that succeeded, in which each device gives the content that it has; calls that were not
answered may have been made or not.

    Disk             what a device may have, and clients that write to it (racedisks.py)
    Races.groups     what each group froze of each member, as it was read first
    Races.copies     formats and contents of the files that copies make

See racecalls.py for the calls, racefiles.py for the files.
"""
import contextlib
import itertools
import os
import random
import threading
import time

import racefiles
from racecalls import draw_calls
from racedisks import SECTOR_BYTES, Disk, Writer, sectors
from snapgroupd import BUILD_DIR, DEADLINE_S, EXCHANGES, SANITIZER_OPTIONS, Daemon, Failure, expect, wait_until

SECTORS = 2048
MAINS = {"vda": "raw", "vdb": "qcow2"}
SLOW_CALLS = os.environ.get("SLOW_CALLS", " ".join((
    "fdatasync=200,40", "fsync=200,30", "linkat=300,20", "renameat2=300,20", "unlinkat=200,30",
    "pwrite64=20,20", "pwritev64=20,20", "fstat64=10,20", "openat64=20,20", "ftruncate64=100,20",
    "io_uring_submit=100,40", "pthread_mutex_unlock=2,2")))
EXCHANGES_MAX = 2000  # replies that main() compares with the contract
PART_KILLED, PART_STOPPED = 0.12, 0.04
KILL_WITHIN_S = 0.2
LASTS_S = [0.03] * 6 + [1]  # at most: now and then a merge ends under its clients


def slow_daemon(seed):
    asan_options = os.environ.get("ASAN_OPTIONS", SANITIZER_OPTIONS["ASAN_OPTIONS"])
    return Daemon(environment={"LD_PRELOAD": os.path.join(BUILD_DIR, "tests", "libslow-calls.so"),
                               "SLOW_CALLS": SLOW_CALLS, "SLOW_SEED": str(seed),
                               "ASAN_OPTIONS": asan_options + ":verify_asan_link_order=0"})


def one_detach_each(calls):
    """After a kill nobody knows which of two it was."""
    detached = set()
    return [call for call in calls if call.detached() not in detached and not detached.add(call.detached() or call)]


class Races:
    def __init__(self, daemon, seed):
        self.daemon, self.seed, self.random = daemon, seed, random.Random(seed)
        self.disks, self.groups, self.copies, self.log = {}, {}, {}, []
        self.counts = {}
        self.serial = itertools.count(1)
        for name, image_format in MAINS.items():
            daemon.create_device(name, image_format, SECTORS * SECTOR_BYTES)
            self.disks[name] = Disk(name, [0] * SECTORS)

    def name(self, letter):
        return "%s%d" % (letter, next(self.serial))

    # ---- a race ----

    def race(self):
        del EXCHANGES[EXCHANGES_MAX:]
        drawn = self.random.random()
        is_killed, is_stopped = drawn < PART_KILLED, PART_KILLED <= drawn < PART_KILLED + PART_STOPPED
        writers = self.writers()
        calls = draw_calls(self)
        if is_killed:
            calls = one_detach_each(calls)
        self.log.append("---- %s%s" % ([writer.disk.name for writer in writers], " killed" if is_killed else ""))
        # Else a client of NBD would wait for ever.
        watch = threading.Timer(2 * DEADLINE_S, self.daemon.process.kill)
        watch.start()
        for thread in writers + calls:
            thread.start()
        # Drawn; nothing is awaited.
        time.sleep(self.random.random() * (KILL_WITHIN_S if is_killed else self.random.choice(LASTS_S)))
        if is_killed:
            self.daemon.kill()
        for call in calls:
            call.join()
            self.log.append(str(call))
            self.counts[call.method, call.status] = self.counts.get((call.method, call.status), 0) + 1
        for writer in writers:
            writer.stop()
        watch.cancel()
        if is_killed:
            self.daemon.start()
        elif is_stopped:
            self.daemon.restart()
        for call in calls:
            call.judge(is_killed)
            if call.error and call.detached():
                self.detach_again(call)
        self.settle(calls)

    def detach_again(self, call):
        """A start completes a detach in its own time, if it had begun."""
        answer = self.daemon.request_when_free("DELETE", call.path)
        expect(answer.status in (204, 404) or answer.body["code"] == "ImageIsKept", "%s again: %s", call, answer)
        call.status = 204 if answer.status == 404 else answer.status

    def writers(self):
        names = self.random.sample(list(self.disks), self.random.choice([0, 1, 2, 2]))
        return [Writer(self.daemon, self.disks[name], half, "%d %d" % (self.seed, next(self.serial)))
                for name in names for half in (0, 1)]

    # ---- what came of it ----

    def settle(self, calls):
        wait_until(lambda: self.daemon.request("GET", "/readyz").status == 200, "the daemon to be ready")
        effects = [call for call in calls if call.effect and call.may_have_succeeded()]
        observed, detached = self.observe(effects)
        outcomes = list(self.outcomes(effects, observed))
        expect(outcomes, "no order of the calls explains %s", self.explain(observed))
        self.look_at_groups(calls, outcomes)
        for name in detached:
            observed[name] = self.attach_again(name, [gone[name] for _, gone in outcomes if name in gone])
            outcomes = [outcome for outcome in outcomes
                        if name in outcome[1] and self.is_content(outcome[1][name], observed[name])]
        expect(outcomes, "the detached devices are of different orders of the calls")
        self.disks = {name: self.disks.get(name) or Disk(name, []) for name in observed}
        for name, disk in self.disks.items():
            disk.look(observed[name])

    def observe(self, effects):
        """The contents of all devices; and which were detached."""
        for device in self.daemon.list("/devices"):
            if device["name"].startswith("copy-"):
                answer = self.daemon.request_when_free("DELETE", "/devices/" + device["name"])
                expect(answer.status == 204, "%s: %s", device["name"], answer)
        observed = {}
        for device in self.daemon.list("/devices"):
            expect(device["state"] == "online", "%s", device)
            observed[device["name"]] = self.content(device["name"])
        return observed, {call.detached() for call in effects if call.detached() and "files=delete" not in call.path
                          and call.detached() not in observed}

    def content(self, export, may_be_gone=False):
        import nbd
        try:
            handle = self.daemon.nbd(export)
            data = handle.pread(handle.get_size(), 0)
            handle.shutdown()
        except nbd.Error as error:
            expect(may_be_gone, "%s cannot be read: %s", export, error)
            return None
        return sectors(data)

    def outcomes(self, effects, observed):
        """All (state, gone) that fit: dicts of (base, size); `base` is a content or a Disk."""
        sure = [call for call in effects if call.status is not None]
        doubtful = [call for call in effects if call.status is None]
        for count in range(len(doubtful), -1, -1):
            for chosen in itertools.combinations(doubtful, count):
                for order in itertools.permutations(sure + list(chosen)):
                    state = {name: (disk, len(disk.content)) for name, disk in self.disks.items()}
                    gone = {}
                    if all(call.effect(state, gone) for call in order) and self.fits(state, observed):
                        yield state, gone

    def fits(self, state, observed):
        return set(state) == set(observed) and all(
            self.is_content(state[name], content) for name, content in observed.items())

    @staticmethod
    def is_content(described, content):
        base, size = described
        if len(content) != size:
            return False
        if isinstance(base, Disk):
            length = len(base.content)
            return not any(content[length:]) and all(
                base.allows(sector, value) for sector, value in enumerate(content[:length]))
        return content[:len(base)] == base and not any(content[len(base):])

    @staticmethod
    def difference(described, content):
        """A few of the sectors that are wrong: number, value, what may be there."""
        base, size = described
        wrong = []
        for sector, value in enumerate(content):
            if isinstance(base, Disk) and sector < len(base.content):
                if not base.allows(sector, value):
                    wrong.append((sector, value, base.content[sector], base.written.get(sector)))
            elif value != (base[sector] if not isinstance(base, Disk) and sector < len(base) else 0):
                wrong.append((sector, value))
        return "%d sectors of %d; %d wrong: %s" % (len(content), size, len(wrong), wrong[:3])

    def explain(self, observed):
        said = ["there are %s, there were %s" % (sorted(observed), sorted(self.disks))]
        for name, content in observed.items():
            if name in self.disks:
                disk = self.disks[name]
                said.append("%s: %s" % (name, self.difference((disk, len(disk.content)), content)))
        return "; ".join(said)

    def attach_again(self, name, described):
        """Once no job needs the files, the top is the one that has one of the contents."""
        seen = {}

        def attach():
            for path, image_format in racefiles.tops_of(self.daemon, name):
                answer = self.daemon.request("POST", "/devices", {"name": name, "image": path, "format": image_format})
                if answer.status == 201:
                    content = self.content(name)
                    if any(self.is_content(each, content) for each in described):
                        return content
                    seen[path] = [self.difference(each, content) for each in described]
                    self.daemon.request_when_free("DELETE", "/devices/" + name)
                else:
                    seen[path] = str(answer)
                    self.go_on()  # it may be half merged
            return None
        try:
            return wait_until(attach, "%s to be attached again" % name)
        except Failure as failure:
            raise Failure("%s: %s" % (failure, seen)) from None

    # ---- groups ----

    def look_at_groups(self, calls, outcomes):
        """Those that were taken have what was there at some moment of their call."""
        changed = {name for outcome in outcomes for each in outcome for name, (base, size) in each.items()
                   if name not in self.disks or base is not self.disks[name] or size != len(base.content)}
        for call in calls:
            for name in call.groups if call.may_have_succeeded() or call.status == 504 else ():
                group = self.group_when_over(name)
                expect(not group or call.status != 504, "%s was late and is there: %s", name, group)
                expect(group or call.status in (None, 504) or self.was_deleted(calls, name), "%s has gone", name)
                if group and group["state"] == "committed" and name not in self.groups:
                    self.groups[name] = {member["device"]: self.member(call, name, member["device"], changed)
                                         for member in group["members"]}
        for name in list(self.groups):
            if self.was_deleted(calls, name):
                group = self.group_when_over(name)
                if not group or group["state"] != "committed":
                    del self.groups[name]

    @staticmethod
    def was_deleted(calls, name):
        return any(call.method == "DELETE" and call.path == "/snapshot-groups/" + name for call in calls)

    def group_when_over(self, name):
        """None if there is none, or it was aborted."""
        def ask():
            answer = self.daemon.request("GET", "/snapshot-groups/" + name)
            expect(answer.status in (200, 404), "%s", answer)
            if answer.status == 404 or answer.body["state"] == "aborted":
                return ("gone",)
            return answer.body["state"] in ("committed", "deleting", "deleted") and (answer.body,)
        found = wait_until(ask, "group %s to be committed" % name)[0]
        return None if found == "gone" else found

    def member(self, call, group, device, changed):
        content = self.content("%s@%s" % (device, group))
        disk = self.disks.get(device)
        if disk and device not in changed:
            for sector, value in enumerate(content[:len(disk.content)]):
                expect(disk.allows(sector, value, call.marks.get(device)), "%s@%s, sector %d is %d: %s, written %s",
                       device, group, sector, value, disk.content[sector], disk.written.get(sector))
        return content

    def verify_member(self, group, device):
        """By its export, if it has one."""
        want = self.groups.get(group, {}).get(device)
        got = self.content("%s@%s" % (device, group), True)
        expect(got is None or want is None or got == want, "%s@%s has changed", device, group)
        return got is not None

    # ---- rest ----

    def jobs(self, *states):
        return [job for state in states for job in self.daemon.get("/jobs?limit=100&state=" + state)["items"]]

    def rest(self):
        """All jobs end; what is frozen is as ever; only the files that are needed are there."""
        self.go_on()
        self.await_jobs()
        groups = self.daemon.list("/snapshot-groups")
        for group in groups:
            expect(group["state"] in ("committed", "aborted", "deleting", "deleted"), "%s", group)
        self.delete([group["id"] for group in groups if group["state"] == "deleting"])
        for name in MAINS:  # so that each tree is planned again, after a top has gone
            self.daemon.request_when_free("POST", "/snapshot-groups", {"name": "sweep-" + name, "devices": [{"device": name}]})
        self.delete(["sweep-" + name for name in MAINS])
        for group, members in self.groups.items():
            for device in members:
                expect(self.verify_member(group, device), "%s@%s cannot be read", device, group)
        failed = self.jobs("failed")
        expect(not failed, "failed: %s", failed)
        racefiles.check(self)

    def go_on(self):
        """Jobs that were paused, made slow or cancelled."""
        for job in self.jobs("paused"):
            self.daemon.request("PATCH", "/jobs/" + job["id"], {"state": "running"})
        for job in self.jobs("queued", "running"):
            self.daemon.request("PATCH", "/jobs/" + job["id"], {"rate_bytes_per_second": 0})
        for group in self.daemon.list("/snapshot-groups"):
            if group["state"] == "deleting":
                self.daemon.request("DELETE", "/snapshot-groups/" + group["id"])

    def await_jobs(self):
        wait_until(lambda: not self.jobs("queued", "running"), "all jobs to end")

    def delete(self, groups):
        answers = [self.daemon.request_when_free("DELETE", "/snapshot-groups/" + group) for group in groups]
        for answer in answers:
            if answer.status != 404:
                job = self.daemon.await_job(answer)
                expect(job["state"] == "done", "%s", job)
        self.await_jobs()

    def end(self):
        """Each of the first disks is a chain of its own; nothing else is left."""
        self.rest()
        groups = [group for group in self.daemon.list("/snapshot-groups") if group["state"] == "committed"]
        for group in groups:
            for hold in group["holds"]:
                self.daemon.request("DELETE", "/snapshot-groups/%s/holds/%s" % (group["id"], hold))
        self.delete([group["id"] for group in groups])
        self.groups.clear()
        for name in set(self.disks) - set(MAINS):
            answer = self.daemon.request_when_free("DELETE", "/devices/%s?files=delete" % name)
            expect(answer.status == 204, "%s: %s", name, answer)
            del self.disks[name]
        self.rest()


@contextlib.contextmanager
def told(races):
    """A failure tells of the last races."""
    try:
        yield
    except BaseException:
        print("SEED=%d; the last calls:" % races.seed, *races.log[-60:], sep="\n  ", flush=True)
        raise


def run_races(seed, seconds, races_per_rest=25):
    with slow_daemon(seed) as daemon:
        daemon.start()
        races = Races(daemon, seed)
        end = time.monotonic() + seconds
        with told(races):
            while time.monotonic() < end:
                for _ in range(races_per_rest):
                    if time.monotonic() < end:
                        races.race()
                races.rest()
            races.end()
        return races.counts
