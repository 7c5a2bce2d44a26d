"""What aiokafka sees of a broker, a line a feature."""
import asyncio, logging, os, re, sys, time, traceback, uuid
logging.disable(logging.CRITICAL)
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, ConsumerRebalanceListener
from aiokafka.structs import OffsetAndMetadata
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

B = sys.argv[1]
ONLY = sys.argv[2:]
RUN = uuid.uuid4().hex[:8]


def mask(s):
    s = str(s).replace('-' + RUN, '').replace(B, 'BROKER').replace(B.split(':')[1], 'PORT')
    s = re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'UUID', s)
    return s.replace('\n', ' ')


def out(name, value):
    print(f'{name}: {mask(value)}', flush=True)


def err(e):
    return f'ERR {type(e).__name__}: {e}'


async def attempt(c, secs=20):
    try:
        return await asyncio.wait_for(c, secs)
    except Exception as e:
        return err(e)


FEATURES = []


def feature(f):
    FEATURES.append(f)
    return f


def t(n):
    return n + '-' + RUN


_a = None


async def admin():
    global _a
    if _a is None:
        _a = AIOKafkaAdminClient(bootstrap_servers=B)
        await _a.start()
    return _a


async def create(name, parts=1, config=None):
    a = await admin()
    r = await a.create_topics([NewTopic(t(name), parts, 1, topic_configs=config or {})])
    for _ in range(100):
        d = await a.describe_topics([t(name)])
        if d[0]['error_code'] == 0 and len(d[0]['partitions']) == parts:
            break
        await asyncio.sleep(0.05)
    return t(name)


async def producer(**kw):
    p = AIOKafkaProducer(bootstrap_servers=B, **kw)
    await p.start()
    return p


async def consumer(*topics, **kw):
    c = AIOKafkaConsumer(*topics, bootstrap_servers=B, **kw)
    await asyncio.wait_for(c.start(), 30)
    return c


async def send(p, topic, *values, **kw):
    r = []
    for v in values:
        m = await attempt(p.send_and_wait(topic, v, **kw))
        r.append(m if isinstance(m, str) else (m.partition, m.offset))
    return r


async def read(topic, n, parts=(0,), secs=20, quiet=0.7, start=None, **kw):
    c = await consumer(group_id=None, auto_offset_reset='earliest', **kw)
    tps = [TopicPartition(topic, p) for p in parts]
    c.assign(tps)
    if start is not None:
        for tp in tps: c.seek(tp, start)
    got, end = [], time.time() + secs
    while time.time() < end:
        try:
            for ms in (await asyncio.wait_for(c.getmany(timeout_ms=200), 10)).values(): got += ms
        except Exception as e:
            got.append(err(e)); break
        if len(got) >= n: end = min(end, time.time() + quiet); n = 1 << 60
    await c.stop()
    return got


@feature
async def codecs():
    for codec in [None, 'gzip', 'snappy', 'lz4', 'zstd']:
        topic = await create(f'codec-{codec}')
        p = await producer(compression_type=codec, linger_ms=20)
        fs = [await p.send(topic, (f'value {i} ' * 10).encode(), key=b'k%d' % i, headers=[('h', b'%d' % i)]) for i in range(200)]
        offs = [(await f).offset for f in fs]
        await p.stop()
        got = await read(topic, 200)
        out(f'codec {codec}', (offs == list(range(200)), len(got), got[0] if got and isinstance(got[0], str) else [m.value for m in got] == [(f'value {i} ' * 10).encode() for i in range(200)]))


@feature
async def shapes():
    topic = await create('shapes')
    p = await producer()
    await send(p, topic, b'v')
    await send(p, topic, None, key=b'k')
    await send(p, topic, b'', key=b'')
    await send(p, topic, b'v', headers=[('a', b'1'), ('a', b'2'), ('e', b'')])
    await send(p, topic, b'ts', timestamp_ms=1234567890123)
    for i, m in enumerate(await read(topic, 5)):
        out(f'shape {i}', m if isinstance(m, str) else (m.offset, m.key, m.value, m.headers, m.timestamp_type, m.timestamp if m.timestamp < 1500000000000 else 'now'))
    await p.stop()
    for acks in [0, 1, 'all']:
        p = await producer(acks=acks); out(f'acks {acks}', [x if isinstance(x, str) else x for x in await send(p, topic, b'x')] if acks else 'sent'); await p.stop()
    p = await producer(enable_idempotence=True); out('idempotent', await send(p, topic, b'1', b'2')); await p.stop()


@feature
async def offsets():
    topic = await create('offsets', 2)
    p = await producer()
    for i in range(10): await send(p, topic, b'%d' % i, partition=0, timestamp_ms=1000 + 10 * i)
    await p.stop()
    c = await consumer(group_id=None, auto_offset_reset='earliest')
    T0, T1 = TopicPartition(topic, 0), TopicPartition(topic, 1)
    c.assign([T0, T1])
    out('beginning', sorted((await c.beginning_offsets([T0, T1])).items()))
    out('end', sorted((await c.end_offsets([T0, T1])).items()))
    for ts in [0, 1005, 1090, 1091]: out(f'time {ts}', sorted((await c.offsets_for_times({T0: ts, T1: ts})).items()))
    async def nxt():
        m = await attempt(c.getone(T0), 3); return m if isinstance(m, str) else (m.offset, m.value)
    c.seek(T0, 5); out('seek', await nxt())
    await attempt(c.seek_to_end(T0)); out('seek end', (await attempt(c.position(T0)), await nxt()))
    await attempt(c.seek_to_beginning(T0)); out('seek beginning', await nxt())
    c.pause(T0); out('pause', (sorted(c.paused()), len(await c.getmany(timeout_ms=500)))); c.resume(T0); out('resume', await nxt())
    out('highwater', (c.highwater(T0), c.last_stable_offset(T0)))
    c.seek(T0, 100); out('out of range', await nxt())
    await c.stop()
    c = await consumer(group_id=None, auto_offset_reset='none'); c.assign([T0]); c.seek(T0, 100); out('out of range none', await attempt(c.getone(), 5)); await c.stop()
    a = await admin()
    out('delete records', await attempt(a.delete_records({T0: RecordsToDelete(before_offset=4)})))
    out('read after', [m if isinstance(m, str) else m.offset for m in await read(topic, 6, start=0)])


@feature
async def group():
    topic = await create('group', 4)
    p = await producer()
    for i in range(40): await send(p, topic, b'%d' % i, partition=i % 4)
    await p.stop()
    a = await admin()
    for A in [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor]:
        g = f'g-{A.name}-{RUN}'
        kw = dict(group_id=g, auto_offset_reset='earliest', enable_auto_commit=False, partition_assignment_strategy=[A], heartbeat_interval_ms=300, session_timeout_ms=6000)
        seen = []
        async def pump(cs, until, secs=30):
            end = time.time() + secs
            while time.time() < end:
                for c in cs:
                    try:
                        for ms in (await c.getmany(timeout_ms=50)).values(): seen.extend(m.value for m in ms)
                    except Exception as e: seen.append(err(e))
                if until(): return True
            return False
        x = await consumer(topic, client_id='a', **kw)
        out(f'{A.name} one', (await pump([x], lambda: len(x.assignment()) == 4), await pump([x], lambda: len(seen) >= 40), len(set(seen)), [s for s in set(seen) if isinstance(s, str)]))
        out(f'{A.name} commit', await attempt(x.commit()))
        out(f'{A.name} committed', [await attempt(x.committed(TopicPartition(topic, i))) for i in range(4)])
        y = await consumer(topic, client_id='b', **kw)
        out(f'{A.name} two', (await pump([x, y], lambda: len(x.assignment()) == 2 and len(y.assignment()) == 2)))
        d = await attempt(a.describe_consumer_groups([g]))
        out(f'{A.name} describe', d if isinstance(d, str) else [(q[0], q[2], q[3], q[4], sorted(m[1] for m in q[5])) if len(q) > 5 else q for q in d[0].groups])
        await y.stop()
        out(f'{A.name} left', await pump([x], lambda: len(x.assignment()) == 4))
        await x.stop()
        d = await attempt(a.describe_consumer_groups([g]))
        out(f'{A.name} empty', d if isinstance(d, str) else d[0].groups)
        out(f'{A.name} list', [q for q in await a.list_consumer_groups() if q[0] == g])
        r = await attempt(a.list_consumer_group_offsets(g))
        out(f'{A.name} offsets', sorted(r.items()) if isinstance(r, dict) else r)
    g = f'g-static-{RUN}'
    kw = dict(group_id=g, heartbeat_interval_ms=300, session_timeout_ms=10000)
    try:
        x, y = await consumer(topic, group_instance_id='a', **kw), await consumer(topic, group_instance_id='b', **kw)
        out('static two', await pump([x, y], lambda: len(x.assignment()) == 2 and len(y.assignment()) == 2))
        await y.stop(); await asyncio.sleep(1)
        y = await consumer(topic, group_instance_id='b', **kw)
        out('static back', (await pump([x, y], lambda: len(y.assignment()) == 2), len(x.assignment())))
        await x.stop(); await y.stop()
    except Exception as e:
        out('static', err(e))


@feature
async def transactions():
    topic = await create('txn', 2)
    tx = lambda i, **kw: producer(transactional_id=t(i), **kw)
    p = await tx('tx1')
    async with p.transaction(): await send(p, topic, b'c1', b'c2', partition=0)
    await p.begin_transaction(); await send(p, topic, b'a1', partition=0); await p.abort_transaction()
    await p.begin_transaction(); out('empty commit', await attempt(p.commit_transaction()))
    await p.begin_transaction(); out('empty abort', await attempt(p.abort_transaction()))
    await p.begin_transaction(); await send(p, topic, b'open', partition=0)
    show = lambda ms: [m if isinstance(m, str) else (m.offset, m.value) for m in ms]
    out('committed', show(await read(topic, 2, isolation_level='read_committed')))
    out('uncommitted', show(await read(topic, 4, isolation_level='read_uncommitted')))
    q = await attempt(tx('tx1'))
    out('fenced send', await send(p, topic, b'z', partition=0))
    out('fenced commit', await attempt(p.commit_transaction()))
    if isinstance(q, str):
        out('second', q); return
    await q.begin_transaction(); await send(q, topic, b'q', partition=0)
    g = t('txg')
    out('send offsets', await attempt(q.send_offsets_to_transaction({TopicPartition(topic, 0): OffsetAndMetadata(3, 'm')}, g)))
    out('commit', await attempt(q.commit_transaction()))
    r = await attempt((await admin()).list_consumer_group_offsets(g)); out('offsets', r)
    await q.begin_transaction(); await attempt(q.send_offsets_to_transaction({TopicPartition(topic, 0): OffsetAndMetadata(9, '')}, g)); await q.abort_transaction()
    out('offsets after abort', await attempt((await admin()).list_consumer_group_offsets(g)))
    out('committed after', show(await read(topic, 3, isolation_level='read_committed')))
    await q.stop(); await attempt(p.stop())
    out('too long a timeout', await attempt(tx('tx9', transaction_timeout_ms=2000000000)))


@feature
async def admin_topics():
    a = await admin()
    R = lambda r: [tuple(x[:3]) if not isinstance(x[-1], list) else tuple(x[:3]) for x in getattr(r, 'topic_errors', None) or getattr(r, 'topic_error_codes', None) or getattr(r, 'topics', [])] if not isinstance(r, str) else r
    out('create', R(await attempt(a.create_topics([NewTopic(t('plain'), 3, 1), NewTopic('a b', 1, 1), NewTopic(t('rf'), 1, 2)]))))
    out('create again', R(await attempt(a.create_topics([NewTopic(t('plain'), 3, 1)]))))
    await asyncio.sleep(0.5)
    out('partitions', await attempt(a.create_partitions({t('plain'): NewPartitions(5)})))
    await asyncio.sleep(0.3)
    d = await attempt(a.describe_topics([t('plain'), t('nope')]))
    out('describe', [(x['error_code'], x['topic'], x['is_internal'], x.get('authorized_operations'), len(x['partitions'])) for x in d])
    d = await attempt(a.describe_cluster()); out('cluster', {k: v for k, v in d.items() if k != 'cluster_id'})
    C = lambda n, **c: ConfigResource(ConfigResourceType.TOPIC, n, c or None)
    d = await attempt(a.describe_configs([C(t('plain'))])); out('configs', d if isinstance(d, str) else [(r[0], r[3], sorted(tuple(c[:5]) for c in r[4])) for r in d[0].resources])
    out('alter', await attempt(a.alter_configs([C(t('plain'), **{'retention.ms': '5000'})])))
    await asyncio.sleep(0.3)
    d = await attempt(a.describe_configs([C(t('plain'), **{'retention.ms': ''})])); out('altered', d if isinstance(d, str) else [sorted(tuple(c[:5]) for c in r[4]) for r in d[0].resources])
    # One by one: Apache Kafka answers several in any order.
    out('delete', R(await attempt(a.delete_topics([t('plain')]))))
    out('delete nope', R(await attempt(a.delete_topics([t('nope')]))))


@feature
async def errors():
    topic = await create('small', 1, {'max.message.bytes': '1000'})
    p = await producer(max_request_size=10_000_000, request_timeout_ms=5000)
    out('too large', await send(p, topic, os.urandom(3000)))
    out('auto create', await send(p, t('auto'), b'x'))
    out('invalid topic', await send(p, 'a b', b'x'))
    await p.stop()
    c = await consumer(t('auto4'), group_id=None)
    out('auto create by consumer', t('auto4') in await (await admin()).list_topics()); await c.stop()
    c = await consumer(group_id=t('rx'), auto_offset_reset='earliest', metadata_max_age_ms=500)
    c.subscribe(pattern='^small-' + RUN)
    p = await producer(); await send(p, topic, b'1'); await p.stop()
    m = await attempt(c.getone(), 10); out('pattern', m if isinstance(m, str) else m.value); await c.stop()


async def main():
    for f in FEATURES:
        if ONLY and f.__name__ not in ONLY: continue
        print(f'# {f.__name__}')
        try: await f()
        except Exception as e: out(f'{f.__name__} FAILED', err(e) + ' ' + ' | '.join(traceback.format_exc().strip().splitlines()[-4:]))
    sys.stdout.flush(); os._exit(0)
asyncio.run(main())
