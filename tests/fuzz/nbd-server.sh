#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# No client, whatever it sends, crashes the NBD server, makes it hang, take memory without bound, or
# answer with what is no reply.
. "$(dirname "$0")/../lib/fuzz.sh"

seed_input() { # NAME BYTES: a script, see nbd-server.c
    printf "$2" >"$corpus/$1"
}
# first byte, then options (choice, fields, twist), then requests (choice, flags, offset, length)
seed_input simple '\002\000\000\000\000\003\000\000\000\001\000\000\000\000\006\000\000\000'
seed_input structured '\002\005\000\012\000\002\000\001\000\000\000\000\000\013\000\000\000\000\372'
seed_input extended '\001\007\000\012\001\002\000\001\000\000\000\001\000\003\000\000\000\000\100\013\310\000\000\000\100\002'
# Those that failed once: a payload over the limit after a reply that filled its buffer.
seed_input refused '\371\000\000\004\021\371\000\002\033\173\173\000\011\000\000\001\364\377\377\377\045\007\000\204\204\377\204\204\364\377\377\007\101'

run_fuzzer nbd-server -max_len=600
