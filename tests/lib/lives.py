# SPDX-License-Identifier: Apache-2.0
"""One life: a daemon's disks beside their model (livemodel.py), and what must hold at any time.

The steps are in livesteps.py. `log` is what was done, for whoever has to repeat it.
"""
import http.client
import os
import random
import time

from livemodel import Tree, differences, first_difference
from snapgroupd import EXCHANGES, DEADLINE_S, Failure, expect

GONE = (OSError, http.client.HTTPException)  # the daemon was killed
EXCHANGES_MAX = 4000  # replies that main() compares with the contract


class Life:
    def __init__(self, daemon, seed):
        self.daemon = daemon
        self.random = random.Random(seed)
        self.prefix = seed.replace(" ", "-")
        self.log = []
        self.disks, self.left, self.groups = {}, {}, {}
        self.named = set()  # images that an operator named: the daemon never removes them
        self.given = set()  # images beneath one that was attached
        self.jobs = {}  # names of groups
        self.changes = 0
        self.clients, self.readers = {}, {}
        self.has_branched = False  # images may be left until the next job
        self.planned = set()  # roots of trees of which nothing has changed since a job planned them
        self.unplanned = set()  # images under a top that was removed: the next job removes them
        self.kept = {}
        self.counter = 0
        self.counts = {}
        self.connection = daemon.connection()

    # ---- calls ----

    def note(self, text, *args):
        self.log.append(text % args if args else text)

    def name(self, letter):
        self.counter += 1
        return "%s%s-%d" % (letter, self.prefix, self.counter)

    def image(self, name):
        return self.daemon.image(name)

    def ask(self, method, path, body=None):
        del EXCHANGES[EXCHANGES_MAX:]
        return self.connection.ask(method, path, body)

    def get(self, path):
        answer = self.ask("GET", path)
        expect(answer.status == 200, "GET %s: %s", path, answer)
        return answer.body

    def list(self, path):
        items, more = [], ""
        while more is not None:
            page = self.get(path + more)
            items += page["items"]
            more = page["next"] and "%scursor=%s" % ("&" if "?" in path else "?", page["next"])
        return items

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def call(self, method, path, body, refusals):
        """`refusals`: (status, code) of those that the model allows; none of them: it must succeed.
        What is in use by a job, or by a client that the server has not noticed to be gone, is
        asked for again."""
        end = time.monotonic() + DEADLINE_S
        while True:
            answer = self.ask(method, path, body)
            found = (answer.status, answer.body.get("code")) if answer.status >= 400 else None
            if found in refusals or (found is None and not refusals):
                break
            expect(found == (409, "DeviceInUse") and time.monotonic() < end, "%s %s %s: %s, expected %s", method, path,
                   body, answer, sorted(refusals) or "success")
            self.count("retries")
            self.await_jobs()
        self.note("%s %s %s: %s", method, path, body or "", found or answer.status)
        self.count("%s %s" % (method, found) if found else method)
        return None if found else answer

    def await_jobs(self):
        for job, name in list(self.jobs.items()):
            self.await_job(job, name)

    def await_plans(self):
        """Jobs that nobody asked for: of a tree from which a top has gone."""
        end = time.monotonic() + DEADLINE_S
        for state in ("queued", "running"):
            while [job for job in self.list("/jobs?state=" + state) if job["id"] not in self.jobs]:
                expect(time.monotonic() < end, "a job does not end: %s", self.list("/jobs?state=" + state))

    def await_job(self, job, name):
        end = time.monotonic() + DEADLINE_S
        while True:
            shown = self.get("/jobs/" + job)
            if shown["state"] in ("done", "failed", "cancelled"):
                break
            if shown["state"] == "paused":
                self.ask("PATCH", "/jobs/" + job, {"state": "running"})
            expect(time.monotonic() < end, "job %s of %s does not end: %s", job, name, shown)
        expect(shown["state"] != "failed", "job of %s: %s", name, shown)
        del self.jobs[job]
        if shown["state"] == "cancelled":
            return
        group = self.groups.pop(name)
        state = self.get("/snapshot-groups/" + group.id)["state"]
        expect(state == "deleted", "%s is %s after its job", name, state)
        expect(self.ask("GET", "/snapshot-groups/" + name).status == 404, "%s has its name after its job", name)
        self.note("%s is deleted: %s", name, [(m["base"], m["upper"]) for m in shown["merges"]])
        self.kept.update((item["image"], item["because"]) for item in shown["kept"])
        if not self.jobs and group.deleted_at == self.changes:
            self.planned |= {Tree(self.daemon.images).root(path) for path in self.tops(group.members)}

    def tops(self, names):
        return [self.get("/devices/" + name)["top"] for name in names if name in self.disks]

    def changed_tree(self):
        """Images that nobody needs may be left until the next job plans."""
        self.changes += 1
        self.planned.clear()

    # ---- clients ----

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = self.daemon.nbd(name)
        return self.clients[name]

    def leave(self, name):
        if name in self.clients:
            self.clients.pop(name).shutdown()

    def leave_all(self):
        for name in list(self.clients):
            self.leave(name)
        for key in list(self.readers):
            self.readers.pop(key).shutdown()

    def read(self, export, size, handle=None):
        mine = handle or self.daemon.nbd(export)
        expect(mine.get_size() == size, "%s has %d bytes, not %d", export, mine.get_size(), size)
        data = bytes(mine.pread(size, 0))
        if not handle:
            mine.shutdown()
        return data

    def kill(self):
        self.kill_begin()
        self.kill_end()

    def kill_begin(self):
        self.daemon.kill()

    def kill_end(self):
        self.connection.close()
        self.clients.clear()
        self.readers.clear()
        self.daemon.start()

    # ---- what must hold ----

    def compare(self, export, view, handle=None):
        data = self.read(export, len(view), handle)
        if data != view:
            raise Failure("%s reads wrong: %s" % (export, first_difference(data, view)))

    def check_some(self):
        """A few views."""
        exports = [(name, disk.view, self.clients.get(name)) for name, disk in self.disks.items()]
        exports += [("%s@%s" % (device, group.name), view, self.readers.get((group.name, device)))
                    for group in self.groups.values() if not group.deleting for device, view in group.members.items()]
        for export, view, handle in self.random.sample(exports, min(len(exports), 3)):
            self.compare(export, view, handle)

    def check_views(self):
        for name, disk in self.disks.items():
            self.compare(name, disk.view, self.clients.get(name))
        for group in self.groups.values():
            for device, view in ({} if group.deleting else group.members).items():
                self.compare("%s@%s" % (device, group.name), view, self.readers.get((group.name, device)))

    def check(self):
        """Everything, once all jobs have ended."""
        self.await_jobs()
        self.check_views()
        tree = Tree(self.daemon.images)
        shown = {name: self.get("/devices/" + name) for name in self.disks}
        groups = {name: self.get("/snapshot-groups/" + group.id) for name, group in self.groups.items()}
        self.check_groups(groups)
        frozen = {}
        for group in groups.values():
            for member in group["members"] if group["state"] == "committed" else []:
                frozen.setdefault(member["backing_file"], []).append(group["name"])
        self.check_devices(shown, tree, frozen)
        self.check_files(shown, tree, frozen)
        listed = sorted(group["name"] for state in ("committed", "deleting")
                        for group in self.list("/snapshot-groups?state=" + state))
        expect(listed == sorted(self.groups), "groups are %s, not %s", listed, sorted(self.groups))
        expect([device["name"] for device in self.list("/devices")] == sorted(self.disks), "devices")

    def check_groups(self, groups):
        for name, group in self.groups.items():
            shown = groups[name]
            expect(shown["state"] == ("deleting" if group.deleting else "committed") and shown["name"] == name and
                   shown["kind"] == group.kind and shown["rolled_back_to"] == group.rolled_back_to and
                   shown["holds"] == sorted(group.holds), "%s: %s", name, shown)
            expect({member["device"]: member["size_bytes"] for member in shown["members"]} ==
                   {device: len(view) for device, view in group.members.items()}, "%s: %s", name, shown)
            for member in shown["members"]:
                clones = sorted(device for device, disk in self.disks.items()
                                if disk.origin == (group.id, member["device"], "clone"))
                expect(group.deleting or member["ready_to_use"], "%s: %s", name, member)
                expect(member["clones"] == clones, "clones of %s@%s: %s, not %s", member["device"], name,
                       member["clones"], clones)

    def check_devices(self, shown, tree, frozen):
        owners = {device["top"]: "device " + name for name, device in shown.items() if not device["read_only"]}
        readers = {}
        for name, device in shown.items():
            if device["read_only"]:
                readers.setdefault(device["top"], set()).add("device " + name)
        for name, disk in self.disks.items():
            device = shown[name]
            origin = device["origin"] and tuple(device["origin"][key] for key in ("group", "device", "how"))
            expect(device["state"] == "online" and device["size_bytes"] == len(disk.view) and
                   device["read_only"] == disk.read_only and origin == disk.origin and
                   device["clients"] == (name in self.clients), "%s: %s", name, device)
            chain = [image["image"] for image in device["chain"]]
            is_deleting = any(group.deleting for group in self.groups.values())
            # Headers may be ahead of a chain while its merge is cancelled.
            expect(is_deleting or chain == tree.chain(device["top"]), "chain of %s: %s, by its headers %s", name, chain,
                   tree.chain(device["top"]))
            self.check_kept(device, tree, frozen, owners, readers)
            self.check_length(name, chain, tree, frozen)

    def check_kept(self, device, tree, frozen, owners, readers):
        chain = [image["image"] for image in device["chain"]]
        for image in device["chain"]:
            path = image["image"]
            above = [other for child in tree.children[path] if child not in chain for other in tree.above(child)]
            devices = {owners[other] for other in above if other in owners}
            devices |= {reader for other in above + [path] for reader in readers.get(other, ())}
            devices -= {"device " + device["name"]}
            images = {"image " + other for other in above if other in self.left}
            groups = {"group " + name for other in above + [path] for name in frozen.get(other, [])}
            wanted = sorted(groups | devices | images)
            is_deleting = any(group.deleting for group in self.groups.values())
            kept_for = sorted(each for each in image["kept_for"] if not self.is_gone(each))
            expect(is_deleting or kept_for == wanted, "%s of %s is kept for %s, not %s", path, device["name"],
                   image["kept_for"], wanted)

    @staticmethod
    def is_gone(keeper):
        """What somebody removed is known as gone once a job has looked for it."""
        kind, _, path = keeper.partition(" ")
        return kind == "image" and not os.path.exists(path)

    def check_length(self, name, chain, tree, frozen):
        is_linear = tree.is_linear(chain[-1]) and not any(path in self.left for path in tree.above(chain[-1]))
        is_linear &= not self.has_branched or chain[-1] in self.planned
        if is_linear and not any(group.deleting for group in self.groups.values()):
            readers = {disk.top for disk in self.disks.values() if disk.read_only}
            groups = sum((path in frozen) + 2 * (path in readers) for path in chain)
            expect(len(chain) <= groups + len(self.given & set(chain)) + 2, "%s: %d groups, %s", name, groups, chain)

    def check_files(self, shown, tree, frozen):
        roots = {device["top"] for device in shown.values()} | set(self.left) | set(frozen) | self.named
        missing = roots - set(tree.backing)
        expect(not missing, "files are missing: %s", missing)
        wanted = {path for root in roots for path in tree.chain(root)}
        is_deleting = any(group.deleting for group in self.groups.values())  # its job was cancelled
        stray = {path for path in set(tree.backing) - wanted
                 if path not in self.unplanned or tree.root(path) in self.planned}
        expect(not stray or is_deleting, "stray files: %s", stray)
        tops = {device["top"] for device in shown.values()} | set(self.left)
        for path, children in tree.children.items():
            is_surplus = (path not in tops | set(frozen) | self.given and len(children) == 1 and
                          children[0] not in tops | self.named)
            if is_surplus and tree.root(path) in self.planned and not is_deleting:
                expect(path in self.kept, "%s stays, and nobody needs it", path)

    def check_extents(self, device, newer, older, limit):
        """Each sector that differs is listed, what is `zero` is."""
        path = "/snapshot-groups/%s/members/%s/extents?limit=%d" % (newer.name, device, limit)
        path += "&since=" + older.name if older else ""
        view = newer.members[device]
        before = older.members[device] if older else bytes(len(view))
        covered, end = bytearray(-(-len(view) // 512)), -1
        for item in self.list(path):
            at, length = item["offset_bytes"], item["length_bytes"]
            expect(at >= max(end, 0) and at + length <= len(view), "%s: %s after %d", path, item, end)
            end = at + length
            expect(not item["zero"] or not any(view[at:end]), "%s: %s is not zero", path, item)
            covered[at // 512:-(-end // 512)] = bytes([1]) * (-(-end // 512) - at // 512)
        for at in differences(view, before[:len(view)].ljust(len(view), b"\0")):
            expect(covered[at // 512], "%s: the sector at %d differs and is not listed", path, at)
