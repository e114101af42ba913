#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A cut meets requests at the worst moment: between look and list, beside a copy, before a flush,
# after a read. With all its rules no client notices, and what is frozen never changes; without any
# one of them something acknowledged is lost, or an error or a change shows where there may be none.
# (A sanitizer would end a daemon without a rule before that shows.)
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from cutgates import SCENARIOS, faults_of
from snapgroupd import expect, is_sanitized, main


def test():
    for rule in SCENARIOS:
        faults = faults_of(rule, False)
        expect(not faults, "with all rules, in the scenario of %s: %s", rule, faults)
        if is_sanitized():
            continue
        faults = faults_of(rule, True)
        print("without %s: %s" % (rule, "; ".join(faults)))
        expect(faults, "nothing is missed without %s", rule)


main(test)
