//! DescribeLogDirs: the one folder, with how large its partitions are, and whether one of those asked for takes no more records.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use tidewater_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{text, topic_name};
use crate::broker::Shared;

/// What is said where the system does not tell.
const UNKNOWN_BYTES: i64 = -1;

pub(crate) fn handle(shared: &Shared, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let wanted: Option<BTreeMap<String, &[i32]>> = request
        .topics
        .as_ref()
        .map(|topics| topics.iter().map(|topic| (topic.topic.to_string(), &topic.partitions[..])).collect());
    let mut topics = Vec::new();
    let mut error = 0;
    for (name, topic) in shared.topics().iter() {
        let numbers = match &wanted {
            None => None,
            Some(wanted) => match wanted.get(name) {
                Some(numbers) => Some(*numbers),
                None => continue,
            },
        };
        let is_wanted = |number: i32| numbers.is_none_or(|numbers| numbers.contains(&number));
        let partitions = topic.partitions.iter().zip(0..).filter(|(_, number)| is_wanted(*number));
        let partitions = partitions.map(|(partition, number)| {
            let log = partition.lock();
            if !log.is_in_service() {
                error = ResponseError::KafkaStorageError.code();
            }
            let size = i64::try_from(log.size()).unwrap_or(i64::MAX);
            DescribeLogDirsPartition::default().with_partition_index(number).with_partition_size(size)
        });
        topics.push(DescribeLogDirsTopic::default().with_name(topic_name(name)).with_partitions(partitions.collect()));
    }
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let volume = shared.folder.disk.volume(&shared.folder.path);
    let (total, usable) =
        volume.map_or((UNKNOWN_BYTES, UNKNOWN_BYTES), |(total, usable)| (bytes(total), bytes(usable)));
    let folder = DescribeLogDirsResult::default()
        .with_error_code(error)
        .with_log_dir(text(shared.folder.path.display().to_string()))
        .with_total_bytes(total)
        .with_usable_bytes(usable)
        .with_topics(topics);
    DescribeLogDirsResponse::default().with_results(vec![folder])
}
