#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# With 10,000 devices and 100,000 groups the document has only the rows in sight, wherever it is
# scrolled to; all devices can be found; groups are read as the list is scrolled, a page at a time,
# and each once. Prints when the page was first painted and how much was sent for that, which is at
# most 150 kB.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser
from crowd import Crowd, device, group
from openapi import SPEC, fits
from snapgroupd import Daemon, expect, main, wait_until

DEVICES, GROUPS = 10000, 100000
ROWS_MAX = 100
SENT_BYTES_MAX = 150000
SCROLL = "(to) => { const box = document.querySelector('.scroll'); box.scrollTop = to * box.scrollHeight; }"
COST = """JSON.stringify([performance.getEntriesByType("paint")[0].startTime,
  [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter(({ name }) => name.includes("/ui/")).reduce((sum, { transferSize }) => sum + transferSize, 0)])"""


def scroll(browser, to):
    browser.run("(%s)(%s)" % (SCROLL, to))


def rows(browser):
    return browser.run("document.querySelectorAll('tbody tr').length")


def devices(browser, crowd):
    browser.wait(text="%d of %d devices" % (DEVICES, DEVICES))
    expect(crowd.pages == [("device", first) for first in range(0, DEVICES, 1000)], "pages: %s", crowd.pages)
    for to, name in ((0, "disk-000000"), (0.5, None), (1, "disk-009999"), (0.25, None), (0, "disk-000000")):
        scroll(browser, to)
        if name:
            browser.wait(role="link", name=name)
        expect(0 < rows(browser) <= ROWS_MAX, "there are %d rows at %s", rows(browser), to)
    expect(browser.run("document.querySelector('table').getAttribute('aria-rowcount')") == str(DEVICES + 1), "the number of rows")
    browser.fill("9999", label="Name contains")
    browser.wait(text="1 of %d devices" % DEVICES)
    browser.fill("", label="Name contains")
    browser.ask("select", role="combobox", name="State", value="failed")
    browser.wait(text="%d of %d devices" % (DEVICES // 100, DEVICES))
    browser.click(role="link", name="disk-000199")
    browser.wait(text="its image is away")


def groups(browser, crowd):
    crowd.pages.clear()
    browser.run("location.hash = '#/groups'")
    browser.wait(role="link", name="group-%06d" % (GROUPS - 1))
    for count in range(100, 1100, 100):
        browser.wait(text="%d groups, more as you scroll" % count)
        scroll(browser, 1)
    wait_until(lambda: [first for kind, first in crowd.pages if kind == "group"] == list(range(0, 1100, 100)),
               "pages of groups are asked for once each, and no more than that")
    expect(rows(browser) <= ROWS_MAX, "there are %d rows", rows(browser))
    browser.shoot("groups-of-100000-1280-dark")
    browser.picture("groups")


def contract():
    """What stands for the daemon says what a daemon could say."""
    for number in range(100):
        for name, value in (("Device", device(number)), ("SnapshotGroup", group(number))):
            fits(value, SPEC["components"]["schemas"][name], "%s %d" % (name, number))


def test():
    contract()
    with Daemon() as daemon, Browser() as browser, Crowd(daemon, DEVICES, GROUPS) as crowd:
        daemon.start()
        browser.open(1280, "dark")
        browser.go(crowd.url + "/ui/")
        devices(browser, crowd)
        paint_ms, sent_bytes = json.loads(browser.run(COST))
        print("first paint after %d ms; %d bytes sent" % (paint_ms, sent_bytes))
        expect(sent_bytes <= SENT_BYTES_MAX, "%d bytes are sent for a first look", sent_bytes)
        groups(browser, crowd)


main(test)
