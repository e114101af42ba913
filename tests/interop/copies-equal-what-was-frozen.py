#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Copies of frozen members, of chains by chance: a raw or qcow2 base, attached with an odd cluster
# size or created, several overlays, zeroes and discards, disks that grow. Each copy, raw and qcow2,
# is compared by qemu-img with the export of the member, has no backing file, no leaked cluster and
# no more space than its data need. Half of them are made while the merge of an image in the same
# chain is cut short.
import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, run, wait_until

MIB = 1 << 20
ROUNDS = int(os.environ.get("CHAIN_ROUNDS", "2"))
SEED = int(os.environ.get("CHAIN_SEED", "7"))
BLOCK_BYTES = 4096


def attach(daemon, chance, name):
    """A base with data and holes."""
    size_bytes = chance.randrange(4 * MIB, 8 * MIB, 512)
    image_format = chance.choice(("raw", "qcow2"))
    image = daemon.image("%s.%s" % (name, image_format))
    options = ["-o", "cluster_size=%d" % chance.choice((512, 4096, 65536, MIB))] if image_format == "qcow2" else []
    run("qemu-img", "create", "-q", "-f", image_format, *options, image, str(size_bytes))
    for _ in range(4):
        offset = chance.randrange(0, size_bytes - MIB, 512)
        run("qemu-io", "-f", image_format, "-c", "write -P %d %d %d" % (chance.randrange(1, 256), offset, MIB // 2), image)
    answer = daemon.request("POST", "/devices", {"name": name, "image": os.path.basename(image), "format": image_format})
    expect(answer.status == 201, "%s", answer)
    return size_bytes


def change(daemon, chance, name):
    handle = daemon.nbd(name)
    size_bytes = handle.get_size()
    for _ in range(chance.randrange(1, 8)):
        length = chance.randrange(512, MIB, 512)
        offset = chance.randrange(0, size_bytes - length, 512)
        kind = chance.randrange(4)
        if kind < 2:
            handle.pwrite(bytes([chance.randrange(256)]) * length, offset)
        elif kind == 2:
            handle.zero(length, offset)
        else:
            handle.trim(length, offset)
    handle.shutdown()


def grow(daemon, name):
    size_bytes = daemon.get("/devices/" + name)["size_bytes"] + 3 * MIB // 2
    answer = daemon.request("PATCH", "/devices/" + name, {"size_bytes": size_bytes})
    expect(answer.status == 200, "%s", answer)


def await_end(daemon, location):
    wait_until(lambda: daemon.get(location)["state"] not in ("queued", "running"), "the job to end")
    return daemon.get(location)


def verify(daemon, name, group, image_format):
    image = "copy-%s-%s.%s" % (name, group, image_format)
    answer = daemon.request("POST", "/snapshot-groups/%s/copies" % group,
                            {"device": name, "image": image, "format": image_format})
    expect(answer.status == 202, "%s", answer)
    job = await_end(daemon, answer.headers["Location"])
    expect(job["state"] == "done", "%s", job)
    path = daemon.image(image)
    export = daemon.nbd_uri("%s@%s" % (name, group))
    run("qemu-img", "compare", "-f", "raw", "-F", image_format, export, path)
    handle = daemon.nbd("%s@%s" % (name, group))
    content = b"".join(bytes(handle.pread(min(MIB, handle.get_size() - at), at)) for at in range(0, handle.get_size(), MIB))
    handle.shutdown()
    unit = 65536 if image_format == "qcow2" else BLOCK_BYTES
    used = sum(content[at:at + unit].strip(b"\0") != b"" for at in range(0, len(content), unit)) * unit
    allocated = os.stat(path).st_blocks * 512
    expect(allocated <= used + MIB // 2, "%s: %d bytes for %d", image, allocated, used)
    if image_format == "qcow2":
        expect("backing" not in run("qemu-img", "info", path), "%s has a backing file", image)
        done = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
        expect(done.returncode == 0, "%s: %s", image, done.stdout)
    os.unlink(path)


def delete_halfway(daemon, group):
    """A merge that has pushed a piece, and is paused."""
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "%s", answer)
    location = answer.headers["Location"]
    wait_until(lambda: any(merge["stage"] == "copying" for merge in daemon.get(location)["merges"]) or
               daemon.get(location)["state"] == "done", "the merge to begin")
    answer = daemon.request("PATCH", location, {"state": "paused"})
    expect(answer.status in (200, 409), "%s", answer)
    return location


def one_round(daemon, chance, number):
    name = "vd%d" % number
    attach(daemon, chance, name)
    groups = []
    for position in range(4):
        change(daemon, chance, name)
        groups.append("g%d-%d" % (number, position))
        daemon.snapshot(groups[-1], [name])
        if position == 1:
            grow(daemon, name)
    change(daemon, chance, name)
    for position, group in enumerate(groups):
        verify(daemon, name, group, chance.choice(("raw", "qcow2")))
    location = delete_halfway(daemon, groups.pop(1))
    for image_format in ("raw", "qcow2"):
        for group in groups:
            verify(daemon, name, group, image_format)
    daemon.request("PATCH", location, {"state": "running", "rate_bytes_per_second": 0})
    expect(await_end(daemon, location)["state"] == "done", "the merge goes on")
    for group in groups:
        verify(daemon, name, group, "qcow2")


def test():
    chance = random.Random(SEED)
    with Daemon() as daemon:
        daemon.start()
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs WHEN NEW.kind = 'delete' BEGIN "
                             "UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END")
        for number in range(ROUNDS):
            one_round(daemon, chance, number)


main(test)
