#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 3600
#
# api/ten-thousand-malformed-requests-are-refused with all its requests, also where tests/run.sh
# sends fewer as each takes longer.
set -euo pipefail
MALFORMED_REQUESTS=10000 exec "${BASH_SOURCE[0]%/*}/ten-thousand-malformed-requests-are-refused.py"
