#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Whatever is in names, labels, reasons and problems, with tags, quotes, templates, bidirectional
# overrides, controls or 64 KiB of it, is shown as text: no element is made of it, no script runs,
# the page stays as wide as its window. A daemon allows little of it in names; the server of
# tests/lib/crowd.py allows all.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser, Gate
from crowd import Crowd, device, group, member
from snapgroupd import Daemon, expect, main

ATTACK = "globalThis.attacked = true"
TEXTS = [
    '<img src=x onerror="%s">' % ATTACK,
    "<script>%s</script>" % ATTACK,
    "\"><svg onload='%s'>" % ATTACK,
    "javascript:%s" % ATTACK,
    "${%s}`%s`" % (ATTACK, ATTACK),
    "</bdi></td></table><h1>hostile</h1>",
    "‮⁦evil⁩‮ gnp.exe",
    "&lt;b&gt;&#x22;\u0007\u0000\u2028\u2029\n\r\t",
    "../../tokens?limit=1#/devices/%00%zz",
    "__proto__",
    "W" * (64 << 10),
    "<b>" * (20 << 10),
]
STATE = """JSON.stringify([globalThis.attacked === undefined, document.querySelectorAll("img, script:not([src]), svg, b, iframe").length,
  [...document.querySelectorAll("h1")].length, document.documentElement.scrollWidth <= document.documentElement.clientWidth,
  ({}).polluted === undefined])"""


def hostile_device(number, text):
    made = device(number)
    image = {**made["chain"][0], "image": "/" + text, "kept_for": ["group " + text, "device " + text, "image " + text, text]}
    return {"name": text, "reason": text, "labels": {text[:60000]: text, "__proto__": text}, "chain": [image, image], "image": text,
            "export": {"uri": text}, "allowed_clients": [text], "origin": {"group": text, "device": text, "at": text, "how": text}}


def hostile_group(number, text):
    made = group(number)
    error = {"type": text, "title": text, "status": 409, "detail": text, "instance": text, "code": text, "retryable": False}
    return {"name": text, "labels": {text: text}, "holds": [text], "error": error, "rolled_back_to": text, "kind": text,
            "members": [{**member(text), "backing_file": text, "clones": [text]}], "cut_at": text, "consistency": made["consistency"]}


def harmless(browser, where):
    found = browser.run(STATE)
    expect(found == "[true,0,1,true,true]", "%s: %s", where, found)
    browser.expect_no_complaint(where)


def look(browser, url, width):
    browser.open(width)
    browser.go(url + "/ui/")
    browser.wait(css="tbody tr:not(.spacer)")
    harmless(browser, "devices")
    browser.shoot("hostile-devices-%d" % width)
    for number, text in enumerate(TEXTS):
        browser.run("location.hash = '#/devices/' + encodeURIComponent(%s.slice(0, 3000))" % json.dumps(text))
        browser.wait(css=".image")
        harmless(browser, "a device with %.40r" % text)
        browser.run("location.hash = '#/groups/%s'" % group(number)["id"])
        browser.wait(css=".plain-table")
        harmless(browser, "a group with %.40r" % text)
    browser.run("location.hash = '#/groups'")
    browser.wait(css="tbody tr:not(.spacer)")
    harmless(browser, "groups")
    browser.expect_accessible("groups")




def events(browser, daemon):
    """What a daemon lets pass: labels, and names of callers."""
    for number, text in enumerate(TEXTS):
        label = text.replace("\0", "")[:200].encode()[:250].decode(errors="ignore")
        answer = daemon.request("PATCH", "/devices/vda", {"labels": {label: label}})
        expect(answer.status == 200, "%r: %s", label, answer)
    with Gate(os.path.join(daemon.runtime, "api.sock")) as gate:
        browser.open(390, "dark")
        browser.go(gate.url + "/ui/#/devices/vda")
        browser.wait(css=".image")
        harmless(browser, "labels of a daemon")
        browser.run("location.hash = '#/events'")
        browser.wait(text="device.updated")
        harmless(browser, "events of a daemon")
        browser.run("location.hash = '#/devices/<img src=x onerror=%s>'" % ATTACK)
        browser.wait(role="alert")
        harmless(browser, "a hostile address")


def test():
    with Daemon() as daemon, Browser() as browser:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        made = {("device", number): hostile_device(number, text) for number, text in enumerate(TEXTS)}
        made.update({("group", number): hostile_group(number, text) for number, text in enumerate(TEXTS)})
        with Crowd(daemon, len(TEXTS), len(TEXTS), made) as crowd:
            look(browser, crowd.url, 390)
        events(browser, daemon)


main(test)
