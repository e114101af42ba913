# SPDX-License-Identifier: Apache-2.0
"""What clients of a life's disks (lives.py) do: writes, zeroes and discards of any alignment."""
from snapgroupd import expect


def pick(life, choices):
    choices = sorted(choices)
    return life.random.choice(choices) if choices else None


def writable(life):
    return [name for name, disk in life.disks.items() if not disk.read_only]


def write_some(life, _):
    name = pick(life, writable(life))
    if name:
        for _ in range(life.random.choice((1, 2, 6))):
            write(life, name)
        if life.random.random() < 0.4:
            life.leave(name)


def write(life, name):
    rng, disk, handle = life.random, life.disks[name], life.client(name)
    length = min(rng.choice((1, 512, 4096, 5000, 65536, 200000)), len(disk.view))
    offset = rng.randrange(len(disk.view) - length + 1)
    if rng.random() < 0.7:
        offset, length = offset // 512 * 512, -(-length // 512) * 512
    length = min(length, len(disk.view) - offset)
    kind = rng.random()
    life.note("%s: %s %d+%d", name, "write" if kind < 0.7 else "zero" if kind < 0.85 else "trim", offset, length)
    if kind < 0.7:
        data = (rng.randbytes(509) * (length // 509 + 1))[:length]
        handle.pwrite(data, offset)
        disk.write(offset, data)
    elif kind < 0.85:
        handle.zero(length, offset, rng.choice((0, 2)))  # NBD_CMD_FLAG_NO_HOLE
        disk.write(offset, bytes(length))
    else:
        trim(disk, handle, offset, length)
    if rng.random() < 0.2:
        handle.flush()


def trim(disk, handle, offset, length):
    """Each sector reads as zeros, or as before."""
    handle.trim(length, offset)
    data, before = bytes(handle.pread(length, offset)), disk.view[offset:offset + length]
    first = -offset % 512  # sectors of the disk
    pieces = [(0, min(first, length))] + [(at, min(at + 512, length)) for at in range(first, length, 512)]
    expect(all(data[begin:end] in (before[begin:end], bytes(end - begin)) for begin, end in pieces),
           "what was discarded reads as something else")
    disk.write(offset, data)
