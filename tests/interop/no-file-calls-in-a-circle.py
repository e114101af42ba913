#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""No source file needs a symbol of a file that needs one of its own, directly or by way of others,
and no room needs a symbol of a room above it. Read from the symbol tables of the objects that were
built, so neither comments nor declarations count; a table of callbacks that is handed down is no
call up. A planted circle is found first.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

PLANTED = {
    'block/image/a': 'int b(void); int a(void); int a(void) { return b(); }',
    'block/device/b': 'int c(void); int b(void); int b(void) { return c(); }',
    'block/device/c': 'int a(void); int c(void); int c(void) { return a(); }',
    'block/nbd/d': 'int b(void); int d(void); int d(void) { return b(); }',
}


def upward(calls):
    return [(source, of) for source in calls for of in calls[source]
            if not rooms.may_call(rooms.room_of(source), rooms.room_of(of))]


with tempfile.TemporaryDirectory() as tree:
    objects = {}
    for name, text in PLANTED.items():
        path = Path(tree, os.path.basename(name))
        path.with_suffix('.c').write_text(text + '\n')
        subprocess.run(['cc', '-c', '-o', path.with_suffix('.o'), path.with_suffix('.c')], check=True)
        objects[str(path.with_suffix('.o'))] = name + '.c'
    calls = rooms.object_calls(objects)
    assert rooms.circles(calls) == [['block/device/b.c', 'block/device/c.c', 'block/image/a.c']], rooms.circles(calls)
    assert upward(calls) == [('block/image/a.c', 'block/device/b.c')], upward(calls)

source_dir = os.environ.get('SOURCE_DIR', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
build_dir = os.environ.get('BUILD_DIR', os.path.join(source_dir, 'build', 'dev'))
objects = rooms.objects_of_build(build_dir, source_dir)
assert set(objects.values()) >= {path for path in rooms.sources(source_dir) if path.endswith('.c')}, 'build it first'
calls = rooms.object_calls(objects)
failures = 0
for circle in rooms.circles(calls):
    failures += 1
    print('circle:')
    for source in circle:
        for of in sorted(set(calls[source]) & set(circle)):
            print(f'    {source} -> {of}: {" ".join(sorted(calls[source][of]))}')
for source, of in upward(calls):
    failures += 1
    print(f'upward: {source} -> {of}: {" ".join(sorted(calls[source][of]))}')
sys.exit(1 if failures else 0)
