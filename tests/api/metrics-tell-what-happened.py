#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""GET /metrics counts calls, groups and NBD's bytes, shows each device, and is text that promtool
accepts. The time of the last snapshot outlives a restart."""
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until
from promtool import promtool

CHUNK = 64 << 10


def sample(line):
    name, labels, value = re.fullmatch(r"snapgroupd_(\w+)(\{.*\})? (\S+)", line).groups()
    return name + (labels or ""), float(value)


def metrics(daemon):
    answer = daemon.request("GET", "/metrics")
    expect(answer.status == 200, "GET /metrics: %s", answer)
    expect(answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", "%s", answer.headers)
    lines = answer.body.splitlines()
    found = dict(sample(line) for line in lines if not line.startswith("#"))
    expect(len(found) == len([line for line in lines if not line.startswith("#")]), "twice: %s", answer.body)
    return found, answer.body


def of(device, name, more=""):
    return 'device_%s{device="%s"%s}' % (name, device, more)


def write_and_read(daemon):
    handle = daemon.nbd("vda")
    handle.pwrite(b"x" * CHUNK, 0)
    handle.pread(2 * CHUNK, 0)
    handle.zero(4 * CHUNK, CHUNK)
    handle.trim(CHUNK, 8 * CHUNK)
    try:
        handle.pwrite(b"x" * 512, 1 << 40)
        raise AssertionError("a write beyond the end succeeded")
    except __import__("nbd").Error:
        pass
    now, _ = metrics(daemon)
    expect(now["nbd_connections"] == 1 and now[of("vda", "clients")] == 1, "connections: %s", now)
    handle.shutdown()


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 16 << 20)
        daemon.create_device("vdb", "raw", 1 << 20)
        before, text = metrics(daemon)
        promtool("check", "metrics", input=text)
        expect(before["groups_total{outcome=\"committed\"}"] == 0 and before["group_pause_seconds_count"] == 0, "groups")
        expect(of("vda", "last_snapshot_timestamp_seconds") not in before, "a snapshot that never was")
        expect(before[of("vda", "size_bytes")] == 16 << 20 and before[of("vda", "chain_depth")] == 1, "%s", before)
        expect(re.fullmatch(r'build_info\{version="\d+\.\d+\.\d+"\}', next(iter(before))), "%s", next(iter(before)))

        write_and_read(daemon)
        begin = time.time()
        group = daemon.snapshot("g", ["vda", "vdb"])
        for body, status in (({"devices": [{"device": "vda"}, {"device": "none"}]}, 404), ({"devices": []}, 422)):
            expect(daemon.request("POST", "/snapshot-groups", body).status == status, "%s", body)
        wait_until(lambda: metrics(daemon)[0]["nbd_connections"] == 0, "the client is gone")
        after, text = metrics(daemon)
        promtool("check", "metrics", input=text)
        wanted = {"read": 2 * CHUNK, "write": CHUNK, "zero": 4 * CHUNK, "discard": CHUNK}
        for op, count in wanted.items():
            expect(after[of("vda", "io_bytes_total", ',op="%s"' % op)] == count, "%s: %s", op, text)
            expect(after[of("vdb", "io_bytes_total", ',op="%s"' % op)] == 0, "%s: %s", op, text)
        outcomes = [after['groups_total{outcome="%s"}' % outcome] for outcome in ("committed", "aborted", "refused")]
        expect(outcomes == [1, 1, 1], "outcomes: %s", outcomes)
        for name in ("pause", "duration"):
            expect(after["group_%s_seconds_count" % name] == after['group_%s_seconds_bucket{le="+Inf"}' % name] == 1, name)
            expect(abs(after["group_%s_seconds_sum" % name] * 1e6 - group["%s_us" % name]) < 1, "%s: %s", name, group)
        expect(after[of("vda", "chain_depth")] == 2 and after[of("vda", "failed")] == 0, "%s", text)
        last = after[of("vdb", "last_snapshot_timestamp_seconds")]
        expect(begin <= last <= time.time(), "%f", last)
        for operation, status, count in (("device_create", 201, 2), ("snapshot_group_create", 404, 1),
                                         ("snapshot_group_create", 422, 1), ("snapshot_group_create", 201, 1)):
            name = 'http_requests_total{operation="%s",status="%d"}' % (operation, status)
            expect(after[name] == count, "%s: %s", name, after.get(name))
        daemon.request("GET", "/nowhere")
        for budget in ("index", "table", "nbd", "http"):
            name = '{budget="%s"}' % budget
            expect(0 <= after["memory_bytes" + name] <= after["memory_limit_bytes" + name] > 0, "%s: %s", budget, text)

        daemon.restart()
        again, _ = metrics(daemon)
        expect(again[of("vdb", "last_snapshot_timestamp_seconds")] == last, "the time does not outlive a restart")
        expect(again[of("vda", "io_bytes_total", ',op="read"')] == 0, "counters begin at 0")
        expect(daemon.request("DELETE", "/devices/vdb").status == 204, "DELETE")
        expect(not [name for name in metrics(daemon)[0] if "vdb" in name], "a device that is gone")


main(test)
