#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# label: static
"""What NAME.h declares, NAME.c defines, or NAME.h itself as an inline function, but for the faces
that tests/lib/rooms.py lists; and no module (NAME.h and NAME.c) includes itself by way of others. A
planted breach of each kind is found first.
"""
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rooms

PLANTED = {
    'base/a.h': '#include "base/b.h"\nint a_one(int n);\nextern const struct t a_table;\nint a_two(void);\n'
                'static inline int a_three(void)\n{\n    return 3;\n}\n',
    'base/a.c': '#include "base/a.h"\nint a_one(int n)\n{\n    if (n) { return b_two(); }\n    return 0;\n}\n',
    'base/b.h': '/* int a_one(int n); */\nint b_one(void);\n',
    'base/b.c': '#include "base/a.h"\n#include "base/b.h"\nint b_one(void)\n{\n    return 1;\n}\n\n'
                '__attribute__((noinline)) int a_two(void)\n{\n    return 2;\n}\n',
}

with tempfile.TemporaryDirectory() as tree:
    for path, text in PLANTED.items():
        Path(tree, path).parent.mkdir(parents=True, exist_ok=True)
        Path(tree, path).write_text(text)
    assert list(rooms.misplaced_declarations(tree)) == [('base/a.h', 'a_two', 'base/b.c')]
    assert rooms.include_circles(tree) == [['base/a', 'base/b']]

source_dir = os.environ.get('SOURCE_DIR', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
failures = [f'{header}: {name} is defined in {source}'
            for header, name, source in rooms.misplaced_declarations(source_dir)]
failures += ['includes in a circle: ' + ' '.join(circle) for circle in rooms.include_circles(source_dir)]
print('\n'.join(failures))
sys.exit(1 if failures else 0)
