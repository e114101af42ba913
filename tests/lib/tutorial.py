# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a document as written, and compares what they print.

Blocks of ```console have lines "# COMMAND", with the text of a here-document below it, and then
its output; "..." there stands for any lines. All commands run in one shell, as those of a reader
do. Standard error counts as output, and a time there stands for any.
"""
import re
import subprocess

from snapgroupd import DEADLINE_S, expect

MARK = "--- end of command "
TIME = re.compile(r"\d{4}\\-\d\d\\-\d\dT\d\d:\d\d:\d\dZ")  # as re.escape() leaves it
HERE = re.compile(r"<<'(\w+)'$")


def transcript(path):
    """The commands of a document: (command, lines of output)."""
    commands = []
    with open(path, encoding="utf-8") as document:
        blocks = re.findall(r"^```console\n(.*?)^```$", document.read(), re.M | re.S)
    for block in blocks:
        end = None
        for line in block.splitlines():
            if end is not None:
                commands[-1][0] += "\n" + line
                end = None if line == end else end
            elif line.startswith("# "):
                commands.append([line[2:], []])
                end = (HERE.search(line) or [None, None])[1]
            else:
                commands[-1][1].append(line)
    return [(command, lines) for command, lines in commands]


def expected(lines):
    """A regular expression for output; "..." are any lines, or none."""
    text = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in lines)
    return TIME.sub(lambda match: re.sub("[0-9]", r"\\d", match.group()), text)


class Shell:
    """A shell that runs one command after another; what it left running ends with it. With a
    `command`, such as nsenter, it is on another machine, with which that ends."""

    def __init__(self, *command):
        alone = ["unshare", "--pid", "--fork", "--kill-child"]
        self.process = subprocess.Popen([*(command or alone), "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.count = 0

    def run(self, command):
        """Returns what the command prints, and its status."""
        self.count += 1
        mark = "%s%d " % (MARK, self.count)
        self.process.stdin.write("%s\necho; echo '%s'$?\n" % (command, mark))
        self.process.stdin.flush()
        output = ""
        for line in self.process.stdout:
            if line.startswith(mark):
                output = output[:-1]  # the line that echo ended or made
                return output + "\n" * (output != "" and output[-1] != "\n"), int(line[len(mark):])
            output += line
        expect(False, "the shell ended at %s: %s", command, output)

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)


def follow(shell, commands):
    """Runs the commands; each must succeed and print what it should."""
    for command, lines in commands:
        output, status = shell.run(command)
        expect(status == 0, "%s\nends with %d: %s", command, status, output)
        expect(re.fullmatch(expected(lines), output), "%s\nprints:\n%s\ninstead of:\n%s", command, output, "\n".join(lines))
