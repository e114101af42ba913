# SPDX-License-Identifier: Apache-2.0
"""The tour of the dashboard: every view and every action, clicked as a person would, in one size
and one theme. Each view is checked by axe, fits its window, complains about nothing, and is kept as
a screenshot.
"""
import os

from browser import Gate
from snapgroupd import Daemon, expect, wait_until


# Those of docs/dashboard.md.
PICTURES = {"device": "light", "group": "light", "rollback": "dark", "pauses": "light"}


class Tour:
    def __init__(self, daemon, browser, url, width, theme):
        self.daemon, self.browser, self.url, self.width, self.theme = daemon, browser, url, width, theme

    def view(self, name):
        """What is true of every view."""
        where = "%s-%s-%s" % (name, self.width, self.theme)
        self.browser.shoot(where)
        if self.width == 1280 and PICTURES.get(name) == self.theme:
            self.browser.picture(name)
        self.browser.expect_accessible(where)
        self.browser.expect_fits(where)
        self.browser.expect_no_complaint(where)

    def go(self, path):
        self.browser.run("location.hash = %r" % ("#/" + path))

    def take(self):
        self.browser.open(self.width, self.theme)
        for part in (self.devices, self.device, self.freeze, self.groups, self.aborted_group, self.holds, self.rollback,
                     self.delete, self.jobs, self.pauses, self.events, self.tokens, self.shell):
            part()

    def devices(self):
        self.browser.go(self.url + "/ui/")
        self.browser.wait(role="link", name="vda")
        self.browser.wait(text="3 of 3 devices")
        self.browser.wait(text="live")
        self.view("devices")
        self.browser.fill("vdb", label="Name contains")
        self.browser.wait(text="1 of 3 devices")
        self.browser.fill("", label="Name contains")
        self.browser.ask("select", role="combobox", name="State", value="failed")
        self.browser.wait(text="There is no such device")
        self.browser.ask("select", role="combobox", name="State", value="")

    def device(self):
        self.browser.click(role="link", name="vda")
        self.browser.wait(role="heading", name="Images")
        self.browser.wait(css=".image a[href='#/groups/monday']")
        expect(self.browser.count(css=".image") == 3, "vda has %s images", self.browser.count(css=".image"))
        self.view("device")

    def disabled(self, label, why):
        """The button says why it cannot be used."""
        where = {"role": "button", "name": label}
        self.browser.wait(**where)
        wait_until(lambda: not self.browser.ask("enabled", **where) and why in (self.browser.ask("described", **where) or ""),
                   "%s is disabled: %s" % (label, why))

    def freeze(self):
        """Chosen in the list; the dry run comes first, and again after each change."""
        self.go("devices")
        self.disabled("Freeze 0 chosen …", "Choose devices first")
        for device in ("vda", "vdb"):
            self.browser.ask("check", label="Choose " + device)
        self.browser.click(role="button", name="Freeze 2 chosen …")
        self.disabled("Take the group", "The dry run comes first")
        self.browser.fill("monday", label="Name")
        self.browser.click(role="button", name="Dry run")
        self.browser.wait(role="alert")
        self.browser.fill("clicked", label="Name")
        self.browser.fill("owner=ops", label="Labels of the group")
        self.browser.click(role="button", name="Dry run")
        self.browser.wait(text="2 devices would be frozen")
        self.view("take")
        self.browser.fill("vda vdb vdc", label="Devices")
        self.disabled("Take the group", "The dry run comes first")
        self.browser.ask("check", label="All that have labels")
        self.browser.fill("app=db", label="Labels that they have")
        self.browser.click(role="button", name="Dry run")
        self.browser.wait(text="2 devices would be frozen")
        before = len(self.daemon.list("/snapshot-groups"))
        self.browser.click(role="button", name="Take the group")
        self.browser.wait(role="heading", name="Members")
        group = self.daemon.get("/snapshot-groups/clicked")
        expect([member["device"] for member in group["members"]] == ["vda", "vdb"], "%s", group)
        expect(group["labels"] == {"owner": "ops"} and len(self.daemon.list("/snapshot-groups")) == before + 1, "%s", group)

    def groups(self):
        self.go("groups")
        self.browser.wait(role="link", name="tuesday")
        self.browser.wait(text="4 groups")
        self.view("groups")
        self.browser.ask("select", role="combobox", name="State", value="aborted")
        self.browser.wait(text="1 groups")
        self.browser.ask("select", role="combobox", name="State", value="")
        self.browser.ask("select", role="combobox", name="Kind", value="rollback")
        self.browser.wait(text="There is no such group")
        self.browser.ask("select", role="combobox", name="Kind", value="")
        self.browser.fill("vdc", label="Device")
        self.browser.wait(text="1 groups")
        self.browser.fill("", label="Device")
        self.browser.fill("monday", label="Name")
        self.browser.wait(text="1 groups")
        self.browser.fill("", label="Name")
        self.browser.wait(text="4 groups")
        self.browser.click(css=".chart .u-over")
        self.browser.wait(role="heading", name="Members")
        self.go("groups")
        self.browser.click(role="button", name="Take a group …")
        self.browser.wait(role="button", name="Dry run")

    def aborted_group(self):
        self.go("groups")
        self.browser.click(role="link", name="failed")
        self.browser.wait(css=".fault")
        for label in ("Roll back …", "Delete …", "Hold"):
            self.disabled(label, "The group is aborted")
        self.view("group-aborted")

    def holds(self):
        self.go("groups/monday")
        self.browser.wait(role="heading", name="Holds")
        self.browser.fill("backup", label="Name of a hold")
        self.browser.click(role="button", name="Hold")
        self.disabled("Delete …", "Held by backup")
        self.view("group")
        self.browser.click(role="button", name="Release backup")
        self.browser.wait(text="Nobody holds it")
        wait_until(lambda: self.browser.ask("enabled", role="button", name="Delete …"), "the group can be deleted")

    def confirm(self, opener, label, name):
        """Opens the dialog, and types the name, wrong at first."""
        self.browser.click(role="button", name=opener)
        self.browser.wait(role="dialog")
        self.browser.wait(css="dialog .plan > *:not([aria-busy])")
        self.disabled(label, "The name is not typed yet")
        field = {"css": "dialog input[name=confirm]"}
        self.browser.fill(name[:-1], **field)
        self.disabled(label, "The name is not typed yet")
        self.browser.fill(name, **field)
        wait_until(lambda: self.browser.ask("enabled", role="button", name=label), "%s can be used" % label)

    def rollback(self):
        self.go("groups/monday")
        client = self.daemon.nbd("vda")
        self.browser.click(role="button", name="Roll back …")
        self.browser.wait(css="dialog [role=alert]")
        self.disabled("Roll back", "The dry run was refused")
        self.browser.ask("check", label="Disconnect clients")
        self.browser.wait(text="2 devices would be rolled back")
        self.browser.fill("kept", css="dialog input[name=keep]")
        self.browser.ask("press", key="Tab")
        self.browser.wait(css="dialog .plan table")
        self.view("rollback")
        self.browser.ask("press", key="Escape")
        self.browser.wait(role="dialog", state="detached")
        del client
        self.confirm("Roll back …", "Roll back", "monday")
        self.browser.click(role="button", name="Roll back")
        self.browser.wait(text="rollback to")
        made = [group for group in self.daemon.list("/snapshot-groups") if group["kind"] == "rollback"]
        expect(len(made) == 1 and self.daemon.get("/devices/vda")["origin"]["how"] == "rollback", "%s", made)

    def delete(self):
        """The job is slow, as furnish() has it: it can be paused, and goes on."""
        self.go("groups/tuesday")
        self.browser.wait(role="heading", name="Members")
        self.confirm("Delete …", "Delete", "tuesday")
        self.view("delete")
        self.browser.click(role="button", name="Delete")
        self.browser.wait(role="button", name="Cancel")

    def jobs(self):
        self.browser.click(role="button", name="Pause")
        self.disabled("Pause", "It is paused")
        self.browser.wait(role="button", name="Continue")
        self.view("job")
        self.browser.click(role="button", name="Continue")
        self.disabled("Continue", "not paused")
        self.browser.click(role="button", name="Cancel")
        self.disabled("Cancel", "The job is cancelled")
        self.go("groups/tuesday")
        self.disabled("Roll back …", "The group is deleting")
        self.confirm("Delete …", "Delete", "tuesday")
        self.browser.click(role="button", name="Delete")
        self.browser.wait(role="button", name="Cancel")
        self.browser.fill("0", label="At most MiB a second; 0: no limit")
        self.browser.click(role="button", name="Set the rate")
        self.disabled("Cancel", "The job is done")
        self.go("jobs")
        self.browser.wait(text="2 jobs")
        self.view("jobs")
        self.browser.ask("select", role="combobox", name="State", value="cancelled")
        self.browser.wait(text="1 jobs")

    def pauses(self):
        self.go("pauses")
        self.browser.wait(role="heading", name="Durations")
        self.browser.click(text="Pauses as numbers")
        self.browser.wait(css="details[open] table")
        self.view("pauses")

    def events(self):
        self.go("events")
        self.browser.wait(text="job.done")
        self.view("events")
        self.browser.fill("token.", label="Kind, device or group contains")
        self.browser.wait(text="There is no such event")
        self.daemon.create_token("seen", "read")
        self.browser.wait(text="token.created")
        self.browser.click(role="button", name="Hold still")
        self.browser.click(role="button", name="Go on")

    def tokens(self):
        self.go("tokens")
        self.browser.wait(text="seen")
        self.browser.fill("made", label="Name")
        self.browser.ask("select", role="combobox", name="Scope", value="snapshot")
        self.browser.fill("2099-12-31T23:59", label="Valid until")
        self.browser.click(role="button", name="Make a token")
        self.browser.wait(role="dialog")
        secret = self.browser.run("document.querySelector('dialog input[name=secret]').value")
        expect(secret.startswith("sgt_"), "the secret is %s", secret)
        self.browser.click(role="button", name="I have it")
        self.browser.wait(role="button", name="Revoke made")
        self.view("tokens")
        self.confirm("Revoke made", "Revoke", "made")
        self.browser.click(role="button", name="Revoke")
        self.browser.wait(role="button", name="Revoke made", state="detached")
        names = [token["name"] for token in self.daemon.list("/tokens")]
        expect(names == ["seen"], "the tokens are %s", names)

    def shell(self):
        """By keyboard: the first stop leads to the content; the theme goes round."""
        for theme in ("light", "dark", "auto"):
            self.browser.click(css="header button.plain")
            self.browser.wait(text="Theme: " + theme)
            self.browser.expect_accessible("the theme " + theme)
        self.go("devices")
        self.browser.wait(role="link", name="vda")
        self.browser.ask("reload")
        self.browser.wait(role="link", name="vda")
        self.browser.ask("press", key="Tab")
        self.browser.ask("press", key="Enter")
        expect(self.browser.run("document.activeElement.tagName") == "H1", "the content is reached by keyboard")


def furnish(daemon):
    """Devices and groups as an operator has them. Jobs are slow: their rate is 64 KiB a second."""
    with daemon.stopped_database() as database:
        database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN "
                         "UPDATE jobs SET rate_bytes_per_second = 65536 WHERE id = NEW.id; END")
    for name, labels in (("vda", {"app": "db"}), ("vdb", {"app": "db"}), ("vdc", {"app": "web", "owner": "ops"})):
        daemon.create_device(name, "qcow2", 64 << 20, labels=labels)
    daemon.snapshot("monday", ["vda", "vdb"])
    daemon.snapshot("tuesday", ["vda", "vdb", "vdc"])
    for name in ("vda", "vdc"):
        handle = daemon.nbd(name)
        handle.pwrite(os.urandom(4 << 20), 0)
        handle.shutdown()
    answer = daemon.request("POST", "/snapshot-groups", {"name": "failed", "devices": [
        {"device": "vda"}, {"device": "vdb", "snapshot_file": "vda.qcow2"}]})
    expect(answer.status == 422, "the attempt that is aborted: %s", answer)


def tours(browser, sizes):
    """A daemon and a tour for each (width, theme)."""
    for width, theme in sizes:
        with Daemon() as daemon:
            daemon.start()
            furnish(daemon)
            with Gate(os.path.join(daemon.runtime, "api.sock")) as gate:
                Tour(daemon, browser, gate.url, width, theme).take()
