#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Every room has a README.md of at most 40 lines that names each of its source files, and no file
that does not exist. That of block/format has the files of qcow2/ too.
"""
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

LINES_MAX = 40
SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))

failures = []
for room in rooms.ROOMS:
    readme = SOURCE_DIR / room / 'README.md'
    if room == 'block/format/qcow2':
        readme = SOURCE_DIR / 'block/format/README.md'
    if not readme.exists():
        failures.append(f'{room}/README.md does not exist')
        continue
    text = readme.read_text()
    if len(text.splitlines()) > LINES_MAX:
        failures.append(f'{room}/README.md has {len(text.splitlines())} lines, {LINES_MAX} at most')
    for path in sorted((SOURCE_DIR / room).glob('*.c')):
        # In block/format/README.md a bare stem may be that of a file in the other folder.
        is_named = f'`{path.name}`' in text if room == 'block/format' else path.stem in re.findall(r'[\w-]+', text)
        if not is_named:
            failures.append(f'{room}/README.md does not name {path.name}')
    for name in re.findall(r'`([\w/-]+\.[ch])`', text):
        if not (SOURCE_DIR / room / name).exists() and not (SOURCE_DIR / name).exists() and not list(
                (SOURCE_DIR / room.split('/')[0]).rglob(name)):
            failures.append(f'{room}/README.md: {name} does not exist')
print('\n'.join(failures))
sys.exit(1 if failures else 0)
