#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# PATCH of a device's size: it grows while clients write. Those that are connected keep the size
# that they were told, new ones get the new one; what is past the old end is zeros, and keeps what
# is written there, over a kill too. Groups from before keep their sizes: rolled back to, cloned,
# compared with later ones; and merges push over the change of size. Raw and qcow2, with ends within
# sectors, clusters and units, and clusters that are too small for the new size. Contents are
# compared with files that are written alike, and with what qemu-img reads by path.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until

K, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Flat:
    """A device, and a file that is written alike."""

    def __init__(self, daemon, name, image_format, size_bytes, **more):
        self.daemon, self.name = daemon, name
        self.content = bytearray((size_bytes + 511) // 512 * 512)
        daemon.create_device(name, image_format, size_bytes, **more)
        self.written = 0

    def write(self, handle, offset, length):
        self.written += 1
        data = bytes([1 + self.written % 255]) * length
        handle.pwrite(data, offset)
        self.content[offset:offset + length] = data

    def grow(self, size_bytes, **more):
        answer = self.daemon.request("PATCH", "/devices/" + self.name, {"size_bytes": size_bytes, **more})
        expect(answer.status == 200, "%s to %d: %s", self.name, size_bytes, answer)
        self.content.extend(bytes((size_bytes + 511) // 512 * 512 - len(self.content)))
        expect(answer.body["size_bytes"] == len(self.content), "%s", answer)
        expect(self.daemon.get("/devices/" + self.name) == answer.body, "GET tells something else: %s", answer)
        return answer

    def verify(self, what, content=None, export=None):
        content = self.content if content is None else content
        handle = self.daemon.nbd(export or self.name)
        expect(handle.get_size() == len(content), "%s: %s has %d bytes", what, export or self.name, handle.get_size())
        for offset in range(0, len(content), 8 * MIB):
            length = min(8 * MIB, len(content) - offset)
            expect(handle.pread(length, offset) == content[offset:offset + length], "%s: %s at %d", what,
                   export or self.name, offset)
        handle.shutdown()

    def verify_by_path(self, what):
        """Each image is whole, and the chain reads the same to QEMU."""
        device = self.daemon.get("/devices/" + self.name)
        for image in device["chain"]:
            if image["format"] == "qcow2":
                qcow2_check(image["image"])
        flat = os.path.join(self.daemon.directory, "flat")
        with open(flat, "wb") as file:
            file.write(self.content)
        run("qemu-img", "compare", "-q", "-U", "-f", device["format"], "-F", "raw", device["top"], flat)
        os.unlink(flat)


def past_the_end(handle, offset):
    """Who was told a size is served within it."""
    import nbd
    for request in (lambda: handle.pread(512, offset), lambda: handle.pwrite(bytes(512), offset),
                    lambda: handle.zero(512, offset), lambda: handle.pread(1024, offset - 512)):
        try:
            request()
        except nbd.Error:
            continue
        expect(False, "a request past %d is served", offset)


def under_clients(daemon, image_format, old_bytes, new_bytes, **more):
    """Reads before, so that the block map knows the last unit."""
    flat = Flat(daemon, "d", image_format, old_bytes, **more)
    old_end = len(flat.content)
    handle = daemon.nbd("d")
    handle.set_strict_mode(0)
    flat.write(handle, old_end - min(old_end, 3 * K), min(old_end, 3 * K))
    flat.write(handle, 0, min(old_end, K))
    flat.verify("before")
    flat.grow(new_bytes)
    what = "%s of %d to %d" % (image_format, old_bytes, new_bytes)
    flat.verify(what)
    expect(handle.get_size() == old_end, "the size is told anew")
    past_the_end(handle, old_end)
    flat.write(handle, old_end - 512, 512)
    later = daemon.nbd("d")
    flat.write(later, len(flat.content) - 512, 512)
    flat.write(later, old_end, min(5 * K // 2, len(flat.content) - old_end))
    flat.verify(what + ", written")
    expect(handle.pread(old_end, 0) == flat.content[:old_end], "%s: what the first client reads", what)
    past_the_end(handle, old_end)
    for client in handle, later:
        client.flush()
        client.shutdown()
    flat.verify_by_path(what)
    daemon.kill()
    daemon.start()
    flat.verify(what + ", after a kill")
    for step in (1, 100 * K):
        flat.grow(len(flat.content) + step)
        flat.verify("once more")
    expect(len(daemon.get("/devices/d")["chain"]) == 4, "%s", daemon.get("/devices/d"))
    files = [image["image"] for image in daemon.get("/devices/d")["chain"]]
    wait_until(lambda: daemon.request("DELETE", "/devices/d").status == 204, "the detach")
    expect(sorted(map(daemon.image, daemon.image_names())) == sorted(files), "%s", daemon.image_names())
    for file in files:
        os.unlink(file)


def small_clusters(daemon):
    """Clusters of 512 bytes reach to 128 GiB."""
    flat = Flat(daemon, "c", "qcow2", MIB, cluster_size_bytes=512, extended_l2=False)
    answer = daemon.request("PATCH", "/devices/c", {"size_bytes": 1024 * GIB})
    expect(answer.status == 200 and answer.body["size_bytes"] == 1024 * GIB, "%s", answer)
    expect(answer.body["cluster_size_bytes"] > 512, "%s", answer)
    handle = daemon.nbd("c")
    handle.pwrite(b"x" * 512, 1024 * GIB - 512)
    expect(handle.pread(1024, 1024 * GIB - 1024) == bytes(512) + b"x" * 512, "the last sector")
    expect(handle.pread(MIB, 0) == flat.content, "the first ones")
    handle.shutdown()


def delete(daemon, group):
    job = daemon.delete_group(group)
    expect(not job["kept"], "%s", job)


def changed(daemon, newer, older, device):
    page = daemon.get("/snapshot-groups/%s/members/%s/extents?since=%s" % (newer, device, older))
    return [(item["offset_bytes"], item["length_bytes"], item["zero"]) for item in page["items"]]


def among_groups(daemon, image_format):
    """small: 1 MiB; large: 3 MiB, of which the second is written; a job then pushes all down."""
    flat = Flat(daemon, "v", image_format, MIB)
    handle = daemon.nbd("v")
    flat.write(handle, 100 * K, 64 * K)
    daemon.snapshot("small", ["v"])
    small = bytes(flat.content)
    flat.grow(3 * MIB)
    handle.shutdown()
    handle = daemon.nbd("v")
    flat.write(handle, MIB, MIB)
    handle.shutdown()
    daemon.snapshot("large", ["v"])
    large = bytes(flat.content)
    sizes = [daemon.get("/snapshot-groups/" + group)["members"][0]["size_bytes"] for group in ("small", "large")]
    expect(sizes == [MIB, 3 * MIB], "%s", sizes)
    expect(changed(daemon, "large", "small", "v") == [(MIB, MIB, False), (2 * MIB, MIB, True)], "%s",
           changed(daemon, "large", "small", "v"))
    answer = daemon.request("POST", "/devices", {"name": "clone", "from": {"group": "small", "device": "v"}})
    expect(answer.status == 201 and answer.body["size_bytes"] == MIB, "%s", answer)
    flat.verify("a clone of the small one", small, "clone")
    answer = daemon.request("PATCH", "/devices/clone", {"size_bytes": 2 * MIB})
    expect(answer.status == 200, "%s", answer)
    flat.verify("the clone, grown", small + bytes(MIB), "clone")
    expect(daemon.request("DELETE", "/devices/clone?files=delete").status == 204, "the clone")
    for target, content in (("small", small), ("large", large)):
        name = "before-" + target
        daemon.roll_back(target, name)
        flat.verify("rolled back to " + target, content)
    answer = daemon.request("PATCH", "/devices/v", {"size_bytes": 4 * MIB})
    expect(answer.status == 200, "%s", answer)
    flat.content[:] = large + bytes(MIB)
    flat.verify("grown after the rollbacks")
    flat.verify("the group", small, "v@small")
    for group in ("before-small", "before-large"):
        delete(daemon, group)
        flat.verify("without " + group)
    flat.verify("the group", small, "v@small")


def merged(daemon, name, image_format):
    """Everything is pushed into the image that was attached, which grows."""
    flat = Flat(daemon, name, image_format, MIB - 512)
    base = daemon.get("/devices/" + name)["image"]
    for number, size_bytes in enumerate((MIB + K, 2 * MIB, 5 * MIB + 512)):
        handle = daemon.nbd(name)
        flat.write(handle, number * 200 * K, 100 * K)
        flat.write(handle, len(flat.content) - K, K)
        handle.shutdown()
        flat.grow(size_bytes)
    daemon.snapshot("m", [name])
    plan = daemon.request("DELETE", "/snapshot-groups/m?dry_run=true")
    expect(plan.status == 200 and not plan.body["kept"] and plan.body["copy_bytes"], "%s", plan)
    delete(daemon, "m")
    flat.verify("merged")
    flat.verify_by_path("merged")
    chain = daemon.get("/devices/" + name)["chain"]
    expect(len(chain) == 1 and chain[0]["image"] == base, "%s", chain)
    expect([image["size_bytes"] for image in chain] == [5 * MIB + 512], "%s", chain)
    daemon.restart()
    flat.verify("merged, after a restart")


def test():
    with Daemon() as daemon:
        daemon.start()
        for image_format, old_bytes, new_bytes in (
                ("raw", 1, 2 * K), ("qcow2", 5 * K, 70 * K), ("raw", 64 * K, 64 * K + 1),
                ("qcow2", 96 * K + 512, 128 * K), ("qcow2", MIB, 70 * MIB)):
            under_clients(daemon, image_format, old_bytes, new_bytes)
        small_clusters(daemon)
        merged(daemon, "mr", "raw")
        merged(daemon, "mq", "qcow2")
        among_groups(daemon, "qcow2")


main(test)
