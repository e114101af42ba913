#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks of every call: 404, 405 with Allow, 413, 415, HEAD, query parameters, escapes in URIs.
. "$(dirname "$0")/../lib/functions.sh"
start_daemon
create_device vda raw 1M

while read -r method path status code allow; do
    api "$method" "$path" '' --path-as-is
    [ "$STATUS" = "$status" ] || fail "$method $path: status $STATUS: $BODY"
    expect_json '.code == $code' --arg code "$code"
    [ -z "$allow" ] || grep -qi "^allow: ${allow//,/, }\$" <<<"$HEADERS" || fail "Allow: $HEADERS"
done <<'TABLE'
GET / 404 NotFound
GET /device 404 NotFound
GET /devices/ 404 NotFound
POST /devices/ 404 NotFound
DELETE /devices/ 404 NotFound
GET /snapshot-groups/ 404 NotFound
GET /livez/ 404 NotFound
GET //devices 404 NotFound
GET /devices/vda/ 404 NotFound
GET /devices/vda/x 404 NotFound
GET /a/b/c/d/e/f/g/h/i/j 404 NotFound
GET /livez/x 404 NotFound
GET /devices%2Fvda 404 NotFound
GET /devices/nope 404 DeviceNotFound
GET /devices/..%2fvda 404 DeviceNotFound
GET /devices/vda%00 400 InvalidParameter
GET /devices/%zz 400 InvalidParameter
GET /devices/%4 400 InvalidParameter
GET /snapshot-groups/nope 404 GroupNotFound
GET /snapshot-groups/6f1c1f5e-8f0a-4c57-9b8e-2a0d6c2f7a10 404 GroupNotFound
PUT /devices 405 MethodNotAllowed GET,HEAD,POST,OPTIONS
DELETE /devices 405 MethodNotAllowed GET,HEAD,POST,OPTIONS
POST /devices/vda 405 MethodNotAllowed GET,HEAD,PATCH,DELETE,OPTIONS
PATCH /snapshot-groups 405 MethodNotAllowed GET,HEAD,POST,OPTIONS
PUT /snapshot-groups/x 405 MethodNotAllowed GET,HEAD,PATCH,DELETE,OPTIONS
POST /livez 405 MethodNotAllowed GET,HEAD,OPTIONS
TRACE /readyz 405 MethodNotAllowed GET,HEAD,OPTIONS
BREW /openapi.yaml 405 MethodNotAllowed GET,HEAD,OPTIONS
OPTIONS /nowhere 404 NotFound
GET /devices?limit=0 400 InvalidParameter
GET /devices?limit=1001 400 InvalidParameter
GET /devices?limit=-1 400 InvalidParameter
GET /devices?limit=1x 400 InvalidParameter
GET /devices?limit= 400 InvalidParameter
GET /devices?limit=99999999999999999999 400 InvalidParameter
GET /devices?limit=1&limit=1 400 InvalidParameter
GET /devices?Limit=1 400 InvalidParameter
GET /devices?limit 400 InvalidParameter
GET /devices?colour=red 400 InvalidParameter
GET /devices?cursor=a/b 400 InvalidParameter
GET /snapshot-groups?state=frozen 400 InvalidParameter
GET /snapshot-groups?cursor=%00 400 InvalidParameter
GET /snapshot-groups?cursor=nonsense 400 InvalidParameter
GET /livez?x=1 400 InvalidParameter
TABLE

for path in /devices '/devices?limit=1000' '/devices?' /devices/vda /devices/%76d%61 /livez /readyz /openapi.yaml; do
    api GET "$path"
    expect_status 200
    length=$(printf %s "$BODY" | wc -c)
    api HEAD "$path"
    expect_status 200
    shown=$(sed -n 's/^content-length: //Ip' <<<"$HEADERS")
    # The shell strips the final newline of openapi.yaml.
    [ "$shown" -ge "$length" ] && [ "$shown" -le $((length + 1)) ] || fail "HEAD $path: $shown, not $length"
done

# The absolute form, as proxies send it; and no Host at all.
api GET /livez '' --request-target http://localhost/readyz
expect_status 200
expect_json '.status == "ready"'
api GET /livez '' --header 'Host:'
expect_status 400

good='{"name":"vdb","image":"b","format":"vmdk"}'
for type in text/plain application/jsonx application/json5 'multipart/form-data; boundary=x' ''; do
    api POST /devices '' --header "Content-Type: $type" --data-raw "$good"
    expect_status 415
    expect_json '.code == "UnsupportedMediaType"'
done
api POST /devices '' --header 'Content-Type: application/json' --header 'Content-Encoding: gzip' --data-raw "$good"
expect_status 415
for type in 'application/json; charset=utf-8' 'Application/JSON' 'application/json ;x=y'; do
    api POST /devices '' --header "Content-Type: $type" --data-raw "$good"
    expect_status 422
done
api GET /devices/vda '{}'
expect_status 400
api DELETE /devices/vda '[]'
expect_status 400
api DELETE /devices/vda '' --header 'Content-Type: text/plain' --data-raw '{}'
expect_status 415
api GET /devices/vda
expect_status 200

# One byte more than 1 MiB, announced and not, small enough to be read on and large enough to wait
# for a word.
head -c 1048576 /dev/zero | tr '\0' ' ' >"$TMP/body"
api POST /devices '' --header 'Content-Type: application/json' --data-binary "@$TMP/body"
expect_status 400
expect_json '.code == "MalformedJSON" and (.detail | startswith("byte 1048576: "))'
for bytes in 1048577 3000000 20000000; do
    head -c "$bytes" /dev/zero | tr '\0' ' ' >"$TMP/body"
    for header in 'Expect: 100-continue' 'Expect:' 'Transfer-Encoding: chunked'; do
        api POST /devices '' --header 'Content-Type: application/json' --header "$header" \
            --data-binary "@$TMP/body"
        expect_status 413
        expect_json '.code == "BodyTooLarge"'
    done
done
