#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# Every view and every action of the dashboard, clicked in Chromium, at the sizes of a phone, a
# laptop and a large screen, light and dark.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser
from snapgroupd import main
from tour import tours


def test():
    with Browser() as browser:
        tours(browser, [(width, theme) for width in (390, 1280, 2560) for theme in ("light", "dark")])


main(test)
