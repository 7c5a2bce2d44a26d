//! The broker itself: what it holds, how it is opened and closed, and which request goes where.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tidewater_env::{Clock, Disk, SystemClock};
use tidewater_protocol::messages::BrokerId;
use tidewater_protocol::{Door, Request, RequestContext, Response, Wake};
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

use crate::config::{topic_config, topic_config_as_is};
use crate::dynamic::{DynamicSettings, Settings, defaults_of_topics, settings_of_groups};
use crate::folder::{DataFolder, LOG_STARTS, RECOVERY_POINTS, deleted_folder};
use crate::groups::{GroupSettings, Groups, OFFSETS_TOPIC, OwnSettings};
use crate::metadata::{MetadataLog, SettingsOwner, TopicRecord};
use crate::topics::{KnownPoints, OpenTopic};
use crate::transactions::{TRANSACTIONS_TOPIC, TransactionSettings, Transactions};
use crate::{BrokerError, api, coordinator, maintenance};
/// The least time between two lines about what clients do wrong.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// How a broker is run.
#[derive(Clone)]
pub struct BrokerSettings {
    /// `num.partitions`: of topics that are made without a number. Default 1.
    pub default_partitions: i32,
    /// `auto.create.topics.enable`: a topic that somebody asks for, and that may be made for it, is made. Default
    /// true.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`. Default true.
    pub delete_topics: bool,
    /// `fetch.max.bytes`: what one response to a fetch has at most, but for a first batch that is larger. Default 55 MiB.
    pub fetch_max_bytes: usize,
    /// `max.request.partition.size.limit`: partitions that one response describes at most. Default 2,000.
    pub described_partitions: i32,
    /// `node.id`: the broker's number, which that of its data has to be. Default what its data says, 1 if there is none yet.
    pub node_id: Option<i32>,
    /// `broker.rack`: where clients are told that it stands. Default nowhere.
    pub rack: Option<String>,
    /// What a file of settings says, by Kafka's names for them: shown to administrators, and the defaults of topics' settings.
    pub properties: BTreeMap<String, String>,
    /// `offsets.topic.num.partitions`. Default 50.
    pub offsets_partitions: i32,
    /// What groups may be like.
    pub groups: GroupSettings,
    /// `transaction.state.log.num.partitions`. Default 50.
    pub transactions_partitions: i32,
    /// What transactions may be like.
    pub transactions: TransactionSettings,
    /// `log.cleaner.backoff.ms`: how often compaction looks for work. Default 15 s; `None` for never, and for no retention either.
    pub maintenance_interval: Option<Duration>,
    /// `log.retention.check.interval.ms`: how often retention looks for work. Default 5 minutes.
    pub retention_interval: Duration,
    /// `log.initial.task.delay.ms`: when it does so first. Default 30 s.
    pub initial_delay: Duration,
    /// `producer.id.expiration.ms`: a producer that has written nothing for so long is forgotten. Default 1 day.
    pub producer_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`: how often idle producers are looked for. Default 10 minutes.
    pub producer_check_interval: Duration,
    /// `log.cleaner.dedupe.buffer.size`: memory of compaction. Default 32 MiB.
    pub compaction_memory_bytes: usize,
    /// Where files are.
    pub disk: Disk,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        BrokerSettings {
            default_partitions: 1,
            auto_create_topics: true,
            delete_topics: true,
            fetch_max_bytes: 55 << 20,
            described_partitions: 2000,
            node_id: None,
            rack: None,
            properties: BTreeMap::new(),
            offsets_partitions: 50,
            groups: GroupSettings::default(),
            transactions_partitions: 50,
            transactions: TransactionSettings::default(),
            maintenance_interval: Some(Duration::from_secs(15)),
            retention_interval: Duration::from_secs(300),
            initial_delay: Duration::from_secs(30),
            producer_expiration: Duration::from_secs(24 * 3600),
            producer_check_interval: Duration::from_secs(600),
            compaction_memory_bytes: 32 << 20,
            disk: Disk::new(),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// What is shared by all who serve requests.
pub(crate) struct Shared {
    pub folder: DataFolder,
    pub settings: BrokerSettings,
    pub topics: RwLock<BTreeMap<String, Arc<OpenTopic>>>,
    /// Another number whenever a topic is made, grows, or is deleted.
    pub topics_version: AtomicU64,
    /// The names of topics by their ids; changed while the topics are locked.
    pub topic_names: RwLock<BTreeMap<Uuid, String>>,
    pub metadata: Mutex<MetadataLog>,
    /// What was changed while brokers ran.
    pub dynamic: RwLock<DynamicSettings>,
    /// What of it concerns groups.
    pub group_settings: RwLock<OwnSettings>,
    pub groups: Mutex<Groups>,
    pub transactions: Mutex<Transactions>,
    /// The thread that tells the coordinators what has become due.
    pub coordinators_thread: OnceLock<Thread>,
    watchers: Mutex<Vec<Weak<dyn Fn() + Send + Sync>>>,
    pub stopping: AtomicBool,
    /// Where clients reach the broker, by the listener that they came through.
    endpoints: RwLock<BTreeMap<String, Endpoint>>,
    complaints: Mutex<BTreeMap<&'static str, Complaints>>,
}

/// The lines about one thing that clients do wrong.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Duration>,
    /// How many lines were not written since.
    left_out: u64,
}

/// Where clients reach a broker.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The host; empty for the address that a client has reached.
    pub host: String,
    pub port: u16,
}

/// A broker over a data folder. Dropping it without [`Broker::close`] is what a crash is.
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Broker {
    /// Opens a data folder, which is made if it is absent, and recovers what a crash left.
    ///
    /// # Errors
    /// When another process has the folder, it is of a newer layout, or a log is damaged.
    pub fn open(path: &Path, mut settings: BrokerSettings) -> Result<Self, BrokerError> {
        settings.groups.check()?;
        settings.disk.allow_many_files();
        // As it is shown to whoever administers it from elsewhere.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        settings.properties.entry("log.dirs".to_owned()).or_insert_with(|| path.display().to_string());
        let folder = DataFolder::open(settings.disk.clone(), path, settings.node_id)?;
        for name in ["node.id", "broker.id"] {
            settings.properties.entry(name.to_owned()).or_insert_with(|| folder.node_id.to_string());
        }
        let (mut metadata, stored) = MetadataLog::open(&folder.disk, path, folder.was_clean)?;
        let (mut records, mut dynamic) = (stored.topics, stored.settings);
        if metadata.end() == Offset::ZERO {
            folder.mark_in_use()?;
            // A new cluster of Apache Kafka says this of all brokers, which its tools show.
            let least = Settings::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
            metadata.write_settings(&SettingsOwner::Brokers, Some(&least), settings.clock.now())?;
            dynamic.insert(SettingsOwner::Brokers, least);
        }
        finish_deletions(&folder, &mut metadata, &mut records, settings.clock.now())?;
        let points =
            KnownPoints { recovery: folder.read_points(RECOVERY_POINTS), starts: folder.read_points(LOG_STARTS) };
        let topic_defaults = defaults_of_topics(&settings.properties, &dynamic);
        let mut topics = BTreeMap::new();
        for (name, record) in records {
            // What does not go together, as in a file of settings that was changed, must not keep the others from being served.
            let config = topic_config(&topic_defaults, &record.configs).or_else(|error| {
                tracing::error!(topic = name, %error, "the broker's settings do not fit the topic's own");
                topic_config_as_is(&topic_defaults, &record.configs)
            })?;
            let topic = OpenTopic::open(&folder, &name, record, &config, &points)?;
            topics.insert(name, Arc::new(topic));
        }
        lower_recovery_points(&folder, &topics, &points)?;
        folder.mark_in_use()?;
        let mut groups = Groups::default();
        if let Some(topic) = topics.get(OFFSETS_TOPIC) {
            coordinator::replay_groups(topic, &mut groups)?;
            // Those of topics whose deletion a kill interrupted.
            groups.retain_topics(|name| topics.get(name).map(|topic| topic.record.id));
        }
        let group_settings = settings_of_groups(&dynamic);
        groups.start(settings.clock.monotonic(), &settings.groups, &group_settings);
        let mut transactions = Transactions::default();
        if let Some(topic) = topics.get(TRANSACTIONS_TOPIC) {
            coordinator::replay_transactions(topic, &mut transactions)?;
        }
        transactions.start(settings.clock.monotonic(), settings.clock.now(), &settings.transactions);
        let topic_names = topics.iter().map(|(name, topic)| (topic.record.id, name.clone())).collect();
        let shared = Arc::new(Shared {
            topics_version: AtomicU64::new(0),
            topic_names: RwLock::new(topic_names),
            folder,
            settings,
            topics: RwLock::new(topics),
            metadata: Mutex::new(metadata),
            dynamic: RwLock::new(dynamic),
            group_settings: RwLock::new(group_settings),
            groups: Mutex::new(groups),
            transactions: Mutex::new(transactions),
            coordinators_thread: OnceLock::new(),
            watchers: Mutex::new(Vec::new()),
            stopping: AtomicBool::new(false),
            endpoints: RwLock::default(),
            complaints: Mutex::default(),
        });
        let mut broker = Broker { shared, threads: Vec::new() };
        broker.threads.push(coordinator::start(&broker.shared)?);
        broker.threads.extend(maintenance::start(&broker.shared)?);
        Ok(broker)
    }

    /// The cluster's id, which the folder keeps.
    pub fn cluster_id(&self) -> &str {
        &self.shared.folder.cluster_id
    }

    /// Closes all logs in good order, so that the next start need not check them.
    ///
    /// # Errors
    /// When the disk refuses; nothing acknowledged is lost then either.
    pub fn close(mut self) -> Result<(), BrokerError> {
        self.stop_threads();
        let mut points = BTreeMap::new();
        let mut failed = None;
        for (name, topic) in self.shared.topics().iter() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                match partition.lock().close() {
                    Ok(point) => {
                        points.insert(TopicPartition::new(name.as_str(), number as i32), point);
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        self.shared.metadata.lock().unwrap_or_else(PoisonError::into_inner).close()?;
        // Without the mark of a clean close, the next open checks all logs.
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.shared.folder.write_points(RECOVERY_POINTS, &points)?;
        self.shared.folder.mark_clean()
    }

    fn stop_threads(&mut self) {
        self.shared.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

impl Door for Broker {
    fn call(&self, context: &RequestContext, request: Request) -> Option<Response> {
        dispatch(&self.shared, context, request)
    }

    fn watch(&self, wake: &Wake) {
        self.shared.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(wake));
    }
}

/// Which request goes where. A fetch does not wait here, and what must wait, as a member that joins its group, is not answered.
pub(crate) fn dispatch(shared: &Shared, context: &RequestContext, request: Request) -> Option<Response> {
    Some(match request {
        Request::Produce(request) => Response::Produce(api::produce::handle(shared, context, request)),
        Request::Fetch(request) => Response::Fetch(api::fetch::handle(shared, context, &request)),
        Request::ListOffsets(request) => Response::ListOffsets(api::list_offsets::handle(shared, context, &request)),
        Request::Metadata(request) => Response::Metadata(api::metadata::handle(shared, context, &request)),
        Request::ApiVersions(request) => Response::ApiVersions(api::api_versions::handle(context, &request)),
        Request::DescribeCluster(request) => {
            Response::DescribeCluster(api::describe_cluster::handle(shared, context, &request))
        }
        Request::DescribeTopicPartitions(request) => {
            Response::DescribeTopicPartitions(api::describe_topic_partitions::handle(shared, &request))
        }
        Request::FindCoordinator(request) => {
            Response::FindCoordinator(api::find_coordinator::handle(shared, context, &request))
        }
        Request::DescribeLogDirs(request) => {
            Response::DescribeLogDirs(api::describe_log_dirs::handle(shared, &request))
        }
        Request::DescribeProducers(request) => {
            Response::DescribeProducers(api::describe_producers::handle(shared, &request))
        }
        Request::ElectLeaders(request) => Response::ElectLeaders(api::elect_leaders::handle(shared, &request)),
        Request::ListPartitionReassignments(_) => {
            Response::ListPartitionReassignments(api::list_partition_reassignments::handle())
        }
        Request::InitProducerId(request) => {
            Response::InitProducerId(api::init_producer_id::handle(shared, context, &request))
        }
        Request::AddPartitionsToTxn(request) => {
            Response::AddPartitionsToTxn(api::add_partitions_to_txn::handle(shared, context, &request))
        }
        Request::AddOffsetsToTxn(request) => {
            Response::AddOffsetsToTxn(api::add_offsets_to_txn::handle(shared, context, &request))
        }
        Request::EndTxn(request) => Response::EndTxn(api::end_txn::handle(shared, context, &request)),
        Request::WriteTxnMarkers(request) => {
            Response::WriteTxnMarkers(api::write_txn_markers::handle(shared, &request))
        }
        Request::TxnOffsetCommit(request) => {
            Response::TxnOffsetCommit(api::txn_offset_commit::handle(shared, context, &request))
        }
        Request::DescribeTransactions(request) => {
            Response::DescribeTransactions(api::describe_transactions::handle(shared, &request))
        }
        Request::ListTransactions(request) => {
            Response::ListTransactions(api::list_transactions::handle(shared, &request))
        }
        Request::OffsetForLeaderEpoch(request) => {
            Response::OffsetForLeaderEpoch(api::offset_for_leader_epoch::handle(shared, &request))
        }
        Request::CreateTopics(request) => Response::CreateTopics(api::create_topics::handle(shared, &request)),
        Request::DeleteTopics(request) => Response::DeleteTopics(api::delete_topics::handle(shared, context, &request)),
        Request::CreatePartitions(request) => {
            Response::CreatePartitions(api::create_partitions::handle(shared, &request))
        }
        Request::DeleteRecords(request) => Response::DeleteRecords(api::delete_records::handle(shared, &request)),
        Request::DescribeConfigs(request) => {
            Response::DescribeConfigs(api::describe_configs::handle(shared, context, &request))
        }
        Request::IncrementalAlterConfigs(request) => {
            Response::IncrementalAlterConfigs(api::incremental_alter_configs::handle(shared, &request))
        }
        Request::OffsetCommit(request) => Response::OffsetCommit(api::offset_commit::handle(shared, context, &request)),
        Request::AlterConfigs(request) => Response::AlterConfigs(api::alter_configs::handle(shared, &request)),
        Request::AlterPartitionReassignments(request) => {
            Response::AlterPartitionReassignments(api::alter_partition_reassignments::handle(shared, &request))
        }
        Request::ListConfigResources(request) => {
            Response::ListConfigResources(api::list_config_resources::handle(shared, context, &request))
        }
        Request::GetTelemetrySubscriptions(request) => {
            Response::GetTelemetrySubscriptions(api::get_telemetry_subscriptions::handle(&request))
        }
        Request::PushTelemetry(request) => Response::PushTelemetry(api::push_telemetry::handle(&request)),
        Request::UpdateFeatures(request) => Response::UpdateFeatures(api::update_features::handle(context, &request)),
        Request::DescribeQuorum(request) => {
            Response::DescribeQuorum(api::describe_quorum::handle(shared, context, &request))
        }
        Request::OffsetDelete(request) => Response::OffsetDelete(api::offset_delete::handle(shared, &request)),
        Request::Heartbeat(request) => Response::Heartbeat(api::heartbeat::handle(shared, &request)),
        Request::LeaveGroup(request) => Response::LeaveGroup(api::leave_group::handle(shared, context, &request)),
        Request::ConsumerGroupHeartbeat(request) => {
            Response::ConsumerGroupHeartbeat(api::consumer_group_heartbeat::handle(shared, context, &request))
        }
        Request::ConsumerGroupDescribe(request) => {
            Response::ConsumerGroupDescribe(api::consumer_group_describe::handle(shared, &request))
        }
        Request::StreamsGroupHeartbeat(request) => {
            Response::StreamsGroupHeartbeat(api::streams_group_heartbeat::handle(shared, context, &request))
        }
        Request::StreamsGroupDescribe(request) => {
            Response::StreamsGroupDescribe(api::streams_group_describe::handle(shared, &request))
        }
        Request::DescribeGroups(request) => {
            Response::DescribeGroups(api::describe_groups::handle(shared, context, &request))
        }
        Request::ListGroups(request) => Response::ListGroups(api::list_groups::handle(shared, &request)),
        Request::DeleteGroups(request) => Response::DeleteGroups(api::delete_groups::handle(shared, &request)),
        Request::OffsetFetch(request) => Response::OffsetFetch(api::offset_fetch::handle(shared, context, &request)),
        _ => return None,
    })
}

impl Shared {
    /// Where the client that asks reaches this broker; `None` in the process.
    pub fn endpoint(&self, context: &RequestContext) -> Option<Endpoint> {
        let listener = context.caller.listener.as_deref()?;
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let mut endpoint = endpoints.get(listener)?.clone();
        if endpoint.host.is_empty() {
            endpoint.host = context.caller.reached?.to_string();
        }
        Some(endpoint)
    }

    pub fn set_endpoint(&self, listener: &str, endpoint: Endpoint) {
        self.endpoints.write().unwrap_or_else(PoisonError::into_inner).insert(listener.to_owned(), endpoint);
    }

    /// Writes a line about what clients do wrong, unless there was one of that kind a moment ago. It is told how many were left out.
    pub fn complain(&self, kind: &'static str, line: impl FnOnce(u64)) {
        let now = self.settings.clock.monotonic();
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let complaints = complaints.entry(kind).or_default();
        if complaints.last.is_none_or(|last| now.saturating_sub(last) >= COMPLAINT_PAUSE) {
            complaints.last = Some(now);
            line(std::mem::take(&mut complaints.left_out));
        } else {
            complaints.left_out += 1;
        }
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<(String, Arc<OpenTopic>)> {
        let name = self.topic_names.read().unwrap_or_else(PoisonError::into_inner).get(&id)?.clone();
        let topic = self.topic(&name).filter(|topic| topic.record.id == id)?;
        Some((name, topic))
    }

    /// The one node.
    pub fn node(&self) -> BrokerId {
        BrokerId(self.folder.node_id)
    }

    /// Where the next record of the log of topics goes.
    pub fn metadata_end(&self) -> i64 {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).end().0
    }

    pub fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub fn topics(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<OpenTopic>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn topic(&self, name: &str) -> Option<Arc<OpenTopic>> {
        self.topics().get(name).cloned()
    }

    /// Tells those who wait that there is more.
    pub fn wake_watchers(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.upgrade().map(|wake| wake()).is_some());
    }
}

/// Recovery points that lie behind their log's end, as of one that was restored from a copy, would make the next torn tail look durable.
fn lower_recovery_points(
    folder: &DataFolder,
    topics: &BTreeMap<String, Arc<OpenTopic>>,
    points: &KnownPoints,
) -> Result<(), BrokerError> {
    let end = |place: &TopicPartition| {
        let partition = topics.get(&*place.topic)?.partition(place.partition)?;
        Some(partition.lock().log_end())
    };
    let ahead: BTreeMap<_, _> = points
        .recovery
        .iter()
        .filter_map(|(place, point)| Some((place, end(place)?)).filter(|(_, end)| point > end))
        .collect();
    if ahead.is_empty() {
        return Ok(());
    }
    folder.change_points(RECOVERY_POINTS, |points| {
        for (place, end) in ahead {
            points.insert(place.clone(), end);
        }
    })
}

/// Notes that a topic is deleted whose partitions' folders have been renamed. There may be no room for that as long as their files are there;
/// the folders themselves stay, or after a kill the topic would be there still, without records.
pub(crate) fn note_deletion(
    folder: &DataFolder,
    metadata: &mut MetadataLog,
    name: &str,
    renamed: &[PathBuf],
    now: Timestamp,
) -> Result<(), BrokerError> {
    let mut note = || folder.forget_points(name).and_then(|()| metadata.write(name, None, now));
    note().or_else(|error| {
        tracing::debug!(topic = name, %error, "the files of a deleted topic go before it is noted");
        renamed.iter().try_for_each(|path| folder.disk.empty_folder(path).map_err(BrokerError::io("empty", path)))?;
        note()
    })
}

/// Ends what a kill amid the deletion of a topic has left: see [`Shared::delete_topic`].
fn finish_deletions(
    folder: &DataFolder,
    metadata: &mut MetadataLog,
    records: &mut BTreeMap<String, TopicRecord>,
    now: Timestamp,
) -> Result<(), BrokerError> {
    let deleted = folder.deleted()?;
    let begun = |record: &TopicRecord| {
        (0..record.partitions).any(|number| deleted.contains(&deleted_folder(&folder.path, record.id, number)))
    };
    let names: Vec<String> = records.iter().filter(|(_, record)| begun(record)).map(|(name, _)| name.clone()).collect();
    if !names.is_empty() {
        // What is written now may be torn by a power cut.
        folder.mark_in_use()?;
    }
    for name in names {
        let Some(record) = records.remove(&name) else { continue };
        for number in 0..record.partitions {
            let path = folder.path.join(TopicPartition::new(name.as_str(), number).to_string());
            if folder.disk.exists(&path) {
                let away = deleted_folder(&folder.path, record.id, number);
                folder.disk.rename(&path, &away).map_err(BrokerError::io("rename", path))?;
            }
        }
        note_deletion(folder, metadata, &name, &folder.deleted()?, now)?;
    }
    for path in folder.deleted()? {
        folder.disk.remove_folder(&path).map_err(BrokerError::io("remove", path))?;
    }
    Ok(())
}
