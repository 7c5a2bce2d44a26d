#!/usr/bin/env bash
# run.sh HOST:PORT [FEATURE..]: one line a feature, the same against any broker. COMPAT_HOME says where what it needs is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
home="${COMPAT_HOME:-${TMPDIR:-/tmp}/compat}/$(basename "$PWD")"
[[ -x $home/bin/python ]] || { python3 -m venv "$home" && "$home/bin/pip" install -q -r requirements.txt; } >&2
exec "$home/bin/python" compat.py "$@"
