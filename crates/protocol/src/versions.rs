//! Which requests are answered, and in which versions: those of Apache Kafka 4.3.

use std::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;

/// What is answered, by key, with the versions that are advertised.
///
/// Produce begins at 0, as in Apache Kafka: clients built on an old librdkafka look for it, though nobody sends a version before 3.
const SUPPORTED: [(ApiKey, RangeInclusive<i16>); 30] = [
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=10),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::OffsetCommit, 2..=10),
    (ApiKey::OffsetFetch, 1..=10),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::DescribeGroups, 0..=6),
    (ApiKey::ListGroups, 0..=5),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::DeleteTopics, 1..=6),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::DescribeLogDirs, 1..=4),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::DeleteGroups, 0..=2),
    (ApiKey::ElectLeaders, 0..=2),
    (ApiKey::IncrementalAlterConfigs, 0..=1),
    (ApiKey::ListPartitionReassignments, 0..=0),
    (ApiKey::OffsetDelete, 0..=0),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeProducers, 0..=0),
    (ApiKey::DescribeTopicPartitions, 0..=0),
];

/// All requests that are answered, with their versions, in the order of their keys.
pub fn supported_versions() -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
    SUPPORTED.into_iter()
}

/// The versions of a request that are answered; `None` if it is not.
pub fn versions_of(key: ApiKey) -> Option<RangeInclusive<i16>> {
    supported_versions().find(|(supported, _)| *supported == key).map(|(_, versions)| versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_can_be_read() {
        for (key, versions) in supported_versions() {
            let known = key.valid_versions();
            let least = if key == ApiKey::Produce { 3 } else { *versions.start() };
            let is_known = known.min <= least && *versions.end() <= known.max;
            assert!(is_known, "{key:?}: {versions:?} is advertised, {} to {} are known", known.min, known.max);
        }
    }
}
