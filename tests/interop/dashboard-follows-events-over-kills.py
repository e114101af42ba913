#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The dashboard follows the events while the daemon is killed again and again: it says that it is
# reconnecting, comes back by itself, and has each event once and in order, those among them that it
# missed. What its views show is what the daemon has. KILLS: how often.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser, Gate
from snapgroupd import Daemon, expect, main, wait_until

KILLS = int(os.environ.get("KILLS", "3"))
FEED = "import('/ui/feed.js').then(({ feed }) => JSON.stringify([feed.state, feed.events.map(({ id }) => id)]))"


def change(daemon, number):
    answer = daemon.request("PATCH", "/devices/vda", {"labels": {"number": str(number)}})
    expect(answer.status == 200, "PATCH: %s", answer)


def newest(daemon):
    return daemon.list("/events")[-1]["id"]


def feed(browser):
    return json.loads(browser.run(FEED))


def follows(browser, daemon):
    wait_until(lambda: feed(browser)[1][-1:] == [newest(daemon)], "the page has the newest event")
    ids = feed(browser)[1]
    expect(ids == list(range(ids[0], ids[-1] + 1)), "events are missing or doubled: %s", ids)
    expect(ids[0] == 1, "the first event is %s", ids[0])


def test():
    with Daemon() as daemon, Browser() as browser:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        with Gate(os.path.join(daemon.runtime, "api.sock")) as gate:
            browser.open(1280)
            browser.go(gate.url + "/ui/#/devices")
            browser.wait(role="link", name="vda")
            wait_until(lambda: feed(browser)[0] == "live", "the stream is live")
            number = 0
            for _ in range(KILLS):
                for number in range(number, number + 10):
                    change(daemon, number)
                follows(browser, daemon)
                change(daemon, number + 1)
                daemon.kill()
                wait_until(lambda: feed(browser)[0] != "live", "the page notices that the daemon is gone")
                daemon.start()
                change(daemon, number + 2)
                number += 3
                follows(browser, daemon)
            browser.wait(text="number=%d" % (number - 1))
            daemon.create_device("vdb", "qcow2", 1 << 20)
            browser.wait(role="link", name="vdb")
            browser.run("location.hash = '#/events'")
            browser.wait(text="device.attached")
            browser.shoot("events-after-kills-1280-light")


main(test)
