#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Each numbered invariant of an opening comment ("I2. ...", "S3  ...") has an assert that names it
in a comment ("assert(...); /* I2 */"), or the opening comment says why it has none: in the item
itself or in a sentence that names it. Planted breaches are found first.

The assert is in the file of the comment or its twin (x.h, x.c), or in another file of the room if
no other list of the room numbers its items with that letter.
"""
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

OPENING = re.compile(r'\A/\*.*?\*/', re.S)
ITEM = re.compile(r'^(?:Invariants?: +)?([A-Z]\d+(?=\.|  )|\d+(?=\.))(?:\. *| +)(?=[^ .])')
ASSERT = re.compile(r'\b\w*assert\w*\([^;]*\);\s*/\*([^*]*)\*/')


def opening_lines(text):
    match = OPENING.match(text)
    lines = match.group().strip('/*').split('\n') if match else []
    return [re.sub(r'^ \* ?', '', line).strip() for line in lines]


def items(text):
    """(number, text) of each item of lists that count from 1 with one letter, or with none."""
    found, last = {}, None
    for line in opening_lines(text):
        match = ITEM.match(line)
        number = match and match.group(1)
        before = number and number.rstrip('0123456789') + str(int(number.lstrip('ABCDEFGHIJKLMNOPQRSTUVWXYZ')) - 1)
        is_item = number and (before in found or before.endswith('0') and number not in found and int(number[-1]) == 1)
        if is_item:
            last, line = number, line[match.end():]
            found[last] = line
        elif last and line:
            found[last] += ' ' + line
        else:
            last = None
    return found.items()


def is_excused(number, item, text):
    sentences = re.split(r'(?<=[.!?])\s+', ' '.join(opening_lines(text)))
    return re.search(r'\b[Nn]ot? assert', item) or any(
        'assert' in sentence and re.search(rf'\b{number}\b', sentence) for sentence in sentences)


def breaches(files):
    """(path, number) of each item without an assert; `files` is {path: text}."""
    named, lists = defaultdict(set), defaultdict(set)
    for path, text in files.items():
        for comment in ASSERT.findall(text):
            for number in re.findall(r'\b[A-Z]?\d+\b', comment):
                named[number].add(path)
        for number, _ in items(text):
            lists[rooms.room_of(path), number].add(rooms.stem(path))
    for path, text in files.items():
        for number, item in items(text):
            is_alone = len(lists[rooms.room_of(path), number]) == 1
            near = [at for at in named[number] if rooms.stem(at) == rooms.stem(path)
                    or is_alone and rooms.room_of(at) == rooms.room_of(path)]
            if not near and not is_excused(number, item, text):
                yield path, number


PLANTED = {
    'block/a.h': '/* X\n *\n *   I1. Named here,\n *       in two lines.\n *   I2. Named nowhere.\n'
                 ' *   I3. No assert: disks do this.\n *   I4. A property.\n * I4 has no assert: the kernel has it.\n */',
    'block/a.c': '/* See a.h. */\nassert(a &&\n b); /* I1, X2 */\nif (a) /* I2 */\n',
    'block/b.c': '/* X\n *   I1  Named in a.c, which is not its twin.\n *   X1  In c.c. Invariant.\n'
                 ' *   L2  is no item, and so is\n *   100 writing\n */\nf();\n',
    'block/c.c': '/* C\n * Invariant: C1  named.\n */\na_assert_state(x, y); /* X1: because */ assert(z); /* C1 */',
    'block/d.c': '/* D\n *   1. Named.\n *   2. Not named.\n */\nstatic_assert(d == 1, "d"); /* 1 */',
}
assert sorted(breaches(PLANTED)) == [('block/a.h', 'I2'), ('block/b.c', 'I1'), ('block/d.c', '2')], list(breaches(PLANTED))

source_dir = os.environ.get('SOURCE_DIR', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
files = {path: Path(source_dir, path).read_text() for path in rooms.sources(source_dir) if not path.startswith('base/')}
assert sum(len(items(text)) for text in files.values()) > 80
failures = [f'{path}: no assert names {number}, and nothing says why' for path, number in breaches(files)]
print('\n'.join(failures))
sys.exit(1 if failures else 0)
