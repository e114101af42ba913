#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Each command of docs/snapgroupctl.md, run as it is written and in its order, prints what stands
# below it, but for ids, secrets, times, and the width of columns. `--write` makes the page so.
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import SNAPGROUPCTL, environment
from snapgroupd import SOURCE_DIR, Daemon, expect, main

PAGE = os.path.join(SOURCE_DIR, "docs", "snapgroupctl.md")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
VARYING = [(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"), (r"\bsgt_[\w-]{43}", "SECRET"),
           (r"\b20(?!99)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"), (r"allocated_bytes: \d+", "allocated_bytes: N"),
           (r"\d+\.\d+ sec.*", "SPEED"), (r"^\d+  ", "N  "), (r"[ \t]+$", ""), (r"  +", "  ")]


def comparable(text):
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text, flags=re.M)
    return text.strip()


def commands(block):
    """(command, output) of a block."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


class Shell:
    def __init__(self, daemon):
        self.daemon = daemon
        self.work = os.path.join(daemon.directory, "work")
        tools = os.path.join(daemon.directory, "bin")
        for directory in (self.work, tools):
            os.mkdir(directory)
        os.symlink(SNAPGROUPCTL, os.path.join(tools, "snapgroupctl"))
        self.environment = environment(PATH=tools + ":" + os.environ["PATH"], HOME=self.work,
                                       SNAPGROUPCTL_SOCKET=os.path.join(daemon.runtime, "api.sock"))
        self.places = {"/run/snapgroupd": daemon.runtime, "/var/lib/snapgroupd/images": daemon.images}

    def run(self, command):
        for name, place in self.places.items():
            command = command.replace(name, place)
        done = subprocess.run(["bash", "-c", command], cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        output = done.stdout
        for name, place in self.places.items():
            output = output.replace(place, name)
        return output


def test():
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    blocks = BLOCK.findall(page)
    expect(sum(len(list(commands(block))) for block in blocks) >= 20, "the page has few commands")
    with Daemon() as daemon:
        daemon.start()
        shell = Shell(daemon)
        written = {}
        for block in blocks:
            whole = ""
            for command, output in commands(block):
                said = shell.run(command)
                whole += "$ %s\n%s" % (command, said)
                expect("--write" in sys.argv or comparable(said) == comparable(output),
                       "%s says otherwise:\n%s--- and not:\n%s", command, said, output)
            written[block] = whole
    if "--write" in sys.argv:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(BLOCK.sub(lambda match: "```console\n%s```" % written[match[1]], page))


main(test)
