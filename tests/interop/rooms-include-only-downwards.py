#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Includes run downwards only, from room to room as tests/lib/rooms.py lists them, and each library
is known to one room alone. The checker is first shown a tree with one breach of every kind and must
find each, and nothing else.
"""
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

BREACHES = [
    ('base/a.c', '"block/block.h"'),
    ('store/b.c', '"block/block.h"'),
    ('store/b.h', '<zlib.h>'),
    ('block/c.c', '"store/store.h"'),
    ('block/c.c', '<cjson/cJSON.h>'),
    ('block/io.h', '"block/device/device.h"'),
    ('block/image/d.c', '"block/device/device.h"'),
    ('block/image/d.c', '"block/format/raw.h"'),
    ('block/format/e.c', '"block/device/registry.h"'),
    ('block/format/e.c', '"block/image/node.h"'),
    ('block/format/qcow2/f.c', '"service/http/reply.h"'),
    ('block/device/g.c', '"block/nbd/server.h"'),
    ('block/device/g.c', '"block/format/qcow2/qcow2.h"'),
    ('block/nbd/h.c', '"block/image/node.h"'),
    ('block/nbd/h.c', '"block/device/cut.h"'),
    ('service/i.c', '"block/image/node.h"'),
    ('service/i.c', '"service/http/server.h"'),
    ('service/i.c', '"store/internal.h"'),
    ('service/i.c', '<sqlite3.h>'),
    ('service/i.c', '<liburing.h>'),
    ('service/i.c', '"../block/node.h"'),
    ('service/http/j.c', '"service/daemon.h"'),
    ('service/http/j.c', '<curl/curl.h>'),
    ('service/http/j.c', '"clients/cli/send.h"'),
    ('clients/cli/k.c', '"service/options.h"'),
    ('clients/cli/k.c', '"block/block.h"'),
    ('clients/cli/k.c', '<gnutls/gnutls.h>'),
]
ALLOWED = [
    ('base/k.c', '"base/err.h"'),
    ('block/image/k.c', '"block/io.h"'),
    ('block/format/k.c', '"block/image/driver.h"'),
    ('block/format/k.c', '<zlib.h>'),
    ('block/device/k.c', '"block/image/node.h"'),
    ('block/nbd/k.c', '"block/device/device.h"'),
    ('block/nbd/k.c', '<gnutls/gnutls.h>'),
    ('service/k.c', '"block/block.h"'),
    ('service/k.c', '"store/store.h"'),
    ('service/http/k.c', '<cjson/cJSON.h>'),
    ('service/http/k.c', '"service/k.h"'),
    ('service/main.c', '"service/http/server.h"'),
    ('store/k.c', '<sqlite3.h>'),
    ('clients/cli/k.c', '"base/cleanup.h"'),
    ('clients/cli/k.c', '<curl/curl.h>'),
]


def breaches(tree):
    return [found for found in rooms.includes(tree) if not rooms.may_include(*found)]


with tempfile.TemporaryDirectory() as tree:
    for path, target in BREACHES + ALLOWED:
        Path(tree, path).parent.mkdir(parents=True, exist_ok=True)
        with open(Path(tree, path), 'a') as file:
            file.write(f'#include {target}\n')
    assert sorted(breaches(tree)) == sorted(BREACHES), set(breaches(tree)) ^ set(BREACHES)

source_dir = os.environ.get('SOURCE_DIR', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
for path, target in breaches(source_dir):
    print(f'{path}: may not include {target}')
sys.exit(1 if breaches(source_dir) else 0)
