#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Every name in a comment of the rooms exists: functions, snake_case identifiers and names in
backquotes are identifiers of the code, its SQL, the contract or a program that is used; files are
there under the path that is named. Planted names that dangle are found first, and names that exist
are not.
"""
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

# Names of other projects that comments refer to and no code uses.
ELSEWHERE = {'block/file-posix.c', 'linux/posix_acl_xattr.h'}

COMMENT = re.compile(r'/\*.*?\*/', re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
FILE = re.compile(r'(?<![\w/*-])[\w/-]*\w\.(?:c|h|sql|py|sh|yaml)\b')
NAME = re.compile(r'\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b|\b[a-z][a-z0-9_]*(?=\(\))')
SYSTEM_HEADER = re.compile(r'#include <([^>]+)>')


def comments(text):
    """(line, text) of each line of a comment; strings are blanked first, for they may hold what
    looks like one."""
    text = STRING.sub(lambda match: '"' + ' ' * (len(match.group()) - 2) + '"', text)
    for match in COMMENT.finditer(text):
        yield from enumerate(match.group().split('\n'), text.count('\n', 0, match.start()) + 1)


def known_names(tree):
    names = set()
    for path in [*Path(tree).glob('tests/**/*.[ch]'), *(Path(tree, path) for path in rooms.sources(tree))]:
        names.update(re.findall(r'\w+', COMMENT.sub(' ', path.read_text())))
    for path in [*Path(tree).glob('store/schema/*.sql'), Path(tree, 'api/openapi.yaml')]:
        if path.exists():
            names.update(re.findall(r'\w+', path.read_text()))
    return names


def dangling(text, names, files):
    for line, comment in comments(text):
        for name in FILE.findall(comment):
            is_placeholder = name != name.lower()
            if not is_placeholder and name not in ELSEWHERE and not any(
                    ('/' + file).endswith('/' + name.lstrip('/')) for file in files):
                yield line, name
        for name in NAME.findall(FILE.sub(' ', comment)):
            if name not in names:
                yield line, name


PLANTED = '''/* Calls node_open() and `top_level`, see node.h and image/node.c. */
int node_open(int top_level); /* not node_gone(), nor gone(), `gone_too` or gone.h or device/node.c */
'''
found = list(dangling(PLANTED, {'node_open', 'top_level'}, {'block/image/node.h', 'block/image/node.c'}))
assert sorted(found) == sorted((2, name) for name in ('node_gone', 'gone', 'gone_too', 'gone.h', 'device/node.c')), found

source_dir = os.environ.get('SOURCE_DIR', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
files = [str(path.relative_to(source_dir)) for top in ('base', 'block', 'store', 'service', 'clients', 'docs', 'api', 'tests')
         for path in Path(source_dir, top).rglob('*.*')]
names = known_names(source_dir)
for path in rooms.sources(source_dir):
    files += SYSTEM_HEADER.findall(Path(source_dir, path).read_text())
failures = [f'{path}:{line}: {name} does not exist' for path in rooms.sources(source_dir)
            for line, name in dangling(Path(source_dir, path).read_text(), names, files)]
print('\n'.join(failures))
sys.exit(1 if failures else 0)
