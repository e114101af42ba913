#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# bash (with bash-completion and without) and zsh complete commands, options, their values and the
# names of devices, members, groups, jobs, tokens and holds, which the daemon is asked for. Where it
# is away, there is nothing to offer, no message, and no long wait.
. "$(dirname "$0")/../lib/functions.sh"
export SNAPGROUPCTL_SOCKET=$RUNTIME/api.sock HOME=$TMP PATH=$TMP/bin:$PATH
mkdir "$TMP/bin"
ln -s "$SNAPGROUPCTL" "$TMP/bin/snapgroupctl"

# Writes what bash would offer for a line, a word a line.
bash_completes() { # LINE
    bash --norc -c '
        [ -z "$2" ] || . /usr/share/bash-completion/bash_completion
        . <(snapgroupctl completion bash)
        COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
        read -r -a COMP_WORDS <<<"${1//@/ @ }"
        [ -n "$2" ] || read -r -a COMP_WORDS <<<"$1"
        [ "${1% }" = "$1" ] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _snapgroupctl 2>/dev/null
        printf "%s\n" "${COMPREPLY[@]}"' bash "$1" "${2-}"
}
# Nothing is said if the machine has no second for it: then it is tried again.
bash_says() { # LINE WITH WORD
    SAID=$(bash_completes "$1" "$2" | sort)
    [ -n "$SAID" ] || [ -z "$3" ]
}
expect_bash() { # LINE WORD...
    for with in '' with; do
        wait_until bash_says "$1" "$with" "$2"
        [ "$SAID" = "$(printf '%s\n' "${@:2}" | sort)" ] || fail "bash ($with) completes '$1' as: $SAID"
    done
}

before=$SECONDS
expect_bash 'snapgroupctl device show ' ''
[ $((SECONDS - before)) -le 10 ] || fail 'completion waits for a daemon that is away'
start_daemon
create_device vda qcow2 16M
create_device vdb qcow2 16M
snapshot before-upgrade vda
snapshot monday vdb
create_token look read
expect_ctl 0 group hold monday backup
expect_ctl 0 group delete before-upgrade --no-wait -o name
job=$OUTPUT
expect_ctl 0 job watch "$job"
snapshot before vda

expect_bash 'snapgroupctl dev' device
expect_bash 'snapgroupctl device sh' show
expect_bash 'snapgroupctl device show vd' vda vdb
expect_bash 'snapgroupctl device clone ' vda@before vdb@monday
expect_bash 'snapgroupctl group take new vda ' vda vdb
expect_bash 'snapgroupctl group rollback ' before monday
expect_bash 'snapgroupctl group hold monday ' backup
expect_bash 'snapgroupctl group list --dev' --device
expect_bash 'snapgroupctl group list --device vd' vda vdb
expect_bash 'snapgroupctl device list -o ' table wide json name
expect_bash 'snapgroupctl device list --output j' json
expect_bash 'snapgroupctl attach vda --as nbd' nbd-client nbdfuse
expect_bash 'snapgroupctl job watch ' "$job"
expect_bash 'snapgroupctl token revoke ' look
expect_bash 'snapgroupctl token create x --scope ' read snapshot admin
expect_bash 'snapgroupctl completion ' bash zsh
expect_bash 'snapgroupctl device list --limit ' ''
expect_bash 'snapgroupctl nothing ' ''

# zsh, at a terminal of its own: the line is completed and executed.
cat >"$TMP/zsh.py" <<'PYTHON'
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "PS1": "> ", "TERM": "dumb"})
said = b""
def until(text, end=time.monotonic() + 60):
    global said
    while text not in said:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit("zsh says %r, and not %r" % (said, text))
        said += os.read(fd, 4096)
    said = said.split(text, 1)[1]
until(b"> ")
os.write(fd, b"autoload -U compinit && compinit -u -D && . <(snapgroupctl completion zsh); echo rea''dy\n")
until(b"ready")
os.write(fd, b"snapgroupctl dev\tsh\tvdb\t -o na\t; echo don''e\n")
until(b"vdb")
until(b"done")
os.write(fd, b"snapgroupctl group rollback mond\t --dry-run -o json; echo don''e\n")
until(b'"kind":"rollback"')
os.write(fd, b"exit\n")
PYTHON
/usr/bin/python3 "$TMP/zsh.py"
cmp <("$SNAPGROUPCTL" completion bash) "$BUILD_DIR/completion/bash"
cmp <("$SNAPGROUPCTL" completion zsh) "$BUILD_DIR/completion/zsh"
