#!/usr/bin/env bash
# run.sh HOST:PORT [CLASS ...]: Apache Kafka's own tests of its clients and of its requests, against a broker, a line a test.
# The class that starts a cluster for each of them is put in the place of theirs; tests that want several brokers or a broker's inside are
# left out, or skipped.
set -euo pipefail
B=$1 HERE=$(cd "$(dirname "$0")" && pwd) V=${KAFKA:-4.3.1} HOME_=${COMPAT_HOME:-$(mktemp -d)}/kafka-suite
shift
LIB=$HOME_/lib-$V
C=org.apache.kafka.clients S=kafka.server
CLASSES=("${@:-}")
[ -n "${CLASSES[0]}" ] || CLASSES=(
  $C.consumer.PlaintextConsumer{Assign,Callback,Commit,Fetch,Poll,Subscription}Test
  $C.admin.AdminFenceProducersTest $C.producer.ProducerCompressionTest
  $S.{AddPartitionsToTxnRequestServer,DescribeClusterRequest,DescribeGroupsRequest,HeartbeatRequest,JoinGroupRequest}Test
  $S.{LeaveGroupRequest,SyncGroupRequest,TxnOffsetCommitRequest}Test
)
# They commit ten thousand times, for which their minute is too short on a small machine.
TOO_SLOW='.*(AsyncCommit|testCommitAsyncCompletedBeforeConsumerCloses)$'
if [ ! -e "$LIB/ready" ]; then
  mkdir -p "$LIB"
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId><version>1</version><dependencies>'
    for of in kafka-clients kafka_2.13 kafka-server kafka-server-common kafka-group-coordinator kafka-test-common-runtime kafka-metadata \
      kafka-clients-integration-tests:test kafka-clients:test kafka_2.13:test kafka-server:test kafka-server-common:test \
      kafka-group-coordinator:test kafka-test-common-runtime:test kafka-test-common-internal-api:test; do
      echo "<dependency><groupId>org.apache.kafka</groupId><artifactId>${of%:test}</artifactId><version>$V</version>"
      [[ $of != *:test ]] || echo '<classifier>test</classifier>'
      echo '</dependency>'
    done
    for of in org.junit.platform:junit-platform-console:1.13.1 org.junit.jupiter:junit-jupiter:5.13.1 \
      org.mockito:mockito-junit-jupiter:5.20.0 org.hamcrest:hamcrest:3.0 junit:junit:4.13.2 org.slf4j:slf4j-nop:1.7.36; do
      IFS=: read -r group artifact version <<< "$of"
      echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } > "$HOME_/pom.xml"
  mvn -q -B -f "$HOME_/pom.xml" dependency:copy-dependencies -DoutputDirectory="$LIB" >&2
  touch "$LIB/ready"
fi
javac -nowarn -proc:none -cp "$LIB/*" -d "$HOME_/classes" "$HERE"/*.java >&2
for class in "${CLASSES[@]}"; do
  rm -rf "$HOME_/reports"
  timeout 600 java -Xmx1g -Dnet.bytebuddy.experimental=true -Dbroker="$B" -cp "$HOME_/classes:$LIB/*" \
    org.junit.platform.console.ConsoleLauncher execute -c "$class" --details none --disable-banner --reports-dir "$HOME_/reports" \
    --exclude-methodname "$TOO_SLOW" --config junit.jupiter.extensions.autodetection.enabled=true \
    --config junit.jupiter.execution.timeout.testtemplate.method.default=90s >&2 || true
  python3 - "$HOME_/reports/TEST-junit-jupiter.xml" "${class##*.}" <<'P'
import os, sys, xml.etree.ElementTree as tree
report, of = sys.argv[1:]
if not os.path.exists(report):
    print(f'{of} report: FAIL')
    sys.exit()
for case in tree.parse(report).iter('testcase'):
    kinds = {child.tag for child in case}
    result = 'FAIL' if kinds & {'failure', 'error'} else 'SKIP' if 'skipped' in kinds else 'PASS'
    if result != 'SKIP':
        print(f"{of} {case.get('name').replace('(ClusterInstance)', '')}: {result}")
P
done
