#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# No client, whatever it sends and in whatever pieces, crashes the HTTP server, gets an ill-formed
# reply, or has a body taken for a request.
. "$(dirname "$0")/../lib/fuzz.sh"

seed_input() { # NAME TEXT: requests, see http-request.c
    printf "$2" >"$corpus/$1"
}
post='POST /devices HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
device='{"name":"a","image":"b","format":"raw","size_bytes":5.12e2,"labels":{"k":"\u00e4\ud83d\ude00"}}'
group='{"name":"g","devices":[{"device":"a","snapshot_file":"b"},{"device":"c"}],"labels":{}}'
seed_input get 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\nHEAD /openapi.yaml HTTP/1.1\r\nHost: a\r\n\r\n'
seed_input limits 'GET /limits HTTP/1.1\r\nHost: a\r\n\r\n'
seed_input query 'GET /devices?limit=10&cursor=%%76 HTTP/1.1\r\nHost: a\r\nX-Request-Id: a-1\r\n\r\n'
seed_input absolute 'GET http://localhost:80/snapshot-groups?state=aborted HTTP/1.0\r\n\r\n'
seed_input length "${post}Content-Length: ${#device}\r\n\r\n${device//\\/\\\\}GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
seed_input chunks "${post}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n1\r\n \r\n0\r\nX: y\r\n\r\n"
seed_input group "${post/devices/snapshot-groups}Expect: 100-continue\r\nContent-Length: ${#group}\r\n\r\n$group"
seed_input delete 'DELETE /devices/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
seed_input two-lengths "${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
seed_input deep "${post}Transfer-Encoding: chunked\r\n\r\n400\r\n{\"name\":[\\001\\020"
seed_input many 'GET / HTTP/1.1\r\nHost: a\r\nX: \001\377\r\nY:z\r\n\r\n'
cat >"$scratch/dictionary" <<'WORDS'
"GET /"
"POST /devices HTTP/1.1\x0d\x0a"
" HTTP/1.1\x0d\x0a"
" HTTP/1.0\x0d\x0a"
"Host: a\x0d\x0a"
"\x0d\x0a\x0d\x0a"
"\x0d\x0a"
"Content-Length: "
"Transfer-Encoding: chunked\x0d\x0a"
"Content-Type: application/json\x0d\x0a"
"Content-Encoding: "
"Connection: close\x0d\x0a"
"Expect: 100-continue\x0d\x0a"
"X-Request-Id: "
"0\x0d\x0a\x0d\x0a"
"?limit=1"
"%00"
"\\u0000"
"\\ud800"
"1e-400"
"9007199254740993"
"true"
"null"
"\"name\":"
"\"size_bytes\":"
"\"labels\":{"
"\"discard_unflushed\":"
WORDS

run_fuzzer http-request -max_len=4096 -dict="$scratch/dictionary"
