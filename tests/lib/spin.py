# SPDX-License-Identifier: Apache-2.0
"""Checks a model of tests/model/ with SPIN, over every interleaving."""
import os
import re
import subprocess
import tempfile
from pathlib import Path

SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))
MODELS = SOURCE_DIR / 'tests/model'


class Result:
    """`violation`: the assertion that failed, or ''. `text`: what SPIN printed."""

    def __init__(self, text):
        self.text = text
        found = re.search(r'pan:1: (.*) \(at depth', text)
        self.violation = found[1] if found else ''
        self.holds = 'errors: 0' in text and 'Search not completed' not in text and \
            'max search depth too small' not in text
        self.states = int(float(re.search(r'([\d.e+]+) states, stored', text)[1]))
        self.mib = float(re.search(r'([\d.]+)\s+(?:total )?actual memory usage', text.split('for states')[-1])[1])

    def breaks(self, assertion):
        return assertion in self.violation.replace(' ', '')

    def __str__(self):
        return self.violation or f'{self.states:,} states, {self.mib:.0f} MiB'


def check(model, *definitions, mib=1000, optimise=2):
    """The definitions are SPIN's: 'CUTS=2', 'NO_R1'."""
    with tempfile.TemporaryDirectory(prefix='sg.') as scratch:
        def run(*command):
            return subprocess.run(command, cwd=scratch, check=True, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT).stdout
        run('spin', '-a', *(f'-D{definition}' for definition in definitions), MODELS / model)
        run('gcc', '-w', f'-O{optimise}', '-DSAFETY', '-DCOLLAPSE', f'-DMEMLIM={mib}', '-o', 'pan', 'pan.c')
        # waits.pml judges its last states itself: there, waiting for ever may be right.
        return Result(run('./pan', '-m100000', *(['-E'] if model == 'waits.pml' else [])))
