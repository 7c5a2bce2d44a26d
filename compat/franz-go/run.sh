#!/usr/bin/env bash
# run.sh HOST:PORT [FEATURE..]: one line a feature, the same against any broker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec go run . "$@"
