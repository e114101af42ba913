# SPDX-License-Identifier: Apache-2.0
"""The course of a life: steps (livesteps.py) at random, alone, two at once, or with a kill in
between; then everything is deleted again, and nothing may be left."""
import os
import shutil
import sys
import threading
import time

from livemodel import Tree, format_of, is_mix
from lives import GONE, Life
from livesteps import (Attach, AttachFrozen, Clone, Create, Delete, Detach, Grow, Hold, Release, RollBack, Take, change,
                       draw_change, make_way, member)
from livewrites import pick, writable, write_some
from snapgroupd import expect, run

BUSY = {"DeviceInUse", "ImageInUse", "GroupDeleting", "GroupNotFound", "DeviceNotFound", "ImageIsKept", "DeviceExists", "GroupHeld",
        "NotRelated"}


class Template:
    """An image, with those beneath it, that is copied for each life."""

    def __init__(self, files, view):
        self.files, self.view = files, view
        self.format = format_of(files[-1])

    def copy_to(self, life, name):
        """Their names are not changed, so each has a directory of its own."""
        os.mkdir(life.image(name))
        copies = [os.path.join(life.image(name), os.path.basename(file)) for file in self.files]
        for file, copy in zip(self.files, copies):
            shutil.copyfile(file, copy)
        return copies


def templates_make(directory):
    """Odd sizes, compressed clusters, chains of two."""
    made = []

    def make(name, size, *commands):
        where = os.path.join(directory, name)
        os.mkdir(where)
        files = [os.path.join(where, file) for file in commands[-1]]
        with open(os.path.join(where, files[0]), "wb") as base:
            base.write((os.urandom(1000) * (size // 1000 + 1))[:size])
        for command in commands[:-1]:
            run("sh", "-ec", "cd %s && %s" % (where, command))
        flat = os.path.join(directory, name + ".flat")
        run("qemu-img", "convert", "-f", format_of(files[-1]), "-O", "raw", files[-1], flat)
        with open(flat, "rb") as content:
            view = content.read()
        made.append(Template(files, view.ljust(-(-len(view) // 512) * 512, b"\0")))

    make("odd", 100001, ("odd",))
    make("over", 65536, "qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F raw over 128k", ("base", "over"))
    make("compressed", 200192, "mv compressed raw", "qemu-img convert -c -O qcow2 -o cluster_size=16k raw compressed",
         "rm raw", ("compressed",))
    make("subclusters", 65536, "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=64k -b base -F raw over 300k",
         "qemu-io -c 'write -P 7 5k 3k' -c 'write -z 70k 10k' over", ("base", "over"))
    make("chain", 65536, "qemu-img create -q -f qcow2 -o cluster_size=512 -b base -F raw middle 64k",
         "qemu-io -c 'write -P 9 1k 9k' middle", "qemu-img create -q -f qcow2 -b middle -F qcow2 over 96k",
         ("base", "middle", "over"))
    return made


# ---- steps ----


def job(life, _):
    """A job that runs is cancelled, or paused, or its rate is changed."""
    for name in list(life.jobs)[:1]:
        body = life.random.choice(({"state": "cancelled"}, {"state": "paused"}, {"rate_bytes_per_second": 1 << 20},
                                   {"state": "paused", "rate_bytes_per_second": 0}))
        answer = life.ask("PATCH", "/jobs/" + name, body)
        expect(answer.status == 200 or answer.body["code"] == "JobFinished", "PATCH job: %s", answer)
        life.note("PATCH /jobs %s: %d", body, answer.status)
        life.count("job %s %d" % (body.get("state"), answer.status))


def reader(life, _):
    """Someone reads a frozen member, for some steps."""
    if life.readers and life.random.random() < 0.7:
        life.readers.pop(pick(life, life.readers)).shutdown()
        return
    group, device = member(life)
    if group and (group.name, device) not in life.readers:
        life.readers[group.name, device] = life.daemon.nbd("%s@%s" % (device, group.name))
        life.note("a reader of %s@%s", device, group.name)


def dry_run(life, _):
    """Says what it would do, and does nothing."""
    group, _ = member(life)
    if group:
        planned = Delete(life, group)
        life.call("DELETE", planned.path + "?dry_run=true", None, planned.refusals)
        planned = RollBack(life, group)
        life.call("POST", planned.path + "?dry_run=true", planned.body, planned.refusals)


def extents(life, _):
    group, device = member(life)
    if not group:
        return
    others = [other for other in life.groups.values() if device in other.members and not other.deleting]
    older = life.random.choice([None] + others)
    life.note("extents of %s@%s since %s", device, group.name, older and older.name)
    life.check_extents(device, group, older, life.random.choice((1, 3, 1000)))
    life.count("extents")


def unlink(life, _):
    """Whoever detached a disk removes its file."""
    tree = Tree(life.daemon.images)
    path = pick(life, [path for path in life.left if not tree.children[path]])
    if path and life.random.random() < 0.3:
        os.unlink(path)
        del life.left[path]
        life.unplanned |= set(tree.chain(path)) - life.named
        life.named.discard(path)
        life.changed_tree()
        life.note("unlink %s", path)


def verify(life, _):
    life.check()
    life.note("verified")
    life.count("verified")


def brief(answer):
    return answer.body["code"] if answer.status >= 400 else answer.status


def grew_first(made, others):
    """Whether a device had grown by the time another change froze it. Of two that grow it the
    second makes it larger."""
    for other, shown in others:
        sizes = {member["device"]: member["size_bytes"] for member in shown.get("members", [])}
        if made.name in sizes:
            return sizes[made.name] == made.size
        if isinstance(other, Grow) and other.name == made.name:
            return made.size < other.size
    return True


def in_order(done):
    """(change, reply) of those that succeeded, as they happened: replies say when, or what they
    found there. What is deleted goes last."""
    def place(each):
        made, shown = each
        if isinstance(made, (Delete, Detach)):
            return 3, ""
        if isinstance(made, Grow):
            return (0 if grew_first(made, [other for other in done if other is not each]) else 2), ""
        return 1, shown.get("cut_at") or shown.get("created_at")
    return sorted(done, key=place)


def may_be_refused(made, answer, other):
    """Because of the other one."""
    merged = isinstance(made, (AttachFrozen, RollBack)) and answer.status == 422
    smaller = isinstance(made, Grow) and isinstance(other, (Grow, RollBack)) and answer.body["code"] == "InvalidValue"
    return answer.body["code"] in BUSY or merged or smaller


def two_at_once(life, templates):
    """Both are made, in some order, or one is refused because of the other."""
    pair = [draw_change(life, templates), draw_change(life, templates)]
    if None in pair or any(made.refusals or isinstance(made, (Attach, Hold, Release)) for made in pair):
        return
    life.await_jobs()
    life.leave_all()
    answers = [None, None]

    def ask(number):
        made = pair[number]
        connection = life.daemon.connection()
        answers[number] = connection.ask(made.method, made.path, made.body)
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = []
    for made, answer, other in zip(pair, answers, reversed(pair)):
        life.note("at once: %s %s %s: %s", made.method, made.path, made.body or "", brief(answer))
        life.count("at once %s" % ("refused " + answer.body["code"] if answer.status >= 400 else "done"))
        expect(answer.status < 300 or may_be_refused(made, answer, other), "at once: %s", answer)
        if answer.status < 300:
            done.append((made, answer.body or {}))
    for made, shown in in_order(done):
        made.apply(life, shown)
        if isinstance(made, Delete):
            made.group.deleted_at = None  # what its job planned may be from before the other change


# ---- kills ----


def change_and_kill(life, templates):
    """The daemon is killed while it works; then the change was made or not."""
    made = draw_change(life, templates)
    if made:
        make_way(life, made)
    if not made or made.refusals:
        life.kill()
        life.note("killed between two calls")
        return
    name = pick(life, writable(life)) if isinstance(made, (Take, Clone, Delete)) else None
    begun = begin_write(life, name) if name and life.random.random() < 0.5 else None
    answers = ask_and_kill(life, made)
    life.note("%s %s %s and killed: %s", made.method, made.path, made.body or "", brief(answers[0]) if answers else "no answer")
    shown = made.confirm(life)
    expect(shown is not None or not answers or answers[0].status >= 300, "it is gone after a kill")
    life.note("it was %s", "done" if shown is not None else "not done")
    life.count("killed, %s" % ("done" if shown is not None else "not done"))
    if shown is not None:
        made.apply(life, shown)
    if begun:
        finish_write(life, name, *begun, made if shown is not None and isinstance(made, Take) else None)


def ask_and_kill(life, made):
    answers = []

    def ask():
        try:
            answers.append(life.connection.ask(made.method, made.path, made.body))
        except GONE:
            pass

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(life.random.random() * life.random.choice((0.0005, 0.001, 0.002, 0.004, 0.008)))
    life.kill_begin()
    thread.join()
    life.kill_end()
    return answers


def begin_write(life, name):
    """A write that is not awaited."""
    import nbd
    rng, disk = life.random, life.disks[name]
    length = min(rng.choice((512, 4096, 65536)), len(disk.view) // 512 * 512)
    offset = rng.randrange((len(disk.view) - length) // 512 + 1) * 512
    data = rng.randbytes(512) * (length // 512)
    handle = life.client(name)
    handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset)
    life.note("%s: write %d+%d, not awaited", name, offset, length)
    return offset, data


def finish_write(life, name, offset, data, taken):
    """Each sector was written or was not; what is frozen of it, the disk has too."""
    disk = life.disks[name]
    before = disk.view
    disk.write(offset, data)
    after, last = disk.view, before
    if taken and name in taken.devices:
        last = life.read("%s@%s" % (name, taken.name), len(before))
        expect(is_mix(last, before, after), "%s@%s has what nobody wrote", name, taken.name)
        life.groups[taken.name].members[name] = last
    disk.view = life.read(name, len(before))
    expect(is_mix(disk.view, last, after), "%s has what nobody wrote", name)


# ---- the whole ----

STEPS = ((write_some, 40), (change, 42), (job, 4), (reader, 3), (dry_run, 2), (extents, 5), (verify, 2))


def step(life, templates, kills, pairs):
    kind = life.random.random()
    if kind < kills:
        change_and_kill(life, templates)
    elif kind < kills + pairs:
        two_at_once(life, templates)
    else:
        made, = life.random.choices([each for each, _ in STEPS], [weight for _, weight in STEPS])
        made(life, templates)
        life.check_some()


def live(daemon, seed, templates, steps, kills=0, pairs=0, by_path=False):
    """Returns the life, which has ended."""
    life = Life(daemon, seed)
    try:
        change_first(life)
        for _ in range(steps):
            step(life, templates, kills, pairs)
        life.check()
        if by_path:
            check_by_path(life)
        end(life)
        life.connection.close()
    except Exception:
        sys.stderr.write("--- seed %r\n%s\n" % (seed, "\n".join(life.log)))
        raise
    return life


def change_first(life):
    for _ in range(life.random.choice((1, 1, 2))):
        Create(life).ask(life)


def check_by_path(life):
    """What QEMU reads, with the daemon beside it; a file that a device has open for writing is not
    locked against -U."""
    tops = [(life.get("/devices/" + name)["top"], disk.view) for name, disk in life.disks.items()]
    tops += [(path, disk.view) for path, disk in life.left.items()]
    for group in life.groups.values():
        for shown in [] if group.deleting else life.get("/snapshot-groups/" + group.name)["members"]:
            tops.append((shown["backing_file"], group.members[shown["device"]]))
    flat = os.path.join(life.daemon.directory, "flat")
    life.leave_all()
    life.daemon.stop()
    for path, view in tops:
        with open(flat, "wb") as reference:
            reference.write(view)
        run("qemu-img", "compare", "-f", "raw", "-F", format_of(path), flat, path)
        if format_of(path) == "qcow2":
            run("sh", "-c", 'qemu-img check -q "$1" || [ $? = 3 ]', "sh", path)
    life.daemon.start()
    life.connection.close()
    life.count("by path")


def remove_one(life):
    """A device whose top may go."""
    for name in sorted(life.disks):
        made = Detach(life, name, "delete")
        if not made.refusals:
            made.ask(life)
            return True
    return False


def end(life):
    """All groups and devices are deleted; what is left was there before the daemon."""
    life.leave_all()
    life.await_jobs()
    for group in list(life.groups.values()):
        for hold in sorted(group.holds):
            Release(life, group, hold).ask(life)
    names = sorted(life.groups)
    life.random.shuffle(names)
    for name in names:
        Delete(life, life.groups[name]).ask(life)
        if life.random.random() < 0.5:
            life.await_jobs()
    life.check()
    for path in sorted(life.left):
        Attach(life, path).ask(life)
    while remove_one(life):
        pass
    for name in sorted(life.disks):
        Detach(life, name, "keep").ask(life)
    stray = set(Tree(life.daemon.images).backing) - life.named - life.unplanned
    expect(not stray, "these files are left: %s", stray)
    life.check()
    for name in os.listdir(life.daemon.images):
        path = life.image(name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
