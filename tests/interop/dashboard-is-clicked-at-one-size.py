#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Every view and every action of the dashboard, clicked in Chromium, on a phone in the dark. See
# dashboard-is-clicked-at-every-size.py for the others.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser
from snapgroupd import main
from tour import tours


def test():
    with Browser() as browser:
        tours(browser, [(390, "dark")])


main(test)
