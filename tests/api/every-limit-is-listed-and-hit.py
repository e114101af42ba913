#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# GET /limits has every limit, from the one table in the code, and each of them holds: what is at
# the limit is taken, what is beyond is refused. A limit fails without a function here or a test in
# ELSEWHERE that names it and is run. /version names the version and the features that are there.
import grp
import json
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import callers
from openapi import SPEC
from snapgroupd import DEADLINE_S, SNAPGROUPD, SOURCE_DIR, Answer, Daemon, expect, main

ABSENT = [{"device": "absent"}]
ELSEWHERE = {
    "api/changed-extents-are-listed-page-by-page.py": ["page_extents"],
    "crash/extents-on-hung-storage-hold-nobody-up.py": ["extent_calls", "extent_wait_ms"],
    "crash/plans-on-hung-storage-hold-nobody-up.py": ["plan_wait_ms"],
    "api/limits-of-images-and-nbd-hold.py": [
        "chain_images", "qcow2_l1_table_bytes", "qcow2_refcount_table_bytes", "qcow2_snapshots", "qcow2_snapshot_table_bytes",
        "qcow2_snapshot_l1_tables_bytes", "qcow2_backing_name_bytes", "nbd_option_bytes", "nbd_skipped_option_bytes",
        "nbd_export_name_bytes", "nbd_useless_options", "nbd_request_bytes"],
    "api/limits-of-concurrent-callers-hold.py": [
        "all_unix_connections", "all_forbidden_connections", "all_tcp_connections", "all_subscribers", "calls", "running_groups",
        "request_memory_bytes"],
    "api/jobs-are-paused-and-cancelled.py": ["running_jobs"],
    "unit/service/jobs-that-are-stuck-are-not-counted.c": ["begun_jobs"],
    "api/slow-callers-are-cut-off-in-time.py": ["body_seconds", "reply_seconds", "idle_seconds"],
    "api/rollback-disconnects-who-is-connected.py": ["rollback_disconnect_ms"],
    "api/slow-and-greedy-callers-shut-nobody-out.py": ["head_seconds"],
    "api/failing-callers-are-slowed-down.py": ["failed_proofs", "failed_proof_interval_ms"],
    "api/expired-tokens-are-deleted-in-time.py": ["expired_token_days"],
    "api/failed-attempts-are-kept-within-bounds.py": ["aborted_group_days"],
    "api/deleted-groups-go-once-nothing-needs-them.py": ["deleted_groups"],
    "unit/store/deleted-groups-are-kept-while-they-are-of-use.c": ["deleted_group_days"],
    "api/keys-are-kept-as-long-as-configured.py": ["idempotency_key_seconds"],
    "unit/store/jobs-are-kept-while-they-are-of-use.c": ["finished_jobs", "finished_job_days"],
    "unit/store/events-are-kept-in-order-within-bounds.c": ["events", "event_days"],
    "unit/nbd/nbd-nobody-takes-every-connection.c": [
        "nbd_connections", "nbd_tcp_connections", "nbd_address_connections", "nbd_user_connections", "nbd_handshakes"],
    "unit/nbd/nbd-handshake-has-a-deadline.c": ["nbd_handshake_ms"],
    "unit/nbd/nbd-ten-thousand-exports-are-listed.c": ["nbd_whole_handshake_ms"],
    "unit/nbd/nbd-slow-requests-hold-nobody-up.c": ["nbd_tasks", "nbd_task_bytes"],
    "unit/nbd/nbd-memory-is-bounded-over-all-connections.c": ["nbd_memory_bytes"],
    "unit/nbd/nbd-listens-where-it-may.c": ["nbd_addresses"],
    "unit/base/tls-files-are-checked.c": ["tls_file_bytes", "tls_key_bytes"],
    "api/limits-of-tls-names-hold.sh": ["tls_client_names", "tls_client_name_bytes"],
}


def raw(daemon, target="/livez", fields=(), body=None, method="GET"):
    """Sends these fields and no others."""
    connection = daemon.connection()
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in (("Host", "localhost"), *fields):
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def post(daemon, path, text):
    return raw(daemon, path, (("Content-Type", "application/json"), ("Content-Length", str(len(text)))), text.encode(), "POST")


def code_of(answer):
    return answer.body["code"] if answer.status >= 400 else answer.status


def pair(at, beyond, wanted_at, wanted_beyond):
    expect(code_of(at) == wanted_at, "at the limit: %s", at)
    expect(code_of(beyond) == wanted_beyond, "beyond the limit: %s", beyond)


def group(daemon, **more):
    return daemon.request("POST", "/snapshot-groups", {"devices": ABSENT, **more})


def target_bytes(daemon, limit):
    pair(raw(daemon, "/" + "x" * (limit - 1)), raw(daemon, "/" + "x" * limit), "NotFound", "URITooLong")


def head_bytes(daemon, limit):
    pair(raw(daemon, fields=[("A", "x" * (limit - 200))]), raw(daemon, fields=[("A", "x" * limit)]), 200, "HeadersTooLarge")


def head_fields(daemon, limit):
    pair(raw(daemon, fields=[("A", "x")] * (limit - 1)), raw(daemon, fields=[("A", "x")] * limit), 200, "HeadersTooLarge")


def query_parameters(daemon, limit):
    at, beyond = ("/devices?" + "&".join("x%d=1" % i for i in range(count)) for count in (limit, limit + 1))
    expect("x0" in daemon.request("GET", at).body["detail"], "at the limit")
    expect("too many" in daemon.request("GET", beyond).body["detail"], "beyond the limit")


def request_id_chars(daemon, limit):
    for count in (limit, limit + 1):
        answer = daemon.request("GET", "/livez", X_Request_Id="x" * count)
        expect((answer.headers["X-Request-Id"] == "x" * count) == (count == limit), "%d: %s", count, answer.headers)


def idempotency_key_chars(daemon, limit):
    at, beyond = (daemon.request("POST", "/snapshot-groups", {"devices": ABSENT}, Idempotency_Key='"%s"' % ("k" * count))
                  for count in (limit, limit + 1))
    pair(at, beyond, "DeviceNotFound", "InvalidHeader")


def body_bytes(daemon, limit):
    pair(post(daemon, "/devices", "{}".ljust(limit)), post(daemon, "/devices", "{}".ljust(limit + 1)), "MissingField", "BodyTooLarge")


def body_depth(daemon, limit):
    at, beyond = (post(daemon, "/devices", '{"x":' + "[" * (count - 1) + "]" * (count - 1) + "}") for count in (limit, limit + 1))
    pair(at, beyond, "UnknownField", "MalformedJSON")


def body_values(daemon, limit):
    at, beyond = (post(daemon, "/devices", '{"x":[%s]}' % ",".join("1" * count)) for count in (limit - 2, limit + 1))
    pair(at, beyond, "UnknownField", "MalformedJSON")


def chunked(daemon, text):
    return raw(daemon, "/devices", (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")), text.encode(), "POST")


def chunk_line_bytes(daemon, limit):
    at, beyond = (chunked(daemon, "2;" + "x" * (count - 2) + "\r\n{}\r\n0\r\n\r\n") for count in (limit, limit + 1))
    pair(at, beyond, "MissingField", "MalformedRequest")


def trailer_fields(daemon, limit):
    at, beyond = (chunked(daemon, "2\r\n{}\r\n0\r\n" + "A: x\r\n" * count + "\r\n") for count in (limit, limit + 1))
    pair(at, beyond, "MissingField", "MalformedRequest")


def prefer_wait_seconds(daemon, limit):
    """Longer ones are cut."""
    daemon.create_device("waited", "raw", 512)
    for i, seconds in enumerate((limit - 1, limit, limit + 1)):
        answer = daemon.request("POST", "/snapshot-groups", {"name": "waited%d" % i, "devices": [{"device": "waited"}]},
                                Prefer="respond-async, wait=%d" % seconds)
        expect(answer.status == 201 and answer.headers["Preference-Applied"] == "wait=%d" % min(seconds, limit), "%s", answer)


def number_chars(daemon, limit):
    at, beyond = (post(daemon, "/devices", '{"x":1.%s1}' % ("0" * (count - 3))) for count in (limit, limit + 1))
    pair(at, beyond, "UnknownField", "MalformedJSON")


def integer_value(daemon, limit):
    """In a double 2^53 + 1 would be 2^53."""
    at, beyond = (post(daemon, "/devices", '{"name":"n","image":"n","format":"raw","size_bytes":%d}' % value)
                  for value in (limit, limit + 1))
    expect(code_of(at) in (201, "OpenFileFailed", "NoSpace"), "at the limit: %s", at)
    expect(code_of(beyond) == "InvalidValue", "beyond the limit: %s", beyond)
    daemon.request("DELETE", "/devices/n")


def path_bytes(daemon, limit):
    at, beyond = (daemon.request("POST", "/devices", {"name": "p", "image": "i" * count, "format": "raw"})
                  for count in (limit, limit + 1))
    pair(at, beyond, "OpenFileFailed", "InvalidValue")


def device_name_chars(daemon, limit):
    at, beyond = (daemon.request("POST", "/devices", {"name": "d" * count, "image": "i", "format": "raw", "size_bytes": 512})
                  for count in (limit, limit + 1))
    pair(at, beyond, 201, "InvalidValue")


def device_size_bytes(daemon, limit):
    beyond = post(daemon, "/devices", json.dumps({"name": "big", "image": "b", "format": "raw", "size_bytes": limit + 1}))
    expect(code_of(beyond) == "InvalidValue", "%s", beyond)


def cluster_size_bytes(daemon, limit):
    at, beyond = (daemon.request("POST", "/devices", {"name": "c%d" % size, "image": "c%d" % size, "format": "qcow2",
                                                      "size_bytes": 512, "cluster_size_bytes": size}) for size in (limit, 2 * limit))
    pair(at, beyond, 201, "InvalidValue")


def group_name_chars(daemon, limit):
    pair(group(daemon, name="g" * limit), group(daemon, name="g" * (limit + 1)), "DeviceNotFound", "InvalidValue")


def group_members(daemon, limit):
    at, beyond = (group(daemon, devices=[{"device": "d%d" % i} for i in range(count)]) for count in (limit, limit + 1))
    pair(at, beyond, "DeviceNotFound", "InvalidValue")


def group_deadline_ms(daemon, limit):
    pair(group(daemon, deadline_ms=limit), group(daemon, deadline_ms=limit + 1), "DeviceNotFound", "InvalidValue")


def group_settle_ms(daemon, limit):
    pair(group(daemon, settle_ms=limit), group(daemon, settle_ms=limit + 1), "DeviceNotFound", "InvalidValue")


def labels(daemon, limit):
    at, beyond = (group(daemon, labels={"k%d" % i: "" for i in range(count)}) for count in (limit, limit + 1))
    pair(at, beyond, "DeviceNotFound", "InvalidValue")


def label_bytes(daemon, limit):
    for make in (lambda text: {text: ""}, lambda text: {"k": text}):
        pair(group(daemon, labels=make("x" * limit)), group(daemon, labels=make("x" * (limit + 1))), "DeviceNotFound", "InvalidValue")


def allowed_clients(daemon, limit):
    at, beyond = (daemon.request("POST", "/devices", {"name": "limited", "image": "l", "format": "raw", "size_bytes": 512,
                                                      "allowed_clients": ["c%d" % i for i in range(count)]})
                  for count in (limit, limit + 1))
    pair(at, beyond, 201, "InvalidValue")


def allowed_client_bytes(daemon, limit):
    at, beyond = (daemon.request("PATCH", "/devices/limited", {"allowed_clients": ["c" * count]}) for count in (limit, limit + 1))
    pair(at, beyond, 200, "InvalidValue")


def token_name_chars(daemon, limit):
    at, beyond = (daemon.request("POST", "/tokens", {"name": "t" * count, "scope": "read"}) for count in (limit, limit + 1))
    pair(at, beyond, 201, "InvalidValue")


def page_items(daemon, limit):
    at, beyond = (daemon.request("GET", "/devices?limit=%d" % count) for count in (limit, limit + 1))
    pair(at, beyond, 200, "InvalidParameter")


def page_bytes(daemon, limit):
    large = {"k%d" % i: "x" * 256 for i in range(64)}
    count = limit // (64 * 256) + 2
    for _ in range(count):
        group(daemon, labels=large)
    page = daemon.get("/snapshot-groups?limit=1000")
    expect(len(page["items"]) < count and page["next"], "%d items on a page", len(page["items"]))


def filter_labels(daemon, limit):
    at, beyond = (daemon.request("GET", "/devices?" + "&".join(["label=a%3Db"] * count)) for count in (limit, limit + 1))
    pair(at, beyond, 200, "InvalidParameter")


def connections(connect, limit):
    """One more than the limit makes room for itself: one that is idle is closed, and no other."""
    peers = [connect() for _ in range(limit + 1)]
    closed, _, _ = select.select(peers, [], [], DEADLINE_S)
    expect(len(closed) == 1 and closed[0].recv(1) == b"", "%d of %d were closed", len(closed), limit + 1)
    expect(closed[0] is not peers[-1], "the last one was closed")
    peers[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    expect(peers[-1].recv(9) == b"HTTP/1.1 ", "the last one is not answered")
    for peer in peers:
        peer.close()


def unix_connections(daemon, limit):
    def connect():
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(DEADLINE_S)
        peer.connect(os.path.join(daemon.runtime, "api.sock"))
        return peer
    connections(connect, limit)


def tcp_connections(daemon, limit):
    connections(lambda: socket.create_connection(("127.0.0.1", daemon.port), DEADLINE_S), limit)


def subscribers(daemon, limit):
    callers.subscribers([daemon.connection() for _ in range(limit + 1)], limit)


def kept_for_names(daemon, limit):
    daemon.create_device("golden", "raw", 512)
    group(daemon, name="golden", devices=[{"device": "golden"}])
    for i in range(limit + 1):
        answer = daemon.request("POST", "/devices", {"name": "clone%02d" % i,
                                                     "from": {"group": "golden", "device": "golden"}})
        expect(answer.status == 201, "clone %d: %s", i, answer)
        kept_for = daemon.get("/devices/golden")["chain"][1]["kept_for"]
        named = ["group golden"] + ["device clone%02d" % k for k in range(i + 1)]
        expect(kept_for == (named if i < limit else named[:limit + 1] + ["others"]), "%d clones: %s", i + 1, kept_for)


def group_holds(daemon, limit):
    daemon.create_device("held", "raw", 512)
    group(daemon, name="held", devices=[{"device": "held"}])
    connection = daemon.connection()
    for i in range(limit + 1):
        answer = connection.ask("PUT", "/snapshot-groups/held/holds/h%d" % i)
        expect(answer.status == (201 if i < limit else 409), "hold %d: %s", i, answer)
    connection.close()
    expect(answer.body["code"] == "TooManyHolds", "%s", answer)


def tokens(daemon, limit):
    there = len(daemon.list("/tokens"))
    connection = daemon.connection()
    for i in range(there, limit + 1):
        answer = connection.ask("POST", "/tokens", {"name": "t%d" % i, "scope": "read"})
        expect((answer.status == 201) == (i < limit), "token %d: %s", i, answer)
    connection.close()


def aborted_groups(daemon, limit):
    connection = daemon.connection()
    for _ in range(limit + 1):
        connection.ask("POST", "/snapshot-groups", {"devices": ABSENT})
    connection.close()
    count, cursor = 0, ""
    while cursor is not None:
        page = daemon.get("/snapshot-groups?state=aborted&limit=1000" + cursor)
        count += len(page["items"])
        cursor = "&cursor=" + page["next"] if page["next"] else None
    expect(count == limit, "%d failed attempts are kept", count)


def idempotency_keys(daemon, limit):
    """With one more key of a caller its oldest goes."""
    with daemon.stopped_database() as database:
        database.execute("DELETE FROM idempotency_keys")
        database.execute("WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) INSERT INTO "
                         "idempotency_keys (caller, key, request_hash, request_id, created_at_us, status) "
                         "SELECT 'uid ' || ?, 'k' || n, 'h', 'r', ? + n, 404 FROM number",
                         (limit, os.geteuid(), time.time_ns() // 1000 - 1000000))
    expect(daemon.request("DELETE", "/tokens/t500").status == 204, "a token that was made before")
    answer = daemon.request("POST", "/tokens", {"name": "new", "scope": "read"}, Idempotency_Key="new")
    expect(answer.status == 201, "%s", answer)
    with daemon.stopped_database() as database:
        kept = [key for (key,) in database.execute("SELECT key FROM idempotency_keys ORDER BY created_at_us")]
    expect(len(kept) == limit and kept[0] == "k2" and kept[-1] == "new", "%d keys from %s to %s", len(kept), kept[0], kept[-1])


def options(daemon, option, limit, values):
    for count in (limit, limit + 1):
        checked = subprocess.run([SNAPGROUPD, "--state-dir", daemon.state, "--image-dir", daemon.images, "--runtime-dir",
                                  daemon.runtime, "--check-config"] + [text for value in values[:count] for text in (option, value)],
                                 capture_output=True, text=True, check=False)
        expect((checked.returncode == 0) == (count == limit), "%d of %s: %s", count, option, checked)
        expect(("at most %d" % limit in checked.stderr) == (count > limit), "%d of %s: %s", count, option, checked)


def option_addresses(daemon, limit):
    options(daemon, "--listen", limit, ["127.0.0.1:%d" % port for port in range(limit + 1)])


def option_groups(daemon, limit):
    options(daemon, "--allow-group", limit, [group.gr_name + "=read" for group in grp.getgrall()][:limit + 1])


def version(daemon):
    shown = daemon.get("/version")
    expect(shown["version"] == shown["api"] == SPEC["info"]["version"], "%s", shown)
    expect(shown["features"] == sorted(SPEC["components"]["schemas"]["Feature"]["enum"]), "%s", shown)


def test():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with Daemon() as daemon:
        daemon.add_psk("alice") # without TLS nobody can be named in allowed_clients
        daemon.listen_on_tcp()
        daemon.start()
        version(daemon)
        for name, limit in daemon.get("/limits").items():
            elsewhere = [path for path, names in ELSEWHERE.items() if name in names]
            expect((name in globals()) + len(elsewhere) == 1, "%d tests reach the limit %s", len(elsewhere), name)
            if elsewhere:
                with open(os.path.join(SOURCE_DIR, "tests", elsewhere[0])) as test_file:
                    expect(re.search(r"\b%s\b" % name, test_file.read()), "%s does not name %s", elsewhere[0], name)
            else:
                globals()[name](daemon, limit)


main(test)
