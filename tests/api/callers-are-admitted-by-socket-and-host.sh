#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The Unix socket is private; even with a wider mode only root and the daemon's own user may call.
# On TCP the Host header must name a loopback address.
. "$(dirname "$0")/../lib/functions.sh"

# By hand, to read which ports were picked.
mkfifo "$TMP/lines"
setpriv --pdeathsig KILL "$SNAPGROUPD" --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" \
    --listen "unix:$RUNTIME/api.sock" --listen 127.0.0.1:0 --listen '[::1]:0' >"$TMP/lines" 2>>"$DAEMON_LOG" &
pid=$!
addresses=$(sed -n 's/^api \([^u]\)/\1/p; /^ready$/q' <"$TMP/lines")

[ "$(stat -c %a "$RUNTIME/api.sock")" = 600 ] || fail "mode $(stat -c %a "$RUNTIME/api.sock")"
api GET /readyz
expect_status 200

if [ "$(id -u)" -eq 0 ]; then
    chmod 755 "$TMP" "$RUNTIME"
    as_nobody() {
        setpriv --reuid 65534 --regid 65534 --clear-groups curl --silent --show-error \
            --unix-socket "$RUNTIME/api.sock" --write-out '\n%{http_code}\n' http://localhost/livez
    }
    as_nobody >/dev/null 2>&1 && fail "nobody could connect to a socket of mode 600"
    chmod 666 "$RUNTIME/api.sock"
    answer=$(as_nobody)
    [ "$(tail -n 1 <<<"$answer")" = 403 ] || fail "nobody was answered $answer"
    jq --exit-status '.code == "Forbidden"' <<<"$(head -n 1 <<<"$answer")" >/dev/null || fail "$answer"
fi

[ "$(wc -l <<<"$addresses")" = 2 ] || fail "listening: $addresses"
for address in $addresses; do
    while read -r status host; do
        got=$(curl --silent --output "$TMP/answer" --write-out '%{http_code}' --header "Host: $host" \
            "http://$address/livez")
        [ "$got" = "$status" ] || fail "Host '$host' at $address: $got: $(cat "$TMP/answer")"
    done <<TABLE
200 $address
200 localhost
200 LOCALHOST:80
200 127.0.0.1:7420
200 127.1.2.3
200 [::1]:1
403 evil.example
403 127.0.0.1.evil.example
403 localhost.evil.example
403 [::2]
403 10.0.0.1
TABLE
done

kill -TERM "$pid"
wait "$pid" || fail "SIGTERM: ended with $?"
