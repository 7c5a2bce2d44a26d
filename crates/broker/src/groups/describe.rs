//! Groups as administrators see them.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_groups_response::DescribedGroup;
use tidewater_protocol::messages::{consumer_group_describe_response, streams_group_describe_response};

use super::assign::Assignor;
use super::consumer::Refusal;
use super::{Group, Groups, Topics};

impl Groups {
    /// A group of the classic protocol, for administrators.
    pub fn describe(&self, group: &str) -> Result<DescribedGroup, Refusal> {
        match self.groups.get(group) {
            Some(Group::Classic(group)) => Ok(group.describe()),
            Some(Group::Consumer(_) | Group::Streams(_)) => {
                Err((ResponseError::GroupIdNotFound, format!("Group {group} is not a classic group.")))
            }
            None => Err((ResponseError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// A group of the consumer protocol, for administrators.
    pub fn describe_consumer(
        &self,
        group: &str,
        topics: &dyn Topics,
        assignors: &[Assignor],
    ) -> Result<consumer_group_describe_response::DescribedGroup, Refusal> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => Ok(group.describe(topics, assignors)),
            Some(Group::Classic(_) | Group::Streams(_)) => {
                Err((ResponseError::GroupIdNotFound, format!("Group {group} is not a consumer group.")))
            }
            None => Err((ResponseError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// A group of the streams protocol, for administrators.
    pub fn describe_streams(&self, group: &str) -> Result<streams_group_describe_response::DescribedGroup, Refusal> {
        match self.groups.get(group) {
            Some(Group::Streams(found)) => found
                .describe()
                .ok_or_else(|| (ResponseError::UnknownServerError, format!("Group {group} has no topology."))),
            Some(_) => Err((ResponseError::GroupIdNotFound, format!("Group {group} is not a streams group."))),
            None => Err((ResponseError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// All groups.
    pub fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        self.groups.iter().map(|(name, group)| match group {
            Group::Classic(group) => {
                Listed { name, kind: "classic", protocol_type: group.protocol_type(), state: group.state().name() }
            }
            Group::Consumer(group) => {
                Listed { name, kind: "consumer", protocol_type: "consumer", state: group.state() }
            }
            Group::Streams(group) => Listed { name, kind: "streams", protocol_type: "streams", state: group.state() },
        })
    }
}

/// A group, in a list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    pub name: &'a str,
    /// Its protocol.
    pub kind: &'static str,
    /// What its members are.
    pub protocol_type: &'a str,
    pub state: &'static str,
}
