//! A group as administrators see it.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::messages::consumer_group_describe_response as described;
use tidewater_protocol::messages::{GroupId, TopicName};
use uuid::Uuid;

use super::super::Topics;
use super::super::assign::Assignor;
use super::super::assign::Partitions;
use super::super::records::Current;
use super::{ConsumerGroup, keys, text};

/// The types of members, by the protocols that they speak.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl ConsumerGroup {
    pub fn describe(&self, topics: &dyn Topics, assignors: &[Assignor]) -> described::DescribedGroup {
        let place = |partitions: &BTreeMap<Uuid, BTreeSet<i32>>| {
            let named = partitions.iter().filter_map(|(topic, partitions)| {
                Some(
                    described::TopicPartitions::default()
                        .with_topic_id(*topic)
                        .with_topic_name(TopicName(text(&topics.name_of(*topic)?)))
                        .with_partitions(partitions.iter().copied().collect()),
                )
            });
            described::Assignment::default().with_topic_partitions(named.collect())
        };
        let members = self.members.iter().map(|(id, member)| {
            let metadata = &member.metadata;
            described::Member::default()
                .with_member_id(text(id))
                .with_instance_id(metadata.instance.as_deref().map(text))
                .with_rack_id(metadata.rack.as_deref().map(text))
                .with_member_epoch(member.current.epoch)
                .with_client_id(text(&metadata.client.id))
                .with_client_host(text(&metadata.client.host))
                .with_subscribed_topic_names(metadata.topics.iter().map(|topic| TopicName(text(topic))).collect())
                .with_subscribed_topic_regex(Some(text(&metadata.regex)))
                .with_assignment(place(&all(&member.current)))
                .with_target_assignment(place(self.target.get(id).unwrap_or(&Partitions::new())))
                .with_member_type(if metadata.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER })
        });
        let metadata = self.members.iter().map(|(id, member)| (id.clone(), member.metadata.clone())).collect();
        described::DescribedGroup::default()
            .with_group_id(GroupId(text(&self.name)))
            .with_group_state(text(self.state()))
            .with_group_epoch(self.epoch)
            .with_assignment_epoch(self.target_epoch)
            .with_assignor_name(text(Self::assignor(&metadata, assignors).name()))
            .with_members(members.collect())
    }
}

/// What a member has, and has yet to give up.
fn all(current: &Current) -> Partitions {
    let mut partitions = keys(&current.assigned);
    for (topic, revoking) in keys(&current.revoking) {
        partitions.entry(topic).or_default().extend(revoking);
    }
    partitions
}
