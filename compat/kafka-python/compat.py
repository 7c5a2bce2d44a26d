"""What kafka-python sees of a broker, a line a feature."""
import os, re, sys, time, threading, traceback, uuid, logging
logging.disable(logging.CRITICAL)
from kafka import KafkaAdminClient, KafkaProducer, KafkaConsumer, TopicPartition, ConsumerRebalanceListener
from kafka.structs import OffsetAndMetadata
from kafka.admin import *
import kafka.errors as Errors

B = sys.argv[1]
ONLY = sys.argv[2:]
RUN = uuid.uuid4().hex[:8]
VOLATILE = {'topic_id', 'cluster_id', 'member_id', 'member_metadata', 'host', 'producer_id', 'last_timestamp', 'transaction_start_time_ms', 'throttle_time_ms', 'directory_id', 'log_dir',
            'last_fetch_timestamp', 'last_caught_up_timestamp', 'log_end_offset', 'high_watermark', 'total_bytes', 'usable_bytes', 'finalized_features_epoch', 'leader_epoch_q'}


def plain(x):
    if isinstance(x, type):
        return x.__name__
    if hasattr(x, '_asdict'):
        x = x._asdict()
    if isinstance(x, dict):
        return {str(plain(k)): ('*' if k in VOLATILE else plain(v)) for k, v in sorted(x.items(), key=lambda kv: str(kv[0]))}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, (set, frozenset)):
        return sorted((plain(v) for v in x), key=str)
    if isinstance(x, (int, float, str, bytes, type(None))):
        return x
    if hasattr(x, 'to_dict'):
        return plain(x.to_dict())
    return repr(x)


def mask(s):
    s = str(s)
    s = s.replace('-' + RUN, '').replace(B, 'BROKER').replace(B.split(':')[1], 'PORT')
    s = re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'UUID', s)
    s = re.sub(r'producer_id=\d+', 'producer_id=N', s)
    return s.replace('\n', ' ')


def out(name, value):
    print(f'{name}: {mask(plain(value))}', flush=True)


def err(e):
    return f'ERR {type(e).__name__}: {e}'


def attempt(fn):
    try:
        return fn()
    except Exception as e:
        return err(e)


FEATURES = []


def feature(fn):
    FEATURES.append(fn)
    return fn


def t(name):
    return name + '-' + RUN


_admin = None


def admin():
    global _admin
    if _admin is None:
        _admin = KafkaAdminClient(bootstrap_servers=B)
    return _admin


def create(name, parts=1, config=None):
    admin().create_topics({t(name): {'num_partitions': parts, 'replication_factor': 1, 'configs': config or {}}}, wait_for_metadata=True)
    return t(name)


def producer(**kw):
    return KafkaProducer(bootstrap_servers=B, **kw)


def send(p, topic, *values, **kw):
    fs = [p.send(topic, v, **kw) for v in values]
    r = []
    for f in fs:
        try:
            m = f.get(30)
            r.append((m.partition, m.offset))
        except Exception as e:
            r.append(err(e))
    return r


def read(topic, n, parts=(0,), start=None, quiet=0.7, wait=20, **kw):
    c = KafkaConsumer(bootstrap_servers=B, group_id=None, auto_offset_reset='earliest', **kw)
    tps = [TopicPartition(topic, p) for p in parts]
    c.assign(tps)
    if start is not None:
        for tp in tps:
            c.seek(tp, start)
    got, end = [], time.time() + wait
    while time.time() < end:
        for ms in c.poll(200).values():
            got += ms
        if len(got) >= n:
            end = min(end, time.time() + quiet)
            n = 1 << 60
    c.close()
    return got


@feature
def api_versions():
    for k, v in sorted(attempt(lambda: admin().api_versions()).items(), key=str):
        out(f'api {k}', v)


@feature
def codecs():
    for codec in [None, 'gzip', 'snappy', 'lz4', 'zstd']:
        topic = create(f'codec-{codec}')
        p = producer(compression_type=codec, linger_ms=50)
        fs = [p.send(topic, (f'value {i} ' * 10).encode(), key=f'k{i}'.encode(), headers=[('h', str(i).encode())]) for i in range(200)]
        offs = [f.get(30).offset for f in fs]
        got = read(topic, 200)
        out(f'codec {codec}', (offs == list(range(200)), len(got), [m.value for m in got] == [(f'value {i} ' * 10).encode() for i in range(200)]))
        p.close()


@feature
def shapes():
    topic = create('shapes')
    p = producer()
    send(p, topic, b'v')
    send(p, topic, None, key=b'k')
    send(p, topic, b'', key=b'')
    send(p, topic, b'v', headers=[('a', b'1'), ('a', b'2'), ('e', b'')])
    send(p, topic, b'ts', timestamp_ms=1234567890123)
    for i, m in enumerate(read(topic, 5)):
        out(f'shape {i}', (m.offset, m.key, m.value, m.headers, m.timestamp_type, m.timestamp if m.timestamp < 1500000000000 else 'now', m.serialized_key_size, m.serialized_value_size, m.leader_epoch))
    for acks in [0, 1, 'all']:
        out(f'acks {acks}', send(producer(acks=acks, enable_idempotence=False), topic, b'x'))
    p = producer(enable_idempotence=True)
    out('idempotent', send(p, topic, *[b'i%d' % i for i in range(5)]))


@feature
def offsets():
    topic = create('offsets', 2)
    p = producer()
    for i in range(10):
        send(p, topic, b'%d' % i, partition=0, timestamp_ms=1000 + 10 * (i if i != 4 else 50))
    c = KafkaConsumer(bootstrap_servers=B, group_id=None, auto_offset_reset='earliest')
    T0, T1 = TopicPartition(topic, 0), TopicPartition(topic, 1)
    out('beginning', c.beginning_offsets([T0, T1]))
    out('end', c.end_offsets([T0, T1]))
    for ts in [0, 1000, 1035, 1045, 1090, 1500, 1501]:
        out(f'time {ts}', attempt(lambda: c.offsets_for_times({T0: ts, T1: ts})))
    c.assign([T0])
    def nxt(secs=5):
        end = time.time() + secs
        while time.time() < end:
            for ms in c.poll(200, max_records=1).values():
                return (ms[0].offset, ms[0].value)
    c.seek(T0, 5); out('seek 5', nxt())
    c.seek_to_end(T0); out('seek end', (c.position(T0), nxt(1)))
    c.seek_to_beginning(T0); out('seek beginning', (c.position(T0), nxt()))
    c.pause(T0); out('paused', (c.paused(), nxt(1)))
    c.resume(T0); out('resumed', (c.paused(), nxt()))
    out('highwater', c.highwater(T0))
    c.seek(T0, 100); out('out of range', nxt())
    c.close()
    c = KafkaConsumer(bootstrap_servers=B, group_id=None, auto_offset_reset='none')
    c.assign([T0]); c.seek(T0, 100)
    out('out of range none', attempt(lambda: c.poll(2000))); c.close()
    for spec in [OffsetSpec.EARLIEST, OffsetSpec.LATEST, OffsetSpec.MAX_TIMESTAMP, OffsetTimestamp(1031)] + [s for s in OffsetSpec if s not in (OffsetSpec.EARLIEST, OffsetSpec.LATEST, OffsetSpec.MAX_TIMESTAMP)]:
        out(f'list {spec!r}', attempt(lambda: admin().list_partition_offsets({T0: spec, T1: spec})))
    out('list unknown partition', attempt(lambda: admin().list_partition_offsets({TopicPartition(topic, 9): OffsetSpec.LATEST}, timeout_ms=3000)))
    out('delete records', attempt(lambda: admin().delete_records({T0: 4})))
    out('beginning after', attempt(lambda: admin().list_partition_offsets({T0: OffsetSpec.EARLIEST})))
    out('read after', [m.offset for m in read(topic, 6, start=0)])
    out('delete records beyond', attempt(lambda: admin().delete_records({T0: 400})))
    out('delete records all', attempt(lambda: admin().delete_records({T0: -1})))


@feature
def group():
    topic = create('group', 4)
    p = producer()
    for i in range(40):
        p.send(topic, b'%d' % i, partition=i % 4)
    p.flush()
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
    for A in [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor]:
        g = f'g-{A.name}-{RUN}'
        members, lock = {}, threading.Lock()

        class Member(threading.Thread):
            def __init__(self, name, **kw):
                super().__init__(daemon=True)
                self.c = KafkaConsumer(bootstrap_servers=B, group_id=g, client_id=name, auto_offset_reset='earliest', enable_auto_commit=False, partition_assignment_strategy=[A],
                                       heartbeat_interval_ms=300, session_timeout_ms=6000, **kw)
                self.c.subscribe([topic]); self.stop, self.seen, self.size, self.jobs, self.error = False, [], 0, [], None
                self.start()

            def run(self):
                try:
                    while not self.stop:
                        for ms in self.c.poll(100).values():
                            self.seen += [m.value for m in ms]
                        self.size = len(self.c.assignment())
                        while self.jobs:
                            self.jobs.pop()()
                except Exception as e:
                    self.error = err(e)
                self.c.close(autocommit=False)

            def do(self, fn):
                r = []
                self.jobs.append(lambda: r.append(attempt(fn)))
                end = time.time() + 10
                while not r and time.time() < end: time.sleep(0.02)
                return r[0] if r else 'no answer'

        def until(fn, secs=30):
            end = time.time() + secs
            while time.time() < end:
                if fn(): return True
                time.sleep(0.05)
            return False
        a = Member('a')
        out(f'{A.name} one', (until(lambda: a.size == 4), until(lambda: len(a.seen) == 40), len(set(a.seen)), a.error))
        out(f'{A.name} commit', a.do(lambda: a.c.commit()))
        out(f'{A.name} committed', a.do(lambda: [a.c.committed(TopicPartition(topic, i), metadata=True) for i in range(4)]))
        b = Member('b')
        out(f'{A.name} two', (until(lambda: a.size == 2 and b.size == 2), a.error, b.error))
        d = attempt(lambda: admin().describe_groups([g]))
        if isinstance(d, dict):
            d[g]['members'].sort(key=lambda m: m['client_id'])
        out(f'{A.name} describe', d)
        out(f'{A.name} delete', attempt(lambda: admin().delete_groups([g])))
        out(f'{A.name} alter offsets while used', attempt(lambda: admin().alter_group_offsets(g, {TopicPartition(topic, 0): OffsetAndMetadata(3, '', -1)})))
        out(f'{A.name} delete offsets while used', attempt(lambda: admin().delete_group_offsets(g, [TopicPartition(topic, 0)])))
        b.stop = True; b.join(10)
        out(f'{A.name} left', (until(lambda: a.size == 4), a.error))
        a.stop = True; a.join(10)
        out(f'{A.name} describe empty', attempt(lambda: admin().describe_groups([g], include_authorized_operations=True)))
        out(f'{A.name} list', attempt(lambda: [x for x in sum(list(admin().list_groups().values()), []) if g in str(x)] if isinstance(admin().list_groups(), dict) else [x for x in admin().list_groups() if g in str(x)]))
        out(f'{A.name} offsets', attempt(lambda: admin().list_group_offsets(g)))
        out(f'{A.name} alter offsets', attempt(lambda: admin().alter_group_offsets(g, {TopicPartition(topic, 0): OffsetAndMetadata(3, 'm', -1), TopicPartition(topic, 9): OffsetAndMetadata(3, 'm', -1), TopicPartition(t('nope'), 0): OffsetAndMetadata(3, 'm', -1)})))
        out(f'{A.name} reset offsets', attempt(lambda: admin().reset_group_offsets(g, {TopicPartition(topic, 1): OffsetSpec.EARLIEST, TopicPartition(topic, 2): 5})))
        out(f'{A.name} delete offsets', attempt(lambda: admin().delete_group_offsets(g, [TopicPartition(topic, 3), TopicPartition(topic, 9), TopicPartition(t('nope'), 0)])))
        out(f'{A.name} offsets then', attempt(lambda: admin().list_group_offsets(g)))
        out(f'{A.name} offsets of some', attempt(lambda: admin().list_group_offsets({g: [TopicPartition(topic, 3), TopicPartition(topic, 0)]})))
        out(f'{A.name} delete empty', attempt(lambda: admin().delete_groups([g, 'no-' + g])))
        out(f'{A.name} describe deleted', attempt(lambda: admin().describe_groups([g])))
        out(f'{A.name} offsets deleted', attempt(lambda: admin().list_group_offsets(g)))
    # static members
    A = RangePartitionAssignor
    g = f'g-static-{RUN}'

    a, b = Member('a', group_instance_id='a'), Member('b', group_instance_id='b')
    out('static two', (until(lambda: a.size == 2 and b.size == 2), a.error, b.error))
    b.stop = True; b.join(10); time.sleep(1)
    out('static describe one gone', attempt(lambda: [(m.get('group_instance_id')) for m in admin().describe_groups([g])[g]['members']]))
    b2 = Member('b', group_instance_id='b')
    out('static back', (until(lambda: b2.size == 2), a.size, a.error))
    b3 = Member('b', group_instance_id='b')
    out('static fenced', (until(lambda: b2.error), b2.error, until(lambda: b3.size == 2), b3.error))
    out('remove members', attempt(lambda: sorted((str(getattr(k, 'group_instance_id', k)), plain(v)) for k, v in admin().remove_group_members(g, [MemberToRemove(group_instance_id='a'), MemberToRemove(group_instance_id='zz')]).items())))
    for m in (a, b3):
        m.stop = True; m.join(10)
    out('remove members of unknown group', attempt(lambda: list(admin().remove_group_members('no-' + g, [MemberToRemove(group_instance_id='a')]).values())))


@feature
def transactions():
    topic = create('txn', 2)
    tx = lambda i, **kw: producer(transactional_id=t(i), **kw)
    p = tx('tx1'); p.init_transactions()
    p.begin_transaction(); send(p, topic, b'c1', b'c2', partition=0); p.commit_transaction()
    p.begin_transaction(); send(p, topic, b'a1', partition=0); p.abort_transaction()
    p.begin_transaction(); out('empty commit', attempt(p.commit_transaction))
    p.begin_transaction(); out('empty abort', attempt(p.abort_transaction))
    p.begin_transaction(); send(p, topic, b'open', partition=0)
    out('committed', [(m.offset, m.value) for m in read(topic, 2, isolation_level='read_committed')])
    out('uncommitted', [(m.offset, m.value) for m in read(topic, 4, isolation_level='read_uncommitted')])
    T0 = TopicPartition(topic, 0)
    from kafka.consumer.fetcher import IsolationLevel
    for iso in IsolationLevel:
        out(f'end {iso.name}', attempt(lambda: admin().list_partition_offsets({T0: OffsetSpec.LATEST}, isolation_level=iso)))
    out('describe transactions', attempt(lambda: admin().describe_transactions([t('tx1')])))
    out('describe transactions unknown', attempt(lambda: admin().describe_transactions([t('nope')])))
    out('list transactions', attempt(lambda: [x for x in sum((list(v) for v in admin().list_transactions().values()), []) if RUN in str(x)]))
    out('list transactions ongoing', attempt(lambda: [x for x in sum((list(v) for v in admin().list_transactions(state_filters=['Ongoing']).values()), []) if RUN in str(x)]))
    out('list transactions pattern', attempt(lambda: [x for x in sum((list(v) for v in admin().list_transactions(transactional_id_pattern='.*' + RUN).values()), []) if RUN in str(x)]))
    out('list transactions bad pattern', attempt(lambda: admin().list_transactions(transactional_id_pattern='(')))
    out('list transactions long', attempt(lambda: [x for x in sum((list(v) for v in admin().list_transactions(duration_filter_ms=600000).values()), []) if RUN in str(x)]))
    out('describe producers', attempt(lambda: admin().describe_producers([T0])))
    out('describe producers unknown', attempt(lambda: admin().describe_producers([TopicPartition(topic, 9)])))
    out('find hanging', attempt(lambda: [x for x in admin().find_hanging_transactions() if RUN in str(x)]))
    d = attempt(lambda: admin().describe_producers([T0]))
    try:
        pr = [x for x in d[T0].active_producers if x.current_transaction_start_offset >= 0][0]
        out('abort transaction wrong epoch', attempt(lambda: admin().abort_transaction(AbortTransactionSpec(T0, pr.producer_id, pr.producer_epoch - 1, 0))))
        out('abort transaction unknown producer', attempt(lambda: admin().abort_transaction(AbortTransactionSpec(T0, 999999, 0, 0))))
        out('abort transaction', attempt(lambda: admin().abort_transaction(AbortTransactionSpec(T0, pr.producer_id, pr.producer_epoch, pr.coordinator_epoch))))
        out('abort transaction unknown partition', attempt(lambda: admin().abort_transaction(AbortTransactionSpec(TopicPartition(topic, 9), pr.producer_id, pr.producer_epoch, 0))))
    except Exception as e:
        out('abort transaction', err(e))
    out('end after admin abort', attempt(lambda: admin().list_partition_offsets({T0: OffsetSpec.LATEST}, isolation_level=IsolationLevel.READ_COMMITTED)))
    out('commit after admin abort', attempt(p.commit_transaction))
    out('describe producers after', attempt(lambda: admin().describe_producers([T0])))
    # Apache Kafka has answered before it is at its end.
    for _ in range(100):
        seen = attempt(lambda: admin().describe_transactions([t('tx1')]))
        if 'PREPARE' not in str(seen): break
        time.sleep(.1)
    out('describe transactions after', seen)
    out('committed after', [(m.offset, m.value) for m in read(topic, 2, isolation_level='read_committed')])
    q = tx('tx1'); q.init_transactions()
    out('fenced begin', attempt(p.begin_transaction))
    out('fenced send', attempt(lambda: send(p, topic, b'z', partition=0)))
    out('fenced commit', attempt(p.commit_transaction))
    # offsets
    g = f'txg-{RUN}'
    c = KafkaConsumer(topic, bootstrap_servers=B, group_id=g, auto_offset_reset='earliest', enable_auto_commit=False)
    end = time.time() + 15
    while time.time() < end and len(c.assignment()) < 2: c.poll(200)
    q.begin_transaction(); send(q, topic, b'o', partition=1)
    out('send offsets', attempt(lambda: q.send_offsets_to_transaction({T0: OffsetAndMetadata(2, 'meta', -1)}, c.group_metadata())))
    out('commit', attempt(q.commit_transaction))
    out('offsets', attempt(lambda: c.committed(T0, metadata=True)))
    q.begin_transaction()
    out('send offsets, then abort', attempt(lambda: q.send_offsets_to_transaction({T0: OffsetAndMetadata(9, '', -1)}, c.group_metadata())))
    q.abort_transaction()
    out('offsets after abort', attempt(lambda: c.committed(T0)))
    c.close()
    out('too long a timeout', attempt(lambda: tx('tx2', transaction_timeout_ms=2000000000).init_transactions()))


@feature
def admin_topics():
    a = admin()
    R = lambda n, **kw: attempt(lambda: a.create_topics({n: {'num_partitions': kw.pop('p', 1), 'replication_factor': kw.pop('rf', 1), **kw}}, raise_errors=False))
    out('create', R(t('plain'), p=3, configs={'retention.ms': '5000'}))
    out('create again', R(t('plain')))
    out('create defaults', R(t('defaults'), p=-1, rf=-1))
    out('create assigned', R(t('assigned'), p=-1, rf=-1, assignments={0: [1], 1: [1]}))
    out('create assigned with gap', R(t('assigned2'), p=-1, rf=-1, assignments={0: [1], 2: [1]}))
    out('create assigned twice the same', R(t('assigned3'), p=-1, rf=-1, assignments={0: [1, 1]}))
    out('create assigned empty', R(t('assigned4'), p=-1, rf=-1, assignments={0: []}))
    out('create assigned unknown', R(t('assigned5'), p=-1, rf=-1, assignments={0: [5]}))
    out('create assigned with partitions', R(t('assigned6'), p=2, rf=1, assignments={0: [1], 1: [1]}))
    out('create rf 0', R(t('rf0'), rf=0))
    out('create -2', R(t('m2'), p=-2))
    out('create many', R(t('many'), p=200001))
    out('create twice in a request', attempt(lambda: a._manager and 'n/a'))
    out('create null config', R(t('nullcfg'), configs={'retention.ms': None}))
    out('create validate', attempt(lambda: a.create_topics({t('v'): {'num_partitions': 2, 'replication_factor': 1}}, validate_only=True, raise_errors=False)))
    out('create internal', R('__consumer_offsets' if False else '__x' + '-' + RUN))
    time.sleep(0.5)
    out('describe', attempt(lambda: a.describe_topics([t('plain'), t('nope'), 'a b'])))
    out('describe by id unknown', attempt(lambda: a.describe_topics([uuid.UUID(int=5)])))
    tid = [x for x in a.describe_topics([t('plain')])][0].get('topic_id')
    out('describe by id', attempt(lambda: a.describe_topics([tid if isinstance(tid, uuid.UUID) else uuid.UUID(str(tid))])))
    out('describe partitions', attempt(lambda: a.describe_topic_partitions([t('plain'), t('nope'), 'a b'])))
    out('describe partitions, one', attempt(lambda: a.describe_topic_partitions([t('plain')], response_partition_limit=1)))
    out('create partitions', attempt(lambda: a.create_partitions({t('plain'): 5}, raise_errors=False)))
    out('create fewer partitions', attempt(lambda: a.create_partitions({t('plain'): 2, t('nope'): 3}, raise_errors=False)))
    time.sleep(0.3)
    out('create same partitions', attempt(lambda: a.create_partitions({t('plain'): 5}, raise_errors=False)))
    out('create partitions assigned', attempt(lambda: a.create_partitions({t('plain'): {'count': 6, 'assignments': [[1]]}}, raise_errors=False)))
    out('create partitions ill assigned', attempt(lambda: a.create_partitions({t('plain'): {'count': 9, 'assignments': [[1]]}}, raise_errors=False)))
    out('cluster', attempt(lambda: {k: v for k, v in a.describe_cluster().items()}))
    out('quorum', attempt(lambda: a.describe_metadata_quorum()))
    out('features', attempt(lambda: a.describe_features()))
    out('update features', attempt(lambda: a.update_features({'metadata.version': (1, UpdateFeatureType.SAFE_DOWNGRADE)}, validate_only=True)))
    out('elect', attempt(lambda: a.elect_leaders(0, {t('plain'): [0, 77], t('nope'): [0]}, raise_errors=False)))
    out('elect unclean', attempt(lambda: a.elect_leaders(1, {t('plain'): [0]}, raise_errors=False)))
    out('reassign same', attempt(lambda: a.alter_partition_reassignments({TopicPartition(t('plain'), 0): [1]})))
    out('reassign cancel', attempt(lambda: a.alter_partition_reassignments({TopicPartition(t('plain'), 0): None})))
    out('reassign unknown broker', attempt(lambda: a.alter_partition_reassignments({TopicPartition(t('plain'), 0): [9]})))
    out('reassign unknown', attempt(lambda: a.alter_partition_reassignments({TopicPartition(t('nope'), 0): [1], TopicPartition(t('plain'), 99): [1]})))
    out('reassign empty', attempt(lambda: a.alter_partition_reassignments({TopicPartition(t('plain'), 0): []})))
    out('reassignments', attempt(lambda: a.list_partition_reassignments({t('plain'): [0], t('nope'): [0]})))
    send(producer(), t('plain'), b'x' * 10, partition=0)
    out('log dirs', attempt(lambda: a.describe_log_dirs({t('plain'): [0, 1]})))
    out('log dirs unknown', attempt(lambda: a.describe_log_dirs({t('nope'): [0]})))
    out('delete', attempt(lambda: a.delete_topics([t('plain'), t('nope'), 'a b'], raise_errors=False)))
    out('delete by id', attempt(lambda: a.delete_topics([uuid.UUID(int=5)], raise_errors=False)))
    out('delete internal', attempt(lambda: a.delete_topics(['__consumer_offsets_'], raise_errors=False)))
    out('resources', attempt(lambda: [x for x in a.list_config_resources() if RUN in str(x)]))


@feature
def admin_configs():
    a = admin()
    topic = create('configs', 1, {'retention.ms': '4000', 'cleanup.policy': 'compact'})
    R = lambda n=topic, c=None: ConfigResource(ConfigResourceType.TOPIC, n, c)
    for filt in ['modified', 'all']:
        d = attempt(lambda: a.describe_configs([R()], include_synonyms=True, config_filter=filt))
        try:
            for k, v in sorted(list(list(d.values())[0].values())[0].items()):
                out(f'{filt} {k}', v)
        except Exception:
            out(filt, d)
    out('describe some', attempt(lambda: a.describe_configs([R(c=['retention.ms', 'nope'])], config_filter='all')))
    out('describe unknown', attempt(lambda: a.describe_configs([R(t('nope'))])))
    out('describe invalid', attempt(lambda: a.describe_configs([R('a b')])))
    out('alter incremental', attempt(lambda: a.alter_configs([R(c={'retention.ms': '7000', 'cleanup.policy': (AlterConfigOp.APPEND, 'delete')})])))
    time.sleep(0.3)
    out('altered', attempt(lambda: a.describe_configs([R()])))
    out('alter delete', attempt(lambda: a.alter_configs([R(c={'retention.ms': (AlterConfigOp.DELETE, None)})])))
    time.sleep(0.3)
    out('altered', attempt(lambda: a.describe_configs([R()])))
    out('alter old', attempt(lambda: a.alter_configs([R(c={'max.message.bytes': '7000'})], incremental=False)))
    time.sleep(0.3)
    out('altered', attempt(lambda: a.describe_configs([R()])))
    out('alter unknown topic', attempt(lambda: a.alter_configs([R(t('nope'), {'retention.ms': '7000'})])))
    out('alter unknown key', attempt(lambda: a.alter_configs([R(c={'nope': '7000'})], raise_on_unknown=False)))
    out('reset', attempt(lambda: a.reset_configs([R(c=['max.message.bytes'])])))
    time.sleep(0.3)
    out('reset', attempt(lambda: a.describe_configs([R()])))


@feature
def errors():
    topic = create('small', 1, {'max.message.bytes': '1000'})
    p = producer(max_request_size=10_000_000, retries=0)
    out('too large', send(p, topic, os.urandom(3000)))
    out('too large for the broker', send(p, create('big'), os.urandom(2000000)))
    out('auto create', send(p, t('auto'), b'x'))
    out('no such partition', attempt(lambda: send(producer(max_block_ms=2000), topic, b'x', partition=99)))
    out('no auto create', attempt(lambda: send(producer(max_block_ms=2000, allow_auto_create_topics=False), t('noauto'), b'x')))
    out('invalid name', attempt(lambda: send(producer(max_block_ms=2000), 'a b', b'x')))
    c = KafkaConsumer(bootstrap_servers=B, group_id=None)
    out('partitions of unknown', attempt(lambda: c.partitions_for_topic(t('noauto2'))))
    out('topics', attempt(lambda: sorted(x for x in c.topics() if x.endswith(RUN))))
    c.close()
    c = KafkaConsumer(bootstrap_servers=B, group_id='rx-' + RUN, auto_offset_reset='earliest', metadata_max_age_ms=500)
    c.subscribe(pattern='^small-' + RUN)
    send(p, topic, b'1')
    end, got = time.time() + 10, []
    while time.time() < end and not got: got = [m.value for ms in c.poll(200).values() for m in ms]
    out('pattern', got); c.close()


for f in FEATURES:
    if ONLY and f.__name__ not in ONLY:
        continue
    print(f'# {f.__name__}')
    try:
        f()
    except Exception as e:
        out(f'{f.__name__} FAILED', err(e) + ' ' + ' | '.join(traceback.format_exc().strip().splitlines()[-3:]))
os._exit(0)
