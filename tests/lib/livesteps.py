# SPDX-License-Identifier: Apache-2.0
"""The steps of a life (lives.py) that change something, drawn at random.

A Change is a request that changes what there is: what it may be refused with, and what the model is
once it succeeded, so that the same change can be asked for alone, beside another one, or by a
client whose daemon is killed.
"""
from livemodel import Disk, Group, Tree, format_of
from livewrites import pick, writable
from snapgroupd import Failure, expect

IMAGES_MAX = 12
NOT_FOUND = (404, "GroupNotFound")


class Change:
    def __init__(self, method, path, body=None, refusals=(), shown_at=None, gone=False):
        self.method, self.path, self.body = method, path, body
        self.refusals = set(refusals)
        self.shown_at, self.gone = shown_at or path, gone  # where a GET tells whether it happened

    def apply(self, life, shown):
        raise NotImplementedError

    def ask(self, life):
        answer = life.call(self.method, self.path, self.body, self.refusals)
        if answer:
            self.apply(life, answer.body)

    def confirm(self, life):
        """After a kill: what a GET shows if the change was made."""
        answer = life.ask("GET", self.shown_at)
        if self.gone:
            return answer.body if answer.status == 404 else None
        return answer.body if answer.status == 200 and answer.body["state"] != "aborted" else None


class Create(Change):
    def __init__(self, life):
        rng = life.random
        self.name = life.name("d")
        self.is_qcow2 = rng.random() < 0.6
        size = rng.choice((65536, 65536 + 512, 262144, 300032, 1 << 20))
        self.size = size
        self.image = self.name + rng.choice((".raw", ".img"))
        body = {"name": self.name, "image": self.image, "format": "qcow2" if self.is_qcow2 else "raw",
                "size_bytes": size, **clusters(rng)}
        super().__init__("POST", "/devices", body, shown_at="/devices/" + self.name)

    def apply(self, life, shown):
        expect(shown["size_bytes"] == -(-self.size // 512) * 512, "%s", shown)
        life.disks[self.name] = Disk(bytes(-(-self.size // 512) * 512))
        life.named.add(life.image(self.image))


def clusters(rng):
    kind = rng.random()
    if kind < 0.3:
        return {}
    if kind < 0.6:
        return {"cluster_size_bytes": rng.choice((16384, 65536)), "extended_l2": rng.random() < 0.5}
    return {"cluster_size_bytes": rng.choice((512, 1024, 4096)), "extended_l2": False}


class AttachNew(Change):
    """An image that somebody else made, with or without others beneath it."""

    def __init__(self, life, templates):
        template = life.random.choice(templates)
        self.name = life.name("t")
        self.files = template.copy_to(life, self.name)
        self.template = template
        life.named |= set(self.files)
        life.given |= set(self.files[:-1])
        super().__init__("POST", "/devices", {"name": self.name, "image": self.files[-1], "format": template.format,
                                              **clusters(life.random)}, shown_at="/devices/" + self.name)

    def apply(self, life, shown):
        expect(shown["size_bytes"] == len(self.template.view), "%s", shown)
        life.disks[self.name] = Disk(self.template.view)


class Take(Change):
    """A group of some devices."""

    def __init__(self, life, refused=False):
        rng = life.random
        names = [name for name, disk in life.disks.items() if refused or not disk.read_only]
        self.devices = rng.sample(sorted(names), min(len(names), rng.choice((1, 1, 2, 3))))
        if refused:
            life.await_jobs()  # or names are free in a moment
        self.name = rng.choice(sorted(life.groups)) if refused and life.groups else life.name("g")
        members = [{"device": device} for device in self.devices]
        for member in members:
            if rng.random() < 0.5:
                member["snapshot_file"] = life.name("o")
        refusals = set()
        if self.name in life.groups:
            refusals.add((409, "GroupExists"))
        if any(life.disks[device].read_only for device in self.devices):
            refusals.add((422, "DeviceIsReadOnly"))
        super().__init__("POST", "/snapshot-groups", {"name": self.name, "devices": members}, refusals,
                         "/snapshot-groups/" + self.name)

    def apply(self, life, shown):
        group = Group(self.name, "snapshot", {device: life.disks[device].view for device in self.devices})
        group.id = shown["id"]
        life.groups[self.name] = group
        life.changed_tree()


class RollBack(Change):
    def __init__(self, life, group):
        self.group, self.name = group, life.name("r")
        self.disconnect = life.random.random() < 0.3
        body = {"name": self.name, "disconnect": self.disconnect}
        super().__init__("POST", "/snapshot-groups/%s/rollbacks" % group.name, body, self.forbidden(life),
                         "/snapshot-groups/" + self.name)

    def forbidden(self, life):
        if self.group.deleting:
            return {(409, "GroupDeleting"), NOT_FOUND}
        while True:
            try:
                return self.forbidden_now(life)
            except KeyError:  # a job has taken an image away meanwhile
                life.await_jobs()

    def forbidden_now(self, life):
        refusals = set()
        tree = Tree(life.daemon.images)
        shown = life.get("/snapshot-groups/" + self.group.name)
        frozen = {member["device"]: member["backing_file"] for member in shown["members"]}
        for device in self.group.members:
            if device not in life.disks:
                refusals.add((404, "DeviceNotFound"))
            elif tree.root(frozen[device]) != tree.root(life.get("/devices/" + device)["top"]):
                refusals.add((422, "NotRelated"))
            elif life.disks[device].read_only:
                refusals.add((422, "DeviceIsReadOnly"))
            elif device in life.clients and not self.disconnect:
                refusals.add((409, "DeviceInUse"))
        return refusals

    def apply(self, life, shown):
        safety = Group(self.name, "rollback", {device: life.disks[device].view for device in self.group.members},
                       self.group.id)
        safety.id = shown["id"]
        life.groups[self.name] = safety
        life.changed_tree()
        life.has_branched = True
        for device, view in self.group.members.items():
            life.disks[device].view = view
            life.disks[device].origin = (self.group.id, device, "rollback")
            life.clients.pop(device, None)


class Clone(Change):
    def __init__(self, life, group, device):
        rng = life.random
        taken = sorted(life.disks)
        detached = sorted(set(group.members) - set(life.disks))
        kind = rng.random()
        self.name = (rng.choice(taken) if taken and kind < 0.1 else
                     rng.choice(detached) if detached and kind < 0.4 else life.name("c"))
        self.group, self.device = group, device
        body = {"name": self.name, "from": {"group": rng.choice((group.name, group.id)), "device": device},
                "image": life.name("i"), **clusters(rng)}
        refusals = {(409, "DeviceExists")} if self.name in life.disks else set()
        refusals |= {(409, "GroupDeleting"), NOT_FOUND} if group.deleting else set()
        super().__init__("POST", "/devices", body, refusals, "/devices/" + self.name)

    def apply(self, life, shown):
        life.disks[self.name] = Disk(self.group.members[self.device], origin=(self.group.id, self.device, "clone"))
        life.changed_tree()
        life.has_branched = True


class Delete(Change):
    """Of a group."""

    def __init__(self, life, group):
        self.group = group
        refusals = set()
        if group.holds:
            refusals.add((409, "GroupHeld"))
        if any(name == group.name for name, _ in life.readers):
            refusals.add((409, "DeviceInUse"))
        super().__init__("DELETE", "/snapshot-groups/" + group.name, None, set() if group.deleting else refusals)

    def confirm(self, life):
        answer = life.ask("GET", "/snapshot-groups/" + self.group.id)
        return None if answer.body["state"] == "committed" else {"state": answer.body["state"]}

    def apply(self, life, shown):
        self.group.deleting = True
        self.group.deleted_at = life.changes
        if "id" in shown:
            life.jobs[shown["id"]] = self.group.name
        else:
            self.find_job(life)

    def find_job(self, life):
        """The newest of the group, after a kill."""
        for job in life.list("/jobs"):
            if job["group"] == self.group.id:
                life.jobs[job["id"]] = self.group.name
                return
        raise Failure("%s is being deleted without a job" % self.group.name)


class Detach(Change):
    def __init__(self, life, name, files):
        life.await_jobs()
        self.name, self.files = name, files
        refusals = {(409, "DeviceInUse")} if name in life.clients else set()
        if not self.may_go(life) and files == "delete":
            refusals.add((409, "ImageIsKept"))
        super().__init__("DELETE", "/devices/%s%s" % (name, "?files=delete" if files == "delete" else ""), None, refusals,
                         "/devices/" + name, True)

    def may_go(self, life):
        top = life.get("/devices/" + self.name)["top"]
        frozen = {member["backing_file"] for group in life.groups.values() if not group.deleting
                  for member in life.get("/snapshot-groups/" + group.id)["members"]}
        tree = Tree(life.daemon.images)
        self.beneath = set(tree.chain(top)) - life.named
        read = {disk.top for name, disk in life.disks.items() if disk.read_only and name != self.name}
        return top not in life.named | frozen | read and not tree.children[top]

    def apply(self, life, shown):
        disk = life.disks.pop(self.name)
        life.changed_tree()
        life.has_branched = True
        if self.files == "delete":
            life.await_plans()
        if self.files == "delete" or disk.read_only:
            life.unplanned |= self.beneath
            return
        disk.top = life.get("/events?limit=1000&kind=device.detached&device=" + self.name)["items"][-1]["detail"]["top"]
        disk.origin = None
        life.left[disk.top] = disk


class Attach(Change):
    """What a detached device has left, again; under any name. Not while a job merges its images."""

    def __init__(self, life, path, name=None):
        life.await_jobs()
        self.disk, self.image = life.left[path], path
        self.name = name or life.name("a")
        refusals = {(409, "DeviceExists")} if self.name in life.disks else set()
        super().__init__("POST", "/devices", {"name": self.name, "image": path, "format": format_of(path),
                                              "read_only": self.disk.read_only, **clusters(life.random)}, refusals, "/devices/" + self.name)

    def apply(self, life, shown):
        del life.left[self.image]
        life.disks[self.name] = self.disk
        life.changed_tree()


class AttachFrozen(Change):
    """A frozen image, which can only be read."""

    def __init__(self, life, group, device, read_only):
        life.await_jobs()  # they may give its place to another image
        shown = life.get("/snapshot-groups/" + group.name)
        image = next(member["backing_file"] for member in shown["members"] if member["device"] == device)
        self.name, self.view = life.name("f"), group.members[device]
        body = {"name": self.name, "image": image, "format": format_of(image), "read_only": read_only}
        is_kept = image in life.left or any(disk.top == image for disk in life.disks.values())
        read_only = read_only and not is_kept
        body["read_only"] = read_only
        refusals = set() if read_only else {(409, "ImageInUse"), (422, "OpenFileFailed")}
        super().__init__("POST", "/devices", body, refusals, "/devices/" + self.name)

    def apply(self, life, shown):
        life.disks[self.name] = Disk(self.view, shown["top"], read_only=True)
        life.changed_tree()
        life.has_branched = True


class Grow(Change):
    def __init__(self, life, name):
        self.name, self.size = name, len(life.disks[name].view) + life.random.choice((512, 4096, 65536))
        super().__init__("PATCH", "/devices/" + name, {"size_bytes": self.size})

    def apply(self, life, shown):
        expect(shown["size_bytes"] == self.size, "%s", shown)
        life.leave(self.name)  # who is connected keeps the size that he was told
        disk = life.disks[self.name]
        disk.view = disk.view.ljust(self.size, b"\0")
        life.changed_tree()
        life.has_branched = True  # each leaves an image until the next job

    def confirm(self, life):
        shown = super().confirm(life)
        return shown if shown["size_bytes"] == self.size else None


class Hold(Change):
    def __init__(self, life, group, hold):
        self.group, self.hold = group, hold
        super().__init__("PUT", "/snapshot-groups/%s/holds/%s" % (group.name, hold), shown_at="/snapshot-groups/" + group.name)

    def apply(self, life, shown):
        expect(self.hold in shown["holds"], "%s", shown)
        self.group.holds.add(self.hold)

    def confirm(self, life):
        shown = super().confirm(life)
        return shown if self.hold in shown["holds"] else None


class Release(Hold):
    def __init__(self, life, group, hold):
        super().__init__(life, group, hold)
        self.method = "DELETE"

    def apply(self, life, shown):
        self.group.holds.discard(self.hold)

    def confirm(self, life):
        shown = Change.confirm(self, life)
        return None if self.hold in shown["holds"] else shown


# ---- steps that change ----


def member(life, usable=True):
    """A group and one of its members."""
    names = [name for name, group in life.groups.items() if not (usable and group.deleting)]
    name = pick(life, names)
    return (life.groups[name], pick(life, life.groups[name].members)) if name else (None, None)


def draw_change(life, templates):
    """One that the state allows, or None."""
    rng = life.random
    is_full = len(Tree(life.daemon.images).backing) >= IMAGES_MAX
    group, device = member(life, usable=rng.random() < 0.95)
    kind = rng.random()
    if not is_full and kind < 0.30:
        return Take(life, refused=rng.random() < 0.05) if writable(life) else None
    if not is_full and kind < 0.44:
        return RollBack(life, group) if group else None
    if not is_full and kind < 0.54:
        return Clone(life, group, device) if group else None
    if kind < 0.74 or (is_full and kind < 0.9):
        if group and group.deleting:
            life.await_jobs()  # is it gone?
        return Delete(life, group) if group and group.name in life.groups else None
    return draw_rare(life, templates, group, device, is_full)


def draw_rare(life, templates, group, device, is_full):
    rng = life.random
    kind = rng.random()
    if kind < 0.12 and not is_full and writable(life):
        return Grow(life, pick(life, writable(life)))
    if kind < 0.45 and life.disks:
        return Detach(life, pick(life, life.disks), rng.choice(("keep", "delete")))
    if kind < 0.65 and life.left:
        detached = pick(life, {name for each in life.groups.values() for name in each.members} - set(life.disks))
        return Attach(life, pick(life, life.left), detached if rng.random() < 0.7 else None)
    if kind < 0.72 and group and not group.deleting:
        return AttachFrozen(life, group, device, rng.random() < 0.6)
    if kind < 0.90 and group and not group.deleting:
        hold = rng.choice(("backup", "policy"))
        return (Hold if rng.random() < 0.6 and not group.holds else Release)(life, group, hold)
    if is_full or len(life.disks) >= 4:
        return None
    return AttachNew(life, templates) if rng.random() < 0.3 else Create(life)


def change(life, templates):
    made = draw_change(life, templates)
    if made:
        make_way(life, made)
        made.ask(life)


def make_way(life, made):
    """As a rule clients leave first."""
    if isinstance(made, RollBack) and life.random.random() < 0.8:
        for device in made.group.members:
            life.leave(device)
        made.refusals = made.forbidden(life)
    elif isinstance(made, Detach) and life.random.random() < 0.8:
        life.leave(made.name)
        made.refusals.discard((409, "DeviceInUse"))
