# SPDX-License-Identifier: Apache-2.0
"""Guests: Debian's cloud kernel in QEMU, with an initramfs made here: busybox, mdadm, e2fsprogs,
the drivers, and one of the roles in tests/lib/guest-roles/. The disks have no content but that of
the test's guests.

    with Guest(daemon, "write-files", {"vda": "vda", "vdb": "vdb"}, print) as guest:
        guest.expect_line("ready")
        guest.tell("stop")
        guest.await_end()

A guest's disks are exports of the daemon, by the serial number that the guest knows them by.
`files` are in its memory, too: path there -> path here; of a program, its libraries. What the guest
says goes, line by line, to `hear` on a thread of the guest's own; what that raises, expect_line and
await_end raise. With KVM where it works, else interpreted; GUEST_ACCEL names another of QEMU's
accelerators. Leaving the block ends QEMU, whatever happened.
"""
import collections
import glob
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from snapgroupd import DEADLINE_S, Failure, expect

# Where deploy/install-packages.sh unpacks what a guest alone uses.
GUEST_FILES = "/var/cache/snapgroupd-tests/guest"
ROLES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "guest-roles")
DRIVERS = ["virtio_pci", "virtio_blk", "raid0"]
PROGRAMS = ["/bin/busybox", GUEST_FILES + "/sbin/mdadm", "/sbin/mke2fs", "/sbin/e2fsck"]
MEMORY_MIB = 256
# No slower than need be where every instruction is interpreted, and no check of timers against the
# clock: on a busy machine it fails.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr cryptomgr.notests no_timer_check"
# Interpreted and beside other tests, a guest takes many times as long as it does here with KVM.
GUEST_DEADLINE_S = 5 * DEADLINE_S
# A PCI slot has 8 functions; the first slots are the machine's own.
DISKS_A_SLOT = 8
FIRST_SLOT = 4


def put(root, source, target):
    target = root + target
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(source, target)


def libraries(program):
    """The files that the dynamic linker wants for the program, itself included; none for a static
    one."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode != 0 and "not a dynamic executable" in done.stderr:
        return []
    expect(done.returncode == 0 and "not found" not in done.stdout, "ldd %s: %s", program, done)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def put_modules(root, version):
    """The drivers, what they need, and the lines of modules.dep by which modprobe finds those."""
    directory = "/lib/modules/%s/" % version
    with open(GUEST_FILES + directory + "modules.dep") as dep:
        needs = dict(line.rstrip("\n").split(":") for line in dep)
    wanted = [path for path in needs if os.path.basename(path)[:-len(".ko")] in DRIVERS]
    expect(len(wanted) == len(DRIVERS), "of %s the kernel has only %s", DRIVERS, wanted)
    wanted = {path for driver in wanted for path in [driver, *needs[driver].split()]}
    for path in wanted:
        put(root, GUEST_FILES + directory + path, directory + path)
    with open(root + directory + "modules.dep", "w") as dep:
        dep.writelines("%s:%s\n" % (path, needs[path]) for path in wanted)


def make_initramfs(directory, version, role, files):
    """The path of an archive, new in the directory."""
    root = tempfile.mkdtemp(dir=directory)
    programs = {("/bin/" if program.startswith("/bin/") else "/sbin/") + os.path.basename(program): program
                for program in PROGRAMS}
    for target, source in {**programs, **files}.items():
        put(root, source, target)
        for library in libraries(source) if os.access(source, os.X_OK) else ():
            put(root, library, library)
    put(root, "/etc/mke2fs.conf", "/etc/mke2fs.conf")
    put(root, os.path.join(ROLES, "init.sh"), "/init")
    put(root, os.path.join(ROLES, role + ".sh"), "/role.sh")
    put_modules(root, version)
    names = [os.path.relpath(os.path.join(path, name), root)
             for path, folders, files in os.walk(root) for name in folders + files]
    archive = root + ".cpio"
    with open(archive, "wb") as out:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc", "-R", "0:0"], cwd=root, stdout=out,
                       input="".join(name + "\n" for name in names).encode(),
                       stderr=subprocess.DEVNULL, check=True, timeout=DEADLINE_S)
    shutil.rmtree(root)
    return archive


def kvm_works():
    """There is KVM, and a processor behind it that runs any guest; KVM's software-only kinds run
    special kernels."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and any(
        os.path.exists("/sys/module/" + name) for name in ("kvm_intel", "kvm_amd"))


def drive_arguments(daemon, exports, thrown_away):
    """A virtio disk for each export; `thrown_away`: what is written to it goes to a file that QEMU
    removes."""
    arguments = []
    for i, (serial, export) in enumerate(exports.items()):
        slot = "addr=%x.%x,multifunction=on" % (FIRST_SLOT + i // DISKS_A_SLOT, i % DISKS_A_SLOT)
        arguments += ["-drive", "if=none,id=d%d,format=raw,discard=unmap,snapshot=%s,file.driver=nbd,"
                      "file.server.type=unix,file.server.path=%s/nbd.sock,file.export=%s"
                      % (i, "on" if thrown_away else "off", daemon.runtime, export),
                      "-device", "virtio-blk-pci,drive=d%d,serial=%s,%s" % (i, serial, slot)]
    return arguments


class Guest:
    def __init__(self, daemon, role, exports, hear, thrown_away=False, files=None):
        self.directory = tempfile.mkdtemp(dir=daemon.directory)
        kernels = glob.glob(GUEST_FILES + "/boot/vmlinuz-*")
        expect(len(kernels) == 1, "not one kernel in %s: run deploy/install-packages.sh test", GUEST_FILES)
        version = os.path.basename(kernels[0])[len("vmlinuz-"):]
        self.hear = hear
        self.error = None
        self.lines = queue.Queue()
        self.tail = collections.deque(maxlen=200)
        self.kernel_log = os.path.join(self.directory, "kernel.log")
        self.command = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-m", str(MEMORY_MIB),
            "-machine", "pc,accel=" + (os.environ.get("GUEST_ACCEL") or ("kvm:tcg" if kvm_works() else "tcg")),
            "-kernel", kernels[0], "-initrd", make_initramfs(self.directory, version, role, files or {}),
            "-append", KERNEL_ARGUMENTS, "-serial", "file:" + self.kernel_log,
            "-chardev", "stdio,id=test,signal=off", "-serial", "chardev:test",
            *drive_arguments(daemon, exports, thrown_away)]

    def __enter__(self):
        with open(os.path.join(self.directory, "qemu.log"), "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log, env={**os.environ, "TMPDIR": self.directory})
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.wait()
        self.listener.join()
        self.process.stdin.close()
        self.process.stdout.close()
        if kind is not None:
            sys.stderr.write("--- the guest's last lines\n%s\n" % "\n".join(self.tail))
            for name in ("qemu.log", "kernel.log"):
                path = os.path.join(self.directory, name)
                if os.path.exists(path):
                    with open(path, errors="replace") as log:
                        sys.stderr.write("--- %s\n%s" % (name, "".join(log.readlines()[-60:])))

    def listen(self):
        for line in self.process.stdout:
            line = line.decode(errors="replace").strip()
            self.tail.append(line)
            if line.startswith("guest: ") and not self.error:
                try:
                    self.hear(line[len("guest: "):])
                    self.lines.put(line[len("guest: "):])
                except Exception as error:  # whatever it is, the test's own thread raises it
                    self.error = error
        self.lines.put(None)

    def expect_line(self, wanted):
        """Waits until the guest has said the line; those before it are passed over."""
        end = time.monotonic() + GUEST_DEADLINE_S
        while True:
            try:
                line = self.lines.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                raise Failure("the guest did not say '%s' within %d s" % (wanted, GUEST_DEADLINE_S)) from None
            if self.error:
                raise self.error
            expect(line is not None, "the guest ended and did not say '%s'", wanted)
            if line == wanted:
                return
            expect(not line.startswith("end "), "the guest says '%s' instead of '%s'", line, wanted)

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def await_end(self):
        """The guest does all of its role and switches itself off."""
        self.expect_line("end 0")
        try:
            status = self.process.wait(GUEST_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Failure("the guest does not switch itself off") from None
        self.listener.join()
        expect(status == 0, "QEMU ended with status %d", status)
