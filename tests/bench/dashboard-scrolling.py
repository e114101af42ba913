#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: bench
#
# How many frames a second Chromium draws while the dashboard's list of 10,000 devices is scrolled
# from end to end in 5 seconds, by its trace, and when the page is first painted. Prints the figures
# with the machine's load, and fails at nothing but an empty trace: a machine that is shared draws
# fewer.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser
from crowd import Crowd
from snapgroupd import Daemon, expect, main

DEVICES = 10000
SECONDS = 5
SCROLL = """new Promise((resolve) => {
  const box = document.querySelector(".scroll"), begin = performance.now(), all = box.scrollHeight - box.clientHeight;
  const step = (now) => {
    const part = Math.min(1, (now - begin) / %d);
    box.scrollTop = part * all;
    if (part < 1) requestAnimationFrame(step); else resolve(null);
  };
  requestAnimationFrame(step);
})""" % (SECONDS * 1000)


def test():
    with Daemon() as daemon, Browser() as browser, Crowd(daemon, DEVICES) as crowd:
        daemon.start()
        browser.open(1280)
        browser.go(crowd.url + "/ui/")
        browser.wait(text="%d of %d devices" % (DEVICES, DEVICES))
        paint_ms = browser.run("performance.getEntriesByType('paint')[0].startTime")
        trace = browser.ask("trace", script=SCROLL)
        frames = [at for name, at in trace["frames"] if name == "DrawFrame"]
        expect(len(frames) > 10, "the trace has %d frames", len(frames))
        gaps_ms = sorted((after - before) / 1000 for before, after in zip(frames, frames[1:]))
        print("%d devices scrolled in %d s: %.1f frames a second; gap of the slowest 1%%: %.0f ms; processor time of the page's "
              "thread: %.1f ms a frame; first paint after %.0f ms; load %.1f on %d processors" % (
                  DEVICES, SECONDS, 1e6 * (len(frames) - 1) / (frames[-1] - frames[0]), gaps_ms[len(gaps_ms) * 99 // 100],
                  1000 * trace["spent_s"] / len(frames), paint_ms, os.getloadavg()[0], os.cpu_count()))


main(test)
