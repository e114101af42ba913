# SPDX-License-Identifier: Apache-2.0
"""A fresh Debian 12 that runs: systemd is its process 1, in a container of systemd-nspawn, so that
packages start their services, and units are confined as they say. It has the network and the kernel
of this machine, nodes for loop devices and FUSE, and a cgroup of its own, which goes with it.

    own_machine()
    with Booted() as debian:
        debian.install("./snapgroupd_1_amd64.deb")
        debian.run("systemctl is-active snapgroupd")
        Connection(debian.path(API))
"""
import glob
import os
import subprocess
import sys
import tempfile

from debian import ENVIRONMENT, Debian, tool
from snapgroupd import DEADLINE_S, expect, wait_until

LOOPS = 64
# As much as a machine may: filters of addresses are programs of BPF, and the filter of calls is the
# unit's alone.
ABLE = ["--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON", "--system-call-filter=@known"]


def hierarchies(kinds):
    """Where cgroups are mounted, of these kinds."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        lines = [line.split() for line in mounts]
    return [words[4] for words in lines if words[words.index("-") + 1] in kinds]


def unified():
    """Where those of version 2 are; skips the test if they are nowhere."""
    places = hierarchies(["cgroup2"])
    if not places:
        sys.stderr.write("SKIPPED: this needs cgroups of version 2\n")
        sys.exit(77)
    return places[0]


class Booted(Debian):
    """`packages`, and `files` of packages, are installed before it boots. With `alone` it has no
    network but a loopback interface."""

    def __init__(self, packages=(), files=(), alone=False):
        super().__init__()
        self.packages = ["systemd-sysv", "dbus", *packages]
        self.files = files
        self.options = ["--private-network"] if alone else []
        self.init = None
        self.container = None
        self.cgroup = None

    def __enter__(self):
        super().__enter__()
        try:
            self.install("--no-install-recommends", *self.packages, *self.copy_in(self.files))
            self.unmount()
            os.remove(self.path("/usr/sbin/policy-rc.d"))
            self.boot()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if self.container:
            self.halt()
        super().__exit__(kind, value, traceback)

    def boot(self):
        # What nspawn leaves beside the machine stays in this mount namespace.
        os.makedirs("/run/systemd", exist_ok=True)
        tool("mount", "-t", "tmpfs", "tmpfs", "/run/systemd")
        self.cgroup = tempfile.mkdtemp(prefix="sg.", dir=unified())
        with open(os.path.join(self.directory, "console.log"), "wb") as log:
            self.container = subprocess.Popen(
                ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self.cgroup, "systemd-nspawn", "--quiet", "--boot",
                 "--directory=" + self.root, "--machine=sg", "--register=no", "--keep-unit", "--settings=no", "--console=pipe",
                 "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--bind=/dev/fuse", "--bind=/dev/loop-control", *ABLE, *self.options],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT)
        wait_until(lambda: self.container.poll() is not None or self.found_init(), "the machine begins to boot")
        expect(self.container.poll() is None, "systemd-nspawn ends with %s: %s", self.container.returncode, self.console())
        self.run("for n in {0..%d}; do mknod /dev/loop$n b 7 $n; done" % (LOOPS - 1))
        state = subprocess.run(self.command("systemctl", "is-system-running", "--wait"), stdout=subprocess.PIPE, text=True,
                               timeout=10 * DEADLINE_S, check=False).stdout.strip()
        expect(state == "running", "the machine is %s: %s", state, self.console())

    def found_init(self):
        """Whether systemd has made a cgroup for itself, and its bus answers; notes its pid."""
        try:
            with open(os.path.join(self.cgroup, "payload", "init.scope", "cgroup.procs"), encoding="utf-8") as pids:
                self.init = int(pids.read().split()[0])
        except (OSError, IndexError):
            return False
        return subprocess.run(self.command("systemctl", "is-system-running"), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip() not in ("", "offline", "unknown")

    def console(self):
        with open(os.path.join(self.directory, "console.log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def halt(self):
        self.container.terminate()
        try:
            self.container.wait(3 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.container.kill()
            self.container.wait()
        self.init = None
        wait_until(lambda: "populated 0" in open(os.path.join(self.cgroup, "cgroup.events"), encoding="utf-8").read(),
                   "the processes of the machine are gone")
        # nspawn makes it in systemd's own hierarchy of version 1, too.
        for place in hierarchies(["cgroup", "cgroup2"]):
            mine = os.path.join(place, os.path.basename(self.cgroup), "**/")
            for directory in sorted(glob.glob(mine, recursive=True), reverse=True):
                os.rmdir(directory)

    def path(self, inside):
        return "/proc/%d/root%s" % (self.init, inside) if self.init else super().path(inside)

    def command(self, *command):
        if not self.init:
            return super().command(*command)
        return ["nsenter", "--target", str(self.init), "--all", "env", "--ignore-environment",
                *("%s=%s" % pair for pair in ENVIRONMENT.items()), *command]

    def journal(self, unit="snapgroupd"):
        return self.run("journalctl --quiet --no-pager --output=cat --unit=%s" % unit)
