# SPDX-License-Identifier: Apache-2.0
"""The Ansible collection of clients/ansible, installed in a directory of its own.

    with Collection() as collection:
        result = collection.module("device", name="vda", socket=PATH)  # as Ansible runs it
        play = collection.playbook(TEXT, "--check")                    # ansible-playbook
"""
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

import yaml
from ansible.module_utils import basic

from snapgroupd import DEADLINE_S, SOURCE_DIR, checksums, expect

PYTHON = "/usr/bin/python3"  # Debian's, for which ansible-core is installed
SOURCE = os.path.join(SOURCE_DIR, "clients", "ansible")
MODULES = sorted(name[:-3] for name in os.listdir(os.path.join(SOURCE, "plugins", "modules")) if name.endswith(".py"))


def run_module(code, arguments, output):
    """In a child: does not return."""
    status = 70
    try:
        for number, file in enumerate(output, 1):
            os.dup2(file.fileno(), number)
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        code.main()
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Collection:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sg-ansible.")
        self.collections = os.path.join(self.directory, "collections")
        self.path = os.path.join(self.collections, "ansible_collections", "snapgroupd", "storage")
        shutil.copytree(SOURCE, self.path, ignore=shutil.ignore_patterns("__pycache__", "output"))
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.directory, "LC_ALL": "C.UTF-8", "PYTHONPATH": self.collections,
            "PYTHONDONTWRITEBYTECODE": "1", "ANSIBLE_COLLECTIONS_PATH": self.collections, "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_LOCAL_TEMP": os.path.join(self.directory, "local"), "ANSIBLE_REMOTE_TEMP": os.path.join(self.directory, "remote"),
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PYTHON_INTERPRETER": PYTHON, "ANSIBLE_RETRY_FILES_ENABLED": "0"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- a module by itself ----

    def start_module(self, module, check_mode=False, **options):
        """A running module, for finish_module(). A fork of this process, which has imported
        everything: a tenth of the time that an interpreter takes to start."""
        arguments = {**options, "_ansible_check_mode": check_mode, "_ansible_diff": True}
        code = self.imported(module)
        output = tempfile.TemporaryFile("w+", encoding="utf-8"), tempfile.TemporaryFile("w+", encoding="utf-8")
        pid = os.fork()
        if pid == 0:
            run_module(code, arguments, output)
        return pid, output

    def imported(self, module):
        if self.collections not in sys.path:
            sys.path.insert(0, self.collections)
        return importlib.import_module("ansible_collections.snapgroupd.storage.plugins.modules." + module)

    def finish_module(self, running):
        """What the module returns; it must be JSON, and nothing else is said."""
        pid, output = running
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in output:
            with file:
                file.seek(0)
                texts.append(file.read())
        expect(not texts[1] and texts[0].strip().startswith("{"), "the module crashed, %d: %s%s", status, *texts)
        result = json.loads(texts[0])
        expect(bool(result.get("failed")) == (status != 0), "status %d of %s", status, result)
        return result

    def module(self, module, check_mode=False, **options):
        return self.finish_module(self.start_module(module, check_mode, **options))

    # ---- playbooks ----

    def playbook(self, text, *arguments, inventory="localhost ansible_connection=local\n", **more):
        """A play, which may fail. `text`, `inventory`: YAML, or what is written as YAML."""
        for name, content in (("play.yml", text), ("hosts", inventory)):
            with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
                file.write(content if isinstance(content, str) else yaml.safe_dump(content))
        done = subprocess.run(["ansible-playbook", "-i", "hosts", "play.yml", *arguments], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, cwd=self.directory, env={**self.environment, **more}, timeout=10 * DEADLINE_S)
        return Play(done)


class Host:
    """One host of Ansible, and its daemon. Modules wait for nothing, unless a test says so."""

    def __init__(self, collection, daemon):
        self.collection, self.daemon = collection, daemon
        self.socket = os.path.join(daemon.runtime, "api.sock")

    def start(self, module, check_mode=False, **options):
        options = {"socket": self.socket, **options}
        return self.collection.start_module(module, check_mode, **{name: options[name] for name in options if options[name] is not None})

    def finish(self, running):
        return self.collection.finish_module(running)

    def __call__(self, module, check_mode=False, **options):
        return self.finish(self.start(module, check_mode, **{"retry_for": 0, **options}))

    def trace(self):
        """All that a module may change."""
        lists = [self.daemon.list(path) for path in ("/devices", "/snapshot-groups", "/jobs", "/tokens")]
        return lists, self.daemon.get("/events?limit=1000"), checksums(self.daemon.image(name) for name in self.daemon.image_names())

    def twice(self, module, **options):
        """First in check mode, which changes nothing, then really, then once more, which is no
        change any more. What the first two return."""
        before = self.trace()
        checked = expect_result(self(module, True, **options), failed=False)
        expect(self.trace() == before, "check mode of %s %s has changed something", module, options)
        done = expect_result(self(module, **options), failed=False, changed=True)
        before = self.trace()
        expect_result(self(module, **options), failed=False, changed=False)
        expect(self.trace() == before, "%s %s has changed something once more", module, options)
        expect(checked["changed"], "check mode of %s %s finds no change", module, options)
        return checked, done


class Play:
    def __init__(self, done):
        self.status, self.text = done.returncode, done.stdout + done.stderr
        self.recap = {}  # host -> counter -> number
        for host, counters in re.findall(r"^(\S+) +: (ok=.*)$", done.stdout, re.M):
            self.recap[host] = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", counters)}

    def sum(self, counter):
        return sum(counters[counter] for counters in self.recap.values())

    def expect(self, **counters):
        """The play has succeeded, and these are the sums over all hosts."""
        found = {name: self.sum(name) for name in counters}
        expect(self.status == 0 and self.recap and found == counters, "status %d, %s, wanted %s:\n%s", self.status, found, counters,
               self.text)
        return self


def expect_result(result, **wanted):
    """The result has these values; of a failure `code` is that of its problem."""
    if "code" in wanted:
        wanted["failed"] = True
        result = {**result, "code": result.get("problem", {}).get("code")}
    for name, value in wanted.items():
        expect(result.get(name, False if name in ("failed", "changed") else None) == value, "%s is not %r: %s", name, value,
               json.dumps(result, indent=1))
    return result
