# SPDX-License-Identifier: Apache-2.0
"""A fresh Debian 12 in a directory, for tests of packages. Those are slow, and need root and a
mirror: the one that this machine's apt has.

    own_machine()                         starts the script again, with its own mounts, processes
    with Debian() as debian:
        debian.install("curl")
        debian.run("curl --version")      a script of bash; Failure unless it succeeds

No service starts there; lib/booted.py has one where systemd runs. build_packages() builds this
tree's packages on the machine that runs the test. To repeat a test soon, SNAPGROUPD_PACKAGES names
a directory that has them, and DEBIAN_BASE the archive of a minimal Debian.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from snapgroupd import SOURCE_DIR, expect

RELEASE = "bookworm"
LONG_S = 7200  # CTest ends a test before
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive", "TMPDIR": "/tmp"}
API = "/run/snapgroupd/api.sock"
NBD = "/run/snapgroupd/nbd.sock"


def own_machine():
    """Starts the script again in namespaces of its own, with which everything that it started and
    mounted ends; skips it where that cannot be."""
    if os.environ.get("OWN_MACHINE"):
        return
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    able = os.geteuid() == 0 and subprocess.run([*namespaces, "true"], stderr=subprocess.DEVNULL).returncode == 0
    if not able:
        sys.stderr.write("SKIPPED: this needs root and namespaces\n")
        sys.exit(77)
    os.environ["OWN_MACHINE"] = "1"
    os.execvp("unshare", [*namespaces, *sys.argv])


def tool(*command, **more):
    """Runs a program of this machine; Failure, with its output, unless it succeeds."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=LONG_S, **more)
    expect(done.returncode == 0, "%s ends with %d: %s", " ".join(command), done.returncode, done.stdout[-8000:])
    return done.stdout


def apt_sources():
    """What this machine's apt is configured with, as lines of sources.list."""
    lines = tool("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    return "".join(line + "\n" for line in sorted(set(lines.splitlines())) if " %s" % RELEASE in line)


def apt_options():
    lines = tool("apt-config", "dump").splitlines()
    return [line for line in lines if line.startswith(("Acquire::Check-", "Acquire::http::", "Acquire::https::"))]


def bootstrap(directory):
    """Makes the archive of a minimal Debian there, and returns its path."""
    if os.environ.get("DEBIAN_BASE"):
        return os.environ["DEBIAN_BASE"]
    archive = os.path.join(directory, "base.tar")
    options = ["--aptopt=" + option for option in apt_options()]
    made = subprocess.run(["mmdebstrap", "--variant=apt", "--mode=root", *options, RELEASE, archive, "-"],
                          input=apt_sources(), capture_output=True, text=True, timeout=LONG_S)
    expect(made.returncode == 0, "mmdebstrap: %s", made.stderr)
    return archive


def tree_archive(path):
    """The files of this tree, without what was built."""
    tool("tar", "--create", "--file", path, "--directory", SOURCE_DIR, "--exclude=./build", "--exclude=./.git",
         "--exclude=__pycache__", ".")


def build_packages(directory, version=None):
    """Builds the packages, without their unit tests; returns the paths of those to install."""
    if os.environ.get("SNAPGROUPD_PACKAGES") and not version:
        return packages_in(os.environ["SNAPGROUPD_PACKAGES"])
    arguments = ["--version", version] if version else []
    tool(os.path.join(SOURCE_DIR, "deploy", "build-deb.sh"), *arguments, directory,
         env={**os.environ, "DEB_BUILD_OPTIONS": "nocheck"})
    return packages_in(directory)


def packages_in(directory):
    return sorted(os.path.join(directory, name) for name in os.listdir(directory)
                  if name.endswith(".deb") and "-dbgsym_" not in name)


class Debian:
    def __init__(self, archive=None):
        self.directory = tempfile.mkdtemp(prefix="sg.")
        self.root = os.path.join(self.directory, "root")
        os.mkdir(self.root)
        self.archive = archive

    def __enter__(self):
        archive = self.archive or bootstrap(self.directory)
        tool("tar", "--extract", "--numeric-owner", "--file", archive, "--directory", self.root)
        self.mount("-t", "proc", "proc", "proc")
        self.mount("-t", "tmpfs", "tmpfs", "run")
        self.mount("--rbind", "/dev", "dev")
        shutil.copyfile("/etc/resolv.conf", self.path("/etc/resolv.conf"))
        shutil.copyfile("/etc/hosts", self.path("/etc/hosts"))
        # This machine need not survive a power loss.
        self.write("/etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")
        # No service starts here.
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        return self

    def __exit__(self, kind, value, traceback):
        self.unmount()
        shutil.rmtree(self.directory)

    def unmount(self):
        for place in ("/dev", "/run", "/proc"):
            if os.path.ismount(self.root + place):
                tool("umount", "--recursive", "--lazy", self.root + place)

    def mount(self, *arguments):
        *options, place = arguments
        tool("mount", *options, os.path.join(self.root, place))

    def path(self, inside):
        return self.root + inside

    def write(self, inside, text, mode=0o644):
        with open(self.path(inside), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(inside), mode)

    def command(self, *command):
        """What runs a command in there."""
        return ["env", "--ignore-environment", *("%s=%s" % pair for pair in ENVIRONMENT.items()),
                "chroot", self.root, *command]

    def run(self, script):
        return tool(*self.command("bash", "-euo", "pipefail", "-c", script))

    def fails(self, script):
        """Runs a script that must not succeed, and returns what it prints."""
        done = subprocess.run(self.command("bash", "-euo", "pipefail", "-c", script), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONG_S)
        expect(done.returncode != 0, "%s succeeds: %s", script, done.stdout)
        return done.stdout

    def install(self, *packages):
        return self.run("apt-get update -q && apt-get install --yes -q %s" % " ".join(packages))

    def copy_in(self, paths, inside="/root"):
        for path in paths:
            shutil.copy(path, self.path(inside))
        return [os.path.join(inside, os.path.basename(path)) for path in paths]
