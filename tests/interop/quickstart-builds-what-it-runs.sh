#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
# timeout: 3600
#
# deploy/quickstart.sh builds the tree, and uses what it has built.
export QUICKSTART_BUILDS=yes
exec "$(dirname "$0")/quickstart-runs-as-written.sh"
