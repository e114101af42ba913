#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 3600
"""SPIN finds no interleaving that breaks a promise: of two cuts, and of one while changes begin
again for want of room.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import spin

failures = []
for definitions in (['CUTS=2'], ['ROOM']):
    result = spin.check('cut.pml', *definitions, mib=4000)
    print(f'{" ".join(definitions)}: {result}')
    if not result.holds:
        failures.append(result.text)
print('\n'.join(failures))
sys.exit(1 if failures else 0)
