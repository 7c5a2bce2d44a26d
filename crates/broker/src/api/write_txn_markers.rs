//! WriteTxnMarkers: the ends of transactions, straight into partitions. Apache Kafka's coordinators tell other brokers so; here
//! administrators do, who end a transaction that no coordinator knows of any more.

use tidewater_log::TransactionMarker;
use tidewater_protocol::ControlKind;
use tidewater_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use tidewater_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use tidewater_types::TopicPartition;

use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let markers = request.markers.iter().map(|wanted| {
        let marker = TransactionMarker {
            producer_id: wanted.producer_id.0,
            producer_epoch: wanted.producer_epoch,
            kind: if wanted.transaction_result { ControlKind::Commit } else { ControlKind::Abort },
            coordinator_epoch: wanted.coordinator_epoch,
            own_epoch: false,
        };
        let topics = wanted.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|&number| {
                let written = shared.write_marker(&TopicPartition::new(&**topic.name, number), &marker);
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(number)
                    .with_error_code(written.map_or_else(|error| error.code(), |()| 0))
            });
            let result = WritableTxnMarkerTopicResult::default().with_name(topic.name.clone());
            result.with_partitions(partitions.collect())
        });
        let result = WritableTxnMarkerResult::default().with_producer_id(wanted.producer_id);
        result.with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(markers.collect())
}
