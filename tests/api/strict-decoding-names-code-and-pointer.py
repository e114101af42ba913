#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Bodies that do not match the schema are refused, each with its status, code and pointer ("-": no
# pointer), and have no effect.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import fits, SPEC
from snapgroupd import Answer, Daemon, expect, main

# STATUS CODE POINTER BODY
DEVICES = r"""
400 WrongType "" []
400 WrongType "" null
400 WrongType "" 7
400 MissingField /name {}
400 MissingField /image {"name":"a","format":"raw"}
400 MissingField /format {"name":"a","image":"a"}
400 UnknownField /sise_bytes {"name":"a","image":"a","format":"raw","sise_bytes":1}
400 UnknownField /Name {"Name":"a"}
400 UnknownField /a~1b~0c {"a/b~c":1}
400 UnknownField /~1 {"\u002f":1}
400 UnknownField / {"":1}
400 DuplicateField /name {"name":"a","name":"a","image":"a","format":"raw"}
400 DuplicateField /name {"name":"a","n\u0061me":"b","image":"a","format":"raw"}
400 WrongType /name {"name":null,"image":"a","format":"raw"}
400 WrongType /image {"name":"a","image":["a"],"format":"raw"}
400 WrongType /format {"name":"a","image":"a","format":{}}
400 WrongType /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":"1"}
400 WrongType /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":null}
400 WrongType /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":512.5}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":0}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":-512}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":9007199254740994}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":1e999}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":9007199254740993}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":900719925474099.3e1}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":9007199254740992.0000000001}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":511.99999999999999999}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":512.00000000000000001}
422 InvalidValue /size_bytes {"name":"a","image":"a","format":"raw","size_bytes":1e-400}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","size_bytes":512,"cluster_size_bytes":65536.0000000000001}
422 InvalidValue /cluster_size_bytes {"labels":{},"size_bytes":5.12e2,"name":"a","image":"a","format":"raw","cluster_size_bytes":511.9999999999999999}
422 InvalidValue /name {"name":"-","image":"a","format":"raw","size_bytes":9007199254740992}
422 InvalidValue /name {"name":"-","image":"a","format":"raw","size_bytes":512000e-3}
422 InvalidValue /name {"name":"-","image":"a","format":"raw","size_bytes":1.0}
400 WrongType /read_only {"name":"a","image":"a","format":"raw","read_only":1}
400 WrongType /extended_l2 {"name":"a","image":"a","format":"raw","extended_l2":1}
400 WrongType /extended_l2 {"name":"a","image":"a","format":"raw","extended_l2":null}
400 WrongType /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":"64k"}
400 WrongType /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":512.5}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":0}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":256}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":65537}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":196608}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":4194304}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":4294967296}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"raw","cluster_size_bytes":8192,"extended_l2":true}
422 InvalidValue /cluster_size_bytes {"name":"a","image":"a","format":"qcow2","size_bytes":9007199254740992,"cluster_size_bytes":512}
400 WrongType /labels {"name":"a","image":"a","format":"raw","labels":[]}
400 WrongType /labels/k {"name":"a","image":"a","format":"raw","labels":{"k":1}}
400 WrongType /labels/a~1b {"name":"a","image":"a","format":"raw","labels":{"a/b":null}}
400 DuplicateField /labels/k {"name":"a","image":"a","format":"raw","labels":{"k":"1","j":"","k":"1"}}
422 InvalidValue /name {"name":"","image":"a","format":"raw"}
422 InvalidValue /name {"name":"a@b","image":"a","format":"raw"}
422 InvalidValue /name {"name":".a","image":"a","format":"raw"}
422 InvalidValue /name {"name":"a b","image":"a","format":"raw"}
422 InvalidValue /name {"name":"a/b","image":"a","format":"raw"}
422 InvalidValue /name {"name":"ä","image":"a","format":"raw"}
"""

GROUPS = r"""
400 MissingField /devices {}
400 WrongType /devices {"devices":{}}
400 WrongType /devices/0 {"devices":["vda"]}
400 WrongType /devices/1 {"devices":[{"device":"a"},[]]}
400 MissingField /devices/1/device {"devices":[{"device":"a"},{}]}
400 UnknownField /devices/2/snapshot-file {"devices":[{"device":"a"},{"device":"b"},{"snapshot-file":"c"}]}
400 DuplicateField /devices/0/format {"devices":[{"device":"a","format":"raw","format":"raw"}]}
400 WrongType /devices/0/snapshot_file {"devices":[{"device":"a","snapshot_file":false}]}
422 InvalidValue /name {"name":"-x","devices":[{"device":"a"}]}
422 InvalidValue /name {"name":"6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a10","devices":[{"device":"a"}]}
422 InvalidValue /name {"name":"6F1C1F5E-8F0A-4C57-9B8E-2A0D6C2F7A10","devices":[{"device":"a"}]}
422 EmptyGroup /devices {"devices":[]}
422 DuplicateDevice /devices/2 {"devices":[{"device":"a"},{"device":"b"},{"device":"a"}]}
"""


def device(**more):
    return json.dumps({"name": "a", "image": "a", "format": "raw", **more})


LONG_DEVICES = [
    (422, "InvalidValue", "/labels/k", device(labels={"k": "0" * 257})),
    (422, "InvalidValue", "/labels/" + "0" * 257, device(labels={"0" * 257: ""})),
    (422, "InvalidValue", "/labels", device(labels={str(i): "" for i in range(65)})),
    (422, "InvalidValue", "/name", device(name="0" * 65)),
    (422, "InvalidValue", "/image", device(image="0" * 4096)),
    (422, "InvalidValue", "/format", device(format="0" * 33)),
    (422, "OpenFileFailed", "/image", device(image="0" * 4095)),
    # A pointer that does not fit names what the field is in.
    (400, "UnknownField", "", device(**{"0" * 600: 1})),
]
LONG_GROUPS = [
    (422, "InvalidValue", "/devices", json.dumps({"devices": [{"device": "d%d" % i} for i in range(1025)]})),
    (422, "InvalidValue", "/name", json.dumps({"name": "0" * 129, "devices": [{"device": "a"}]})),
    # What is too long is refused before it is recorded: no attempt is kept.
    (422, "InvalidValue", "/devices/0/device", json.dumps({"devices": [{"device": "0" * 65}]})),
    (422, "InvalidValue", "/devices/0/device", json.dumps({"devices": [{"device": "0" * 1000000}]})),
    (422, "InvalidValue", "/devices/1/snapshot_file",
     json.dumps({"devices": [{"device": "a"}, {"device": "b", "snapshot_file": "0" * 4096}]})),
    (422, "InvalidValue", "/devices/0/format", json.dumps({"devices": [{"device": "a", "format": "0" * 33}]})),
]


def rows(table):
    for line in table.strip().splitlines():
        status, code, pointer, body = line.split(" ", 3)
        yield int(status), code, pointer.replace('""', ""), body


def check(connection, path, status, code, pointer, body):
    connection.request("POST", path, body.encode(), {"Content-Type": "application/json"})
    answer = Answer(connection.getresponse())
    problem = answer.body
    expect(answer.status == status == problem["status"], "%s: %s", body[:200], answer)
    expect((problem["code"], problem.get("pointer", "-")) == (code, pointer), "%s: %s", body[:200], answer)
    expect(problem["detail"] and problem["title"], "%s: %s", body[:200], answer)
    fits(problem, SPEC["components"]["schemas"]["Problem"], body[:200])


def test():
    with Daemon() as daemon:
        daemon.start()
        connection = daemon.connection()
        for row in list(rows(DEVICES)) + LONG_DEVICES:
            check(connection, "/devices", *row)
        for row in list(rows(GROUPS)) + LONG_GROUPS:
            check(connection, "/snapshot-groups", *row)
        for path in ("/devices", "/snapshot-groups"):
            expect(daemon.get(path)["items"] == [], "something came into being: %s", daemon.get(path))
        expect(daemon.image_names() == [], "files appeared: %s", daemon.image_names())
        connection.close()


main(test)
