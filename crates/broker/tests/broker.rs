//! The broker through its door: topics, records, offsets, over restarts and crashes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;

use bytes::Bytes;
use tidewater_broker::{Broker, BrokerError, BrokerSettings};
use tidewater_protocol::messages::*;
use tidewater_protocol::{BatchBuilder, Compression, Door, Request, RequestContext, Response, ResponseError, StrBytes};
use tidewater_types::{Headers, Timestamp};

fn open(folder: &Path) -> Broker {
    Broker::open(folder, BrokerSettings { maintenance_interval: None, ..BrokerSettings::default() }).unwrap()
}

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn create(broker: &Broker, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> (i16, Option<String>) {
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))))
        .collect();
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    match broker.call(&RequestContext::in_process(), Request::CreateTopics(request)) {
        Some(Response::CreateTopics(response)) => {
            let topic = &response.topics[0];
            (topic.error_code, topic.error_message.as_ref().map(ToString::to_string))
        }
        other => panic!("{other:?}"),
    }
}

fn produce(broker: &Broker, topic: &str, partition: i32, values: &[&str]) -> (i16, i64) {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(Timestamp(1), Some(b"k"), Some(value.as_bytes()), &Headers::EMPTY);
    }
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(builder.finish().unwrap()));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]);
    match broker.call(&RequestContext::in_process(), Request::Produce(request)) {
        Some(Response::Produce(response)) => {
            let partition = &response.responses[0].partition_responses[0];
            (partition.error_code, partition.base_offset)
        }
        other => panic!("{other:?}"),
    }
}

fn fetch(broker: &Broker, topic: &str, offset: i64) -> (i16, Bytes) {
    use fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    match broker.call(&RequestContext::in_process(), Request::Fetch(FetchRequest::default().with_topics(vec![topic]))) {
        Some(Response::Fetch(response)) => {
            let partition = &response.responses[0].partitions[0];
            (partition.error_code, partition.records.clone().unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

fn commit(broker: &Broker, group: &str, topic: &str, offset: i64) -> i16 {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_static_str("m")));
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(vec![topic]);
    match broker.call(&RequestContext::in_process(), Request::OffsetCommit(request)) {
        Some(Response::OffsetCommit(response)) => response.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn committed(broker: &Broker, group: &str) -> Vec<(String, i32, i64, String)> {
    use offset_fetch_request::OffsetFetchRequestGroup;
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(None);
    match broker.call(
        &RequestContext::in_process(),
        Request::OffsetFetch(OffsetFetchRequest::default().with_groups(vec![group])),
    ) {
        Some(Response::OffsetFetch(response)) => response.groups[0]
            .topics
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|partition| {
                    let metadata = partition.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                    (topic.name.to_string(), partition.partition_index, partition.committed_offset, metadata)
                })
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    assert_eq!(create(&broker, "articles", 2, &[("retention.ms", "-1")]).0, 0);
    assert_eq!(produce(&broker, "articles", 0, &["a", "b"]), (0, 0));
    assert_eq!(produce(&broker, "articles", 0, &["c"]), (0, 2));
    assert_eq!(commit(&broker, "news", "articles", 2), 0);
    let id = broker.cluster_id().to_owned();
    drop(broker); // A crash: nothing was closed.

    let broker = open(folder.path());
    assert_eq!(broker.cluster_id(), id);
    let (code, records) = fetch(&broker, "articles", 0);
    assert_eq!(code, 0);
    assert_eq!(tidewater_protocol::Batch::parse(&records).unwrap().record_count(), 2);
    assert_eq!(committed(&broker, "news"), [("articles".to_owned(), 0, 2, "m".to_owned())]);
    broker.close().unwrap();

    let broker = open(folder.path());
    assert_eq!(produce(&broker, "articles", 0, &["d"]), (0, 3));
    assert_eq!(fetch(&broker, "articles", 4), (0, Bytes::new()));
    assert_eq!(fetch(&broker, "articles", 5).0, ResponseError::OffsetOutOfRange.code());
}

#[test]
fn two_processes_never_open_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let second = Broker::open(folder.path(), BrokerSettings::default());
    assert!(matches!(second.err(), Some(BrokerError::InUse(_))));
}

#[test]
fn a_topic_that_is_not_there_is_named_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(produce(&broker, "nothing", 0, &["x"]).0, unknown);
    assert_eq!(fetch(&broker, "nothing", 0).0, unknown);
    assert_eq!(create(&broker, "one", 1, &[]).0, 0);
    assert_eq!(produce(&broker, "one", 1, &["x"]).0, unknown);
}

#[test]
fn topics_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    assert_eq!(create(&broker, "t", 1, &[]).0, 0);
    assert_eq!(create(&broker, "t", 1, &[]).0, ResponseError::TopicAlreadyExists.code());
    assert_eq!(create(&broker, "no/name", 1, &[]).0, ResponseError::InvalidTopicException.code());
    assert_eq!(create(&broker, "u", 0, &[]).0, ResponseError::InvalidPartitions.code());
    let (code, message) = create(&broker, "u", 1, &[("cleanup.polici", "compact")]);
    assert_eq!(code, ResponseError::InvalidConfig.code());
    assert!(message.unwrap().contains("did you mean cleanup.policy?"));
}

#[test]
fn a_deleted_topic_is_gone_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &["x"]);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    broker.call(&RequestContext::in_process(), Request::DeleteTopics(request)).unwrap();
    assert!(!folder.path().join("t-0").exists());
    broker.close().unwrap();
    let broker = open(folder.path());
    assert_eq!(fetch(&broker, "t", 0).0, ResponseError::UnknownTopicOrPartition.code());
}

fn delete(broker: &Broker, topic: &str) -> i16 {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]);
    match broker.call(&RequestContext::in_process(), Request::DeleteTopics(request)) {
        Some(Response::DeleteTopics(response)) => response.responses[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_topic_leaves_no_offsets_to_one_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    for topic in ["t", "u"] {
        create(&broker, topic, 1, &[]);
        produce(&broker, topic, 0, &["x", "y"]);
        assert_eq!(commit(&broker, "g", topic, 2), 0);
    }
    assert_eq!(delete(&broker, "t"), 0);
    create(&broker, "t", 1, &[]);
    let left = [("u".to_owned(), 0, 2, "m".to_owned())];
    assert_eq!(committed(&broker, "g"), left);
    drop(broker);
    assert_eq!(committed(&open(folder.path()), "g"), left);
}

#[test]
fn a_deletion_that_was_killed_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 2, &[]);
    produce(&broker, "t", 0, &["x"]);
    produce(&broker, "t", 1, &["y"]);
    commit(&broker, "g", "t", 1);
    drop(broker);
    // The first folder had lost its name.
    let id = std::fs::read_to_string(folder.path().join("t-0/partition.metadata")).unwrap();
    let id = id.split("topic_id: ").nth(1).unwrap();
    std::fs::rename(folder.path().join("t-0"), folder.path().join(format!("{id}-0.deleted"))).unwrap();
    let broker = open(folder.path());
    assert_eq!(fetch(&broker, "t", 0).0, ResponseError::UnknownTopicOrPartition.code());
    assert!(committed(&broker, "g").is_empty());
    assert_eq!(create(&broker, "t", 2, &[]).0, 0);
    assert_eq!(produce(&broker, "t", 1, &["z"]), (0, 0));
    assert!(!folder.path().join(format!("{id}-0.deleted")).exists());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() { copy_folder(&path, &to) } else { assert!(std::fs::copy(&path, &to).is_ok()) }
    }
}

/// As a folder is that was closed in good order before anything stood in its log of topics: the mark says of that log that it is whole.
#[test]
fn the_mark_of_a_clean_close_goes_before_the_log_of_topics_is_written() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    let [log, mark] = ["__cluster_metadata-0/00000000000000000000.log", ".kafka_cleanshutdown"];
    std::fs::write(folder.path().join(log), b"").unwrap();
    let mut torn = 0;
    for changes in 0..30 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let disk = tidewater_env::Disk::with_changes(changes);
        drop(Broker::open(copy.path(), BrokerSettings { disk, ..BrokerSettings::default() }));
        let written = std::fs::read(copy.path().join(log)).unwrap();
        if !written.is_empty() {
            assert!(!copy.path().join(mark).exists(), "after {changes}");
            std::fs::write(copy.path().join(log), &written[..written.len() - 1]).unwrap();
            torn += 1;
        }
        open(copy.path()).close().unwrap();
    }
    assert!((1..30).contains(&torn));
}

#[test]
fn a_topic_with_the_longest_name_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let topic = "n".repeat(249);
    assert_eq!(create(&broker, &topic, 1, &[]).0, 0);
    assert_eq!(delete(&broker, &topic), 0);
    assert_eq!(create(&broker, &topic, 1, &[]).0, 0);
}

#[test]
fn a_deleted_topic_leaves_no_marks_to_one_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[]);
    let points = ["cleaner-offset-checkpoint", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint"];
    for points in points {
        std::fs::write(folder.path().join(points), "0\n2\nt 0 100\nu 0 7\n").unwrap();
    }
    assert_eq!(delete(&broker, "t"), 0);
    for points in points {
        assert_eq!(std::fs::read_to_string(folder.path().join(points)).unwrap(), "0\n1\nu 0 7\n");
    }
}

#[test]
fn the_topic_of_offsets_is_the_brokers_own() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let offsets = "__consumer_offsets";
    assert_eq!(create(&broker, offsets, 1, &[]).0, 0);
    create(&broker, "t", 1, &[]);
    commit(&broker, "g", "t", 0);
    assert_ne!(delete(&broker, offsets), 0);
    assert_eq!(alter(&broker, offsets, &[("cleanup.policy", SET, "delete")]).0, ResponseError::InvalidConfig.code());
    assert_eq!(alter(&broker, offsets, &[("segment.bytes", SET, "2097152")]).0, 0);
    assert_eq!(grow(&broker, offsets, 60), ResponseError::InvalidPartitions.code());
    assert_eq!(create(&broker, "many", 2_000_000_000, &[]).0, ResponseError::PolicyViolation.code());
}

#[test]
fn names_and_notes_that_no_record_can_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 2, &[]);
    assert_eq!(commit(&broker, "g", "nothing", 1), ResponseError::UnknownTopicOrPartition.code());
    assert_eq!(commit(&broker, &"g".repeat(40_000), "t", 1), ResponseError::InvalidGroupId.code());
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let note = |partition: i32, length: usize| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(1)
            .with_committed_metadata(Some(StrBytes::from_string("m".repeat(length))))
    };
    let topic =
        OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![note(0, 4096), note(1, 4097)]);
    let group = GroupId(StrBytes::from_static_str("g"));
    let request = OffsetCommitRequest::default().with_group_id(group).with_topics(vec![topic]);
    match broker.call(&RequestContext::in_process(), Request::OffsetCommit(request)) {
        Some(Response::OffsetCommit(response)) => {
            let codes: Vec<_> = response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
            assert_eq!(codes, [0, ResponseError::OffsetMetadataTooLarge.code()]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(committed(&broker, "g").len(), 1);
}

/// The error of the folder, as `kafka-log-dirs` tells it.
fn folder_error(broker: &Broker) -> i16 {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    match broker.call(&RequestContext::in_process(), Request::DescribeLogDirs(request)) {
        Some(Response::DescribeLogDirs(response)) => response.results[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_whose_disk_was_full_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = tidewater_env::Disk::with_space(1 << 20);
    let settings = || BrokerSettings { maintenance_interval: None, disk: disk.clone(), ..BrokerSettings::default() };
    let broker = Broker::open(folder.path(), settings()).unwrap();
    create(&broker, "t", 1, &[]);
    assert_eq!(commit(&broker, "g", "t", 1), 0);
    let mut kept = 0;
    let refused = loop {
        match produce(&broker, "t", 0, &[&"x".repeat(100_000)]) {
            (0, _) => kept += 1,
            (refused, _) => break refused,
        }
    };
    assert_eq!(refused, ResponseError::KafkaStorageError.code());
    // What was written in part has taken the rest.
    assert_ne!((produce(&broker, "t", 0, &["y"]).0, commit(&broker, "g", "t", 2)), (0, 0));
    assert_eq!(folder_error(&broker), 0, "it is full, and nothing is lost");
    disk.add_space(1 << 20);
    assert_eq!((produce(&broker, "t", 0, &["y"]), commit(&broker, "g", "t", 3)), ((0, kept), 0));
    broker.close().unwrap();
    let broker = Broker::open(folder.path(), settings()).unwrap();
    assert_eq!(committed(&broker, "g")[0].2, 3);
    assert_eq!(produce(&broker, "t", 0, &["z"]), (0, kept + 1));
}

/// On a full disk a topic can be deleted, which is how there comes to be room.
#[test]
fn deleting_makes_room_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = tidewater_env::Disk::with_space(1 << 20);
    let settings = || BrokerSettings { maintenance_interval: None, disk: disk.clone(), ..BrokerSettings::default() };
    let broker = Broker::open(folder.path(), settings()).unwrap();
    create(&broker, "t", 1, &[]);
    while produce(&broker, "t", 0, &[&"x".repeat(10_000)]).0 == 0 {}
    // That there is no room even for the note, though the files are gone, is how this disk is; the real one has what they had.
    assert_ne!(delete(&broker, "t"), 0);
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = left.filter(|path| path.extension().is_some_and(|extension| extension == "deleted")).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(std::fs::read_dir(&left[0]).unwrap().count(), 0, "its files are gone");
    drop(broker);
    disk.add_space(1 << 20);
    let broker = Broker::open(folder.path(), settings()).unwrap();
    assert_eq!(create(&broker, "t", 1, &[]).0, 0);
    assert_eq!(produce(&broker, "t", 0, &["y"]), (0, 0));
}

/// After a failure of another kind it is not known what the disk has.
#[test]
fn a_partition_whose_disk_has_failed_is_told_of() {
    let failed = ResponseError::KafkaStorageError.code();
    let is_told = |changes: u64| {
        let folder = tempfile::tempdir().unwrap();
        let disk = tidewater_env::Disk::with_changes(changes);
        let settings = BrokerSettings { maintenance_interval: None, disk, ..BrokerSettings::default() };
        let Ok(broker) = Broker::open(folder.path(), settings) else { return false };
        create(&broker, "t", 1, &[]);
        let (refused, _) = produce(&broker, "t", 0, &["x"]);
        assert!(refused != failed || folder_error(&broker) == failed, "{changes}");
        refused == failed
    };
    assert!((0..100).any(is_told));
}

#[test]
fn folders_that_are_not_ours_or_newer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = tidewater_env::Disk::new();
    disk.write_atomically(&folder.path().join("notes.txt"), b"x").unwrap();
    let error = Broker::open(folder.path(), BrokerSettings::default()).err().unwrap();
    assert!(error.to_string().contains("notes.txt"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    disk.write_atomically(&folder.path().join("meta.properties"), b"version=1\ntidewater.layout=99\n").unwrap();
    let error = Broker::open(folder.path(), BrokerSettings::default()).err().unwrap();
    assert!(matches!(error, BrokerError::NewerLayout { found: 99, .. }), "{error}");
}

#[test]
fn a_creation_that_was_killed_is_made_again_and_a_folder_with_records_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    let left = folder.path().join("articles-0");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("00000000000000000000.log"), "").unwrap();
    assert_eq!(create(&broker, "articles", 1, &[]).0, 0);
    let stranger = folder.path().join("others-0");
    std::fs::create_dir(&stranger).unwrap();
    std::fs::write(stranger.join("00000000000000000000.log"), "records").unwrap();
    let (code, message) = create(&broker, "others", 1, &[]);
    assert_ne!(code, 0);
    assert!(message.unwrap().contains("others-0 does not belong into a data folder"));
    assert!(stranger.join("00000000000000000000.log").exists());
}

fn alter(broker: &Broker, topic: &str, changes: &[(&str, i8, &str)]) -> (i16, Option<String>) {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let changes = changes.iter().map(|(name, operation, value)| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(*operation).with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(changes.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    match broker.call(&RequestContext::in_process(), Request::IncrementalAlterConfigs(request)) {
        Some(Response::IncrementalAlterConfigs(response)) => {
            let altered = &response.responses[0];
            (altered.error_code, altered.error_message.as_ref().map(ToString::to_string))
        }
        other => panic!("{other:?}"),
    }
}

/// A setting's value, and whether it is the topic's own.
fn setting(broker: &Broker, topic: &str, name: &str) -> (String, bool) {
    use describe_configs_request::DescribeConfigsResource;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text(name)]));
    match broker.call(
        &RequestContext::in_process(),
        Request::DescribeConfigs(DescribeConfigsRequest::default().with_resources(vec![resource])),
    ) {
        Some(Response::DescribeConfigs(response)) => {
            let config = &response.results[0].configs[0];
            (config.value.as_ref().unwrap().to_string(), config.config_source == 1)
        }
        other => panic!("{other:?}"),
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

#[test]
fn settings_are_changed_all_together_or_none_and_stay_changed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[("retention.ms", "-1")]);
    assert_eq!(setting(&broker, "t", "retention.ms"), ("-1".to_owned(), true));
    assert_eq!(setting(&broker, "t", "segment.ms"), ("604800000".to_owned(), false));
    let (code, message) = alter(&broker, "t", &[("retention.ms", DELETE, ""), ("segment.byte", SET, "2048")]);
    assert_eq!(code, ResponseError::InvalidConfig.code());
    assert!(message.unwrap().contains("did you mean segment.bytes?"));
    assert_eq!(setting(&broker, "t", "retention.ms"), ("-1".to_owned(), true));
    assert_eq!(alter(&broker, "no", &[]).0, ResponseError::UnknownTopicOrPartition.code());

    assert_eq!(produce(&broker, "t", 0, &["as long as it is allowed to be"]).0, 0);
    assert_eq!(alter(&broker, "t", &[("retention.ms", DELETE, ""), ("max.message.bytes", SET, "70")]).0, 0);
    let too_large = ResponseError::MessageTooLarge.code();
    assert_eq!(produce(&broker, "t", 0, &["as long as it is allowed to be"]).0, too_large, "it holds at once");
    assert_eq!(alter(&broker, "t", &[("cleanup.policy", APPEND, "compact")]).0, 0);
    assert_eq!(setting(&broker, "t", "cleanup.policy").0, "delete,compact");
    assert_eq!(alter(&broker, "t", &[("cleanup.policy", SUBTRACT, "delete")]).0, 0);
    drop(broker);

    let broker = open(folder.path());
    assert_eq!(setting(&broker, "t", "cleanup.policy"), ("compact".to_owned(), true));
    assert_eq!(setting(&broker, "t", "retention.ms"), ("604800000".to_owned(), false));
    assert_eq!(produce(&broker, "t", 0, &["as long as it is allowed to be"]).0, too_large);
}

fn grow(broker: &Broker, topic: &str, count: i32) -> i16 {
    let topic = create_partitions_request::CreatePartitionsTopic::default().with_name(name(topic)).with_count(count);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
    match broker.call(&RequestContext::in_process(), Request::CreatePartitions(request)) {
        Some(Response::CreatePartitions(response)) => response.results[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topic_is_given_more_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &["x"]);
    assert_eq!(grow(&broker, "t", 1), ResponseError::InvalidPartitions.code());
    assert_eq!(grow(&broker, "t", 3), 0);
    assert_eq!(produce(&broker, "t", 2, &["y"]), (0, 0));
    assert_eq!(produce(&broker, "t", 0, &["z"]), (0, 1));
    drop(broker);
    let broker = open(folder.path());
    assert_eq!(produce(&broker, "t", 2, &["y"]), (0, 1));
}

#[test]
fn a_partition_of_another_topic_of_that_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[]);
    drop(broker);
    let metadata = folder.path().join("t-0/partition.metadata");
    let written = std::fs::read_to_string(&metadata).unwrap();
    assert!(
        written.starts_with("version: 0\ntopic_id: ") && written.len() == "version: 0\ntopic_id: ".len() + 22,
        "{written:?}"
    );
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let error = Broker::open(folder.path(), BrokerSettings::default()).err().unwrap();
    assert!(matches!(error, BrokerError::OtherTopic { .. }) && error.to_string().contains("t-0"), "{error}");
    // One that was cut short by a kill is written anew.
    std::fs::write(&metadata, "version").unwrap();
    drop(open(folder.path()));
    assert_eq!(std::fs::read_to_string(&metadata).unwrap(), written);
}

#[test]
fn a_log_that_is_shorter_than_it_was_is_durable_to_its_end_only() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    assert_eq!(create(&broker, "news", 1, &[]).0, 0);
    assert_eq!(produce(&broker, "news", 0, &["a", "b", "c"]), (0, 0));
    broker.close().unwrap();
    let points = || std::fs::read_to_string(folder.path().join("recovery-point-offset-checkpoint")).unwrap();
    assert!(points().contains("news 0 3\n"), "{}", points());
    // As whoever has lost the disk, or puts back an earlier copy.
    std::fs::remove_dir_all(folder.path().join("news-0")).unwrap();
    let broker = open(folder.path());
    assert!(points().contains("news 0 0\n"), "{}", points());
    assert_eq!(produce(&broker, "news", 0, &["d"]), (0, 0));
    drop(broker);
    // What was torn since then is cut.
    let log = folder.path().join("news-0/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..65]).unwrap();
    let broker = open(folder.path());
    assert_eq!(produce(&broker, "news", 0, &["e"]), (0, 0));
}

#[test]
fn deleted_records_stay_deleted() {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    create(&broker, "t", 1, &[]);
    for value in ["a", "b", "c"] {
        produce(&broker, "t", 0, &[value]);
    }
    let delete_before = |broker: &Broker, partition: i32, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name("t")).with_partitions(vec![partition]);
        match broker.call(
            &RequestContext::in_process(),
            Request::DeleteRecords(DeleteRecordsRequest::default().with_topics(vec![topic])),
        ) {
            Some(Response::DeleteRecords(response)) => {
                let partition = &response.topics[0].partitions[0];
                (partition.error_code, partition.low_watermark)
            }
            other => panic!("{other:?}"),
        }
    };
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    assert_eq!(delete_before(&broker, 0, 2), (0, 2));
    assert_eq!(delete_before(&broker, 0, 9).0, out_of_range);
    assert_eq!(delete_before(&broker, 1, 0).0, ResponseError::UnknownTopicOrPartition.code());
    assert_eq!(fetch(&broker, "t", 1).0, out_of_range);
    assert_eq!(fetch(&broker, "t", 2).0, 0);
    drop(broker);
    let broker = open(folder.path());
    assert_eq!(fetch(&broker, "t", 1).0, out_of_range);
    assert_eq!(delete_before(&broker, 0, -1), (0, 3));
    assert_eq!(produce(&broker, "t", 0, &["d"]), (0, 3));
    drop(broker);
    let broker = open(folder.path());
    assert_eq!((fetch(&broker, "t", 2).0, fetch(&broker, "t", 3).0), (out_of_range, 0));
}

/// What an older topic of the name left, as one whose deletion was killed between two steps.
#[test]
fn a_new_topic_begins_without_marks() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path());
    for points in ["cleaner-offset-checkpoint", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
        std::fs::write(folder.path().join(points), "0\n1\nt 0 100\n").unwrap();
    }
    create(&broker, "t", 1, &[]);
    for value in ["a", "b"] {
        produce(&broker, "t", 0, &[value]);
    }
    drop(broker);
    let broker = open(folder.path());
    assert_eq!(fetch(&broker, "t", 0).0, 0);
}

/// Deletions, the cleaner and readers at once: nobody waits for ever.
#[test]
fn closed_segments_are_made_durable_and_not_looked_at_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let interval = std::time::Duration::from_millis(1);
    let settings = BrokerSettings { maintenance_interval: Some(interval), ..BrokerSettings::default() };
    let broker = Broker::open(folder.path(), settings).unwrap();
    create(&broker, "t", 1, &[("internal.segment.bytes", "200")]);
    for _ in 0..10 {
        produce(&broker, "t", 0, &["a value of some length, so that segments are rolled"]);
    }
    let mut bases: Vec<i64> = std::fs::read_dir(folder.path().join("t-0"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    bases.sort_unstable();
    let (first, last) = (bases[0], bases[bases.len() - 1]);
    let noted = format!("t 0 {last}");
    let points = folder.path().join("recovery-point-offset-checkpoint");
    while !std::fs::read_to_string(&points).unwrap_or_default().lines().any(|line| line == noted) {
        std::thread::sleep(interval);
    }
    // A crash. What is before the mark is not read, and so it is not seen that it is damaged.
    drop(broker);
    let segment = folder.path().join(format!("t-0/{first:020}.log"));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[80] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(produce(&open(folder.path()), "t", 0, &["on"]), (0, 10));
    // Without the mark, it is, and taken for what a power cut has torn.
    std::fs::remove_file(&points).unwrap();
    let settings = BrokerSettings { maintenance_interval: None, ..BrokerSettings::default() };
    let broker = Broker::open(folder.path(), settings).unwrap();
    assert_eq!(produce(&broker, "t", 0, &["anew"]), (0, first));
}

#[test]
fn topics_come_and_go_while_the_cleaner_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let settings = BrokerSettings {
        maintenance_interval: Some(std::time::Duration::from_millis(1)),
        retention_interval: std::time::Duration::from_millis(1),
        ..BrokerSettings::default()
    };
    let broker = Broker::open(folder.path(), settings).unwrap();
    let compacted =
        [("cleanup.policy", "compact"), ("internal.segment.bytes", "1024"), ("min.cleanable.dirty.ratio", "0.0")];
    let others = ["a", "b", "c", "d"];
    for topic in others {
        create(&broker, topic, 1, &compacted);
    }
    let (broker, done) = (&broker, &std::sync::atomic::AtomicBool::new(false));
    let value = "a value of some length, so that segments are rolled";
    std::thread::scope(|scope| {
        // There is always something to clean.
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert!(others.iter().all(|topic| produce(broker, topic, 0, &[value]).0 == 0));
            }
        });
        for round in 0..60 {
            assert_eq!(create(broker, "t", 8, &compacted).0, 0);
            assert_eq!(produce(broker, "t", 0, &[value]).0, 0);
            assert_eq!(commit(broker, "g", "t", round), 0);
            // A mark, so that the deletion has one to take away.
            std::fs::write(folder.path().join("recovery-point-offset-checkpoint"), "0\n1\nt 0 1\n").unwrap();
            assert_eq!(delete(broker, "t"), 0);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert!(committed(broker, "g").is_empty());
}
