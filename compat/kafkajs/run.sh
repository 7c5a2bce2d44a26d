#!/usr/bin/env bash
# run.sh HOST:PORT [FEATURE..]: one line a feature, the same against any broker. COMPAT_HOME says where what it needs is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
home="${COMPAT_HOME:-${TMPDIR:-/tmp}/compat}/kafkajs"
mkdir -p "$home" && cp package.json compat.js "$home" && cd "$home"
[[ -d node_modules ]] || npm install --silent >&2
exec node compat.js "$@"
