#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every reason for which a member cannot be frozen, as the second of three: status, code, device,
# pointer and detail are right, no file appears or changes, and afterwards the devices can be
# frozen.
import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksum, expect, main, run

# STATUS CODE POINTER-BELOW-THE-MEMBER [WHAT IS SAID] MEMBER
CASES = """
404 DeviceNotFound - [no device] {"device":"nope"}
404 DeviceNotFound - [no device] {"device":"vda@g"}
404 DeviceNotFound - [no device] {"device":""}
422 DeviceIsReadOnly - [read-only] {"device":"ro"}
422 InvalidBlockFormat /format [unknown format] {"device":"vdb","format":"vmdk"}
422 InvalidBlockFormat /format [unknown format] {"device":"vdb","format":""}
422 InvalidBlockFormat /format [backing] {"device":"vdb","format":"raw"}
422 OpenFileFailed /snapshot_file [file exists] {"device":"vdb","snapshot_file":"exists"}
422 OpenFileFailed /snapshot_file [twice] {"device":"vdb","snapshot_file":"vda+g.qcow2"}
422 OpenFileFailed /snapshot_file [twice] {"device":"vdb","snapshot_file":"./sub/../vda+g.qcow2"}
422 OpenFileFailed /snapshot_file [active image] {"device":"vdb","snapshot_file":"vdb.qcow2"}
422 OpenFileFailed /snapshot_file [active image] {"device":"vdb","snapshot_file":"vda.qcow2"}
422 OpenFileFailed /snapshot_file [backing file] {"device":"vdb","snapshot_file":"base.qcow2"}
422 OpenFileFailed /snapshot_file [active image] {"device":"vdb","snapshot_file":"link-to-active"}
422 OpenFileFailed /snapshot_file [active image] {"device":"vdb","snapshot_file":"hard-link-to-active"}
422 OpenFileFailed /snapshot_file [file exists] {"device":"vdb","snapshot_file":"dangling"}
422 OpenFileFailed /snapshot_file [file exists] {"device":"vdb","snapshot_file":"fifo"}
422 OpenFileFailed /snapshot_file [file exists] {"device":"vdb","snapshot_file":"sub"}
422 OpenFileFailed /snapshot_file [no such file] {"device":"vdb","snapshot_file":"absent/x"}
422 OpenFileFailed /snapshot_file [not a directory] {"device":"vdb","snapshot_file":"exists/x"}
422 OpenFileFailed /snapshot_file [name too long] {"device":"vdb","snapshot_file":"N256"}
422 OpenFileFailed /snapshot_file [outside|beneath|out of] {"device":"vdb","snapshot_file":"../x"}
422 OpenFileFailed /snapshot_file [outside|beneath|out of] {"device":"vdb","snapshot_file":"sub/../../x"}
422 OpenFileFailed /snapshot_file [outside|beneath|out of] {"device":"vdb","snapshot_file":"OUTSIDE/x"}
422 OpenFileFailed /snapshot_file [outside|beneath|out of] {"device":"vdb","snapshot_file":"out/x"}
422 OpenFileFailed /snapshot_file [outside|beneath|out of] {"device":"vdb","snapshot_file":"/etc/x"}
422 OpenFileFailed /snapshot_file [names no file] {"device":"vdb","snapshot_file":""}
422 OpenFileFailed /snapshot_file [names no file] {"device":"vdb","snapshot_file":"sub/"}
422 OpenFileFailed /snapshot_file [names no file] {"device":"vdb","snapshot_file":"sub/.."}
"""


def make_files(daemon, outside):
    os.chdir(daemon.images)
    os.mkdir(outside)
    os.mkdir("sub")
    run("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "16M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "vdb.qcow2", "16M")
    run("truncate", "-s", "1M", "ro.raw")
    for path in ("exists", outside + "/precious"):
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
    os.symlink("vdb.qcow2", "link-to-active")
    os.link("vdb.qcow2", "hard-link-to-active")
    os.symlink("absent", "dangling")
    os.symlink(outside, "out")
    os.mkfifo("fifo")


def everything(*directories):
    """Every name below, with what it is."""
    found = {}
    for directory in directories:
        for path, names, files in os.walk(directory):
            for name in names + files:
                full = os.path.join(path, name)
                status = os.lstat(full)
                found[full] = (status.st_mode, status.st_nlink, status.st_mtime_ns,
                               checksum(full) if os.path.isfile(full) else None)
    return found


def test():
    with Daemon() as daemon:
        outside = os.path.join(daemon.directory, "outside")
        make_files(daemon, outside)
        daemon.start()
        daemon.create_device("vda", "qcow2", 16 << 20)
        daemon.create_device("vdc", "raw", 8 << 20)
        daemon.attach_device("vdb", "vdb.qcow2", "qcow2")
        answer = daemon.request("POST", "/devices", {"name": "ro", "image": "ro.raw", "format": "raw",
                                                     "read_only": True})
        expect(answer.status == 201, "%s", answer)
        before = everything(daemon.images, outside)

        cases = re.findall(r"^(\d+) (\w+) (\S+) \[(.*?)\] (.*)$", CASES, re.M)
        expect(len(cases) > 25, "only %d cases were read", len(cases))
        for status, code, pointer, says, text in cases:
            member = json.loads(text.replace("N256", "n" * 256).replace("OUTSIDE", outside))
            answer = daemon.request("POST", "/snapshot-groups", {
                "name": "g", "devices": [{"device": "vda"}, member, {"device": "vdc"}]})
            problem = answer.body
            expect(answer.status == int(status) and problem["code"] == code, "%s: %s", text, answer)
            expect(problem["pointer"] == "/devices/1" + pointer.strip("-"), "%s: %s", text, answer)
            expect(problem["device"] == member["device"], "%s: %s", text, answer)
            expect(re.search(says, problem["detail"], re.I), "%s: %s", text, answer)
            expect(everything(daemon.images, outside) == before, "%s left or changed something", text)

        daemon.snapshot("g", ["vda", "vdb", "vdc"])
        answer = daemon.request("POST", "/snapshot-groups",
                                {"devices": [{"device": "vda", "snapshot_file": "n" * 255}]})
        expect(answer.status == 201, "a name of 255 bytes: %s", answer)


main(test)
