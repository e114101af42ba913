# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A sanitizer's report ends the program, with a status that no program of ours uses. Read by
# tests/run.sh and functions.sh; harmless where nothing is instrumented. SANITIZER_REPORT is what a
# report looks like in a log; tests/lib/snapgroupd.py has its twin.
export ASAN_OPTIONS=${ASAN_OPTIONS:-halt_on_error=1:detect_leaks=1:exitcode=99}
export LSAN_OPTIONS=${LSAN_OPTIONS:-exitcode=99}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1:exitcode=99}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1:exitcode=99:suppressions=$(
    dirname "$(realpath "${BASH_SOURCE[0]}")"
)/tsan.supp}
# shellcheck disable=SC2034 # for functions.sh
SANITIZER_REPORT='(ERROR|WARNING): (Address|Leak|Memory|Thread)Sanitizer|: runtime error: '
