# SPDX-License-Identifier: Apache-2.0
"""The rooms of the source tree, from the bottom up, and how to read includes, declarations and
objects.

    base <- base/tls   store    block/image <- block/format <- block/format/qcow2
                     block/image <- block/device <- block/nbd, block/job <- block
    service <- service/http <- daemon, main
    clients/cli, which knows of the daemon only what REST says

A room includes its own headers, all of base, and of the rooms below it the headers that MAY_INCLUDE
lists.
"""
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOMS = ['base', 'base/tls', 'store', 'block', 'block/image', 'block/format', 'block/format/qcow2', 'block/device', 'block/job', 'block/nbd',
         'service', 'service/http', 'clients/cli']
BLOCK = {'block': {'block.h', 'clone.h', 'collapse.h', 'copy.h', 'devices.h', 'extents.h', 'frozen.h', 'group.h', 'io.h', 'limits.h', 'merge.h', 'overlay.h', 'types.h'}}
DRIVER = {'driver.h', 'driver-services.h', 'file-io.h', 'journal.h', 'table-memory.h'}
IMAGE = {'access.h', 'amend.h', 'chain.h', 'drivers.h', 'file-io.h', 'file-table.h', 'freeze.h', 'frozen-attribute.h', 'image.h', 'journal.h', 'journal-dir.h', 'journal-recovery.h',
         'lock.h', 'node.h', 'read-marks.h', 'stage.h', 'sync.h', 'walk.h'}
TLS = {'base/tls': {'certificates.h', 'credentials.h', 'limits.h', 'peer.h'}}
DEVICE = {'clients.h', 'device.h', 'exports.h', 'last-flush.h', 'object.h', 'registry.h', 'retry.h'}
STORE = {'store.h', 'devices.h', 'groups.h', 'group-row.h', 'events.h', 'event-row.h', 'idempotency.h', 'frozen-files.h', 'holds.h', 'images.h',
         'image-keepers.h', 'job-conflicts.h', 'jobs.h', 'limits.h', 'merges.h', 'tokens.h', 'row.h'}
ANY = None
MAY_INCLUDE = {
    'base': {},
    'base/tls': {},
    'store': {},
    'block/image': BLOCK,
    'block/format': BLOCK | {'block/image': DRIVER},
    'block/format/qcow2': BLOCK | {'block/image': DRIVER, 'block/format': {'raw.h'}},
    'block/device': BLOCK | {'block/image': IMAGE | {'driver.h'}},
    'block/job': BLOCK | {'block/image': IMAGE | {'driver.h'}, 'block/device': DEVICE | {'held-chain.h', 'opener.h', 'opening.h', 'redirect.h', 'users.h'}},
    'block/nbd': BLOCK | TLS | {'block/device': DEVICE},
    'block': {'block/image': IMAGE | DRIVER, 'block/format': ANY, 'block/format/qcow2': {'driver-qcow2.h'},
              'block/device': DEVICE, 'block/nbd': {'server.h'}},
    'service': {'block': {'block.h', 'clone.h', 'collapse.h', 'copy.h', 'extents.h', 'frozen.h', 'group.h', 'limits.h', 'merge.h', 'overlay.h'}, 'store': STORE},
    'clients/cli': {},
    'service/http': TLS | {'block': {'block.h', 'extents.h', 'group.h', 'limits.h'}, 'store': STORE},
}
# Faces: headers that a room offers to others, declared apart from the files that implement them. A
# face is a module of its own.
FACES = {'block/block.h', 'block/clone.h', 'block/collapse.h', 'block/copy.h', 'block/devices.h', 'block/extents.h', 'block/frozen.h', 'block/group.h', 'block/io.h', 'block/limits.h',
         'block/merge.h', 'block/overlay.h', 'block/image/driver.h', 'block/image/driver-services.h'}
# Files of service/ above service/http, and the header that service/http may not include for that
# reason.
TOP = {'service/main.c', 'service/daemon.c', 'service/check.c', 'service/reload.c'}
TOP_HEADER = 'service/daemon.h'
# Libraries, and the folders that alone may know them.
LIBRARIES = {'sqlite3.h': 'store/', 'cjson/': ('service/', 'clients/cli/'), 'curl/': 'clients/cli/', 'jansson.h': 'service/', 'zlib.h': 'block/', 'zstd': 'block/',
             'liburing': 'block/', 'gnutls/': ('base/tls/', 'block/nbd/', 'service/'), 'microhttpd.h': None}


def room_of(path):
    return os.path.dirname(path)


def stem(path):
    return path.rsplit('.', 1)[0]


def sources(tree):
    """Paths of all C files of the rooms, relative to the tree."""
    for top in ('base', 'store', 'block', 'service', 'clients'):
        for path in sorted(Path(tree, top).rglob('*.[ch]')):
            yield str(path.relative_to(tree))


def includes(tree):
    """(file, target) of every include; the target keeps its quotes or angle brackets."""
    for path in sources(tree):
        text = Path(tree, path).read_text()
        for target in re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"][^>"]+[>"])', text, re.M):
            yield path, target


def may_include(path, target):
    room, name = room_of(path), target[1:-1]
    if target[0] == '<':
        owners = [owner for prefix, owner in LIBRARIES.items() if name.startswith(prefix)]
        return all(owner and path.startswith(owner) for owner in owners)
    of = room_of(name)
    if of not in ROOMS or room not in ROOMS:
        return False
    if of == room or of == 'base':
        return True
    if path.endswith('.h') and room == 'block':
        return False  # all of block includes it: it knows none of them
    if room == 'service' and of == 'service/http':
        return path in TOP
    if room == 'service/http' and of == 'service':
        return name != TOP_HEADER
    headers = MAY_INCLUDE[room].get(of, ())
    return headers is ANY or os.path.basename(name) in headers


def may_call(room, of):
    """Whether an object of `room` may need a symbol of the room `of`."""
    if of in (room, 'base', 'embedded'):
        return True
    if room.startswith('service'):
        return of.split('/')[0] in ('service', 'block', 'store') or (room, of) == ('service/http', 'base/tls')
    return of in MAY_INCLUDE[room] and of != 'block'


def circles(arrows):
    """The circles of {from: {to, ...}}: sorted lists of those that reach each other (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(at):
        number[at] = low[at] = len(number)
        stack.append(at)
        for to in sorted(arrows.get(at, ())):
            if to not in number:
                visit(to)
                low[at] = min(low[at], low[to])
            elif to in stack:
                low[at] = min(low[at], number[to])
        if low[at] == number[at]:
            members = stack[stack.index(at):]
            del stack[-len(members):]
            if len(members) > 1:
                found.append(sorted(members))

    for at in sorted(arrows):
        if at not in number:
            visit(at)
    return found


def include_circles(tree):
    """Circles of modules: a module is NAME.c and NAME.h, or a face."""
    def module(path):
        return path if path in FACES else stem(path)

    arrows = defaultdict(set)
    for path, target in includes(tree):
        if target[0] == '"' and module(target[1:-1]) != module(path):
            arrows[module(path)].add(module(target[1:-1]))
    return circles(arrows)


def top_level(text):
    """Splits C into what stands at the top level: (head, is_definition) for each declaration and
    each body."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
    text = re.sub(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', ' ', text, flags=re.M)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', '""', text)
    head, depth = '', 0
    for piece in re.split(r'([{};])', text):
        if piece == '{':
            if depth == 0:
                yield head, True
            depth += 1
        elif piece == '}':
            depth -= 1
            head = '' if depth == 0 else head
        elif piece == ';' and depth == 0:
            yield head, False
            head = ''
        elif depth == 0:
            head += piece


def functions(text):
    """The names of functions with external linkage: (declared, defined)."""
    declared, defined = set(), set()
    for head, is_definition in top_level(text):
        head = re.sub(r'__attribute__\s*\(\(.*?\)\)|_Static_assert\s*\(.*', ' ', head, flags=re.S)
        match = re.match(r'\s*(?!typedef\b|static\b)(?:[a-z_]\w*[\s*]+)+(\w+)\s*\(', head)
        if match and '=' not in head and ' inline ' not in head:
            (defined if is_definition else declared).add(match.group(1))
    return declared, defined


def misplaced_declarations(tree):
    """(header, name, source) of each function that a header declares and a source of another name
    defines."""
    where = {}
    for path in sources(tree):
        if path.endswith('.c'):
            where.update((name, path) for name in functions(Path(tree, path).read_text())[1])
    for path in sources(tree):
        if path.endswith('.h') and path not in FACES:
            for name in sorted(functions(Path(tree, path).read_text())[0]):
                if name in where and stem(where[name]) != stem(path):
                    yield path, name, where[name]


def object_calls(objects):
    """{source: {other source: {symbol, ...}}} from {object file: source}: which needs a symbol of
    which."""
    needs, defines = defaultdict(set), {}
    for path, source in objects.items():
        for line in subprocess.run(['nm', path], check=True, capture_output=True, text=True).stdout.splitlines():
            kind, name = line.split()[-2:]
            if kind == 'U':
                needs[source].add(name)
            elif kind.isupper():
                defines[name] = source
    calls = defaultdict(lambda: defaultdict(set))
    for source, names in needs.items():
        for name in names:
            if defines.get(name, source) != source:
                calls[source][defines[name]].add(name)
    return calls


def objects_of_build(build, tree):
    """{object file: source} of the rooms and of main.c, as CMake lays them out, without those of
    sources that are gone."""
    found = {}
    for target in ('base', 'tls', 'store', 'block', 'service', 'snapgroupd', 'snapgroupctl'):
        top = Path(build, 'CMakeFiles', target + '.dir')
        for path in top.rglob('*.o'):
            source = str(path.relative_to(top))[:-2]
            if source.startswith('embedded/') or Path(tree, source).exists():
                found[str(path)] = source
    return found
