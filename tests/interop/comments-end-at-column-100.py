#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""No line of a comment or docstring in C, Python or shell goes past column 100. Planted ones that
do are found first.
"""
import io
import os
import re
import sys
import tokenize
from pathlib import Path

WIDTH = 100
SOURCE_DIR = Path(os.environ.get('SOURCE_DIR', Path(__file__).resolve().parents[2]))


def c_comments(text):
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', lambda match: '"' * len(match.group()), text)
    for match in re.finditer(r'/\*.*?\*/|//[^\n]*', text, re.S):
        first = text.count('\n', 0, match.start())
        yield from range(first, first + match.group().count('\n') + 1)


def python_comments(text):
    depth, before = 0, tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        depth += (token.string in '([{') - (token.string in ')]}') if token.type == tokenize.OP else 0
        is_docstring = token.type == tokenize.STRING and depth == 0 and before == tokenize.NEWLINE
        if is_docstring or token.type == tokenize.COMMENT and 'noqa' not in token.string:
            yield from range(token.start[0] - 1, token.end[0])
        if token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            before = token.type


def shell_comments(text):
    yield from (i for i, line in enumerate(text.split('\n')) if re.match(r'''(?:[^'"]*\s)?#\s''', line))


KINDS = {'.c': c_comments, '.h': c_comments, '.py': python_comments, '.sh': shell_comments,
         'run': shell_comments, 'commit-gate': shell_comments}


def too_long(name, text):
    lines = text.split('\n')
    return [i + 1 for i in KINDS[name](text) if len(lines[i]) > WIDTH]


LONG = 'x' * WIDTH
assert too_long('.c', f'/* a\n * {LONG}\n */\nint a; /* {LONG} */\nputs("{LONG} /* */");\n') == [2, 4]
assert too_long('.py', f'# {LONG}\nf("{LONG}")\ndef g():\n    """a\n    {LONG}"""\n') == [1, 5]
assert too_long('.sh', f'# {LONG}\necho "# {LONG}"\nls # {LONG}\n') == [1, 3]

failures = [f'{path.relative_to(SOURCE_DIR)}:{line}'
            for top in ('base', 'block', 'store', 'service', 'clients', 'tests', 'deploy', '.ci')
            for path in sorted((SOURCE_DIR / top).rglob('*')) if path.is_file()
            for kind in (path.suffix or path.name,) if kind in KINDS
            for line in too_long(kind, path.read_text())]
print('\n'.join(failures))
sys.exit(1 if failures else 0)
