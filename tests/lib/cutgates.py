# SPDX-License-Identifier: Apache-2.0
"""Cuts that meet requests at the worst moment, and what they must come to: a daemon that can do
without one rule of the cut (seams/dropped-rule.c), and a scenario for each rule. A scenario returns
the faults that it saw; there are none unless the rule is dropped.

Requests are held at gates. `dropped` says that the rule is: only then does a scenario wait for what
the rule forbids, and else it would wait for ever.
"""
import os
import threading

from gates import Call
from snapgroupd import BUILD_DIR, DEADLINE_S, Daemon, expect, group_body, wait_until

NAMES = ["a", "b"]
SIZE_BYTES = 1 << 20
BLOCK = 4096
SECTOR = 512
CLUSTER = 65536  # of the images; an overlay copies units of 2 KiB


class CutDaemon(Daemon):
    def __init__(self, dropped_rule=None):
        super().__init__(os.path.join(BUILD_DIR, "tests", "snapgroupd-dropped-rule"))
        self.gates = os.path.join(self.directory, "gates")
        os.mkdir(self.gates)
        self.environment["CUT_GATES"] = self.gates
        if dropped_rule:
            self.environment["DROPPED_RULE"] = dropped_rule

    def path(self, name):
        return os.path.join(self.gates, name)

    def await_file(self, name):
        wait_until(lambda: os.path.exists(self.path(name)), name)

    def close_gate(self, name):
        with open(self.path(name + ".closed"), "x"):
            pass

    def open_gate(self, name):
        os.unlink(self.path(name + ".closed"))

    def flushes(self, image):
        if not os.path.exists(self.path("flushes")):
            return 0
        with open(self.path("flushes")) as lines:
            return [os.path.basename(line) for line in lines.read().split()].count(image)

    def cut(self):
        """Begins a group of all disks; returns its call as soon as the cut is made."""
        call = Call(self, "POST", "/snapshot-groups", group_body("g", NAMES))
        self.await_file("cut")
        return call

    def read(self, export, offset, length=BLOCK):
        handle = self.nbd(export)
        data = bytes(handle.pread(length, offset))
        handle.shutdown()
        return data


class Request(threading.Thread):
    """A request of NBD on a connection and thread of its own."""

    def __init__(self, daemon, name, operation, *arguments):
        super().__init__(daemon=True)
        self.handle = daemon.nbd(name)
        self.operation, self.arguments = operation, arguments
        self.result = self.error = None
        self.start()

    def run(self):
        import nbd
        try:
            self.result = getattr(self.handle, self.operation)(*self.arguments)
        except nbd.Error as error:
            self.error = error

    def is_answered(self):
        return not self.is_alive()

    def await_answer(self):
        self.join(DEADLINE_S)
        expect(self.is_answered(), "%s is not answered", self.operation)
        return self

    def faults(self):
        """Waits for the answer, which must be no error."""
        self.await_answer()
        return ["a client got an error: %s" % self.error] if self.error else []


def held(daemon, gate, *request):
    daemon.close_gate(gate)
    result = Request(daemon, *request)
    daemon.await_file(gate + ".reached")
    return result


def held_write(daemon, offset, byte):
    """A write to disk a, of a block, that has looked up its image and has done nothing yet."""
    return held(daemon, "change-a.qcow2-%d" % offset, "a", "pwrite", BLOCK * byte, offset)


def finish(call):
    answer = call.answer()
    return [] if answer.status == 201 else ["the group got %s" % answer]


def unequal(what, found, expected):
    if found == expected:
        return []
    wrong = next(i for i in range(len(expected)) if found[i] != expected[i])
    return ["%s: byte %d is %d, not %d" % (what, wrong, found[wrong], expected[wrong])]


def look_then_list(daemon, dropped):
    write = held(daemon, "look-0", "a", "pwrite", BLOCK * b"2", 0)
    faults = finish(daemon.cut())
    before = daemon.read("a@g", 0)
    daemon.open_gate("look-0")
    faults += write.faults()
    faults += unequal("the frozen disk, read again", daemon.read("a@g", 0), before)
    return faults + unequal("the live disk", daemon.read("a", 0), BLOCK * b"2")


def copy_beside_a_write(daemon, dropped):
    Request(daemon, "a", "pwrite", BLOCK * b"1", 0).await_answer()
    write = held_write(daemon, 0, b"2")
    call = daemon.cut()
    copier = Request(daemon, "a", "pwrite", SECTOR * b"3", SECTOR)
    if dropped:
        copier.await_answer()
    daemon.open_gate("change-a.qcow2-0")
    faults = write.faults() + copier.faults() + finish(call)
    faults += unequal("the frozen disk", daemon.read("a@g", 0), BLOCK * b"2")
    live = SECTOR * b"2" + SECTOR * b"3" + (BLOCK - 2 * SECTOR) * b"2"
    return faults + unequal("the live disk", daemon.read("a", 0), live)


def seal_during_a_write(daemon, dropped):
    faults = []
    write = held_write(daemon, 0, b"2")
    call = daemon.cut()
    if dropped == "R6":
        call.join(DEADLINE_S)
    elif dropped == "R12":
        daemon.await_file("frozen")
    if call.result:
        faults.append("a disk is frozen while it is written to")
    daemon.open_gate("change-a.qcow2-0")
    faults += write.faults() + finish(call)
    faults += unequal("the frozen disk", daemon.read("a@g", 0), BLOCK * b"2")
    return faults + unequal("the live disk", daemon.read("a", 0), BLOCK * b"2")


def flush_after_a_flush(daemon, dropped):
    """The second write keeps the image unsealed, so nobody else flushes it."""
    writes = [held_write(daemon, offset, b"2") for offset in (0, CLUSTER)]
    call = daemon.cut()
    faults = Request(daemon, "a", "flush").faults()
    daemon.open_gate("change-a.qcow2-0")
    faults += writes[0].faults()
    before = daemon.flushes("a.qcow2")
    faults += Request(daemon, "a", "flush").faults()
    if daemon.flushes("a.qcow2") == before:
        faults.append("a write was acknowledged, then a flush, but the write's image was not flushed")
    daemon.open_gate("change-a.qcow2-%d" % CLUSTER)
    return faults + writes[1].faults() + finish(call)


def read_before_the_write_ends(daemon, dropped):
    write = held_write(daemon, 0, b"2")
    call = daemon.cut()
    faults = unequal("the live disk", daemon.read("a", 0), bytes(BLOCK))
    daemon.open_gate("change-a.qcow2-0")
    faults += write.faults()
    faults += unequal("the live disk, read again", daemon.read("a", 0), BLOCK * b"2")
    return faults + finish(call)


def read_of_a_cluster_in_reuse(daemon, dropped):
    Request(daemon, "a", "pwrite", CLUSTER * b"1", 0).await_answer()
    Request(daemon, "a", "flush").await_answer()
    faults = unequal("the live disk", daemon.read("a", 0), BLOCK * b"1")
    discard = held(daemon, "change-a.qcow2-0", "a", "trim", CLUSTER, 0)
    write = held_write(daemon, CLUSTER, b"2")
    call = daemon.cut()
    read = held(daemon, "read-a-0", "a", "pread", BLOCK, 0)
    daemon.open_gate("change-a.qcow2-0")
    if dropped:
        faults += discard.faults() + Request(daemon, "a", "flush").faults()
    daemon.open_gate("change-a.qcow2-%d" % CLUSTER)
    if dropped:
        faults += write.faults()
    daemon.open_gate("read-a-0")
    for request in (discard, write, read):
        faults += request.faults()
    data = bytes(read.result)
    if data != bytes(BLOCK):
        faults += unequal("a block that was discarded", data, BLOCK * b"1")
    return faults + finish(call)


SCENARIOS = {
    "R2": look_then_list,
    "R3": copy_beside_a_write,
    "R6": seal_during_a_write,
    "R7": flush_after_a_flush,
    "R8": read_before_the_write_ends,
    "R9": read_of_a_cluster_in_reuse,
    "R12": seal_during_a_write,
}


def faults_of(rule, is_dropped):
    """What is seen in the scenario of that rule."""
    dropped = rule if is_dropped else None
    with CutDaemon(dropped) as daemon:
        daemon.start()
        for name in NAMES:
            daemon.create_device(name, "qcow2", SIZE_BYTES)
        faults = SCENARIOS[rule](daemon, dropped)
        if is_dropped:
            daemon.kill()  # it may not end well
        return faults
