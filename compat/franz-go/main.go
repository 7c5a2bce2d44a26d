// What franz-go (kgo and kadm) sees of a broker, a line a feature.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	addr string
	run  = fmt.Sprintf("%08x", rand.Uint32())
	uid  = regexp.MustCompile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
	pid  = regexp.MustCompile(`producer id \d+`)
)

func t(n string) string { return n + "-" + run }

func out(name string, v ...any) {
	s := strings.ReplaceAll(fmt.Sprintf("%v", v), "-"+run, "")
	s = pid.ReplaceAllString(uid.ReplaceAllString(s, "UUID"), "producer id N")
	s = strings.ReplaceAll(strings.ReplaceAll(s, addr, "BROKER"), addr[strings.LastIndex(addr, ":")+1:], "PORT")
	fmt.Printf("%s: %s\n", name, strings.ReplaceAll(s[1:len(s)-1], "\n", " "))
}

func ctx(s int) context.Context {
	c, cancel := context.WithTimeout(context.Background(), time.Duration(s)*time.Second)
	time.AfterFunc(time.Duration(s)*time.Second, cancel)
	return c
}

func client(o ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.MetadataMinAge(100 * time.Millisecond)}, o...)...)
	if err != nil {
		panic(err)
	}
	return c
}

var adm *kadm.Client

func create(n string, parts int32, cfg map[string]*string) string {
	if _, err := adm.CreateTopic(ctx(10), parts, 1, cfg, t(n)); err != nil {
		out("create "+n, err)
	}
	for i := 0; i < 100; i++ {
		d, err := adm.ListTopics(ctx(10), t(n))
		if err == nil && d[t(n)].Err == nil && len(d[t(n)].Partitions) == int(parts) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return t(n)
}

func send(c *kgo.Client, rs ...*kgo.Record) []string {
	var s []string
	for _, r := range c.ProduceSync(ctx(20), rs...) {
		if r.Err != nil {
			s = append(s, "ERR "+r.Err.Error())
		} else {
			s = append(s, fmt.Sprintf("%d:%d", r.Record.Partition, r.Record.Offset))
		}
	}
	return s
}

func rec(topic, v string) *kgo.Record { return &kgo.Record{Topic: topic, Value: []byte(v)} }

func poll(c *kgo.Client, n int, secs int) []string {
	var s []string
	end := time.Now().Add(time.Duration(secs) * time.Second)
	for time.Now().Before(end) && len(s) < n {
		x, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		f := c.PollFetches(x)
		cancel()
		f.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				s = append(s, "ERR "+err.Error())
			}
		})
		f.EachRecord(func(r *kgo.Record) { s = append(s, fmt.Sprintf("%d:%d:%s", r.Partition, r.Offset, r.Value)) })
	}
	return s
}

func read(topic string, n int, o ...kgo.Opt) []string {
	c := client(append(o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))...)
	defer c.Close()
	s := poll(c, n, 20)
	return append(s, poll(c, 1, 1)...)
}

func main() {
	addr = os.Args[1]
	only := map[string]bool{}
	for _, a := range os.Args[2:] {
		only[a] = true
	}
	adm = kadm.NewClient(client())
	for _, f := range []struct {
		n string
		f func()
	}{{"codecs", codecs}, {"shapes", shapes}, {"group", group}, {"transactions", transactions}, {"topics", topics}, {"configs", configs}, {"records", records}, {"failures", failures}} {
		if len(only) == 0 || only[f.n] {
			fmt.Println("#", f.n)
			f.f()
		}
	}
}

func codecs() {
	for n, c := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		topic := create(fmt.Sprint("codec", n), 1, nil)
		p := client(kgo.ProducerBatchCompression(c), kgo.ProducerLinger(20*time.Millisecond))
		var rs []*kgo.Record
		for i := 0; i < 200; i++ {
			rs = append(rs, rec(topic, strings.Repeat(fmt.Sprint("value ", i), 10)))
		}
		s := send(p, rs...)
		got := read(topic, 200)
		out(fmt.Sprint("codec ", n), len(s), s[199], len(got), got[199])
		p.Close()
	}
}

func shapes() {
	topic := create("shapes", 1, nil)
	p := client()
	send(p, &kgo.Record{Topic: topic, Key: []byte("k")}, &kgo.Record{Topic: topic, Key: []byte{}, Value: []byte{}}, &kgo.Record{Topic: topic, Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "n"}}},
		&kgo.Record{Topic: topic, Value: []byte("t"), Timestamp: time.UnixMilli(1234567890123)})
	c := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	n := 0
	for n < 4 {
		f := c.PollFetches(ctx(10))
		if f.Err() != nil {
			out("shapes", f.Err())
			break
		}
		f.EachRecord(func(r *kgo.Record) {
			n++
			out("shape", r.Offset, r.Key == nil, string(r.Key), r.Value == nil, string(r.Value), r.Headers, r.LeaderEpoch, r.Attrs.TimestampType(), r.Timestamp.UnixMilli() == 1234567890123)
		})
	}
	c.Close()
	for _, a := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck()} {
		q := client(kgo.RequiredAcks(a), kgo.DisableIdempotentWrite())
		out("acks", len(send(q, rec(topic, "x"))))
		q.Close()
	}
	p.Close()
}

func group() {
	topic := create("group", 4, nil)
	p := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := 0; i < 40; i++ {
		r := rec(topic, fmt.Sprint(i))
		r.Partition = int32(i % 4)
		send(p, r)
	}
	p.Close()
	for _, b := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		g := t("g-" + b.ProtocolName())
		n := b.ProtocolName()
		mk := func(id string, o ...kgo.Opt) *kgo.Client {
			return client(append(o, kgo.ClientID(id), kgo.ConsumerGroup(g), kgo.ConsumeTopics(topic), kgo.Balancers(b), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(8*time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		}
		sizes := func() string {
			d, err := adm.DescribeGroups(ctx(5), g)
			if err != nil {
				return err.Error()
			}
			var s []string
			for _, m := range d[g].Members {
				k := 0
				if a, ok := m.Assigned.AsConsumer(); ok {
					for _, x := range a.Topics {
						k += len(x.Partitions)
					}
				}
				s = append(s, fmt.Sprint(m.ClientID, k))
			}
			sort.Strings(s)
			return fmt.Sprint(d[g].State, d[g].Protocol, s)
		}
		until := func(want string) string {
			got := ""
			for i := 0; i < 150; i++ {
				if got = sizes(); got == want {
					return got
				}
				time.Sleep(100 * time.Millisecond)
			}
			return "not " + want + " but " + got
		}
		a := mk("a", kgo.InstanceID("a"))
		out(n+" read", len(poll(a, 40, 30)))
		out(n+" one", until("Stable"+n+"[a4]"))
		out(n+" commit", a.CommitUncommittedOffsets(ctx(10)))
		stop := make(chan bool)
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					poll(a, 1, 1)
				}
			}
		}()
		c := mk("b")
		go poll(c, 1, 8)
		out(n+" two", until("Stable"+n+"[a2 b2]"))
		d, _ := adm.DeleteGroups(ctx(5), g)
		out(n+" delete used", d[g].Err)
		c.Close()
		out(n+" left", until("Stable"+n+"[a4]"))
		stop <- true
		a.Close()
		out(n+" static stays", sizes())
		l, err := adm.LeaveGroup(ctx(5), kadm.LeaveGroup(g).InstanceIDs("a", "zz"))
		for _, x := range l.Sorted() {
			out(n+" leave", x.InstanceID, x.Err, err)
		}
		out(n+" empty", sizes())
		o, err := adm.FetchOffsets(ctx(5), g)
		for _, x := range o.Sorted() {
			out(n+" offset", x.Partition, x.At, x.LeaderEpoch, x.Metadata, x.Err, err)
		}
		lag, err := adm.Lag(ctx(5), g)
		out(n+" lag", lag[g].Lag.Total(), lag[g].State, err)
		var os kadm.Offsets
		os.Add(kadm.Offset{Topic: topic, Partition: 0, At: 3, LeaderEpoch: -1, Metadata: "m"})
		r, err := adm.CommitOffsets(ctx(5), g, os)
		out(n+" commit by admin", r.Error(), err)
		do, err := adm.DeleteOffsets(ctx(5), g, kadm.TopicsSet{topic: {1: {}}})
		out(n+" delete offsets", do, err)
		fo, err := adm.FetchOffsetsForTopics(ctx(5), g, topic)
		for _, x := range fo.Sorted() {
			out(n+" offset", x.Partition, x.At, x.Metadata, err)
		}
		d, _ = adm.DeleteGroups(ctx(5), g)
		out(n+" delete", d[g].Err)
		d, _ = adm.DeleteGroups(ctx(5), g)
		out(n+" delete again", d[g].Err)
		out(n+" deleted", sizes())
	}
}

func transactions() {
	topic := create("txn", 2, nil)
	tx := func(n string, o ...kgo.Opt) *kgo.Client {
		return client(append(o, kgo.TransactionalID(t(n)), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	}
	p := tx("tx1")
	do := func(c *kgo.Client, commit bool, vs ...string) string {
		if err := c.BeginTransaction(); err != nil {
			return err.Error()
		}
		for _, v := range vs {
			if err := c.ProduceSync(ctx(10), rec(topic, v)).FirstErr(); err != nil {
				return err.Error()
			}
		}
		return fmt.Sprint(c.EndTransaction(ctx(10), kgo.TransactionEndTry(commit)))
	}
	out("commit", do(p, true, "c1", "c2"))
	out("abort", do(p, false, "a1"))
	out("empty commit", do(p, true))
	out("empty abort", do(p, false))
	p.BeginTransaction()
	out("open", send(p, rec(topic, "open")))
	out("committed", read(topic, 2, kgo.FetchIsolationLevel(kgo.ReadCommitted())))
	out("uncommitted", read(topic, 4))
	for _, x := range []string{t("tx1"), t("nope")} {
		d, err := adm.DescribeTransactions(ctx(5), x)
		for _, y := range d.Sorted() {
			out("describe transaction", y.TxnID, y.State, y.TimeoutMillis, y.Topics.Sorted(), y.Err, err)
		}
	}
	l, err := adm.ListTransactions(ctx(5), nil, []string{"Ongoing"})
	for _, y := range l.Sorted() {
		if strings.HasSuffix(y.TxnID, run) {
			out("list transactions", y.TxnID, y.State, err)
		}
	}
	dp, err := adm.DescribeProducers(ctx(5), kadm.TopicsSet{topic: {0: {}, 9: {}}})
	dp.EachPartition(func(x kadm.DescribedProducersPartition) {
		if x.Partition == 9 {
			out("describe producers 9", x.Err, err)
		}
		for _, y := range x.ActiveProducers {
			out("describe producers", y.Partition, y.ProducerEpoch, y.LastSequence, y.CoordinatorEpoch, y.CurrentTxnStartOffset)
		}
	})
	q := tx("tx1")
	out("second", do(q, true, "q"))
	out("fenced", send(p, rec(topic, "z")), p.EndTransaction(ctx(10), kgo.TryCommit))
	out("committed", read(topic, 3, kgo.FetchIsolationLevel(kgo.ReadCommitted())))
	p.Close()
	q.Close()
	// exactly once from a topic to another
	src, dst := create("src", 1, nil), create("dst", 1, nil)
	w := client()
	for i := 0; i < 50; i++ {
		send(w, rec(src, fmt.Sprint(i)))
	}
	w.Close()
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(addr), kgo.TransactionalID(t("eos")), kgo.ConsumerGroup(t("eosg")), kgo.ConsumeTopics(src), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(600), kgo.RequireStableFetchOffsets())
	n, txs := 0, 0
	for end := time.Now().Add(30 * time.Second); err == nil && n < 50 && time.Now().Before(end); txs++ {
		f := s.PollRecords(ctx(5), 10)
		if err = s.Begin(); err != nil {
			break
		}
		k := 0
		f.EachRecord(func(r *kgo.Record) { k++; s.Produce(context.Background(), rec(dst, string(r.Value)), nil) })
		var ok bool
		ok, err = s.End(ctx(10), kgo.TransactionEndTry(txs%2 == 1))
		if ok {
			n += k
		}
	}
	s.Close()
	got := read(dst, 50, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	o, _ := adm.FetchOffsets(ctx(5), t("eosg"))
	x, _ := o.Lookup(src, 0)
	out("exactly once", n, len(got), x.At, err)
}

func topics() {
	show := func(n string, r kadm.CreateTopicResponse, err error) {
		out("create "+n, r.NumPartitions, r.ReplicationFactor, len(r.Configs), r.Err, r.ErrMessage, err)
	}
	for _, c := range []struct {
		n     string
		p     int32
		r     int16
		topic string
	}{{"plain", 3, 1, t("plain")}, {"again", 3, 1, t("plain")}, {"defaults", -1, -1, t("defaults")}, {"rf", 1, 3, t("rf")}, {"name", 1, 1, "a b"}} {
		r, err := adm.CreateTopic(ctx(10), c.p, c.r, nil, c.topic)
		show(c.n, r, err)
	}
	time.Sleep(300 * time.Millisecond)
	u, err := adm.UpdatePartitions(ctx(10), 5, t("plain"), t("nope"))
	for _, r := range u.Sorted() {
		out("update partitions", r.Topic, r.Err, r.ErrMessage, err)
	}
	time.Sleep(300 * time.Millisecond)
	d, err := adm.ListTopics(ctx(10), t("plain"), t("nope"))
	for _, x := range d.Sorted() {
		out("describe", x.Topic, x.IsInternal, x.Err, err, len(x.Partitions), x.AuthorizedOperations)
		for _, p := range x.Partitions.Sorted() {
			out("describe partition", p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.OfflineReplicas, p.Err)
		}
	}
	b, err := adm.BrokerMetadata(ctx(10))
	out("brokers", b.Controller, len(b.Cluster), b.Brokers, err)
	v, err := adm.ApiVersions(ctx(10))
	v.Each(func(x kadm.BrokerApiVersions) { out("versions", x.VersionGuess(), x.Err, err) })
	e, err := adm.ElectLeaders(ctx(10), kadm.ElectPreferredReplica, kadm.TopicsSet{t("plain"): {0: {}, 77: {}}})
	for _, x := range []int32{0, 77} {
		y := e[t("plain")][x]
		out("elect", x, y.Err, y.ErrMessage, err)
	}
	ld, err := adm.DescribeAllLogDirs(ctx(10), kadm.TopicsSet{t("plain"): {0: {}}})
	ld.Each(func(x kadm.DescribedLogDir) { out("log dirs", x.Broker, x.Topics[t("plain")][0].Size, x.Err, err) })
	r, err := adm.DeleteTopics(ctx(10), t("plain"), t("nope"), "a b")
	for _, x := range r.Sorted() {
		out("delete", x.Topic, x.Err, x.ErrMessage, err)
	}
}

func configs() {
	topic := create("configs", 1, map[string]*string{"retention.ms": kadm.StringPtr("4000")})
	show := func(n string) {
		time.Sleep(300 * time.Millisecond)
		d, err := adm.DescribeTopicConfigs(ctx(10), topic)
		if err != nil {
			out(n, err)
			return
		}
		sort.Slice(d[0].Configs, func(i, j int) bool { return d[0].Configs[i].Key < d[0].Configs[j].Key })
		for _, c := range d[0].Configs {
			var syn []string
			for _, y := range c.Synonyms {
				syn = append(syn, fmt.Sprint(y.Key, "=", *y.Value, " ", y.Source))
			}
			if c.Source != kmsg.ConfigSourceDefaultConfig || n == "all" {
				out(n, c.Key, c.MaybeValue(), c.Sensitive, c.Source, syn)
			}
		}
	}
	show("all")
	for _, c := range []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("7000")}, {Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")}, {Op: kadm.SubtractConfig, Name: "cleanup.policy", Value: kadm.StringPtr("delete")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"}, {Op: kadm.SetConfig, Name: "nope", Value: kadm.StringPtr("1")}, {Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("x")}, {Op: kadm.AppendConfig, Name: "retention.ms", Value: kadm.StringPtr("1")}} {
		r, err := adm.AlterTopicConfigs(ctx(10), []kadm.AlterConfig{c}, topic)
		out("alter", c.Op, c.Name, r[0].Err, r[0].ErrMessage, err)
		show("altered")
	}
	r, err := adm.AlterTopicConfigsState(ctx(10), []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("9000")}}, topic)
	out("alter old", r[0].Err, r[0].ErrMessage, err)
	show("altered")
	d, err := adm.DescribeTopicConfigs(ctx(10), t("nope"))
	out("unknown", d[0].Err, d[0].ErrMessage, err)
}

func records() {
	topic := create("records", 2, nil)
	p := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := 0; i < 10; i++ {
		r := rec(topic, fmt.Sprint(i))
		r.Timestamp = time.UnixMilli(int64(1000 + 10*i))
		send(p, r)
	}
	p.Close()
	show := func(n string, l kadm.ListedOffsets, err error) {
		for _, o := range []int32{0, 1} {
			x, _ := l.Lookup(topic, o)
			out(n, x.Partition, x.Timestamp, x.Offset, x.LeaderEpoch, x.Err, err)
		}
	}
	l, err := adm.ListStartOffsets(ctx(10), topic)
	show("start", l, err)
	l, err = adm.ListEndOffsets(ctx(10), topic)
	show("end", l, err)
	l, err = adm.ListCommittedOffsets(ctx(10), topic)
	show("stable", l, err)
	for _, ts := range []int64{1005, 2000} {
		l, err = adm.ListOffsetsAfterMilli(ctx(10), ts, topic)
		show(fmt.Sprint("after ", ts), l, err)
	}
	l, err = adm.ListMaxTimestampOffsets(ctx(10), topic)
	show("max timestamp", l, err)
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: topic, Partition: 0, At: 4})
	d, err := adm.DeleteRecords(ctx(10), os)
	out("delete records", d[topic][0].LowWatermark, d[topic][0].Err, err)
	l, err = adm.ListStartOffsets(ctx(10), topic)
	show("start", l, err)
	out("read", read(topic, 6))
	c := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AfterMilli(1070)}}))
	out("from a time", poll(c, 3, 10))
	c.Close()
	c = client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtEnd().Relative(-2)}}))
	out("from the end", poll(c, 2, 10))
	c.PauseFetchTopics(topic)
	out("paused", c.PauseFetchTopics())
	c.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 7}}})
	c.ResumeFetchTopics(topic)
	out("after a seek", poll(c, 3, 5))
	c.Close()
}

func failures() {
	topic := create("small", 1, map[string]*string{"max.message.bytes": kadm.StringPtr("1000")})
	p := client(kgo.ProducerBatchMaxBytes(900000), kgo.RecordRetries(2), kgo.UnknownTopicRetries(2))
	out("too large", send(p, rec(topic, strings.Repeat(fmt.Sprint(run, addr), 200))))
	out("unknown topic", send(p, rec(t("nope"), "x")))
	p.Close()
	p = client(kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(2), kgo.RecordRetries(2))
	out("auto create", send(p, rec(t("auto"), "x")))
	out("invalid topic", send(p, rec("a b", "x")))
	p.Close()
}
