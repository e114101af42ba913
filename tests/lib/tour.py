# SPDX-License-Identifier: Apache-2.0
"""The tour of the dashboard: every view and every action, clicked as a person would, in one size
and one theme. Each view is checked by axe, fits its window, complains about nothing, and is kept as
a screenshot.
"""
import os

from browser import Gate
from snapgroupd import Daemon, expect


class Tour:
    def __init__(self, daemon, browser, url, width, theme):
        self.daemon, self.browser, self.url, self.width, self.theme = daemon, browser, url, width, theme

    def view(self, name):
        """What is true of every view."""
        where = "%s-%s-%s" % (name, self.width, self.theme)
        self.browser.shoot(where)
        self.browser.expect_accessible(where)
        self.browser.expect_fits(where)
        self.browser.expect_no_complaint(where)

    def go(self, path):
        self.browser.run("location.hash = %r" % ("#/" + path))

    def take(self):
        self.browser.open(self.width, self.theme)
        self.devices()
        self.device()

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


def furnish(daemon):
    """Devices and groups as an operator has them."""
    for name, labels in (("vda", {"app": "db"}), ("vdb", {"app": "db"}), ("vdc", {"app": "web", "owner": "ops"})):
        daemon.create_device(name, "qcow2", 64 << 20, labels=labels)
    daemon.snapshot("monday", ["vda", "vdb"])
    daemon.snapshot("tuesday", ["vda", "vdb", "vdc"])
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
