"""What librdkafka (confluent-kafka-python) sees of a broker, a line a feature."""
import os, re, sys, time, threading, traceback, uuid
from concurrent.futures import ThreadPoolExecutor
import confluent_kafka as ck
from confluent_kafka import (Producer, Consumer, TopicPartition, KafkaException, KafkaError, IsolationLevel,
                             ConsumerGroupTopicPartitions, ConsumerGroupState, ConsumerGroupType, TopicCollection, ElectionType)
from confluent_kafka.admin import *

B = sys.argv[1]
ONLY = sys.argv[2:]
RUN = uuid.uuid4().hex[:8]
MASKS = []


def mask(s):
    s = str(s)
    s = s.replace('-' + RUN, '').replace(B, 'BROKER').replace(B.split(':')[1], 'PORT')
    for pat, rep in [(r'\b[A-Za-z0-9_-]{22}\b(?=.*topic_id)', 'UUID')]:
        pass
    s = re.sub(r'rdkafka-[0-9a-f-]{36}', 'MEMBER', s)
    s = re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'UUID', s)
    s = re.sub(r'PID{Id:\d+', 'PID{Id:N', s)
    s = re.sub(r'after \d+ms', 'after Nms', s)
    s = re.sub(r'\d+ms in queue', 'Nms in queue', s)
    return s.replace('\n', ' ')


def t(name):
    return name + '-' + RUN


FEATURES = []


def feature(fn):
    FEATURES.append(fn)
    return fn


def out(name, value):
    print(f'{name}: {mask(value)}', flush=True)


def err(e):
    if isinstance(e, KafkaException):
        e = e.args[0]
    if isinstance(e, KafkaError):
        return f'{e.name()} {e.str()!r} fatal={e.fatal()} retriable={e.retriable()} abort={e.txn_requires_abort()}'
    return f'{type(e).__name__}: {e}'


def attempt(fn):
    try:
        return fn()
    except Exception as e:
        return 'ERR ' + err(e)


def fut(f, timeout=30):
    try:
        return f.result(timeout)
    except Exception as e:
        return 'ERR ' + err(e)


_admin = None


def admin():
    global _admin
    if _admin is None:
        _admin = AdminClient({'bootstrap.servers': B})
    return _admin


def create(name, parts=1, config=None):
    r = fut(admin().create_topics([NewTopic(t(name), parts, 1, config=config or {})])[t(name)])
    assert r is None, r
    for _ in range(100):  # until the metadata has it
        md = admin().list_topics(t(name), timeout=10).topics[t(name)]
        if md.error is None and len(md.partitions) == parts:
            break
        time.sleep(0.05)
    return t(name)


def producer(**kw):
    return Producer({'bootstrap.servers': B, 'linger.ms': 5, **{k.replace('_', '.'): v for k, v in kw.items()}})


def send(p, topic, *values, **kw):
    res = []

    def cb(e, m):
        res.append(err(e) if e else (m.partition(), m.offset()))
    try:
        for v in values:
            p.produce(topic, v, on_delivery=cb, **kw)
        left = p.flush(30)
    except (KafkaException, SystemError) as e:  # SystemError: a bug of the bindings, when the producer is fenced
        return res + ['RAISED ' + err(e)]
    return res if not left else res + [f'{left} left']


def read(topic, n, parts=(0,), wait=20, quiet=1.0, start=0, **kw):
    """The first n messages of partitions read without a group, or fewer, after `quiet` seconds of silence once n are there."""
    c = Consumer({'bootstrap.servers': B, 'group.id': 'read-' + RUN, 'enable.auto.commit': False, 'auto.offset.reset': 'earliest',
                  **{k.replace('_', '.'): v for k, v in kw.items()}})
    c.assign([TopicPartition(topic, p, start) for p in parts])
    got, end = [], time.time() + wait
    while time.time() < end:
        m = c.poll(0.2)
        if m is None:
            continue
        if m.error():
            got.append('ERR ' + err(m.error()))
            break
        got.append(m)
        if len(got) == n:
            end = min(end, time.time() + quiet)
    c.close()
    return got


def show(m):
    if isinstance(m, str):
        return m
    return (m.partition(), m.offset(), m.key(), m.value() if not m.value() or len(m.value()) < 60 else len(m.value()), m.headers(),
            m.timestamp()[0], m.leader_epoch())


@feature
def codecs():
    for codec in ['none', 'gzip', 'snappy', 'lz4', 'zstd']:
        topic = create('codec-' + codec)
        p = producer(compression_type=codec, linger_ms=50)
        r = []
        def cb(e, m): r.append(err(e) if e else m.offset())
        for i in range(200):
            p.produce(topic, (f'value {i} ' * 10).encode(), key=f'k{i}', headers=[('h', str(i).encode())], on_delivery=cb)
        p.flush(30)
        got = read(topic, 200)
        ok = [m.value() for m in got if not isinstance(m, str)] == [(f'value {i} ' * 10).encode() for i in range(200)]
        out(f'codec {codec}', (r == list(range(200)), len(got), ok))


@feature
def shapes():
    topic = create('shapes')
    p = producer()
    send(p, topic, b'v')
    send(p, topic, b'v', key=b'k')
    send(p, topic, None, key=b'k')
    send(p, topic, b'', key=b'')
    send(p, topic, b'v', headers=[('a', b'1'), ('a', b'2'), ('n', None), ('e', b'')])
    send(p, topic, b'ts', timestamp=1234567890123)
    got = read(topic, 6)
    for i, m in enumerate(got):
        out(f'shape {i}', show(m))
    out('shape timestamp', got[5].timestamp())
    topic = create('log-append', config={'message.timestamp.type': 'LogAppendTime'})
    send(p, topic, b'ts', timestamp=1234567890123)
    m = read(topic, 1)[0]
    out('log append time', (m.timestamp()[0], abs(m.timestamp()[1] - time.time() * 1000) < 60000))


@feature
def acks():
    topic = create('acks')
    for a in ['0', '1', 'all']:
        out(f'acks {a}', send(producer(acks=a), topic, b'x'))
    out('acks read', [m.value() for m in read(topic, 3)])


@feature
def idempotent():
    topic = create('idem', 3)
    p = producer(enable_idempotence=True)
    n = []
    for i in range(1000):
        p.produce(topic, str(i), partition=i % 3, on_delivery=lambda e, m: n.append(err(e) if e else (m.partition(), m.offset())))
    p.flush(30)
    out('idempotent', (len(n), sorted(n)[:3], sorted(n)[-1], len(set(n))))


@feature
def watermarks():
    topic = create('marks', 2)
    p = producer()
    for i in range(10):
        send(p, topic, str(i), partition=0, timestamp=1000 + i * 10)
    c = Consumer({'bootstrap.servers': B, 'group.id': 'marks-' + RUN})
    out('watermarks', c.get_watermark_offsets(TopicPartition(topic, 0), timeout=10))
    out('watermarks empty', c.get_watermark_offsets(TopicPartition(topic, 1), timeout=10))
    out('watermarks bad partition', attempt(lambda: c.get_watermark_offsets(TopicPartition(topic, 9), timeout=5)))
    for ts in [0, 1000, 1001, 1045, 1090, 1091, 10**13, -1, -2]:
        r = attempt(lambda: [(x.offset, x.error and err(x.error)) for x in c.offsets_for_times([TopicPartition(topic, 0, ts)], timeout=10)])
        out(f'offset for time {ts}', r)
    c.close()


@feature
def seek():
    topic = create('seek')
    p = producer()
    send(p, topic, *[str(i) for i in range(20)])
    c = Consumer({'bootstrap.servers': B, 'group.id': 'seek-' + RUN, 'enable.partition.eof': True})
    c.assign([TopicPartition(topic, 0, 5)])
    def nxt():
        end = time.time() + 10
        while time.time() < end:
            m = c.poll(0.5)
            if m is not None:
                return err(m.error()) if m.error() else m.value()
        return 'nothing'
    out('seek assign 5', nxt())
    c.seek(TopicPartition(topic, 0, 15)); out('seek 15', nxt())
    c.seek(TopicPartition(topic, 0, ck.OFFSET_BEGINNING)); out('seek beginning', nxt())
    c.seek(TopicPartition(topic, 0, ck.OFFSET_END)); out('seek end', nxt())
    c.seek(TopicPartition(topic, 0, -2003)); out('seek tail 3', nxt())
    c.seek(TopicPartition(topic, 0, 0)); nxt()
    c.pause([TopicPartition(topic, 0)]); time.sleep(0.2)
    out('paused', c.poll(1) is None)
    c.resume([TopicPartition(topic, 0)]); out('resumed', nxt())
    out('position', c.position([TopicPartition(topic, 0)])[0].offset)
    c.close()
    for reset in ['earliest', 'latest', 'error']:
        c = Consumer({'bootstrap.servers': B, 'group.id': 'seek-' + RUN, 'enable.partition.eof': True, 'auto.offset.reset': reset})
        c.assign([TopicPartition(topic, 0, 1000)])
        out(f'out of range {reset}', nxt())
        c.close()


@feature
def group():
    topic = create('group', 4)
    p = producer()
    for i in range(40):
        p.produce(topic, str(i), partition=i % 4)
    p.flush()
    for protocol in ['classic', 'consumer']:
        for strategy in (['range', 'roundrobin', 'cooperative-sticky'] if protocol == 'classic' else ['uniform', 'range', None]):
            conf = {'bootstrap.servers': B, 'group.id': f'g-{protocol}-{strategy}-{RUN}', 'auto.offset.reset': 'earliest', 'enable.auto.commit': False,
                    'group.protocol': protocol}
            if protocol == 'classic':
                conf.update({'partition.assignment.strategy': strategy, 'session.timeout.ms': 6000, 'heartbeat.interval.ms': 500})
            elif strategy:
                conf['group.remote.assignor'] = strategy
            cs, seen = [], []
            name = f'group {protocol} {strategy}'
            def pump(until, secs=30):
                end = time.time() + secs
                while time.time() < end:
                    for c in cs:
                        m = c.poll(0.05)
                        if m is not None:
                            seen.append('ERR ' + err(m.error()) if m.error() else m.value())
                    if until():
                        return True
                return False
            def sizes():
                return sorted(len(c.assignment()) for c in cs)
            try:
                a = Consumer({**conf, 'client.id': 'a'}); cs.append(a); a.subscribe([topic])
                out(f'{name} one', (pump(lambda: sizes() == [4]), sizes()))
                pump(lambda: len(seen) >= 40)
                out(f'{name} read', (len(seen), len(set(seen))))
                a.commit(asynchronous=False)
                out(f'{name} committed', [x.offset for x in a.committed([TopicPartition(topic, i) for i in range(4)], timeout=10)])
                b = Consumer({**conf, 'client.id': 'b'}); cs.append(b); b.subscribe([topic])
                out(f'{name} two', (pump(lambda: sizes() == [2, 2]), sizes()))
                d = fut(admin().describe_consumer_groups([conf['group.id']])[conf['group.id']])
                out(f'{name} described', d if isinstance(d, str) else (d.state.name, d.type.name, d.partition_assignor, d.is_simple_consumer_group, d.coordinator.id,
                    sorted((m.client_id, m.host, m.group_instance_id, sorted(x.partition for x in m.assignment.topic_partitions)) for m in d.members)))
                out(f'{name} delete while used', fut(admin().delete_consumer_groups([conf['group.id']])[conf['group.id']]))
                cs.remove(b); b.close()
                out(f'{name} left', (pump(lambda: sizes() == [4]), sizes()))
                cs.remove(a); a.close()
                d = fut(admin().describe_consumer_groups([conf['group.id']])[conf['group.id']])
                out(f'{name} empty', d if isinstance(d, str) else (d.state.name, d.type.name, d.partition_assignor, len(d.members)))
                r = fut(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(conf['group.id'])])[conf['group.id']])
                out(f'{name} offsets', r if isinstance(r, str) else sorted((x.partition, x.offset, x.leader_epoch, x.metadata) for x in r.topic_partitions))
                l = fut(admin().list_consumer_groups())
                out(f'{name} listed', [(g.group_id, g.is_simple_consumer_group, g.state.name, g.type.name) for g in l.valid if g.group_id == conf['group.id']])
                out(f'{name} alter offsets', attempt(lambda: [(x.partition, x.offset, x.error and err(x.error)) for x in fut(admin().alter_consumer_group_offsets([ConsumerGroupTopicPartitions(conf['group.id'], [TopicPartition(topic, 0, 3)])])[conf['group.id']]).topic_partitions]))
                out(f'{name} delete', fut(admin().delete_consumer_groups([conf['group.id']])[conf['group.id']]))
                d = fut(admin().describe_consumer_groups([conf['group.id']])[conf['group.id']])
                out(f'{name} deleted', d if isinstance(d, str) else (d.state.name, d.type.name, d.partition_assignor, len(d.members)))
            finally:
                for c in cs:
                    c.close()


@feature
def group_errors():
    topic = create('group-errors', 2)
    send(producer(), topic, b'x', partition=0)
    g = 'ge-' + RUN
    c = Consumer({'bootstrap.servers': B, 'group.id': g, 'group.protocol': 'consumer', 'group.remote.assignor': 'nonsense'})
    c.subscribe([topic])
    m = c.poll(5)
    out('group unknown assignor', m and err(m.error()))
    attempt(c.close)
    out('group alter offsets unknown group', attempt(lambda: [(x.partition, x.offset, x.error and err(x.error)) for x in fut(admin().alter_consumer_group_offsets([ConsumerGroupTopicPartitions('new-' + g, [TopicPartition(topic, 0, 3), TopicPartition(topic, 77, 3)])])['new-' + g]).topic_partitions]))
    out('group offsets of unknown', attempt(lambda: fut(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions('no-' + g)])['no-' + g]).topic_partitions))
    out('group offsets of unknown, one partition', attempt(lambda: [(x.partition, x.offset, x.error and err(x.error)) for x in fut(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions('no-' + g, [TopicPartition(topic, 0), TopicPartition('missing-' + RUN, 1)])])['no-' + g]).topic_partitions]))
    out('group delete unknown', fut(admin().delete_consumer_groups(['no-' + g])['no-' + g]))
    d = fut(admin().describe_consumer_groups(['no-' + g])['no-' + g])
    out('group describe unknown', d if isinstance(d, str) else (d.state.name, d.type.name))
    d = fut(admin().describe_consumer_groups(['new-' + g])['new-' + g])
    out('group describe simple', d if isinstance(d, str) else (d.state.name, d.type.name, d.is_simple_consumer_group, d.partition_assignor))
    for filt in [dict(states={ConsumerGroupState.EMPTY}), dict(types={ConsumerGroupType.CLASSIC}), dict(types={ConsumerGroupType.CONSUMER}), dict(states={ConsumerGroupState.STABLE})]:
        l = fut(admin().list_consumer_groups(**filt))
        out(f'group list {sorted(str(x) for x in list(filt.values())[0])}', [(x.group_id, x.state.name, x.type.name, x.is_simple_consumer_group) for x in l.valid if x.group_id.endswith(g)] if not isinstance(l, str) else l)
    out('group empty id', attempt(lambda: fut(admin().delete_consumer_groups([''])[''])))
    # offset commit with metadata, without membership
    c = Consumer({'bootstrap.servers': B, 'group.id': 'meta-' + g, 'enable.auto.commit': False})
    out('commit with metadata', attempt(lambda: [(x.offset, x.metadata, x.error) for x in c.commit(offsets=[TopicPartition(topic, 0, 1, 'some metadata', 0)], asynchronous=False)]))
    out('committed with metadata', attempt(lambda: [(x.offset, x.metadata, x.leader_epoch, x.error) for x in c.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=10)]))
    out('commit too long metadata', attempt(lambda: [(x.offset, x.error and err(x.error)) for x in c.commit(offsets=[TopicPartition(topic, 0, 1, 'x' * 5000)], asynchronous=False)]))
    out('commit unknown partition', attempt(lambda: [(x.offset, x.error and err(x.error)) for x in c.commit(offsets=[TopicPartition(topic, 7, 1)], asynchronous=False)]))
    out('commit unknown topic', attempt(lambda: [(x.offset, x.error and err(x.error)) for x in c.commit(offsets=[TopicPartition('missing-' + RUN, 0, 1)], asynchronous=False)]))
    c.close()


@feature
def static_membership():
    topic = create('static', 4)
    for protocol in ['classic', 'consumer']:
        conf = {'bootstrap.servers': B, 'group.id': f'static-{protocol}-{RUN}', 'auto.offset.reset': 'earliest', 'group.protocol': protocol}
        if protocol == 'classic':
            conf.update({'session.timeout.ms': 10000, 'heartbeat.interval.ms': 500})
        log = {}
        def mk(inst):
            ev = log.setdefault(inst, [])
            c = Consumer({**conf, 'group.instance.id': inst})
            c.subscribe([topic], on_assign=lambda c, ps: ev.append(('assign', sorted(x.partition for x in ps))), on_revoke=lambda c, ps: ev.append(('revoke', sorted(x.partition for x in ps))))
            return c
        def pump(cs, until, secs=30):
            end = time.time() + secs
            errs = []
            while time.time() < end:
                for c in cs:
                    m = c.poll(0.05)
                    if m is not None and m.error():
                        errs.append(err(m.error()))
                if until():
                    return errs
            return errs + ['TIMEOUT']
        a, b = mk('a'), mk('b')
        out(f'static {protocol} two', pump([a, b], lambda: len(a.assignment()) == 2 and len(b.assignment()) == 2))
        before = sorted(x.partition for x in b.assignment())
        na = len(log['a'])
        b.close()
        time.sleep(1)
        b = mk('b')
        e = pump([a, b], lambda: len(b.assignment()) == 2)
        out(f'static {protocol} back with the same', (e, sorted(x.partition for x in b.assignment()) == before, len(log['a']) == na))
        # one more of the same instance id
        b2 = mk('b')
        errs = []
        end = time.time() + 8
        while time.time() < end and not errs:
            for c in [a, b, b2]:
                m = c.poll(0.05)
                if m is not None and m.error():
                    errs.append(({id(a): 'a', id(b): 'b', id(b2): 'b2'}[id(c)], err(m.error())))
        out(f'static {protocol} fenced', errs)
        d = fut(admin().describe_consumer_groups([conf['group.id']])[conf['group.id']])
        out(f'static {protocol} described', d if isinstance(d, str) else (d.state.name, sorted(m.group_instance_id for m in d.members)))
        for c in [a, b, b2]:
            attempt(c.close)


@feature
def transactions():
    topic = create('txn', 2)
    def tx(id, **kw):
        return producer(transactional_id=t(id), **kw)
    p = tx('tx1')
    p.init_transactions(10)
    p.begin_transaction(); send(p, topic, b'c1', b'c2', partition=0); p.commit_transaction(10)
    p.begin_transaction(); send(p, topic, b'a1', b'a2', partition=0); p.abort_transaction(10)
    p.begin_transaction(); out('txn empty commit', attempt(lambda: p.commit_transaction(10)))
    p.begin_transaction(); out('txn empty abort', attempt(lambda: p.abort_transaction(10)))
    p.begin_transaction(); send(p, topic, b'c3', partition=0); p.commit_transaction(10)
    p.begin_transaction(); r = send(p, topic, b'open', partition=0)
    out('txn open offset', r)
    out('txn committed', [(m.offset(), m.value()) for m in read(topic, 3, isolation_level='read_committed')])
    out('txn uncommitted', [(m.offset(), m.value()) for m in read(topic, 6, isolation_level='read_uncommitted')])
    for iso in ['read_committed', 'read_uncommitted']:
        o = fut(admin().list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()}, isolation_level=getattr(IsolationLevel, iso.upper()))[TopicPartition(topic, 0)])
        out(f'txn end {iso}', (o.offset, o.leader_epoch))
    # fencing
    q = tx('tx1')
    out('txn second init', attempt(lambda: q.init_transactions(20)))
    p.produce(topic, b'fenced', partition=0)
    out('txn old flush', attempt(lambda: p.flush(10)))
    out('txn old commit', attempt(lambda: p.commit_transaction(10)))
    out('txn old abort', attempt(lambda: p.abort_transaction(10)))
    q.begin_transaction(); send(q, topic, b'q', partition=0); q.commit_transaction(10)
    out('txn after fencing committed', [(m.offset(), m.value()) for m in read(topic, 4, isolation_level='read_committed')])
    out('txn after fencing uncommitted', [(m.offset(), m.value()) for m in read(topic, 7, isolation_level='read_uncommitted')])
    # fenced while idle: begin, produce
    r = tx('tx2'); r.init_transactions(10)
    s = tx('tx2'); s.init_transactions(10)
    r.begin_transaction()
    out('txn fenced produce', send(r, topic, b'z', partition=0))
    out('txn fenced commit', attempt(lambda: r.commit_transaction(10)))
    # offsets
    g = 'txg-' + RUN
    c = Consumer({'bootstrap.servers': B, 'group.id': g, 'auto.offset.reset': 'earliest', 'enable.auto.commit': False})
    c.subscribe([topic])
    end = time.time() + 20
    n = 0
    while time.time() < end and n < 4:
        m = c.poll(0.2)
        n += m is not None and not m.error()
    s.begin_transaction()
    send(s, topic, b'with offsets', partition=1)
    out('txn send offsets', attempt(lambda: s.send_offsets_to_transaction([TopicPartition(topic, 0, 4)], c.consumer_group_metadata(), 10)))
    out('txn offsets before commit', attempt(lambda: [(x.offset, x.error and err(x.error)) for x in c.committed([TopicPartition(topic, 0)], timeout=5)]))
    r = fut(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(g, [TopicPartition(topic, 0)])], require_stable=True, request_timeout=3)[g])
    out('txn offsets before commit, stable', r if isinstance(r, str) else [(x.offset, x.error and err(x.error)) for x in r.topic_partitions])
    r = fut(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(g, [TopicPartition(topic, 0)])], require_stable=False)[g])
    out('txn offsets before commit, unstable', r if isinstance(r, str) else [(x.offset, x.error and err(x.error)) for x in r.topic_partitions])
    out('txn commit with offsets', attempt(lambda: s.commit_transaction(10)))
    out('txn offsets after commit', [x.offset for x in c.committed([TopicPartition(topic, 0)], timeout=10)])
    s.begin_transaction()
    s.send_offsets_to_transaction([TopicPartition(topic, 0, 9)], c.consumer_group_metadata(), 10)
    s.abort_transaction(10)
    out('txn offsets after abort', [x.offset for x in c.committed([TopicPartition(topic, 0)], timeout=10)])
    md = c.consumer_group_metadata()
    c.close()
    s.begin_transaction()
    out('txn offsets of a member that left', attempt(lambda: s.send_offsets_to_transaction([TopicPartition(topic, 0, 9)], md, 10)))
    out('txn abort after that', attempt(lambda: s.abort_transaction(10)))
    # timeout
    u = tx('tx3', **{'transaction_timeout_ms': 1000, 'message_timeout_ms': 1000}); u.init_transactions(10)
    u.begin_transaction(); send(u, topic, b'timeout', partition=1)
    time.sleep(14)
    out('txn timed out commit', attempt(lambda: u.commit_transaction(10)))
    out('txn timed out abort', attempt(lambda: u.abort_transaction(10)))
    out('txn timed out next', attempt(lambda: (u.begin_transaction(), send(u, topic, b'after', partition=1), u.commit_transaction(10))))
    out('txn timed out read', [(m.offset(), m.value()) for m in read(topic, 2, parts=(1,), isolation_level='read_committed')])
    w = tx('tx4', transaction_timeout_ms=2000000000)
    out('txn too long timeout', attempt(lambda: w.init_transactions(10)))
    w = producer(transactional_id='')
    out('txn without id', attempt(lambda: w.init_transactions(5)))


@feature
def admin_topics():
    a = admin()
    for name, parts, rf, cfg in [('plain', 3, 1, {}), ('cfg', 1, 1, {'cleanup.policy': 'compact', 'retention.ms': '1000'}), ('defaults', -1, -1, {}), ('rf2', 1, 2, {}), ('zero', 0, 1, {}),
                                 ('bad/name', 1, 1, {}), ('x' * 250, 1, 1, {}), ('badcfg', 1, 1, {'no.such.config': '1'}), ('badval', 1, 1, {'retention.ms': 'abc'}), ('badval2', 1, 1, {'cleanup.policy': 'x'}),
                                 ('plain', 3, 1, {})]:
        try:
            f = a.create_topics([NewTopic(t(name), parts, rf, config=cfg)])
            out(f'create {name[:12]}', fut(f[t(name)]))
        except Exception as e:
            out(f'create {name[:12]}', err(e))
    for name in ['.', '..', '']:
        out(f'create {name!r}', attempt(lambda: fut(a.create_topics([NewTopic(name, 1, 1)])[name])))
    out('create collide', attempt(lambda: (fut(a.create_topics([NewTopic('a.b-' + RUN, 1, 1)])['a.b-' + RUN]), fut(a.create_topics([NewTopic('a_b-' + RUN, 1, 1)])['a_b-' + RUN]))))
    out('create validate only', fut(a.create_topics([NewTopic(t('vonly'), 1, 1)], validate_only=True)[t('vonly')]))
    out('create with assignment', attempt(lambda: fut(a.create_topics([NewTopic(t('assigned'), 2, replica_assignment=[[1], [1]])])[t('assigned')])))
    out('create with bad assignment', attempt(lambda: fut(a.create_topics([NewTopic(t('assigned2'), 1, replica_assignment=[[7]])])[t('assigned2')])))
    out('validate only made', t('vonly') in a.list_topics(timeout=10).topics)
    out('topics', sorted((n, len(x.partitions), sorted((p.id, p.leader, p.replicas, p.isrs) for p in x.partitions.values())) for n, x in a.list_topics(timeout=10).topics.items() if n.endswith(RUN) and len(n) < 30 and re.match('(plain|cfg|defaults|assigned)', n)))
    for n, arg in [('more', 5), ('fewer', 2), ('same', 5)]:
        out(f'partitions {n}', fut(a.create_partitions([NewPartitions(t('plain'), arg)])[t('plain')]))
    out('partitions unknown', fut(a.create_partitions([NewPartitions(t('nope'), 5)])[t('nope')]))
    out('partitions validate', fut(a.create_partitions([NewPartitions(t('plain'), 9)], validate_only=True)[t('plain')]))
    d = fut(a.describe_topics(TopicCollection([t('plain')]), include_authorized_operations=True)[t('plain')])
    out('describe topic', (d.name, d.is_internal, sorted(o.name for o in d.authorized_operations or []), [(p.id, p.leader.id, [r.id for r in p.replicas], [r.id for r in p.isr]) for p in d.partitions]))
    out('describe topic unknown', fut(a.describe_topics(TopicCollection([t('nope')]))[t('nope')]))
    out('describe topic invalid', attempt(lambda: fut(a.describe_topics(TopicCollection(['a b']))['a b'])))
    out('list one unknown', attempt(lambda: a.list_topics(t('nope2'), timeout=5).topics[t('nope2')].error))
    out('auto create was not by admin', t('nope2') in a.list_topics(timeout=10).topics)
    d = fut(a.describe_cluster(include_authorized_operations=True))
    out('describe cluster', (len(d.cluster_id), d.controller.id, [(n.id, n.host, n.port, n.rack) for n in d.nodes], sorted(o.name for o in d.authorized_operations or [])))
    out('delete', fut(a.delete_topics([t('cfg')])[t('cfg')]))
    out('delete again', fut(a.delete_topics([t('cfg')])[t('cfg')]))
    out('delete invalid', fut(a.delete_topics(['a b'])['a b']))
    out('elect leaders', attempt(lambda: {(k.partition): v and err(v) for k, v in fut(a.elect_leaders(ElectionType.PREFERRED, [TopicPartition(t('plain'), 0), TopicPartition(t('nope'), 0)])).items()}))


@feature
def admin_configs():
    a = admin()
    topic = create('configs', 1, {'retention.ms': '123456', 'cleanup.policy': 'compact,delete'})
    R = lambda n=topic: ConfigResource(ConfigResource.Type.TOPIC, n)
    d = fut(a.describe_configs([R()])[R()])
    for k, e in sorted(d.items()):
        out(f'config {k}', (e.value, ConfigSource(e.source).name, e.is_read_only, e.is_default, e.is_sensitive, e.is_synonym, [(s.name, s.value, ConfigSource(s.source).name) for s in (e.synonyms or {}).values()]))
    out('describe unknown', fut(a.describe_configs([R(t('nope'))])[R(t('nope'))]))
    out('describe invalid', fut(a.describe_configs([R('a b')])[R('a b')]))
    def cfg(*keys):
        time.sleep(0.3)  # Apache Kafka applies a change to what it describes a little later
        d = fut(a.describe_configs([R()])[R()])
        return [(k, d[k].value, ConfigSource(d[k].source).name) for k in keys]
    def inc(*ops, validate=False):
        r = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[ConfigEntry(k, v, incremental_operation=getattr(AlterConfigOpType, op)) for k, op, v in ops])
        return fut(a.incremental_alter_configs([r], validate_only=validate)[r])
    out('incremental set', (inc(('retention.ms', 'SET', '777'), ('segment.bytes', 'SET', '1048576')), cfg('retention.ms', 'segment.bytes')))
    out('incremental delete', (inc(('retention.ms', 'DELETE', None)), cfg('retention.ms', 'segment.bytes')))
    out('incremental append', (inc(('cleanup.policy', 'SUBTRACT', 'compact')), cfg('cleanup.policy'), inc(('cleanup.policy', 'APPEND', 'compact')), cfg('cleanup.policy')))
    out('incremental append to scalar', inc(('retention.ms', 'APPEND', '5')))
    out('incremental validate', (inc(('retention.ms', 'SET', '888'), validate=True), cfg('retention.ms')))
    out('incremental unknown key', inc(('no.such', 'SET', '888')))
    out('incremental bad value', inc(('retention.ms', 'SET', 'abc')))
    out('incremental below minimum', inc(('segment.bytes', 'SET', '1')))
    out('incremental out of range', inc(('min.cleanable.dirty.ratio', 'SET', '3')))
    r = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={'max.message.bytes': '5000'})
    out('old alter', (fut(a.alter_configs([r])[r]), cfg('max.message.bytes', 'segment.bytes', 'cleanup.policy')))
    r = ConfigResource(ConfigResource.Type.TOPIC, t('nope'), set_config={'max.message.bytes': '5000'})
    out('old alter unknown', fut(a.alter_configs([r])[r]))


@feature
def config_values():
    """Which values a topic's settings take."""
    a = admin()
    values = {'cleanup.policy': ['', 'delete', 'compact', 'delete,compact', 'compact, delete', 'delete,delete', 'DELETE', 'none'], 'compression.type': ['producer', 'gzip', 'snappy', 'lz4', 'zstd', 'uncompressed', 'none', 'GZIP'],
              'message.timestamp.type': ['CreateTime', 'LogAppendTime', 'createtime', ''], 'min.cleanable.dirty.ratio': ['0', '1', '0.25', '-0.1', '1.1', 'abc', ''],
              'preallocate': ['true', 'false', 'TRUE', '1', 'yes', ''], 'unclean.leader.election.enable': ['true', 'false', 'x'], 'remote.storage.enable': ['true', 'false'], 'remote.log.copy.disable': ['true', 'false'], 'remote.log.delete.on.disable': ['true', 'false'],
              'leader.replication.throttled.replicas': ['', '*', '0:1', '0:1,1:1', 'none', 'x'], 'follower.replication.throttled.replicas': ['*', 'x'], 'compression.gzip.level': ['-1', '0', '1', '9', '10', 'x'], 'compression.lz4.level': ['0', '1', '17', '18'], 'compression.zstd.level': ['-131072', '-131073', '0', '22', '23'],
              'message.format.version': ['3.0'], 'message.downconversion.enable': ['true'], 'tidewater.retention.clock': [], 'errors.deadletterqueue.topic.name': ['x'], 'message.timestamp.difference.max.ms': ['1']}
    ints = ['delete.retention.ms', 'file.delete.delay.ms', 'flush.messages', 'flush.ms', 'index.interval.bytes', 'local.retention.bytes', 'local.retention.ms', 'max.compaction.lag.ms', 'max.message.bytes', 'message.timestamp.after.max.ms', 'message.timestamp.before.max.ms', 'min.compaction.lag.ms', 'min.insync.replicas', 'retention.bytes', 'retention.ms', 'segment.bytes', 'segment.index.bytes', 'segment.jitter.ms', 'segment.ms']
    for k in ints:
        values[k] = ['-3', '-2', '-1', '0', '1', '3', '4', '1023', '1024', '5000', '1048575', '1048576', '2147483647', '2147483648', '9223372036854775807', '9223372036854775808', ' 5000 ', '+5000', '5000.0', 'abc', '']
    for k, vs in values.items():
        for v in vs:
            r = fut(a.create_topics([NewTopic(t('cv'), 1, 1, config={k: v})], validate_only=True)[t('cv')])
            out(f'value {k}={v!r}', 'ok' if r is None else r.split(' ')[1])
    for name, cfg in [('compact lag', {'min.compaction.lag.ms': '10', 'max.compaction.lag.ms': '5'}), ('local over total', {'retention.ms': '10', 'local.retention.ms': '20'}), ('local bytes over total', {'retention.bytes': '10', 'local.retention.bytes': '20'}),
                      ('jitter over segment.ms', {'segment.ms': '10', 'segment.jitter.ms': '20'})]:
        r = fut(a.create_topics([NewTopic(t('cv'), 1, 1, config=cfg)], validate_only=True)[t('cv')])
        out(f'values {name}', 'ok' if r is None else r)


@feature
def admin_records():
    a = admin()
    topic = create('records', 2)
    p = producer()
    for i in range(10):
        send(p, topic, str(i), partition=0, timestamp=1000 + 10 * (i if i != 4 else 50))
    T = TopicPartition(topic, 0)
    for n, spec in [('earliest', OffsetSpec.earliest()), ('latest', OffsetSpec.latest()), ('max timestamp', OffsetSpec.max_timestamp()), ('for 1030', OffsetSpec.for_timestamp(1030)), ('for 9999', OffsetSpec.for_timestamp(9999))]:
        o = fut(a.list_offsets({T: spec})[T])
        out(f'list offsets {n}', o if isinstance(o, str) else (o.offset, o.timestamp, o.leader_epoch))
        T1 = TopicPartition(topic, 1)
        o = fut(a.list_offsets({T1: spec})[T1])
        out(f'list offsets {n} of empty', o if isinstance(o, str) else (o.offset, o.timestamp, o.leader_epoch))
    T9 = TopicPartition(topic, 9)
    out('list offsets unknown partition', fut(a.list_offsets({T9: OffsetSpec.latest()}, request_timeout=3)[T9]))
    r = fut(list(a.delete_records([TopicPartition(topic, 0, 4)]).values())[0]); out('delete records', r if isinstance(r, str) else r.low_watermark)
    o = fut(a.list_offsets({T: OffsetSpec.earliest()})[T]); out('earliest after', o.offset)
    out('read after', [m.offset() for m in read(topic, 6, start=0)])
    r = fut(list(a.delete_records([TopicPartition(topic, 0, 100)]).values())[0]); out('delete records beyond', r if isinstance(r, str) else r.low_watermark)
    r = fut(list(a.delete_records([TopicPartition(topic, 0, -1)]).values())[0]); out('delete records all', r if isinstance(r, str) else r.low_watermark)
    r = fut(list(a.delete_records([TopicPartition(topic, 0, 2)]).values())[0]); out('delete records below', r if isinstance(r, str) else r.low_watermark)
    r = fut(list(a.delete_records([TopicPartition(topic, 7, 2)], request_timeout=3).values())[0]); out('delete records unknown', r if isinstance(r, str) else r.low_watermark)


@feature
def errors():
    topic = create('small', 1, {'max.message.bytes': '1000'})
    p = producer()
    out('too large for the topic', send(p, topic, os.urandom(2000)))
    out('fits', send(p, topic, b'x' * 500))
    p2 = producer(message_max_bytes=5000000)
    out('too large for the broker', send(p2, create('big'), os.urandom(2000000)))
    out('auto create by produce', send(producer(), t('auto1'), b'x'))
    out('auto created', len(admin().list_topics(timeout=10).topics[t('auto1')].partitions))
    out('invalid topic produce', send(producer(**{'message_timeout_ms': 5000}), 'a b', b'x'))
    c = Consumer({'bootstrap.servers': B, 'group.id': 'auto-' + RUN, 'allow.auto.create.topics': False, 'auto.offset.reset': 'earliest'})
    c.subscribe([t('auto2')]); m = None
    end = time.time() + 8
    while time.time() < end and m is None: m = c.poll(0.5)
    out('subscribe unknown', m and err(m.error())); c.close()
    c = Consumer({'bootstrap.servers': B, 'group.id': 'auto3-' + RUN, 'allow.auto.create.topics': True, 'auto.offset.reset': 'earliest'})
    c.subscribe([t('auto3')]); m = None
    end = time.time() + 4
    while time.time() < end and m is None: m = c.poll(0.5)
    out('subscribe unknown, auto create', (m and err(m.error()), t('auto3') in admin().list_topics(timeout=10).topics)); c.close()
    c = Consumer({'bootstrap.servers': B, 'group.id': 'inv-' + RUN})
    c.subscribe(['a b']); m = None
    end = time.time() + 4
    while time.time() < end and m is None: m = c.poll(0.5)
    out('subscribe invalid', m and err(m.error())); c.close()
    c = Consumer({'bootstrap.servers': B, 'group.id': 'bad-' + RUN})
    c.assign([TopicPartition(topic, 5, 0)]); m = c.poll(4)
    out('assign unknown partition', m and err(m.error())); c.close()
    # a topic that is deleted below a consumer, and made again
    topic = create('reborn'); send(p, topic, b'first')
    c = Consumer({'bootstrap.servers': B, 'group.id': 'reborn-' + RUN, 'auto.offset.reset': 'earliest', 'topic.metadata.refresh.interval.ms': 500})
    c.subscribe([topic]); m = None
    end = time.time() + 15
    while time.time() < end and m is None: m = c.poll(0.5)
    out('reborn first', m and m.value())
    fut(admin().delete_topics([topic])[topic]); time.sleep(1.5)
    ms = []
    end = time.time() + 3
    while time.time() < end:
        m = c.poll(0.2)
        if m is not None: ms.append(err(m.error()) if m.error() else m.value())
    out('reborn gone', sorted(set(ms)))
    create('reborn'); send(producer(), topic, b'second'); ms = []
    end = time.time() + 20
    while time.time() < end and b'second' not in ms:
        m = c.poll(0.2)
        if m is not None and not m.error(): ms.append(m.value())
    out('reborn second', ms); c.close()


@feature
def regex():
    for protocol in ['classic', 'consumer']:
        create(f'rx-{protocol}-one')
        c = Consumer({'bootstrap.servers': B, 'group.id': f'rx-{protocol}-{RUN}', 'auto.offset.reset': 'earliest', 'group.protocol': protocol, 'topic.metadata.refresh.interval.ms': 500})
        c.subscribe([f'^rx-{protocol}-.*-{RUN}'])
        end = time.time() + 15
        while time.time() < end and len(c.assignment()) < 1: c.poll(0.2)
        out(f'regex {protocol} one', len(c.assignment()))
        create(f'rx-{protocol}-two')
        end = time.time() + 60
        while time.time() < end and len(c.assignment()) < 2: c.poll(0.2)
        out(f'regex {protocol} two', len(c.assignment()))
        c.close()
    c = Consumer({'bootstrap.servers': B, 'group.id': f'rxbad-{RUN}', 'group.protocol': 'consumer'})
    out('regex bad subscribe', attempt(lambda: c.subscribe(['^rx-(*']))); m = None
    end = time.time() + 5
    while time.time() < end and m is None: m = c.poll(0.5)
    out('regex bad', m and err(m.error())); c.close()


for f in FEATURES:
    if ONLY and f.__name__ not in ONLY:
        continue
    try:
        f()
    except Exception as e:
        out(f'{f.__name__} FAILED', err(e) + ' ' + ' | '.join(traceback.format_exc().strip().splitlines()[-3:]))
