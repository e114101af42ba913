#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: once
"""SPIN finds no interleaving of a small cut that breaks a promise, and one for each rule left out.

The rules left out come first: a model that can break nothing proves nothing.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import spin

CLOSED = 'l>=floor'
FROZEN = 'state['
LIVE = '(overwritten['
DURABLE = 'stale&'
INDEX = '(index['
PLACE = '(reading['
ENDS = '(is_sealed&&'
WAITS = '(doing['

# What goes wrong first without each rule.
RULES = {
    'R1': ('cut.pml', CLOSED),
    'R2': ('cut.pml', FROZEN),
    'R3': ('cut.pml', LIVE),
    'R3_UNIT': ('cut.pml', LIVE),
    'R4': ('waits.pml', WAITS),
    'R5': ('waits.pml', ENDS),
    'R6': ('cut.pml', FROZEN),
    'R7': ('cut.pml', DURABLE),
    'R7_EACH': ('cut.pml', DURABLE),
    'R8': ('cut.pml', INDEX),
    'R9': ('cut.pml', PLACE),
    'R9_ORDER': ('cut.pml', PLACE),
    'R10': ('cut.pml', INDEX),
    'R11': ('cut.pml', DURABLE),
    'R12': ('cut.pml', FROZEN),
    'R13': ('cut.pml', INDEX),
}

failures = []
for model in ('cut.pml', 'waits.pml'):
    in_model = set(re.findall(r'\bNO_(R\w+)', (spin.MODELS / model).read_text()))
    in_table = {rule for rule, (of, _) in RULES.items() if of == model}
    if in_model != in_table:
        failures.append(f'{model} and this test differ in {sorted(in_model ^ in_table)}')
for rule, (model, promise) in RULES.items():
    result = spin.check(model, f'NO_{rule}', 'CUTS=2' if rule == 'R11' else 'CUTS=1', optimise=0)
    print(f'without {rule}: {result}')
    if not result.breaks(promise):
        failures.append(f'without {rule}, {promise} holds: {result}')
for model in ('cut.pml', 'waits.pml'):
    result = spin.check(model)
    print(f'{model}: {result}')
    if not result.holds:
        failures.append(f'{model}: {result.text}')
print('\n'.join(failures))
sys.exit(1 if failures else 0)
