#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""The walks of docs/design.md: their files exist; each next file is included by the one before it,
implements it, or defines what it uses; no file includes one that came before it, but for the header
that it implements; and the first walk is short. Every other file and test that the documents name
exists too.
"""
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

FIRST_WALK_LINES_MAX = 1500
SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))


def walks(text):
    """The walks of the document's section: lists of paths."""
    section = text.split('\n## Walks\n')[1].split('\n## ')[0]
    found = [re.findall(r'^\d+\. `([^`]+)`', part, re.M) for part in re.split(r'^\*\*', section, flags=re.M)[1:]]
    assert len(found) == 3 and all(found), found
    return found


def without_comments(path):
    return re.sub(r'/\*.*?\*/', ' ', (SOURCE_DIR / path).read_text(), flags=re.S)


def included(path):
    """The headers that a file includes, and those that headers of its own room bring with them."""
    found, left = set(), [path, rooms.stem(path) + '.h']
    while left:
        of = left.pop()
        if (SOURCE_DIR / of).exists():
            new = set(re.findall(r'#include "([^"]+)"', without_comments(of))) - found
            found |= new
            left += [header for header in new if rooms.room_of(header) == rooms.room_of(path)]
    return found - {rooms.stem(path) + '.h'}


def implements(path, header):
    declared, _ = rooms.functions((SOURCE_DIR / header).read_text())
    _, defined = rooms.functions((SOURCE_DIR / path).read_text())
    return bool(declared & defined)


def leads_to(path, following):
    """Whether a reader of `path` is led to `following`."""
    header = rooms.stem(following) + '.h'
    if not path.endswith(('.c', '.h')) or following in included(path) or header in included(path):
        return True
    if path == header or path in included(following):
        return True
    defined = set(re.findall(r'^[^\s#].*?(\w+)\(', without_comments(following), re.M))
    return bool(defined & set(re.findall(r'\w+', without_comments(path))))


def faults(walk):
    for path in walk:
        if not (SOURCE_DIR / path).exists():
            yield f'{path} does not exist'
            return
    for path, following in zip(walk, walk[1:]):
        if not leads_to(path, following):
            yield f'{path} does not lead to {following}'
    for i, path in enumerate(walk):
        for before in walk[:i]:
            header = rooms.stem(before) + '.h'
            if before.endswith('.c') and header in included(path) and not implements(path, header):
                yield f'{path} turns back to {before}'


def missing_names(document):
    """Files and tests in backquotes that do not exist, as seen from the root or from tests/."""
    text = re.sub(r'^```.*?^```', '', (SOURCE_DIR / document).read_text(), flags=re.S | re.M)
    for name in re.findall(r'`((?:base|block|store|service|api|tests|deploy|docs|unit|interop|crash|bench)/[\w/.-]*)`', text):
        tests = SOURCE_DIR / 'tests'
        if 'NAME' not in name and not (SOURCE_DIR / name).exists() and not (tests / name).exists() and not list(
                tests.glob(name + '.*')):
            yield name


PLANTED = {
    'service/a.c': '#include "service/b.h"\nint a(void)\n{\n    return b();\n}\n',
    'service/a.h': 'int a(void);\n',
    'service/b.h': 'int b(void);\n',
    'service/b.c': '#include "service/a.h"\n#include "service/b.h"\nint b(void)\n{\n    return a();\n}\n',
    'store/c.c': 'int c(void)\n{\n    return 0;\n}\n',
}
with tempfile.TemporaryDirectory() as tree:
    real_dir, SOURCE_DIR = SOURCE_DIR, Path(tree)
    for path, text in PLANTED.items():
        (SOURCE_DIR / path).parent.mkdir(exist_ok=True)
        (SOURCE_DIR / path).write_text(text)
    assert list(faults(['service/a.c', 'service/b.h'])) == []
    assert list(faults(['service/a.c', 'service/gone.c'])) == ['service/gone.c does not exist']
    assert list(faults(['service/a.c', 'service/b.c', 'store/c.c'])) == [
        'service/b.c does not lead to store/c.c', 'service/b.c turns back to service/a.c']
    SOURCE_DIR = real_dir

failures = []
all_walks = walks((SOURCE_DIR / 'docs/design.md').read_text())
for walk in all_walks:
    failures += faults(walk)
lines = {path: len((SOURCE_DIR / path).read_text().splitlines()) for path in all_walks[0]}
if sum(lines.values()) >= FIRST_WALK_LINES_MAX:
    failures.append(f'the first walk has {sum(lines.values())} lines, {FIRST_WALK_LINES_MAX} is too many: {lines}')
for document in ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'tests/README.md', 'docs/design.md', 'docs/operations.md',
                 'docs/glossary.md']:
    failures += [f'{document}: {name} does not exist' for name in missing_names(document)]
print('\n'.join(failures))
sys.exit(1 if failures else 0)
