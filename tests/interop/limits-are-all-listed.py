#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Each constant of a limits.h is in the list of GET /limits (LIMITS in limits-http.c), once, and so
is its name in openapi.yaml and in a test (every-limit-is-listed-and-hit.py). A constant *_MAX of
the headers that callers' limits came from belongs into a limits.h: none is defined twice. A planted
constant is missed first.
"""
import os
import re
import sys
from pathlib import Path

SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))
DEFINE = re.compile(r'^#define +(\w+)[ \\]', re.M)
ROW = re.compile(r'^ *X\("(\w+)", (\w+)\)', re.M)
HEADERS = ['base/tls/limits.h', 'block/limits.h', 'service/limits.h', 'service/http/limits.h', 'store/limits.h']


def faults(headers, listing):
    defined = [name for text in headers for name in DEFINE.findall(text)]
    listed = [constant for _, constant in ROW.findall(listing)]
    names = [name for name, _ in ROW.findall(listing)]
    return ([f'{name} is not in /limits' for name in defined if name not in listed]
            + [f'{name} is defined twice' for name in set(defined) if defined.count(name) > 1]
            + [f'{constant} is of no limits.h' for constant in listed if constant not in defined]
            + [f'{name} is listed twice' for name in set(names) if names.count(name) > 1])


headers = [(SOURCE_DIR / path).read_text() for path in HEADERS]
listing = (SOURCE_DIR / 'service/http/limits-http.c').read_text()
assert sorted(str(path.relative_to(SOURCE_DIR)) for room in ('base', 'block', 'service', 'store')
              for path in (SOURCE_DIR / room).rglob('limits.h')) == sorted(HEADERS)
assert len(ROW.findall(listing)) > 70
assert faults(headers + ['#define PLANTED_MAX 3\n'], listing) == faults(headers, listing) + ['PLANTED_MAX is not in /limits']
found = faults(headers, listing)
spec = (SOURCE_DIR / 'api/openapi.yaml').read_text()
test = (SOURCE_DIR / 'tests/api/every-limit-is-listed-and-hit.py').read_text()
for name, _ in ROW.findall(listing):
    if not re.search(rf'^        {name}: {{type: integer}}$', spec, re.M):
        found.append(f'{name} is not in openapi.yaml')
    if not re.search(rf'^def {name}\(|"{name}"', test, re.M):
        found.append(f'{name} has no test')
print('\n'.join(found))
sys.exit(1 if found else 0)
