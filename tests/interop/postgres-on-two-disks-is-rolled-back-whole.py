#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# A PostgreSQL has its data on one disk and its WAL on another. While pgbench writes, groups of both
# are taken; then tables are dropped and files of the cluster overwritten, and the server is killed.
# After a rollback to any of the groups, and after the rollback of that, the server starts, and
#   - pgbench's sums agree: of the accounts, tellers, branches and of the history;
#   - every transaction that was acknowledged before the group was asked for is there, none that was
#     issued after its reply is, and none in between is missing;
#   - pg_amcheck finds no fault in any table or index; the checksums of all pages are right.
# If the two disks are frozen at two instants the server does not even start, which is tried, too.
import contextlib
import glob
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from postgres import SIZES, Counter, Host
from snapgroupd import Daemon, Failure, expect, main

GROUPS = int(os.environ.get("POSTGRES_GROUPS", "3"))
CLIENTS = 3
DISKS = {"data": "vda", "wal": "vdb"}
FORMATS = {"data": "qcow2", "wal": "raw"}
SUMS = ("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), "
        "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")


@contextlib.contextmanager
def load(host):
    """pgbench and a counter, until the block ends."""
    with open(os.path.join(host.sockets, "pgbench.log"), "wb") as log:
        bench = host.begin("pgbench", "--no-vacuum", "--client=%d" % CLIENTS, "--time=100000", stdout=log, stderr=log)
    counter = Counter(host)
    try:
        yield counter
    finally:
        counter.stop()
        bench.kill()
        bench.wait()


def take(daemon, counter, name, disks):
    """The numbers of transactions between which a group is."""
    acknowledged = counter.await_more(20)
    daemon.snapshot(name, disks)
    return acknowledged, counter.issued


def damage(host):
    host.sql("DROP TABLE counted")
    host.sql("DELETE FROM pgbench_accounts WHERE aid % 2 = 0")
    host.sql("CHECKPOINT")
    for path in glob.glob(os.path.join(host.cluster, "base", "5", "*"))[::3]:
        with open(path, "r+b") as table:
            table.write(os.urandom(8192))


def verify(host, bounds, what):
    with host.up():
        sums = host.sql(SUMS)
        expect(len(set(sums)) == 1, "%s: the sums of accounts, tellers, branches and history are %s", what, sums)
        count, last = map(int, host.sql("SELECT count(*), coalesce(max(n), 0) FROM counted"))
        expect(count == last and bounds[0] <= last <= bounds[1],
               "%s: %d transactions, the last is %d, between %d and %d are due", what, count, last, *bounds)
        host.run("pg_amcheck", "--install-missing", "--heapallindexed", "postgres")


def roll_back(daemon, group, name):
    answer = daemon.request("POST", "/snapshot-groups/%s/rollbacks" % group, {"name": name})
    expect(answer.status == 201, "rollback to %s: %s", group, answer)


def verify_whole(daemon, host, bounds):
    for name in [*bounds, *bounds]:  # and once more, from another state
        roll_back(daemon, name, "before-%s-%d" % (name, len(daemon.list("/snapshot-groups"))))
        verify(host, bounds[name], name)


def verify_torn(daemon, host):
    """The WAL, and a moment later the data: what the control file names is not in the WAL yet."""
    roll_back(daemon, "g0", "before-torn")
    with host.up(), load_again(host) as counter:
        take(daemon, counter, "torn-wal", [DISKS["wal"]])
        counter.await_more(20)
        host.sql("CHECKPOINT")
        take(daemon, counter, "torn-data", [DISKS["data"]])
    roll_back(daemon, "torn-wal", "before-torn-wal")
    roll_back(daemon, "torn-data", "before-torn-data")
    try:
        verify(host, (0, 1 << 30), "the torn pair")
    except Failure as failure:
        expect("checkpoint record" in str(failure), "the torn pair fails otherwise: %s", failure)
        return
    raise Failure("disks that were frozen at two instants pass for whole")


@contextlib.contextmanager
def load_again(host):
    host.sql("TRUNCATE counted")
    with load(host) as counter:
        yield counter


def test():
    with Daemon() as daemon:
        daemon.start()
        for kind, name in DISKS.items():
            daemon.create_device(name, FORMATS[kind], SIZES[kind])
        host = Host(daemon, DISKS)
        host.create()
        bounds = {}
        with host.up():
            host.sql("CREATE TABLE counted (n integer PRIMARY KEY)")
            host.run("pgbench", "--initialize", "--quiet")
            with load(host) as counter:
                for i in range(GROUPS):
                    bounds["g%d" % i] = take(daemon, counter, "g%d" % i, list(DISKS.values())[::1 if i % 2 else -1])
                counter.await_more(20)
            damage(host)
        verify_whole(daemon, host, bounds)
        verify_torn(daemon, host)


own_mounts()
main(test)
