#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: deploy/quickstart.sh [--installed]
#
# From a fresh Debian 12 machine to a group snapshot: installs what is missing, builds snapgroupd,
# starts it in a directory of its own, writes to two disks over NBD, freezes both with one curl
# call, overwrites them, and shows that the frozen ones still hold what was there. Every command is
# shown before it runs. The daemon is left running, with the address of its dashboard and the next
# commands to try. Run again, it starts over.
#
# --installed: uses the daemon of the Debian package, which must be running, in place of one that is
# built and started here; its disks vda and vdb must not exist yet, and stay.
#
# SNAPGROUPD_DIR names the directory; /tmp/snapgroupd-quickstart if it is not set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
directory=${SNAPGROUPD_DIR:-/tmp/snapgroupd-quickstart}
executable=$PWD/build/release/snapgroupd
images=$directory/images
api=$directory/run/api.sock
nbd=$directory/run/nbd.sock
marker=$directory/made-by-quickstart
pid_file=$directory/snapgroupd.pid
installed=''
if [ "${1-}" = --installed ]; then
    installed=yes
    images=/var/lib/snapgroupd/images
    api=/run/snapgroupd/api.sock nbd=/run/snapgroupd/nbd.sock
fi

say() {
    printf '\n== %s\n' "$*"
}

# Shows a command line, then runs it.
run() {
    printf '$ %s\n' "$1"
    eval "$1"
}

stop_with_message() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Whether the pid file names a snapgroupd that serves this directory, and not just any process by
# now.
is_running() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) && [ -n "$pid" ] || return 1
    [[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" == */snapgroupd* ]] &&
        tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$directory/state"
}

# Waits until a command succeeds, for 30 seconds at most.
await() {
    local end=$((SECONDS + 30))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

is_gone() {
    ! is_running
}

is_ready() {
    curl --silent --fail --unix-socket "$api" http://localhost/readyz
}

is_ready_or_gone() {
    is_ready || ! kill -0 "$(cat "$pid_file")"
}

start_over() {
    if [ ! "$installed" ] && is_running; then
        say 'Stopping the daemon of an earlier run'
        run "kill $(cat "$pid_file")"
        await is_gone || stop_with_message "It does not stop: look at $directory/daemon.log"
    fi
    if [ -e "$directory" ] && [ ! -e "$marker" ] && [ -n "$(ls -A "$directory")" ]; then
        stop_with_message "$directory is not empty and not of an earlier run: name another" \
            "directory with SNAPGROUPD_DIR"
    fi
    rm -rf "$directory"
    mkdir -p "$directory"/{state,images,run,data}
    touch "$marker"
}

start_daemon() {
    local command="$executable --state-dir $directory/state --image-dir $directory/images"
    command+=" --runtime-dir $directory/run --listen unix:$api --listen 127.0.0.1:0"
    printf '$ %s &\n' "$command"
    # shellcheck disable=SC2086 # words without blanks
    setsid nohup $command </dev/null >"$directory/daemon.log" 2>&1 &
    echo $! >"$pid_file"
    await is_ready_or_gone || true
    if ! is_ready >/dev/null; then
        cat "$directory/daemon.log" >&2
        stop_with_message 'The daemon did not become ready'
    fi
}

post() {
    run "curl -sS --fail-with-body --unix-socket $api -H 'Content-Type: application/json' \\
    http://localhost$1 -d '$2' | jq ."
}

[[ "$directory" == /* && "$directory" != *[[:space:]\'\"]* && ${#directory} -le 80 ]] ||
    stop_with_message "SNAPGROUPD_DIR must be absolute, at most 80 characters, without blanks"
[ -r /proc/self/status ] || stop_with_message '/proc is not mounted: mount it first'

build() {
    say 'Installing what is missing'
    deploy/install-packages.sh build demo
    say 'Building'
    cmake --preset release --log-level=WARNING
    cmake --build build/release --target snapgroupd snapgroupctl
}

[ "$installed" ] || build
start_over
if [ "$installed" ]; then
    is_ready >/dev/null || stop_with_message "No daemon is ready on $api"
else
    say "Starting the daemon in $directory"
    start_daemon
fi

say 'Creating two disks of 64 MiB: vda is a qcow2 image, vdb a raw one'
post /devices '{"name":"vda","image":"vda.qcow2","format":"qcow2","size_bytes":67108864}'
post /devices '{"name":"vdb","image":"vdb.raw","format":"raw","size_bytes":67108864}'

say 'Filling both over NBD'
for disk in vda vdb; do
    run "head -c 64M /dev/urandom >$directory/data/$disk.before"
    run "nbdcopy $directory/data/$disk.before 'nbd+unix:///$disk?socket=$nbd'"
done

say 'Freezing both at one instant: the group snapshot'
post /snapshot-groups '{"name":"before-upgrade","devices":[{"device":"vda"},{"device":"vdb"}]}'

say 'Overwriting both'
for disk in vda vdb; do
    run "head -c 64M /dev/urandom >$directory/data/$disk.after"
    run "nbdcopy $directory/data/$disk.after 'nbd+unix:///$disk?socket=$nbd'"
done

say 'The disks hold what is new; the frozen members still hold what was there'
for disk in vda vdb; do
    run "nbdcopy 'nbd+unix:///$disk?socket=$nbd' - | cmp - $directory/data/$disk.after"
    run "nbdcopy 'nbd+unix:///$disk@before-upgrade?socket=$nbd' - | cmp - $directory/data/$disk.before"
done
echo 'Both are identical, to the byte.'

say "QEMU's tools find the files in order"
for image in "$images"/vda*.qcow2 "$images"/vdb*.qcow2; do
    run "qemu-img check --force-share $image"
done

if [ "$installed" ]; then
    say 'Done. What to try next: snapgroupctl device list; snapgroupctl group show before-upgrade'
    exit 0
fi

say 'A token for the dashboard, which is served over TCP'
run "$executable token create --name dashboard --scope admin --runtime-dir $directory/run"
port=$(sed -n 's/^api 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$directory/daemon.log")

overlay=$(curl -sS --unix-socket "$api" http://localhost/devices/vda | jq -r .top)
cat <<END

== Done. The daemon is running (pid $(cat "$pid_file"), log in $directory/daemon.log). What to try next:

  In a browser on this machine: http://127.0.0.1:$port/ui/, with the token above

  export SNAPGROUPCTL_SOCKET=$api PATH=$PWD/build/release:\$PATH; . <(snapgroupctl completion bash)
  snapgroupctl device list
  snapgroupctl group show before-upgrade
  snapgroupctl group rollback before-upgrade --name undo
  snapgroupctl attach vda --as qemu

  curl -s --unix-socket $api http://localhost/devices | jq .
  curl -s --unix-socket $api http://localhost/openapi.yaml
  nbdinfo --list 'nbd+unix:///?socket=$nbd'
  qemu-img info --force-share --backing-chain $overlay
  curl -s --unix-socket $api -H 'Content-Type: application/json' http://localhost/snapshot-groups \\
      -d '{"name":"after-upgrade","devices":[{"device":"vda"},{"device":"vdb"}]}' | jq .

To stop it:

  kill $(cat "$pid_file")

To start over: deploy/quickstart.sh. To remove everything: stop it, then rm -r $directory
END
