#!/usr/bin/env bash
# run.sh HOST:PORT: what kcat sees of a broker, a line a feature.
command -v kcat > /dev/null || apt-get install -y kcat > /dev/null 2>&1
command -v kcat > /dev/null || exit 1 # Without a line, which is told as a client that cannot be run.
B=$1; R=$RANDOM$RANDOM
# A coordinator that is asked the first time may still be at reading its log.
mask() { sed -e "/in progress: retrying$/d; s/-$R//g; s/$B/BROKER/g; s/${B#*:}/PORT/g; s/rdkafka#[a-z]*-[0-9]*/CLIENT/g; s/^%[0-9]|[0-9.]*|/LOG|/" | tr '\n' ';'; }
out() { local n=$1; shift; echo "$n: $(timeout 25 "$@" 2>&1 | mask)"; }
K="kcat -b $B"
for c in none gzip snappy lz4 zstd; do
  seq 100 | kcat -b $B -P -t c-$c-$R -z $c -X allow.auto.create.topics=true 2>/dev/null
  out "codec $c" bash -c "$K -C -t c-$c-$R -e -q | sha1sum"
done
printf 'k1:v1\nk2:\n:v3\n' | kcat -b $B -P -t shapes-$R -K : -Z -H a=1 -H b= -H n
out shapes $K -C -t shapes-$R -e -q -Z -f 'o=%o k=%k v=%s h=%h K=%K S=%S p=%p\n'
out 'last two' $K -C -t shapes-$R -o -2 -e -q -f '%o '
out 'from 1, count 1' $K -C -t shapes-$R -o 1 -c 1 -q -f '%o '
out 'from a time' bash -c "$K -C -t shapes-$R -o s@1000 -e -q -f '%o ' "
out 'to a time' bash -c "$K -C -t shapes-$R -o s@1000 -o e@2000 -e -q -f '%o ' "
out 'query' $K -Q -t shapes-$R:0:-1 -t shapes-$R:0:-2 -t shapes-$R:0:1000
out 'metadata' bash -c "$K -L -t shapes-$R"
out 'metadata json' bash -c "$K -L -J -t shapes-$R"
out 'metadata unknown' bash -c "$K -L -t nope-$R"
out 'consume unknown' $K -C -t nope2-$R -e
out 'produce to an invalid name' bash -c "echo x | $K -P -t 'a b' -X message.timeout.ms=3000"
out 'group' bash -c "$K -G g-$R shapes-$R -X auto.offset.reset=earliest -e -c 3 -f '%o ' -q | tr ' ' '\n' | sort | tr '\n' ' '"
out 'group again' bash -c "timeout 6 $K -G g-$R shapes-$R -X auto.offset.reset=earliest -e -f '%o ' -q"
out 'transaction' bash -c "seq 3 | $K -P -t txn-$R -X transactional.id=t-$R; $K -C -t txn-$R -e -q -f '%o:%s '"
out 'exactly the committed' $K -C -t txn-$R -e -q -X isolation.level=read_committed -f '%o:%s '
