#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Bodies that are not exactly what is asked for are refused, each with its status, code and pointer
# ("-": no pointer), and nothing happens.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon

# Checks every line of standard input: STATUS CODE POINTER BODY.
refused_by() {
    local path=$1 status code pointer body
    while read -r status code pointer body; do
        api POST "$path" '' --header 'Content-Type: application/json' --data-raw "$body"
        [ "$STATUS" = "$status" ] || fail "$body: status $STATUS: $BODY"
        expect_json '.code == $code and (.pointer // "-") == $pointer and .status == $status' \
            --arg code "$code" --arg pointer "${pointer//\"\"/}" --argjson status "$status"
        expect_json '.type == "about:blank" and (.title | length > 0) and (.detail | length > 0)'
    done
}

refused_by /devices <<'TABLE'
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
400 WrongType /read_only {"name":"a","image":"a","format":"raw","read_only":1}
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
TABLE

refused_by /snapshot-groups <<'TABLE'
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
TABLE

long=$(printf '%0300d' 0)
refused_by /devices <<TABLE
422 InvalidValue /labels/k {"name":"a","image":"a","format":"raw","labels":{"k":"$long"}}
422 InvalidValue /labels/$long {"name":"a","image":"a","format":"raw","labels":{"$long":""}}
422 InvalidValue /labels {"name":"a","image":"a","format":"raw","labels":$(jq -cn '[range(65) | {"\(.)":""}] | add')}
422 InvalidValue /name {"name":"$(printf '%065d' 0)","image":"a","format":"raw"}
400 UnknownField "" {"$(printf '%0600d' 0)":1}
TABLE
refused_by /snapshot-groups <<TABLE
422 InvalidValue /devices {"devices":$(jq -cn '[range(1025) | {device: "d\(.)"}]')}
422 InvalidValue /name {"name":"$(printf '%0129d' 0)","devices":[{"device":"a"}]}
TABLE

api GET /devices
expect_json '.items == []'
api GET /snapshot-groups
expect_json '.items == []'
[ -z "$(checksums "$IMAGES")" ] || fail "files appeared"
