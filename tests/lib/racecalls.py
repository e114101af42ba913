# SPDX-License-Identifier: Apache-2.0
"""The calls of a race (races.py), drawn so that most of them are about the same few things.

An effect takes (state, gone) of Races.outcomes() on, and is false where the call would be refused.
"""
import http.client
import threading
import time

from racefiles import format_of
from snapgroupd import expect

GROUPS_MAX, DEVICES_MAX = 7, 5
GROW_SECTORS = 128
EFFECTS_MAX = 3  # of whose orders all are tried
COPY_FORMATS = ("raw", "qcow2")
GONE = (OSError, http.client.HTTPException)  # the daemon was killed


class Call(threading.Thread):
    """One call of a race. `effect`, if it succeeds: see Races.outcomes()."""

    def __init__(self, races, method, path, body=None, effect=None, groups=(), read=None, after=None,
                 is_refused=False):
        super().__init__(daemon=True)
        self.after, self.is_refused = after, is_refused
        self.races, self.method, self.path, self.body = races, method, path, body
        self.effect, self.groups, self.read = effect, groups, read
        self.marks, self.status, self.error, self.answer = {}, None, None, None

    def run(self):
        begun = time.monotonic()
        self.marks = {name: disk.marks() for name, disk in self.races.disks.items()}
        try:
            if self.read:
                self.read()
            else:
                self.answer = self.races.daemon.request(self.method, self.path, self.body)
                self.status = self.answer.status
            if self.after and self.status == 204:
                self.attach()
        except Exception as error:  # judged by the race
            self.error = error
        self.took_s = time.monotonic() - begun

    def attach(self):
        """With the image that was the top before the race, which may be another one by now."""
        status = self.status
        self.status = None
        self.answer = self.races.daemon.request("POST", "/devices", self.after)
        expect(self.answer.status < 500, "%s: %s", self.after, self.answer)
        self.status = status
        if self.answer.status == 201:
            self.effect = None

    def __str__(self):
        return "%s %s %s -> %s%s" % (self.method, self.path, self.body or "", self.status or repr(self.error) if (
            self.status or self.error) else "", " " + self.answer.body.get("code", "") if self.status and isinstance(
                self.answer.body, dict) else "")

    def detached(self):
        """The device that it detaches, or None."""
        is_detach = self.method == "DELETE" and self.path.startswith("/devices/")
        return self.path.split("?")[0].split("/")[-1] if is_detach else None

    def may_have_succeeded(self):
        return self.status is None or self.status < 300

    def judge(self, is_killed):
        if self.error:
            expect(is_killed and isinstance(self.error, GONE), "not answered: %s", self)
        elif self.status:
            expect(self.status != 201 or not self.is_refused, "a frozen image is written: %s", self)
            is_late = self.status == 504 and "deadline_ms" in (self.body or {})
            expect(is_late or self.status < 500 and self.status not in (400, 405, 415), "%s: %s", self, self.answer)


def draw_calls(races):
    draw = races.random
    device = draw.choice(list(races.disks))
    group = draw.choice(list(races.groups)) if races.groups else None
    calls = [draw_call(races, device, group, races.name("n"))
             for _ in range(draw.choice([0, 1, 2, 2, 3, 3, 4, 6, 8, 10]))]
    if any(call.method == "DELETE" and call.path.startswith("/snapshot-groups/") for call in calls):
        calls = [call for call in calls if not call.is_refused]
    of_effect = [call for call in calls if call.effect]
    return [call for call in calls if call not in of_effect[EFFECTS_MAX:]]


def draw_call(races, device, group, name):
    """`name` is that of a clone or a group, which another call of the race may want, too."""
    draw = races.random
    if draw.random() < 0.3:
        device = draw.choice(list(races.disks))
    if races.groups and draw.random() < 0.3:
        group = draw.choice(list(races.groups))
    kinds = ["group"] * (3 if len(races.groups) < GROUPS_MAX else 1) + ["resize", "detach", "label", "look"]
    if group:
        kinds += ["delete"] * (3 if len(races.groups) < GROUPS_MAX else 8)
        kinds += ["rollback", "rollback", "copy", "hold", "unhold", "unhold", "read", "dry-run", "extents", "job", "job"]
        kinds += ["attach", "attach", "attach-frozen"]
        kinds += ["clone", "clone"] if len(races.disks) < DEVICES_MAX else ["remove", "remove"]
    return CALLS[draw.choice(kinds)](races, device, group, name)


# ---- devices ----

def resize(races, device, group, name):
    sectors = len(races.disks[device].content) + GROW_SECTORS * races.random.randrange(1, 4) - 1

    def effect(state, gone):
        if device not in state or state[device][1] > sectors:
            return False
        state[device] = (state[device][0], sectors)
        return True
    return Call(races, "PATCH", "/devices/" + device, {"size_bytes": 512 * sectors}, effect)


def gone_effect(device):
    def effect(state, gone):
        if device not in state:
            return False
        gone[device] = state.pop(device)
        return True
    return effect


def detach(races, device, group, name):
    top = races.daemon.get("/devices/" + device)
    after = {"name": device, "image": top["top"], "format": top["format"]} if races.random.random() < 0.5 else None
    return Call(races, "DELETE", "/devices/" + device, None, gone_effect(device), after=after)


def attach(races, device, group, name):
    """A copy, if there is one by now, which is detached after the race. Nothing else: an image that
    was attached is never removed."""
    if not races.copies:
        return look(races, device, group, name)
    image = races.random.choice(list(races.copies))
    body = {"name": "copy-" + name, "image": image, "format": races.copies[image][0],
            "read_only": races.random.random() < 0.5}
    return Call(races, "POST", "/devices", body)


def attach_frozen(races, device, group, name):
    """Refused, while nothing may free the image."""
    if races.jobs("running", "queued"):
        return look(races, device, group, name)
    member = races.random.choice(races.daemon.get("/snapshot-groups/" + group)["members"])
    path = member["backing_file"]
    return Call(races, "POST", "/devices", {"name": "copy-" + name, "image": path, "format": format_of(path)},
                is_refused=True)


def remove(races, device, group, name):
    clones = [disk for disk in races.disks if disk.startswith("n")]
    if not clones:
        return look(races, device, group, name)
    device = device if device in clones else races.random.choice(clones)
    return Call(races, "DELETE", "/devices/%s?files=delete" % device, None, gone_effect(device))


def clone(races, device, group, name):
    source = races.random.choice(list(races.groups[group]))
    content = races.groups[group][source]

    def effect(state, gone):
        if name in state:
            return False
        state[name] = (content, len(content))
        return True
    return Call(races, "POST", "/devices", {"name": name, "from": {"group": group, "device": source}}, effect)


def label(races, device, group, name):
    return Call(races, "PATCH", "/devices/" + device, {"labels": {"of": name}})


# ---- groups ----

def take(races, device, group, name):
    others = [other for other in races.disks if other != device]
    members = [device] + races.random.sample(others, races.random.choice([0, 0, 1, min(2, len(others))]))
    body = {"name": name, "devices": [{"device": member} for member in members]}
    if races.random.random() < 0.2:
        body["deadline_ms"] = races.random.choice([1, 5, 30, 100])
    return Call(races, "POST", "/snapshot-groups", body, groups=[name])


def rollback(races, device, group, name):
    contents = races.groups[group]

    def effect(state, gone):
        if not set(contents) <= set(state):
            return False
        for member, content in contents.items():
            state[member] = (content, len(content))
        return True
    return Call(races, "POST", "/snapshot-groups/%s/rollbacks" % group, {
        "name": name, "disconnect": races.random.random() < 0.8}, effect, [name])


def delete(races, device, group, name):
    return Call(races, "DELETE", "/snapshot-groups/" + group)


def dry_run(races, device, group, name):
    return Call(races, "DELETE", "/snapshot-groups/%s?dry_run=true" % group)


def hold(races, device, group, name):
    return Call(races, "PUT", "/snapshot-groups/%s/holds/h%d" % (group, races.random.randrange(2)))


def unhold(races, device, group, name):
    return Call(races, "DELETE", "/snapshot-groups/%s/holds/h%d" % (group, races.random.randrange(2)))


def copy(races, device, group, name):
    source = races.random.choice(list(races.groups[group]))
    image_format = races.random.choice(COPY_FORMATS)
    image = "copy-%s.%s" % (name, image_format)
    races.copies[image] = (image_format, races.groups[group][source])
    return Call(races, "POST", "/snapshot-groups/%s/copies" % group, {
        "device": source, "image": image, "format": image_format})


def extents(races, device, group, name):
    member = races.random.choice(list(races.groups[group]))
    return Call(races, "GET", "/snapshot-groups/%s/members/%s/extents?since=%s" % (
        group, member, races.random.choice(list(races.groups))))


def read(races, device, group, name):
    member = races.random.choice(list(races.groups[group]))
    return Call(races, "READ", "%s@%s" % (member, group), read=lambda: races.verify_member(group, member))


# ---- jobs and lists ----

def job(races, device, group, name):
    jobs = races.jobs("running", "queued", "paused")
    if not jobs:
        return look(races, device, group, name)
    change = races.random.choice([{"state": "running"}, {"state": "running"}, {"state": "paused"}, {"state": "cancelled"},
                                  {"rate_bytes_per_second": 1 << 20}, {"rate_bytes_per_second": 0}])
    return Call(races, "PATCH", "/jobs/" + races.random.choice(jobs)["id"], change)


def look(races, device, group, name):
    return Call(races, "GET", races.random.choice(
        ["/devices", "/devices/" + device, "/snapshot-groups", "/jobs", "/events?limit=20", "/metrics"]))


CALLS = {"attach": attach, "attach-frozen": attach_frozen, "resize": resize, "detach": detach,
         "remove": remove, "clone": clone, "label": label, "group": take,
         "rollback": rollback, "delete": delete, "dry-run": dry_run, "hold": hold, "unhold": unhold, "copy": copy,
         "extents": extents, "read": read, "job": job, "look": look}
