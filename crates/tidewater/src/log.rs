//! The log that a program works on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidewater_broker::{Broker, BrokerError, BrokerSettings, Listener, Server, ServerSettings};
use tidewater_client::{Admin, ClientError, Consumer, NativeClient, Producer, partition_of};
use tidewater_env::{Clock, Disk, SystemClock};
use tidewater_protocol::{Batch, BatchBuilder, BatchError, Compression, Door, UNPACK_LIMIT_BYTES, record_bytes};
use tidewater_streams::{CodecError, Field, Topic};
use tidewater_types::{Offset, Partition, Record, Timestamp, TopicPartition};

/// The variable that names the log.
pub(crate) const LOG_VARIABLE: &str = "TIDEWATER_LOG";
const DEFAULT_FOLDER: &str = "tidewater-data";
/// A batch of this size is sent.
const BATCH_BYTES: usize = 64 * 1024;
/// Bytes that are read at once.
const FETCH_BYTES: usize = 1 << 20;
/// How long a reader waits for more records.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a waiting reader looks again.
const READ_PAUSE: Duration = Duration::from_millis(2);

/// Why the log could not be opened, written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The folder could not be opened or closed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The log is named by an address.
    #[error("{0} is an address, but only a log in a folder can be opened; name a folder")]
    Address(String),
    /// The log refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A topic does not exist.
    #[error(
        "topic {0} does not exist; create it first, in a program with `create_topic`, at a shell with `tidewater topics create {0}`"
    )]
    MissingTopic(String),
    /// A key or value has no bytes, or bytes are not of the topic's type.
    #[error("topic {topic}: {source}")]
    Codec {
        /// The topic.
        topic: String,
        /// What is wrong.
        source: CodecError,
    },
    /// A null where the topic's type has none.
    #[error(
        "topic {topic}, partition {partition}, offset {offset} has a null where its type has none; read it as Option"
    )]
    Null {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The offset.
        offset: Offset,
    },
    /// A batch is damaged.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records that were waited for did not come.
    #[error("topic {topic}: {found} of {wanted} records came within {} s", READ_TIMEOUT.as_secs())]
    TimedOut {
        /// The topic.
        topic: String,
        /// How many came.
        found: usize,
        /// How many were waited for.
        wanted: usize,
    },
}

/// The bundled log, opened in this process over a folder.
#[derive(Clone)]
pub struct Log {
    broker: Arc<Broker>,
    pub(crate) client: NativeClient,
    folder: PathBuf,
}

impl Log {
    /// Opens the log in a folder, which is made if it is absent.
    ///
    /// # Errors
    /// When another process has it open, it is of a newer layout, or damaged; and when an address stands in the place of the
    /// folder, since this version has the log in the process only.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, LogError> {
        let folder = folder.as_ref().to_owned();
        if let Some(address) = folder.to_str().filter(|name| name.contains("://")) {
            return Err(LogError::Address(address.to_owned()));
        }
        let broker = Arc::new(Broker::open(&folder.join("log"), BrokerSettings::default())?);
        let client = NativeClient::new(broker.clone(), "");
        Ok(Log { broker, client, folder })
    }

    /// Opens the log that `TIDEWATER_LOG` names: a folder, by default `tidewater-data`.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn from_env() -> Result<Self, LogError> {
        Log::open(std::env::var_os(LOG_VARIABLE).unwrap_or_else(|| DEFAULT_FOLDER.into()))
    }

    /// Whether there is a log in a folder.
    pub fn exists(folder: impl AsRef<Path>) -> bool {
        Disk::new().exists(&folder.as_ref().join("log").join("meta.properties"))
    }

    /// Where persistent stores go unless the application says otherwise.
    pub(crate) fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Lets Kafka clients of other processes use the log, until the server is stopped.
    ///
    /// ```no_run
    /// # async fn run() -> anyhow::Result<()> {
    /// let log = tidewater::Log::open("tidewater-data")?;
    /// let server = log.listen(&["127.0.0.1:9092".parse()?]).await?;
    /// println!("{:?}", server.addresses());
    /// server.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn listen(&self, listeners: &[Listener]) -> Result<Server, LogError> {
        Ok(Server::start(&self.broker, listeners, ServerSettings::default()).await?)
    }

    pub(crate) fn door(&self) -> Arc<dyn Door> {
        self.broker.clone()
    }

    /// Closes the log in good order, if nobody else holds it any more; what is not closed is recovered when it is opened.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(self) -> Result<(), LogError> {
        let Log { broker, client, .. } = self;
        drop(client);
        match Arc::try_unwrap(broker) {
            Ok(broker) => Ok(broker.close()?),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn partitions(&self, topic: &str) -> Result<Partition, LogError> {
        self.client.partitions(topic)?.ok_or_else(|| LogError::MissingTopic(topic.to_owned()))
    }

    /// Appends records, by their keys' partitions. When this returns, they are in the log. Gives how many there were.
    ///
    /// # Errors
    /// When the topic does not exist, a record has no bytes, or the log refuses.
    pub fn send<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        records: impl IntoIterator<Item = Record<K, V>>,
    ) -> Result<usize, LogError> {
        let count = self.partitions(topic.name())?;
        let full = BATCH_BYTES.min(self.client.max_batch_bytes(topic.name())?);
        let (key_serde, value_serde) = (topic.key_serde(), topic.value_serde());
        let codec = |source| LogError::Codec { topic: topic.name().to_owned(), source };
        let mut batches: BTreeMap<Partition, BatchBuilder> = BTreeMap::new();
        let (mut sent, mut keyless) = (0, 0);
        for record in records {
            let key = record.key.as_some().map(|key| key_serde.to_bytes(key)).transpose().map_err(codec)?;
            let value = record.value.as_some().map(|value| value_serde.to_bytes(value)).transpose().map_err(codec)?;
            let suffix = record.key.as_some().map_or(0, |key| key_serde.partition_suffix(key));
            let partition = match &key {
                Some(key) => partition_of(&key[..key.len().saturating_sub(suffix)], count),
                None => {
                    keyless = (keyless + 1) % count;
                    keyless
                }
            };
            let size = record_bytes(key.as_deref(), value.as_deref(), &record.headers);
            if batches.get(&partition).is_some_and(|batch| batch.size() + size > full)
                && let Some(batch) = batches.remove(&partition)
            {
                self.append(topic.name(), partition, batch)?;
            }
            let batch = batches.entry(partition).or_insert_with(|| BatchBuilder::new(Compression::None));
            batch.push(record.timestamp, key.as_deref(), value.as_deref(), &record.headers);
            sent += 1;
        }
        for (partition, batch) in batches {
            self.append(topic.name(), partition, batch)?;
        }
        Ok(sent)
    }

    fn append(&self, topic: &str, partition: Partition, batch: BatchBuilder) -> Result<(), LogError> {
        let bytes = batch.finish().map_err(BatchError::from)?;
        self.client.send(&TopicPartition::new(topic, partition), bytes)?;
        Ok(())
    }

    /// The wall clock, for records whose time is now.
    pub fn now(&self) -> Timestamp {
        SystemClock::new().now()
    }

    /// Visits the records of a topic that there are now, with partition and offset, until `visit` breaks.
    ///
    /// # Errors
    /// When the topic does not exist, or a record is not of its types.
    pub fn visit<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        visit: impl FnMut(Partition, Offset, Record<K, V>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        self.visit_from(topic, &[], visit)
    }

    /// The same from an offset on in each partition. Where there is none, or it is not in the log any more, from the first.
    ///
    /// # Errors
    /// When the topic does not exist, or a record is not of its types.
    pub fn visit_from<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        offsets: &[Offset],
        mut visit: impl FnMut(Partition, Offset, Record<K, V>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let bounds = self.start_offsets(topic.name())?.into_iter().zip(self.end_offsets(topic.name())?);
        for (partition, (start, end)) in bounds.enumerate() {
            let place = TopicPartition::new(topic.name(), partition as Partition);
            let wanted = offsets.get(partition).copied().filter(|offset| (start..=end).contains(offset));
            let (mut position, mut found) = (wanted.unwrap_or(start), Vec::new());
            while self.read_chunk(topic, &place, &mut position, &mut found)? {
                for (offset, record) in found.drain(..) {
                    if visit(place.partition, offset, record).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// All records of a topic that there are now, with partition and offset.
    ///
    /// # Errors
    /// When the topic does not exist, or a record is not of its types.
    pub fn records<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
    ) -> Result<Vec<(Partition, Offset, Record<K, V>)>, LogError> {
        let mut all = Vec::new();
        self.visit(topic, |partition, offset, record| {
            all.push((partition, offset, record));
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// All records of a topic from the beginning, by partition and offset; waits until there are at least `at_least`.
    ///
    /// # Errors
    /// When the topic does not exist, a record is not of its types, or the records do not come within 30 seconds.
    pub fn read<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        at_least: usize,
    ) -> Result<Vec<Record<K, V>>, LogError> {
        let count = self.partitions(topic.name())?;
        let clock = SystemClock::new();
        let mut positions = vec![Offset::ZERO; count as usize];
        let mut found: Vec<Vec<(Offset, Record<K, V>)>> = (0..count).map(|_| Vec::new()).collect();
        loop {
            for partition in 0..count {
                let place = TopicPartition::new(topic.name(), partition);
                let position = &mut positions[partition as usize];
                *position = (*position).max(self.client.earliest(&place)?);
                while self.read_chunk(topic, &place, position, &mut found[partition as usize])? {}
            }
            let total: usize = found.iter().map(Vec::len).sum();
            if total >= at_least {
                return Ok(found.into_iter().flatten().map(|(_, record)| record).collect());
            }
            if clock.monotonic() > READ_TIMEOUT {
                return Err(LogError::TimedOut { topic: topic.name().to_owned(), found: total, wanted: at_least });
            }
            std::thread::park_timeout(READ_PAUSE);
        }
    }

    /// Reads on from a position; says whether there was anything.
    fn read_chunk<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        place: &TopicPartition,
        position: &mut Offset,
        found: &mut Vec<(Offset, Record<K, V>)>,
    ) -> Result<bool, LogError> {
        let (key_serde, value_serde) = (topic.key_serde(), topic.value_serde());
        let codec = |source| LogError::Codec { topic: topic.name().to_owned(), source };
        let mut chunk = self.client.fetch(place, *position, FETCH_BYTES)?.records;
        let any = !chunk.is_empty();
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk)?;
            batch.check_crc()?;
            if !batch.is_control() {
                for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                    let record = record?;
                    if record.offset < *position {
                        continue;
                    }
                    let key = record.key.map(|key| key_serde.read(key)).transpose().map_err(codec)?;
                    let value = record.value.map(|value| value_serde.read(value)).transpose().map_err(codec)?;
                    let (Some(key), Some(value)) = (K::from_option(key), V::from_option(value)) else {
                        return Err(LogError::Null {
                            topic: topic.name().to_owned(),
                            partition: place.partition,
                            offset: record.offset,
                        });
                    };
                    let (timestamp, headers) = (record.timestamp, record.headers());
                    found.push((record.offset, Record { key, value, timestamp, headers }));
                }
            }
            *position = batch.next_offset().max(*position);
            chunk = chunk.slice(batch.len()..);
        }
        Ok(any)
    }
}

/// Visits the batches in a partition's folder as they stand on disk, without opening the log.
///
/// # Errors
/// When a file cannot be read, or `visit` says so.
pub fn inspect_partition<E: From<tidewater_log::LogError>>(
    folder: &Path,
    visit: impl FnMut(tidewater_log::Inspected) -> Result<(), E>,
) -> Result<(), E> {
    tidewater_log::inspect(&Disk::new(), folder, visit)
}
