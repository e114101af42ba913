#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# What all callers together may take, of GET /limits: connections of each kind, subscribers, calls
# and groups that run, memory for requests. What is at a limit is served; beyond it an idle
# connection makes room for a new one, and a call is refused with a word, and served once there is
# room. Calls and groups run for as long as a gate is closed.
import http.client
import json
import os
import resource
import select
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from callers import subscribers
from gates import Call, GatedDaemon
from snapgroupd import DEADLINE_S, Answer, Connection, Daemon, expect, main, wait_until

MIB = 1 << 20


# ---- connections ----

def unix(daemon, uid=None):
    """A connection of that user's."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE_S)
    if uid is not None:
        os.seteuid(uid)
    try:
        peer.connect(os.path.join(daemon.runtime, "api.sock"))
    finally:
        if uid is not None:
            os.seteuid(0)
    return peer


def tcp(daemon, source):
    return socket.create_connection(("127.0.0.1", daemon.port), DEADLINE_S, source_address=(source, 0))


def connections(connect, limit):
    """`connect(i)` connects number i: one more than the limit closes one that is idle."""
    peers = [connect(i) for i in range(limit)]
    closed, _, _ = select.select(peers, [], [], 0)
    expect(not closed, "%d of %d were closed", len(closed), limit)
    peers.append(connect(limit))
    closed, _, _ = select.select(peers, [], [], DEADLINE_S)
    expect(len(closed) == 1 and closed[0] is not peers[-1] and closed[0].recv(1) == b"", "%d were closed", len(closed))
    for peer in peers:
        peer.close()


def all_tcp_connections(daemon, limit):
    connections(lambda i: tcp(daemon, "127.0.0.%d" % (1 + i % 4)), limit)


def by_group(daemon, gid, limit):
    """Of several users, whose group it is."""
    if os.geteuid() != 0:
        return  # only root can become others
    os.setegid(gid)
    try:
        connections(lambda i: unix(daemon, 10000 + i % 4), limit)
    finally:
        os.setegid(0)


def all_unix_connections(daemon, limit):
    by_group(daemon, 65534, limit)


def all_forbidden_connections(daemon, limit):
    by_group(daemon, 10000, limit)


# ---- subscribers ----

def all_subscribers(daemon, limit):
    """The last of many addresses and users is refused."""
    token = daemon.create_token("follower", "read")
    subscribers([Connection(daemon.port, token, "127.0.0.%d" % (1 + i % 4)) for i in range(limit + 1)], limit)


# ---- calls ----

def calls(daemon, limit):
    """Groups that wait at the gate, each of a device of its own: one too many."""
    daemon.close_gate("prepare")
    running = [Call(daemon, "POST", "/snapshot-groups", {"devices": [{"device": "d%d" % i}]}) for i in range(limit + 1)]
    wait_until(lambda: any(not call.is_alive() for call in running), "a call to be refused")
    refused = daemon.request("GET", "/tokens")
    expect(refused.status == 503, "one more call: %s", refused)
    expect(daemon.request("GET", "/livez").status == 200, "a call that needs no store")
    daemon.open_gate("prepare")
    answers = [call.answer() for call in running]
    expect(sum(answer.status == 201 for answer in answers) == limit, "%s", [str(answer) for answer in answers if answer.status != 201])
    for answer in [refused] + [answer for answer in answers if answer.status != 201]:
        expect(answer.status == 503 and answer.body["code"] == "OutOfResources" and answer.body["retryable"], "%s", answer)
        expect("%d calls are running" % limit in answer.body["detail"], "%s", answer)
    expect(daemon.request("GET", "/tokens").status == 200, "a call once there is room")


def running_groups(daemon, limit):
    """The calls of these groups return at once."""
    def take(device):
        return daemon.request("POST", "/snapshot-groups", {"devices": [{"device": device}]}, Prefer="respond-async")
    daemon.close_gate("prepare")
    for i in range(limit):
        answer = take("d%d" % i)
        expect(answer.status == 202, "group %d: %s", i, answer)
    answer = take("d%d" % limit)
    expect(answer.status == 503 and answer.body["code"] == "OutOfResources", "beyond the limit: %s", answer)
    expect("groups are running" in answer.body["detail"], "%s", answer)
    daemon.open_gate("prepare")
    wait_until(lambda: take("d%d" % limit).status == 202, "a group once there is room")


def request_memory_bytes(daemon, limit):
    """Callers that send all but the end of a large body; some are refused before they do."""
    head = b"POST /devices HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{" % MIB
    peers = []
    while len(peers) * 2 * MIB <= limit:
        peers.append(unix(daemon))
        peers[-1].sendall(head)
        if select.select(peers, [], [], 0)[0]:
            break
    answered, _, _ = select.select(peers, [], [], DEADLINE_S)
    expect(answered, "%d bodies are taken at the same time", len(peers))
    response = http.client.HTTPResponse(answered[0])
    response.begin()
    answer = Answer(response)
    expect(answer.status == 503 and answer.body["code"] == "OutOfResources", "%s", answer)
    expect("memory" in answer.body["detail"], "%s", answer)
    for peer in peers:
        peer.close()
    wait_until(lambda: daemon.request("POST", "/devices", {}).status == 400, "the memory to be free")


def each(daemon, limits, names):
    for name in names:
        globals()[name](daemon, limits[name])


def test():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with Daemon() as daemon:
        os.chmod(daemon.directory, 0o711)
        os.rmdir(daemon.runtime)  # the daemon makes it for those who may call
        daemon.listen_on_tcp()
        # Two groups: anybody can connect.
        daemon.arguments += ["--allow-group", "nogroup=read", "--allow-group", "staff=read"]
        daemon.start()
        each(daemon, daemon.get("/limits"), ["all_tcp_connections", "all_subscribers", "request_memory_bytes",
                                             "all_unix_connections", "all_forbidden_connections"])
    with GatedDaemon() as daemon:
        daemon.start()
        limits = daemon.get("/limits")
        for i in range(limits["running_groups"] + 1):
            daemon.create_device("d%d" % i, "raw", 512)
        each(daemon, limits, ["calls", "running_groups"])


main(test)
