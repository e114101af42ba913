#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""Every client says of every operation of api/openapi.yaml what it does with it, or why nothing, in
its coverage.yaml (clients/README.md has the form); and names no operation that is gone. Shows all
of them side by side. Planted breaches are found first.
"""
import os
import sys
from pathlib import Path

import yaml

SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))
METHODS = ('get', 'put', 'post', 'patch', 'delete')


def operations(contract):
    return {operation['operationId']: f'{method.upper()} {path}' for path, item in contract['paths'].items()
            for method, operation in item.items() if method in METHODS}


def is_answer(entry):
    if isinstance(entry, dict):
        return list(entry) == ['none'] and isinstance(entry['none'], str) and entry['none'].strip() != ''
    texts = entry if isinstance(entry, list) else [entry]
    return texts != [] and all(isinstance(text, str) and text.strip() for text in texts)


def faults(client, coverage, wanted):
    for name in wanted:
        if name not in coverage:
            yield f'{client}: nothing about {name} ({wanted[name]})'
        elif not is_answer(coverage[name]):
            yield f'{client}: {name} has neither texts nor {{none: REASON}}'
    for name in coverage:
        if name not in wanted:
            yield f'{client}: there is no operation {name}'


PLANTED = {'a': 'device list', 'b': {'none': ''}, 'c': [], 'd': {'none': 'not for people'}, 'gone': 'x'}
found = list(faults('x', PLANTED, dict.fromkeys('abcde', 'GET /')))
assert [fault.split()[1] for fault in found] == ['b', 'c', 'nothing', 'there'], found

wanted = operations(yaml.safe_load((SOURCE_DIR / 'api/openapi.yaml').read_text()))
clients = {path.name: path / 'coverage.yaml' for path in sorted((SOURCE_DIR / 'clients').iterdir()) if path.is_dir()}
failures = [f'clients/{name}/coverage.yaml does not exist' for name, path in clients.items() if not path.exists()]
loaded = {name: yaml.safe_load(path.read_text()) or {} for name, path in clients.items() if path.exists()}
for name, coverage in loaded.items():
    failures += faults(name, coverage, wanted)
for operation, call in wanted.items():
    print(f'{operation}: {call}')
    for name, coverage in loaded.items():
        entry = coverage.get(operation)
        text = f'not: {entry["none"]}' if isinstance(entry, dict) and 'none' in entry else entry
        print(f'    {name}: {", ".join(text) if isinstance(text, list) else text}')
print('\n'.join(failures), file=sys.stderr)
sys.exit(1 if failures else 0)
