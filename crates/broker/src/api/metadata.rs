//! Metadata: the one node, which topics there are, and how many partitions they have. A topic that is asked for by name and does
//! not exist is made, if the settings allow it. As with Apache Kafka, a client is told once that it is not known; one in the process
//! gets it at once.

use std::collections::BTreeSet;

use tidewater_protocol::messages::metadata_request::MetadataRequestTopic;
use tidewater_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use tidewater_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use uuid::Uuid;

use super::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, text, topic_name};
use crate::broker::Shared;
use crate::topics::{OpenTopic, is_internal, is_legal_name};

/// From this version on, a request has a field for a topic's id.
const ID_FIELD: i16 = 10;
/// From this version on, a topic may be asked for by it.
const BY_ID: i16 = 12;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &MetadataRequest) -> MetadataResponse {
    let all = || shared.topics().iter().map(|(name, topic)| describe(shared, name, topic)).collect();
    // Before, a topic could not be asked for by its id, though there was a field for it.
    if (ID_FIELD..BY_ID).contains(&context.version)
        && request.topics.iter().flatten().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil())
    {
        return refused(request);
    }
    let mut topics: Vec<MetadataResponseTopic> = match &request.topics {
        None => all(),
        // The first version had no null.
        Some(topics) if topics.is_empty() && context.version == 0 => all(),
        // Once one is asked for by its id, names are not looked at.
        Some(topics) if topics.iter().any(|wanted| !wanted.topic_id.is_nil()) => {
            let ids: BTreeSet<Uuid> = topics.iter().map(|wanted| wanted.topic_id).filter(|id| !id.is_nil()).collect();
            ids.into_iter().map(|id| find_by_id(shared, id)).collect()
        }
        Some(topics) => {
            let may_make = context.version < 4 || request.allow_auto_topic_creation;
            let mut seen = BTreeSet::new();
            let once = topics.iter().filter(|wanted| seen.insert(&wanted.name));
            once.map(|wanted| find(shared, context, wanted, may_make)).collect()
        }
    };
    if request.include_topic_authorized_operations {
        let is_known = |topic: &&mut MetadataResponseTopic| topic.error_code != ResponseError::UnknownTopicId.code();
        topics.iter_mut().filter(is_known).for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
    }
    let brokers = shared.endpoint(context).map(|endpoint| {
        MetadataResponseBroker::default()
            .with_node_id(shared.node())
            .with_host(text(endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(shared.settings.rack.as_deref().map(text))
    });
    let response = match request.include_cluster_authorized_operations {
        true => MetadataResponse::default().with_cluster_authorized_operations(CLUSTER_OPERATIONS),
        false => MetadataResponse::default(),
    };
    response
        .with_brokers(brokers.into_iter().collect())
        .with_cluster_id(Some(text(shared.folder.cluster_id.as_str())))
        .with_controller_id(shared.node())
        .with_topics(topics)
}

/// What is told of topics when a request is none.
fn refused(request: &MetadataRequest) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
            .with_error_code(ResponseError::InvalidRequest.code())
    });
    MetadataResponse::default().with_cluster_id(None).with_controller_id(BrokerId(-1)).with_topics(topics.collect())
}

fn find(
    shared: &Shared,
    context: &RequestContext,
    wanted: &MetadataRequestTopic,
    may_make: bool,
) -> MetadataResponseTopic {
    let Some(name) = &wanted.name else { return find_by_id(shared, wanted.topic_id) };
    if let Some(topic) = shared.topic(name) {
        return describe(shared, name, &topic);
    }
    let code = if !is_legal_name(name) {
        ResponseError::InvalidTopicException
    } else if may_make && shared.settings.auto_create_topics {
        match shared.make_wanted(name) {
            Ok(topic) if context.caller.listener.is_none() => return describe(shared, name, &topic),
            Ok(_) => ResponseError::UnknownTopicOrPartition,
            Err(_) => ResponseError::UnknownTopicOrPartition,
        }
    } else {
        ResponseError::UnknownTopicOrPartition
    };
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_is_internal(is_internal(name))
        .with_error_code(code.code())
}

fn find_by_id(shared: &Shared, id: Uuid) -> MetadataResponseTopic {
    match shared.topic_by_id(id) {
        Some((name, topic)) => describe(shared, &name, &topic),
        None => MetadataResponseTopic::default()
            .with_name(None)
            .with_topic_id(id)
            .with_error_code(ResponseError::UnknownTopicId.code()),
    }
}

fn describe(shared: &Shared, name: &str, topic: &OpenTopic) -> MetadataResponseTopic {
    let partitions = (0..topic.record.partitions)
        .map(|number| {
            MetadataResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(shared.node())
                .with_leader_epoch(0)
                .with_replica_nodes(vec![shared.node()])
                .with_isr_nodes(vec![shared.node()])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.record.id)
        .with_is_internal(is_internal(name))
        .with_partitions(partitions)
}
