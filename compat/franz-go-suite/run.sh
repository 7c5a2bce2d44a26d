#!/usr/bin/env bash
# run.sh HOST:PORT [TEST-REGEXP]: franz-go's own tests of kgo against a broker, a line a test.
set -euo pipefail
V=${FRANZ_GO:-v1.22.2} D=$(mktemp -d)
trap 'chmod -R u+w "$D"; rm -rf "$D"' EXIT
cd "$D" && go mod init x >/dev/null 2>&1 && go get "github.com/twmb/franz-go@$V" >/dev/null 2>&1
cp -r "$(go list -m -f '{{.Dir}}' github.com/twmb/franz-go)" src && chmod -R u+w src && cd src
# Of a test that fails there is a line.
{ KGO_SEEDS=$1 KGO_TEST_RF=1 KGO_TEST_RECORDS=${RECORDS:-20000} KGO_TEST_MAX_TOPIC_PARTS=7 KGO_LOG_LEVEL=none \
  go test ./pkg/kgo/ -v -count=1 -timeout 900s -parallel 2 -run "${2:-.}" -skip 'Share|SCRAM' 2>&1 || true; } |
  grep -aE '^ *--- (PASS|FAIL|SKIP)|^panic' | sed -E 's/ \([0-9.]+s\)//' | sed -E 's,^ *--- (PASS|FAIL|SKIP): (.*),\2: \1,' | sort
