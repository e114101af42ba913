#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# POST /devices with size_bytes or `from`, and DELETE /devices/{name}, killed at every one of their
# system calls. After the restart the device exists, whole and usable, or does not exist; creating
# leaves a file only with its device; detaching leaves the file unchanged; what is cloned never
# changes. Another device is served throughout.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killer import daemon_to_kill
from killwalk import kill_walk
from snapgroupd import checksum, checksums, expect, main, qcow2_check, run

SIZE_BYTES = 4 << 20
OTHER = "other.raw"


class Device:
    """What both tests look at after every step."""

    def __init__(self, daemon, image_format):
        self.daemon = daemon
        self.format = image_format
        self.image = "vda." + image_format
        self.others = []

    def is_there(self):
        names = [device["name"] for device in self.daemon.list("/devices")]
        expect(names in (["other"], ["other", "vda"]), "devices: %s", names)
        expect(self.daemon.get("/devices/other")["state"] == "online", "`other` is not online")
        return "vda" in names

    def verify_device(self):
        device = self.daemon.get("/devices/vda")
        expect(device["state"] == "online" and device["size_bytes"] == SIZE_BYTES, "vda: %s", device)
        handle = self.daemon.nbd("vda")
        handle.pwrite(b"x" * 512, SIZE_BYTES - 512)
        handle.flush()
        handle.shutdown()

    def verify_names(self, *names):
        there = self.daemon.image_names()
        expect(there == sorted(names), "files are %s, not %s", there, sorted(names))

    def detach(self):
        answer = self.daemon.request("DELETE", "/devices/vda")
        expect(answer.status == 204, "DELETE /devices/vda: %s", answer)


class Create(Device):
    def request(self, step):
        return "POST", "/devices", {"name": "vda", "image": self.image, "format": self.format,
                                    "size_bytes": SIZE_BYTES}

    def before(self, step):
        pass

    def after_kill(self, kill):
        path = self.daemon.image(self.image)
        if self.format == "qcow2" and os.path.exists(path):
            qcow2_check(path)

    def after_restart(self, kill):
        if not self.is_there():
            expect(not kill.answer, "the client was told %s", kill.answer)
            self.verify_names(OTHER, *self.others)
            return
        self.verify_names(OTHER, self.image, *self.others)
        self.verify_device()
        self.detach()
        os.unlink(self.daemon.image(self.image))


class Clone(Create):
    """Of a member whose device is detached: its image is open only for the clone."""

    def __init__(self, daemon):
        super().__init__(daemon, "qcow2")
        self.image = "clone.qcow2"
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        handle = daemon.nbd("vda")
        handle.pwrite(b"y" * 512, SIZE_BYTES - 512)
        handle.pwrite(b"z" * 512, 0)
        handle.shutdown()
        self.group = daemon.snapshot("g", ["vda"])
        self.others = [os.path.basename(path) for member in self.group["members"]
                       for path in (member["backing_file"], member["snapshot_file"])]
        self.frozen = checksums([daemon.image(name) for name in self.others])
        self.detach()

    def request(self, step):
        return "POST", "/devices", {"name": "vda", "from": {"group": "g", "device": "vda"}, "image": self.image}

    def verify_names(self, *names):
        super().verify_names(*names)
        expect(checksums(self.frozen) == self.frozen, "what was frozen has changed")

    def verify_device(self):
        device = self.daemon.get("/devices/vda")
        expect(device["origin"] and device["origin"]["group"] == self.group["id"], "vda: %s", device)
        member = self.daemon.get("/snapshot-groups/g")["members"][0]
        expect(member["clones"] == ["vda"], "member: %s", member)
        run("qemu-img", "compare", "--force-share", "-f", "qcow2", "-F", "qcow2", self.daemon.image(self.image),
            member["backing_file"])
        super().verify_device()

    def detach(self):
        super().detach()
        clones = self.daemon.get("/snapshot-groups/g")["members"][0]["clones"]
        expect(not clones, "listed without a device: %s", clones)

    def end(self):
        for path in self.frozen:
            os.unlink(path)


class Remove(Clone):
    """DELETE with files=delete of that clone: the file is there as long as the device."""

    def __init__(self, clone):
        self.__dict__.update(clone.__dict__)

    def request(self, step):
        return "DELETE", "/devices/vda?files=delete", None

    def before(self, step):
        if not self.is_there():
            answer = self.daemon.request(*super().request(step))
            expect(answer.status == 201, "POST /devices: %s", answer)

    def after_restart(self, kill):
        is_there = self.is_there()
        expect(not (kill.answer and is_there), "the client was told %s", kill.answer)
        self.verify_names(OTHER, *([self.image] if is_there else []), *self.others)


class Detach(Device):
    def request(self, step):
        return "DELETE", "/devices/vda", None

    def before(self, step):
        if not self.is_there():
            self.daemon.attach_device("vda", self.image, self.format)
        self.verify_device()
        self.checksum = checksum(self.daemon.image(self.image))

    def after_kill(self, kill):
        expect(checksum(self.daemon.image(self.image)) == self.checksum, "the image has changed")

    def after_restart(self, kill):
        is_there = self.is_there()
        expect(not (kill.answer and is_there), "the client was told %s", kill.answer)
        self.verify_names(OTHER, self.image)


def test():
    with daemon_to_kill() as daemon:
        daemon.start()
        daemon.create_device("other", "raw", SIZE_BYTES)
        for image_format in ("raw", "qcow2"):
            kill_walk(daemon, 201, Create(daemon, image_format))
        clone = Clone(daemon)
        kill_walk(daemon, 201, clone)
        remove = Remove(clone)
        kill_walk(daemon, 204, remove)
        remove.before(None)
        expect(daemon.request(*remove.request(None)).status == 204, "the clone is not removed")
        clone.end()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        detach = Detach(daemon, "qcow2")
        kill_walk(daemon, 204, detach)
        run("qemu-img", "check", "--force-share", "-f", "qcow2", daemon.image("vda.qcow2"))


main(test)
