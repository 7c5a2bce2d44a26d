#!/usr/bin/env bash
# run.sh HOST:PORT: the Java clients and Kafka Streams against a broker, a line a feature.
set -euo pipefail
B=$1 HERE=$(cd "$(dirname "$0")" && pwd) V=${KAFKA:-4.3.1} HOME_=${COMPAT_HOME:-$(mktemp -d)}/java
LIB=$HOME_/lib-$V
if [ ! -e "$LIB/ready" ]; then
  mkdir -p "$LIB"
  cat > "$HOME_/pom.xml" <<P
<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>$V</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>$V</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.17</version></dependency>
</dependencies></project>
P
  mvn -q -B -f "$HOME_/pom.xml" dependency:copy-dependencies -DoutputDirectory="$LIB" >&2
  touch "$LIB/ready"
fi
javac -nowarn -cp "$LIB/*" -d "$HOME_/classes" "$HERE"/*.java >&2
for program in Clients Migration WordCount; do
  timeout 600 java -cp "$HOME_/classes:$LIB/*" $program "$B" || echo "$program: ended with $?"
done
