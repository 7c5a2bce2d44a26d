// What kafkajs sees of a broker, a line a feature.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel, ConfigResourceTypes, PartitionAssigners, Partitioners } = require('kafkajs')
const { ZstdCodec } = require('zstd-codec')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = new (require('kafkajs-lz4'))().codec
const zstd = new Promise(r => ZstdCodec.run(z => r(new z.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  async compress(encoder) { return Buffer.from((await zstd).compress(encoder.buffer)) },
  async decompress(buffer) { return Buffer.from((await zstd).decompress(buffer)) },
})
const [B, ...ONLY] = process.argv.slice(2)
const RUN = Math.random().toString(16).slice(2, 10)
const t = n => `${n}-${RUN}`
const sleep = ms => new Promise(r => setTimeout(r, ms))
const mask = s => s.replaceAll('-' + RUN, '').replaceAll(B, 'BROKER').replaceAll(B.split(':')[1], 'PORT').replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID').replaceAll('\n', ' ')
const text = v => JSON.stringify(v, (k, x) => x && x.type === 'Buffer' ? 'b:' + Buffer.from(x.data).toString('latin1') : x === undefined ? 'undefined' : typeof x === 'bigint' ? String(x) : x)
const out = (n, v) => console.log(mask(`${n}: ${typeof v === 'string' ? v : text(v)}`))
const err = e => `ERR ${e.name} ${e.type || ''}: ${e.message}`
const attempt = async f => { try { return await f() } catch (e) { return err(e) } }
const within = (p, ms) => Promise.race([p, sleep(ms).then(() => 'TIMEOUT')])
const kafka = new Kafka({ clientId: 'compat', brokers: [B], logLevel: logLevel.NOTHING, retry: { retries: 3, initialRetryTime: 100 } })
const admin = kafka.admin()
const opened = []
const producer = async o => { const p = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...o }); await p.connect(); opened.push(p); return p }
const create = async (n, parts = 1, config = {}) => {
  await admin.createTopics({ topics: [{ topic: t(n), numPartitions: parts, configEntries: Object.entries(config).map(([name, value]) => ({ name, value })) }], waitForLeaders: true })
  return t(n)
}
const send = async (p, topic, messages, o = {}) => attempt(async () => (await p.send({ topic, messages, ...o })).map(r => [r.partition, r.errorCode, r.baseOffset, r.logAppendTime, r.logStartOffset]))
const show = m => [m.offset, m.key && m.key.toString(), m.value === null ? null : m.value.toString(), m.headers, m.attributes, +m.timestamp < 1500000000000 ? m.timestamp : 'now']
async function read(topic, n, { secs = 20, ...o } = {}) {
  const c = kafka.consumer({ groupId: t('read') + Math.random(), ...o }); await c.connect()
  await c.subscribe({ topic, fromBeginning: true })
  const got = []
  await c.run({ eachMessage: async ({ message }) => { got.push(message) } })
  const end = Date.now() + secs * 1000
  while (Date.now() < end && got.length < n) await sleep(50)
  await sleep(400)
  await c.disconnect()
  return got
}
const features = {
  async codecs() {
    for (const [name, c] of [['None', 0], ['GZIP', 1], ['Snappy', 2], ['LZ4', 3], ['ZSTD', 4]]) {
      const topic = await create('codec-' + name), p = await producer()
      const r = await send(p, topic, [...Array(100).keys()].map(i => ({ key: 'k' + i, value: `value ${i} `.repeat(10), headers: { h: String(i) } })), { compression: c })
      const got = await read(topic, 100)
      out('codec ' + name, [r, got.length, got.every((m, i) => m.value.toString() === `value ${i} `.repeat(10))])
    }
  },
  async shapes() {
    const topic = await create('shapes'), p = await producer()
    await send(p, topic, [{ value: 'v' }]); await send(p, topic, [{ key: 'k', value: null }]); await send(p, topic, [{ key: '', value: '' }])
    await send(p, topic, [{ value: 'v', headers: { a: ['1', '2'], e: '' } }]); await send(p, topic, [{ value: 'ts', timestamp: '1234567890123' }])
    for (const m of await read(topic, 5)) out('shape', show(m))
    for (const acks of [0, 1, -1]) out('acks ' + acks, await send(p, topic, [{ value: 'x' }], { acks }))
    const q = await producer({ idempotent: true }); out('idempotent', await send(q, topic, [{ value: '1' }, { value: '2' }])); out('idempotent again', await send(q, topic, [{ value: '3' }]))
  },
  async offsets() {
    const topic = await create('offsets', 2), p = await producer()
    for (let i = 0; i < 10; i++) await send(p, topic, [{ value: String(i), partition: 0, timestamp: String(1000 + 10 * i) }])
    const by = x => Array.isArray(x) ? x.sort((a, b) => a.partition - b.partition) : x
    out('topic offsets', by(await attempt(() => admin.fetchTopicOffsets(topic))))
    for (const ts of [0, 1005, 1090, 1091]) out('by timestamp ' + ts, by(await attempt(() => admin.fetchTopicOffsetsByTimestamp(topic, ts))))
    out('of unknown', await attempt(() => admin.fetchTopicOffsets(t('nope'))))
    out('delete records', await attempt(() => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })))
    out('topic offsets', by(await attempt(() => admin.fetchTopicOffsets(topic))))
    out('delete records beyond', await attempt(() => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '400' }] })))
    // seek, pause, resume
    const c = kafka.consumer({ groupId: t('seek') }); await c.connect(); await c.subscribe({ topic, fromBeginning: true })
    let got = []
    await c.run({ autoCommit: false, eachMessage: async ({ message }) => { got.push(message.offset) } })
    const until = async (f, ms = 10000) => { const end = Date.now() + ms; while (Date.now() < end && !f()) await sleep(30) }
    await until(() => got.length >= 6); out('read', got)
    got = []; c.seek({ topic, partition: 0, offset: '8' }); await until(() => got.length >= 2); out('seek', got)
    c.pause([{ topic }]); got = []; await send(p, topic, [{ value: 'p', partition: 0 }]); await sleep(1500); out('paused', [got, c.paused()])
    c.resume([{ topic }]); await until(() => got.length >= 1); out('resumed', got)
    got = []; c.seek({ topic, partition: 0, offset: '4000' }); await until(() => got.length >= 7, 8000); out('out of range', got)
    await c.disconnect()
  },
  async group() {
    const topic = await create('group', 4), p = await producer()
    for (let i = 0; i < 40; i++) await send(p, topic, [{ value: String(i), partition: i % 4 }])
    const g = t('g'), seen = []
    const until = async (f, ms = 25000) => { const end = Date.now() + ms; while (Date.now() < end && !f()) await sleep(50); return !!f() }
    const member = async id => {
      const m = { n: -1, c: new Kafka({ clientId: id, brokers: [B], logLevel: logLevel.NOTHING }).consumer({ groupId: g, sessionTimeout: 10000, heartbeatInterval: 500 }) }
      m.c.on(m.c.events.GROUP_JOIN, e => { m.n = (e.payload.memberAssignment[topic] || []).length })
      m.c.on(m.c.events.REBALANCING, () => { m.n = -1 })
      await m.c.connect(); await m.c.subscribe({ topic, fromBeginning: true })
      await m.c.run({ autoCommitInterval: 200, eachMessage: async ({ message }) => { seen.push(message.value.toString()) } })
      return m
    }
    const a = await member('a')
    out('one', [await until(() => a.n === 4), await until(() => seen.length >= 40), new Set(seen).size])
    await sleep(1000)
    const b = await member('b')
    out('two', [await until(() => a.n === 2 && b.n === 2), seen.length])
    const d = await attempt(() => admin.describeGroups([g]))
    out('describe', d.groups ? d.groups.map(x => [x.groupId, x.state, x.protocol, x.protocolType, x.errorCode, x.members.map(m => [m.clientId, m.clientHost]).sort()]) : d)
    out('delete used', await attempt(() => admin.deleteGroups([g])))
    out('set offsets used', await attempt(() => admin.setOffsets({ groupId: g, topic, partitions: [{ partition: 0, offset: '3' }] })))
    await b.c.disconnect(); out('left', await until(() => a.n === 4)); await a.c.disconnect()
    const o = async () => attempt(async () => (await admin.fetchOffsets({ groupId: g, topics: [topic] })).map(x => x.partitions.sort((a, b) => a.partition - b.partition)))
    out('offsets', await o())
    out('offsets of all topics', await attempt(async () => (await admin.fetchOffsets({ groupId: g })).map(x => [x.topic, x.partitions.sort((a, b) => a.partition - b.partition)])))
    out('set offsets', await attempt(() => admin.setOffsets({ groupId: g, topic, partitions: [{ partition: 0, offset: '3' }] }))); out('offsets', await o())
    out('reset offsets', await attempt(() => admin.resetOffsets({ groupId: g, topic, earliest: true }))); out('offsets', await o())
    out('resolved offsets', await attempt(async () => (await admin.fetchOffsets({ groupId: g, topics: [topic], resolveOffsets: true })).map(x => x.partitions.sort((a, b) => a.partition - b.partition))))
    out('list', await attempt(async () => (await admin.listGroups()).groups.filter(x => x.groupId === g)))
    out('delete', await attempt(() => admin.deleteGroups([g]))); out('delete again', await attempt(() => admin.deleteGroups([g])))
    out('describe deleted', await attempt(async () => (await admin.describeGroups([g])).groups))
  },
  async transactions() {
    const topic = await create('txn', 2)
    const tx = (id, o) => producer({ transactionalId: t(id), maxInFlightRequests: 1, idempotent: true, ...o })
    const p = await tx('tx1'); let x
    const in_ = async (x, ...v) => send(x, topic, v.map(value => ({ value, partition: 0 })))
    x = await p.transaction(); out('send', await in_(x, 'c1', 'c2')); out('commit', await attempt(() => x.commit()))
    x = await p.transaction(); await in_(x, 'a1'); out('abort', await attempt(() => x.abort()))
    x = await p.transaction(); out('empty commit', await attempt(() => x.commit()))
    x = await p.transaction(); await in_(x, 'c3')
    const g = t('txg')
    out('send offsets', await attempt(() => x.sendOffsets({ consumerGroupId: g, topics: [{ topic, partitions: [{ partition: 0, offset: '2' }] }] }))); out('commit', await attempt(() => x.commit()))
    out('offsets', await attempt(() => admin.fetchOffsets({ groupId: g, topics: [topic] })).then(r => r.map ? r.map(y => y.partitions.sort((a, b) => a.partition - b.partition)) : r))
    x = await p.transaction(); await in_(x, 'open')
    out('uncommitted', (await read(topic, 5, { readUncommitted: true })).map(m => [m.offset, m.value.toString()]))
    out('committed', (await read(topic, 3)).map(m => [m.offset, m.value.toString()]))
    const q = await tx('tx1'), y = await attempt(() => q.transaction())
    out('fenced send', await in_(x, 'z')); out('fenced commit', await attempt(() => x.commit()))
    out('new send', await in_(y, 'q')); out('new commit', await attempt(() => y.commit()))
    out('committed', (await read(topic, 4)).map(m => [m.offset, m.value.toString()]))
  },
  async admin_topics() {
    out('create', await attempt(() => admin.createTopics({ topics: [{ topic: t('plain'), numPartitions: 3 }] }))); out('create again', await attempt(() => admin.createTopics({ topics: [{ topic: t('plain') }] })))
    out('create validate', await attempt(() => admin.createTopics({ validateOnly: true, topics: [{ topic: t('v') }] })))
    for (const c of [{ topic: 'a b' }, { topic: t('rf'), replicationFactor: 3 }, { topic: t('np'), numPartitions: 0 }, { topic: t('cfg'), configEntries: [{ name: 'nope', value: '1' }] }])
      out('create bad', await attempt(async () => { try { return await admin.createTopics({ topics: [c] }) } catch (e) { return (e.errors || [e]).map(err).join() } }))
    out('metadata', await attempt(() => admin.fetchTopicMetadata({ topics: [t('plain')] })).then(r => r.topics ? r.topics.map(x => [x.name, x.partitions.sort((a, b) => a.partitionId - b.partitionId)]) : r))
    out('partitions', await attempt(() => admin.createPartitions({ topicPartitions: [{ topic: t('plain'), count: 5 }] })))
    out('fewer partitions', await attempt(() => admin.createPartitions({ topicPartitions: [{ topic: t('plain'), count: 2 }] })))
    const c = await admin.describeCluster(); out('cluster', [c.brokers, c.controller, c.clusterId.length])
    const R = (o = {}) => ({ type: ConfigResourceTypes.TOPIC, name: t('plain'), ...o })
    const d = await attempt(() => admin.describeConfigs({ resources: [R()], includeSynonyms: true }))
    if (d.resources) for (const e of d.resources[0].configEntries.sort((a, b) => a.configName < b.configName ? -1 : 1)) out('config', e); else out('configs', d)
    out('alter', await attempt(() => admin.alterConfigs({ resources: [R({ configEntries: [{ name: 'retention.ms', value: '5000' }] })] }))); await sleep(300)
    out('altered', await attempt(async () => (await admin.describeConfigs({ resources: [R({ configNames: ['retention.ms'] })] })).resources))
    out('alter bad', await attempt(() => admin.alterConfigs({ resources: [R({ configEntries: [{ name: 'retention.ms', value: 'x' }] })] })))
    out('reassign', await attempt(() => admin.alterPartitionReassignments({ topics: [{ topic: t('plain'), partitionAssignment: [{ partition: 0, replicas: [1] }] }] })))
    out('reassignments', await attempt(() => admin.listPartitionReassignments({})))
    out('acls', await attempt(() => within(admin.describeAcls({ resourceType: 2, resourceName: 'x', resourcePatternType: 3, principal: 'User:a', host: '*', operation: 2, permissionType: 3 }), 5000)))
    out('delete', await attempt(() => admin.deleteTopics({ topics: [t('plain')] }))); await sleep(300)
    out('delete again', await attempt(() => admin.deleteTopics({ topics: [t('plain')] })))
    out('list', (await admin.listTopics()).filter(x => x.endsWith(RUN)).length >= 0)
  },
  async errors() {
    const topic = await create('small', 1, { 'max.message.bytes': '1000' }), p = await producer()
    out('too large', await send(p, topic, [{ value: 'x'.repeat(3000) }]))
    out('auto create', await send(p, t('auto'), [{ value: 'x' }]))
    out('no auto create', await send(await producer({ allowAutoTopicCreation: false }), t('nope'), [{ value: 'x' }]))
    out('invalid topic', await send(p, 'a b', [{ value: 'x' }]))
    out('unknown partition', await send(p, topic, [{ value: 'x', partition: 9 }]))
    const c = kafka.consumer({ groupId: t('u'), allowAutoTopicCreation: false }); await c.connect()
    out('subscribe unknown', await attempt(async () => { await c.subscribe({ topic: t('nope2') }); await within(c.run({ eachMessage: async () => {} }), 3000); return 'fine' })); await within(c.disconnect(), 5000)
    const r = kafka.consumer({ groupId: t('rx') }); await r.connect(); await r.subscribe({ topic: new RegExp('^small-' + RUN), fromBeginning: true }); const got = []
    await send(p, topic, [{ value: 'rx' }]); await r.run({ eachMessage: async ({ message }) => { got.push(message.value.toString()) } })
    const end = Date.now() + 10000; while (Date.now() < end && !got.length) await sleep(50)
    out('pattern', got); await r.disconnect()
  },
}
;(async () => {
  await admin.connect()
  for (const [n, f] of Object.entries(features)) {
    if (ONLY.length && !ONLY.includes(n)) continue
    console.log('# ' + n)
    try { await f() } catch (e) { out(n + ' FAILED', err(e) + ' ' + (e.stack || '').split('\n').slice(1, 4).join('|')) }
  }
  process.exit(0)
})()
process.on('unhandledRejection', e => out('unhandled', err(e)))
