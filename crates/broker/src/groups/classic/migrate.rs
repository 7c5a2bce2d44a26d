//! A group with members that comes from the consumer protocol, or goes there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewater_protocol::ResponseError;
use tidewater_types::Timestamp;

use super::super::Client;
use super::{CONSUMER, ClassicGroup, Member, State, answer, refused_join, refused_sync};

/// A member, as it moves between the protocols.
#[derive(Clone, Debug)]
pub(in super::super) struct ClassicMember {
    pub id: Arc<str>,
    pub instance: Option<String>,
    pub client: Client,
    pub rebalance_timeout: Duration,
    pub session_timeout: Duration,
    /// By preference, each with its subscription.
    pub protocols: Vec<(String, Bytes)>,
    /// Of the group's protocol, or of the member's first one while the group has none.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl ClassicGroup {
    /// All members.
    pub fn members(&self) -> Vec<ClassicMember> {
        let member = |(id, member): (&Arc<str>, &Member)| ClassicMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
            subscription: match self.protocol.as_deref() {
                None => member.protocols.first().map(|(_, subscription)| subscription.clone()).unwrap_or_default(),
                protocol => member.metadata(protocol),
            },
            assignment: member.assignment.clone(),
        };
        self.members.iter().map(member).collect()
    }

    /// Answers all who wait to join, or for their shares.
    pub fn fail_waiting(&mut self, error: ResponseError) {
        for (id, member) in &mut self.members {
            if let Some(reply) = member.join.take() {
                answer(reply, refused_join(id, error));
            }
            if let Some(reply) = member.sync.take() {
                answer(reply, refused_sync(error));
            }
        }
    }

    /// A group whose members have their shares.
    pub fn stable(name: Arc<str>, now: Timestamp, generation: i32, members: Vec<ClassicMember>) -> Self {
        let mut group = ClassicGroup::new(name, now);
        group.protocol_type = Some(CONSUMER.to_owned());
        group.generation = generation;
        for member in members {
            let ClassicMember {
                id, instance, client, rebalance_timeout, session_timeout, protocols, assignment, ..
            } = member;
            let member = Member {
                instance,
                client,
                rebalance_timeout,
                session_timeout,
                protocols,
                assignment,
                join: None,
                sync: None,
                is_new: false,
            };
            group.add(id, member);
        }
        group.protocol = group.select_protocol();
        group.state = State::Stable;
        group.subscribed = group.subscriptions();
        group
    }
}
