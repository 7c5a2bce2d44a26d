//! A group of the streams protocol (KIP-1071): members say what their application is, the broker makes its topics and shares its tasks
//! out, and members move towards their targets one heartbeat at a time, as in a group of the consumer protocol.
//!
//! ```text
//!   the topology:  its topics are held against those that there are; what is missing is made
//!   the group:     epoch, which rises when members, the topology, its topics, or the settings change
//!   its target:    epoch, that of the group, once tasks were shared out
//!   a member:      epoch, that of the target, once it has given up what is not its own any more
//! ```
//!
//! What a heartbeat decides is a list of changes: written first, then applied, and applied again when the log is read. As in
//! Apache Kafka's `StreamsGroup` and `GroupMetadataManager`.

mod assign;
mod describe;
mod reconcile;
mod records;
mod task;
mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidewater_protocol::messages::streams_group_heartbeat_request::{TaskIds, Topology as TopologyMessage};
use tidewater_protocol::messages::streams_group_heartbeat_response::Status;
use tidewater_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};
use tidewater_protocol::{ResponseError, StrBytes};

use super::consumer::{COMMITS_BY_EPOCH, JOINS, Refusal};
use super::settings::{StreamsTimes, due, heartbeat_within};
use super::topic_hash::metadata_hash;
use super::{Client, Committer, Outside, Record, Timer, Timers};
use assign::{Wants, Work, assign};
use reconcile::{Owners, reconcile};
pub(super) use records::{Change, Part, read_change, read_part};
use records::{Current, Epoch, MemberState, Metadata, detached, record_of};
use task::{Task, Tasks, of_message, to_message};
pub(crate) use topology::InternalTopic;
use topology::{Configured, Topology, configure};

/// `StreamsGroupHeartbeatResponse.Status`.
const STALE_TOPOLOGY: i8 = 0;
const MISSING_SOURCE_TOPICS: i8 = 1;
const WRONG_PARTITIONS: i8 = 2;
pub(crate) const MISSING_INTERNAL_TOPICS: i8 = 3;
const SHUTDOWN_APPLICATION: i8 = 4;
const ASSIGNMENT_DELAYED: i8 = 5;

/// The epoch of a group that nobody has joined, and of its target.
const FIRST_EPOCH: i32 = 1;
/// No topology's epoch.
const NO_TOPOLOGY: i32 = -1;
/// The setting that assignments are made with.
const STANDBY_REPLICAS: &str = "num.standby.replicas";

type MemberId = Arc<str>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Member {
    metadata: Metadata,
    current: Current,
}

/// A group.
#[derive(Debug)]
pub(super) struct StreamsGroup {
    name: MemberId,
    epoch: Epoch,
    target_epoch: i32,
    /// When tasks were last shared out, in milliseconds; 0 for never.
    target_at: i64,
    members: BTreeMap<MemberId, Member>,
    target: BTreeMap<MemberId, Tasks>,
    topology: Option<Arc<Topology>>,
    // What follows is not in the log.
    configured: Option<Arc<Configured>>,
    /// The topics' version that the hash was last held against.
    seen_topics: Option<u64>,
    /// The member that wants the application to end.
    shutdown: Option<MemberId>,
    /// Rises when tasks move between members that can be asked.
    endpoints_epoch: i32,
    /// Standby tasks for which there are too few processes.
    missing_standbys: usize,
    /// What deletes the group whose place it takes, to be written with its own first records.
    replaces: Vec<Record>,
}

impl StreamsGroup {
    pub fn new(name: MemberId, replaces: Vec<Record>) -> Self {
        StreamsGroup {
            name,
            replaces,
            epoch: Epoch { epoch: FIRST_EPOCH, metadata_hash: 0, validated_topology: 0, configs: BTreeMap::new() },
            target_epoch: FIRST_EPOCH,
            target_at: 0,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            topology: None,
            configured: None,
            seen_topics: None,
            shutdown: None,
            endpoints_epoch: 0,
            missing_standbys: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits for the heartbeats of members that were read from the log.
    pub fn start(&self, now: Duration, session: Duration, timers: &mut Timers<Timer>) {
        for (id, member) in &self.members {
            timers.set(Timer::Heartbeat(self.name.clone(), id.clone()), now + session);
            if member.current.state == MemberState::Unrevoked {
                self.expect_revocation(id, member, now, timers);
            }
        }
    }

    pub fn state(&self) -> &'static str {
        let is_valid = |topology: &Arc<Topology>| topology.epoch == self.epoch.validated_topology;
        if self.members.is_empty() {
            "Empty"
        } else if !self.topology.as_ref().is_some_and(is_valid) {
            "NotReady"
        } else if self.epoch.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(|member| is_reconciled(&member.current, self.target_epoch)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    // Changes.

    /// Takes a change in, of a heartbeat or of the log.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(Some(epoch)) => self.epoch = epoch,
            Change::Epoch(None) => {}
            Change::TargetEpoch(value) => (self.target_epoch, self.target_at) = value.unwrap_or((-1, 0)),
            Change::Member(id, Some(metadata)) => self.members.entry(id.into()).or_default().metadata = metadata,
            Change::Member(id, None) => {
                self.members.remove(&*id);
                if self.members.is_empty() {
                    self.shutdown = None;
                }
            }
            Change::Target(id, Some(tasks)) => drop(self.target.insert(id.into(), tasks)),
            Change::Target(id, None) => drop(self.target.remove(&*id)),
            Change::Current(id, Some(current)) => self.members.entry(id.into()).or_default().current = current,
            Change::Current(id, None) => {
                if let Some(member) = self.members.get_mut(&*id) {
                    member.current = Current::default();
                }
            }
            Change::Topology(topology) => self.topology = topology.map(Topology::of).map(Arc::new),
        }
    }

    /// Writes changes, and takes them in.
    fn commit(&mut self, outside: &mut Outside<'_>, changes: Vec<Change>) -> Result<(), Refusal> {
        if changes.is_empty() {
            return Ok(());
        }
        let own = changes.iter().map(|change| record_of(&self.name, change));
        let records = std::mem::take(&mut self.replaces).into_iter().chain(own).collect();
        outside
            .journal
            .append(&self.name, records)
            .map_err(|error| (error, "the group cannot be written".to_owned()))?;
        changes.into_iter().for_each(|change| self.apply(change));
        Ok(())
    }

    /// The records that delete the group.
    pub fn tombstones(&self) -> Vec<Record> {
        let ids = || self.members.keys().map(|id| id.to_string());
        let changes = ids()
            .map(|id| Change::Current(id, None))
            .chain(ids().map(|id| Change::Target(id, None)))
            .chain([Change::TargetEpoch(None)])
            .chain(ids().map(|id| Change::Member(id, None)))
            .chain([Change::Epoch(None), Change::Topology(None)]);
        changes.map(|change| record_of(&self.name, &change)).collect()
    }

    // Heartbeats.

    /// A member is there: it joins, says what has changed with it, and hears what it has to do. Gives the topics, too, that have yet to be
    /// made for the application.
    pub fn heartbeat(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &StreamsGroupHeartbeatRequest,
        client: Client,
    ) -> Result<(StreamsGroupHeartbeatResponse, Vec<InternalTopic>), Refusal> {
        let id: MemberId = (&*request.member_id).into();
        let times = outside.own_settings.streams_of(&self.name, outside.settings);
        let owned = owned_tasks(request);
        let before = self.find_or_make(outside, &id, request, owned.as_ref())?;
        let mut member =
            Member { metadata: updated(&before.metadata, request, client), current: before.current.clone() };
        let mut changes = Vec::new();
        if member.metadata != before.metadata {
            changes.push(Change::Member(id.to_string(), Some(member.metadata.clone())));
        }
        let mut status = Vec::new();
        let topology = self.topology_of(request, &mut changes)?;
        if let Some(known) = &self.topology
            && member.metadata.topology_epoch < known.epoch
        {
            let text = format!(
                "The member's topology epoch {} is behind the group's topology epoch {}.",
                member.metadata.topology_epoch, known.epoch
            );
            status.push(status_of(STALE_TOPOLOGY, text));
        }
        let configured = self.raise(outside, &topology, &times, request, &mut changes)?;
        if self.is_empty() && !times.initial_rebalance_delay.is_zero() {
            timers
                .set_if_absent(Timer::FirstAssignment(self.name.clone()), outside.now + times.initial_rebalance_delay);
        }
        let (target_epoch, target) =
            self.assign(outside, timers, &configured, &times, Some((&id, &member)), &mut changes, &mut status);
        if !is_reconciled(&member.current, target_epoch) {
            let of = self.members.values().map(|member| (member.metadata.process.as_str(), &member.current));
            let process = &member.metadata.process;
            let next = reconcile(&member.current, process, (target_epoch, &target), owned.as_ref(), &Owners::of(of))?;
            if next != member.current {
                changes.push(Change::Current(id.to_string(), Some(next.clone())));
                member.current = next;
            }
        }
        self.commit(outside, changes)?;
        self.configured = Some(configured);
        self.seen_topics = Some(outside.topics.version());
        timers.set(Timer::Heartbeat(self.name.clone(), id.clone()), outside.now + times.session_timeout);
        match member.current.state {
            MemberState::Unrevoked if member.current != before.current => {
                self.expect_revocation(&id, &member, outside.now, timers);
            }
            MemberState::Unrevoked => {}
            _ => timers.cancel(&Timer::Revocation(self.name.clone(), id.clone())),
        }
        if request.shutdown_application {
            self.request_shutdown(&id);
        }
        Ok(self.answer(outside, request, &before, &member, &times, status))
    }

    /// The member as it was; one that joins is made.
    fn find_or_make(
        &self,
        outside: &Outside<'_>,
        id: &MemberId,
        request: &StreamsGroupHeartbeatRequest,
        owned: Option<&Tasks>,
    ) -> Result<Member, Refusal> {
        let known = self.members.get(id);
        if request.member_epoch == JOINS {
            let most = outside.settings.streams.max_size;
            if self.members.len() >= most {
                let text = format!("The streams group has reached its maximum capacity of {most} members.");
                return Err((ResponseError::GroupMaxSizeReached, text));
            }
            return Ok(known.cloned().unwrap_or_default());
        }
        let member = known.ok_or_else(|| self.unknown_member(id))?;
        let (received, current) = (request.member_epoch, &member.current);
        // A member of an earlier epoch has missed an answer, if it has nothing that is not its own.
        let missed_one =
            received == current.previous_epoch && owned.is_some_and(|owned| owned.is_within(&current.assigned));
        if received == current.epoch || received < current.epoch && missed_one {
            return Ok(member.clone());
        }
        let how = if received > current.epoch { "greater" } else { "smaller" };
        let text = format!(
            "The streams group member has a {how} member epoch ({received}) than the one known by the group coordinator ({}). \
             The member must abandon all its partitions and rejoin.",
            current.epoch
        );
        Err((ResponseError::FencedMemberEpoch, text))
    }

    fn unknown_member(&self, id: &str) -> Refusal {
        (ResponseError::UnknownMemberId, format!("Member {id} is not a member of group {}.", self.name))
    }

    /// The group's topology, which the first member brings.
    fn topology_of(
        &self,
        request: &StreamsGroupHeartbeatRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Arc<Topology>, Refusal> {
        let brought = request.topology.as_ref().and_then(detached);
        if let Some(topology) = &brought {
            let names: BTreeSet<&str> = topology.subtopologies.iter().map(|part| &*part.subtopology_id).collect();
            if topology.epoch < 0 || names.len() < topology.subtopologies.len() {
                let text = "A topology's epoch is not negative, and the names of its subtopologies differ.";
                return Err((ResponseError::UnknownServerError, text.to_owned()));
            }
        }
        match (&self.topology, brought) {
            (None, Some(brought)) => {
                changes.push(Change::Topology(Some(brought.clone())));
                Ok(Arc::new(Topology::of(brought)))
            }
            (None, None) => {
                let text = "The topology is null and the group topology is also null.";
                Err((ResponseError::UnknownServerError, text.to_owned()))
            }
            (Some(known), Some(brought))
                if known.epoch <= brought.epoch && **known != Topology::of(brought.clone()) =>
            {
                Err((ResponseError::InvalidRequest, "Topology updates are not supported yet.".to_owned()))
            }
            (Some(known), _) => Ok(known.clone()),
        }
    }

    /// Holds the topology against the topics, and raises the group's epoch if anything has changed.
    fn raise(
        &self,
        outside: &Outside<'_>,
        topology: &Topology,
        times: &StreamsTimes,
        request: &StreamsGroupHeartbeatRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Arc<Configured>, Refusal> {
        let mut rises = changes.iter().any(|change| matches!(change, Change::Member(..)));
        let mut hash = self.epoch.metadata_hash;
        let is_seen = self.topology.is_some() && self.seen_topics == Some(outside.topics.version());
        if !is_seen {
            hash = metadata_hash(&topology.required(), outside.topics);
        }
        let is_same = self.topology.is_some() && hash == self.epoch.metadata_hash;
        rises |= hash != self.epoch.metadata_hash;
        let configured = match &self.configured {
            Some(known) if is_same => known.clone(),
            _ => Arc::new(configure(topology, outside.topics)?),
        };
        let is_ready = configured.trouble.is_none();
        if is_ready {
            for ids in [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks].into_iter().flatten() {
                check_tasks(&configured, ids)?;
            }
        }
        let validated_topology = if is_ready { topology.epoch } else { NO_TOPOLOGY };
        let configs = BTreeMap::from([(STANDBY_REPLICAS.to_owned(), times.standby_replicas.to_string())]);
        rises |= validated_topology != self.epoch.validated_topology || configs != self.epoch.configs;
        if rises {
            let epoch = self.epoch.epoch.saturating_add(1);
            changes.push(Change::Epoch(Some(Epoch { epoch, metadata_hash: hash, validated_topology, configs })));
        }
        Ok(configured)
    }

    /// Shares the tasks out if the group's epoch has risen and it is time to; gives what a member shall have, and in which epoch.
    #[allow(clippy::too_many_arguments, reason = "what there is to know of a heartbeat by then")]
    fn assign(
        &mut self,
        outside: &Outside<'_>,
        timers: &Timers<Timer>,
        configured: &Configured,
        times: &StreamsTimes,
        updated: Option<(&MemberId, &Member)>,
        changes: &mut Vec<Change>,
        status: &mut Vec<Status>,
    ) -> (i32, Tasks) {
        let newly = changes.iter().find_map(|change| match change {
            Change::Epoch(Some(epoch)) => Some(epoch.epoch),
            _ => None,
        });
        let epoch = newly.unwrap_or(self.epoch.epoch);
        if timers.is_set(&Timer::FirstAssignment(self.name.clone())) {
            let text = "Assignment delayed due to the configured initial rebalance delay.";
            status.push(status_of(ASSIGNMENT_DELAYED, text));
            return (self.target_epoch, Tasks::default());
        }
        let last = || updated.and_then(|(id, _)| self.target.get(id)).cloned().unwrap_or_default();
        if self.target_epoch >= epoch {
            return (self.target_epoch, last());
        }
        if outside.wall.0 < due(self.target_at, times.assignment_interval, outside.wall.0) {
            status.push(status_of(ASSIGNMENT_DELAYED, "Assignment delayed due to the configured assignment interval."));
            return (self.target_epoch, last());
        }
        let wants = |id: &MemberId, member: &Member| {
            let has = self.target.get(id).cloned().unwrap_or_default();
            (id.clone(), Wants { process: member.metadata.process.clone(), has })
        };
        let mut members: BTreeMap<MemberId, Wants> =
            self.members.iter().map(|(id, member)| wants(id, member)).collect();
        members.extend(updated.map(|(id, member)| wants(id, member)));
        let mut target: BTreeMap<MemberId, Tasks> = match &configured.trouble {
            None => {
                let work = |part: &topology::Part| Work { tasks: part.tasks, is_stateful: !part.changelogs.is_empty() };
                let work = configured.parts.iter().map(|(name, part)| (name.clone(), work(part))).collect();
                let (target, missing) = assign(&members, &work, times.standby_replicas);
                if std::mem::replace(&mut self.missing_standbys, missing) != missing && missing > 0 {
                    let what = "there are too few processes for the standby tasks that are asked for";
                    tracing::warn!(group = &*self.name, missing, "{what}");
                }
                target
            }
            Some(_) => members.keys().map(|id| (id.clone(), Tasks::default())).collect(),
        };
        for (id, tasks) in &target {
            if self.target.get(id) != Some(tasks) {
                changes.push(Change::Target(id.to_string(), Some(tasks.clone())));
            }
        }
        changes.push(Change::TargetEpoch(Some((epoch, outside.wall.0))));
        (epoch, updated.and_then(|(id, _)| target.remove(id)).unwrap_or_default())
    }

    fn answer(
        &mut self,
        outside: &Outside<'_>,
        request: &StreamsGroupHeartbeatRequest,
        before: &Member,
        member: &Member,
        times: &StreamsTimes,
        mut status: Vec<Status>,
    ) -> (StreamsGroupHeartbeatResponse, Vec<InternalTopic>) {
        let is_put_off = self.epoch.epoch > self.target_epoch && self.target_at != 0;
        let interval = heartbeat_within(times.heartbeat_interval, times.assignment_interval, is_put_off);
        let mut response = StreamsGroupHeartbeatResponse::default()
            .with_member_id(detached_text(&request.member_id))
            .with_member_epoch(member.current.epoch)
            .with_heartbeat_interval_ms(interval);
        let assigned = &member.current.assigned;
        if request.member_epoch == JOINS || *assigned != before.current.assigned {
            response = response
                .with_active_tasks(Some(to_message(assigned.active.keys())))
                .with_standby_tasks(Some(to_message(assigned.standby.iter())))
                .with_warmup_tasks(Some(to_message(assigned.warmup.iter())));
            if member.metadata.endpoint.is_some() {
                self.endpoints_epoch = self.endpoints_epoch.saturating_add(1);
            }
        }
        if self.endpoints_epoch != request.endpoint_information_epoch {
            response = response.with_partitions_by_user_endpoint(Some(self.endpoints(outside.topics)));
        }
        let mut to_make = Vec::new();
        if let Some(configured) = &self.configured
            && let Some((code, text)) = &configured.trouble
        {
            to_make = configured.to_make.clone();
            status.push(status_of(*code, text.as_str()));
        }
        if let Some(member) = &self.shutdown {
            let text = format!(
                "Streams group member {member} encountered a fatal error and requested a shutdown for the entire application."
            );
            status.push(status_of(SHUTDOWN_APPLICATION, text));
        }
        (response.with_endpoint_information_epoch(self.endpoints_epoch).with_status(Some(status)), to_make)
    }

    /// The time in which the first members come is over: tasks are shared out, and told with the next heartbeats.
    pub fn first_assignment_is_due(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if self.is_empty() || self.epoch.epoch <= self.target_epoch {
            return;
        }
        let Some(configured) = self.configured.clone() else { return };
        let mut times = outside.own_settings.streams_of(&self.name, outside.settings);
        // As the group's epoch has it; what was set since comes with the next heartbeat.
        let noted = self.epoch.configs.get(STANDBY_REPLICAS).and_then(|replicas| replicas.parse().ok());
        times.standby_replicas = noted.unwrap_or(times.standby_replicas);
        let mut changes = Vec::new();
        self.assign(outside, timers, &configured, &times, None, &mut changes, &mut Vec::new());
        if let Err((error, reason)) = self.commit(outside, changes) {
            // With the next heartbeat, tasks are shared out anyhow.
            tracing::debug!(group = &*self.name, %error, reason, "tasks could not be shared out");
        }
    }

    fn request_shutdown(&mut self, id: &MemberId) {
        if self.shutdown.is_none() {
            tracing::info!(group = &*self.name, member = &**id, "a member wants the application to end");
            self.shutdown = Some(id.clone());
        }
    }

    // Leaving.

    /// A member leaves.
    pub fn leave(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<StreamsGroupHeartbeatResponse, Refusal> {
        let id: MemberId = (&*request.member_id).into();
        if request.shutdown_application {
            self.request_shutdown(&id);
        }
        if !self.members.contains_key(&id) {
            return Err(self.unknown_member(&id));
        }
        self.dismiss(outside, timers, &id)?;
        Ok(StreamsGroupHeartbeatResponse::default()
            .with_member_id(detached_text(&request.member_id))
            .with_member_epoch(request.member_epoch)
            .with_status(Some(Vec::new())))
    }

    /// Removes a member; what it had goes to others with their next heartbeats.
    fn dismiss(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>, id: &str) -> Result<(), Refusal> {
        let epoch = Epoch { epoch: self.epoch.epoch.saturating_add(1), ..self.epoch.clone() };
        let changes = vec![
            Change::Current(id.to_owned(), None),
            Change::Target(id.to_owned(), None),
            Change::Member(id.to_owned(), None),
            Change::Epoch(Some(epoch)),
        ];
        self.commit(outside, changes)?;
        timers.cancel(&Timer::Heartbeat(self.name.clone(), id.into()));
        timers.cancel(&Timer::Revocation(self.name.clone(), id.into()));
        Ok(())
    }

    fn expect_revocation(&self, id: &MemberId, member: &Member, now: Duration, timers: &mut Timers<Timer>) {
        let timeout = Duration::from_millis(u64::try_from(member.metadata.rebalance_timeout_ms).unwrap_or(0));
        timers.set(Timer::Revocation(self.name.clone(), id.clone()), now + timeout);
    }

    /// A member was not heard of, or has not given up in time what it must.
    pub fn member_is_due(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>, id: &str) {
        if !self.members.contains_key(id) {
            return;
        }
        tracing::info!(group = &*self.name, member = id, "a member was not heard of, or kept what it must give up");
        if let Err((error, reason)) = self.dismiss(outside, timers, id) {
            tracing::debug!(group = &*self.name, member = id, %error, reason, "a member could not be removed; it is tried again");
            let retry = outside.own_settings.streams_of(&self.name, outside.settings).heartbeat_interval;
            timers.set(Timer::Heartbeat(self.name.clone(), id.into()), outside.now + retry);
        }
    }

    // Offsets.

    /// Whether a commit by this member, in this epoch, is taken; an older epoch counts for topics whose task was assigned in it or before
    /// (KIP-1251).
    pub fn check_commit<'a>(
        &self,
        committer: &Committer<'_>,
        mut places: impl Iterator<Item = (&'a str, i32)>,
    ) -> Result<(), ResponseError> {
        let epoch = committer.generation;
        if (epoch < 0 && self.is_empty()) || (committer.in_transaction && committer.is_nobody()) {
            return Ok(());
        }
        let member = self.members.get(committer.member).ok_or(ResponseError::UnknownMemberId)?;
        if !committer.in_transaction && committer.version < COMMITS_BY_EPOCH {
            return Err(ResponseError::UnsupportedVersion);
        }
        let current = &member.current;
        let is_known = |(topic, partition): (&str, i32)| {
            let subtopology = self.topology.as_ref()?.part_reading(topic)?.clone();
            let task = Task { subtopology, partition };
            let since = current.assigned.active.get(&task).or_else(|| current.revoking.active.get(&task))?;
            (epoch >= *since).then_some(())
        };
        let is_taken = epoch == current.epoch || epoch < current.epoch && places.all(|place| is_known(place).is_some());
        if is_taken { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
    }

    /// Whether a member in this epoch may read offsets.
    pub fn check_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        match id {
            None if epoch < 0 => Ok(()),
            id => {
                let member = self.members.get(id.unwrap_or_default()).ok_or(ResponseError::UnknownMemberId)?;
                if epoch == member.current.epoch { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
            }
        }
    }

    pub fn is_subscribed(&self, topic: &str) -> bool {
        !self.is_empty() && self.topology.as_ref().is_some_and(|topology| topology.part_reading(topic).is_some())
    }

    #[cfg(test)]
    pub fn active(&self) -> BTreeMap<(Arc<str>, i32), Vec<MemberId>> {
        let mut owners: BTreeMap<(Arc<str>, i32), Vec<MemberId>> = BTreeMap::new();
        for (id, member) in &self.members {
            for tasks in [&member.current.assigned, &member.current.revoking] {
                for task in tasks.active.keys() {
                    owners.entry((task.subtopology.clone(), task.partition)).or_default().push(id.clone());
                }
            }
        }
        owners
    }
}

fn is_reconciled(current: &Current, target_epoch: i32) -> bool {
    current.state == MemberState::Stable && current.epoch == target_epoch
}

fn status_of(code: i8, detail: impl Into<String>) -> Status {
    Status::default().with_status_code(code).with_status_detail(StrBytes::from_string(detail.into()))
}

/// A text of its own, so that it does not keep the request.
fn detached_text(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// A member's metadata with what its heartbeat says is new.
fn updated(before: &Metadata, request: &StreamsGroupHeartbeatRequest, client: Client) -> Metadata {
    let mut metadata = Metadata { client, ..before.clone() };
    if let Some(rack) = &request.rack_id {
        metadata.rack = Some(rack.to_string());
    }
    if request.rebalance_timeout_ms != -1 {
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(topology) = &request.topology {
        metadata.topology_epoch = topology.epoch;
    }
    if let Some(process) = &request.process_id {
        metadata.process = process.to_string();
    }
    if let Some(tags) = &request.client_tags {
        metadata.tags = tags.iter().map(|tag| (tag.key.to_string(), tag.value.to_string())).collect();
    }
    if let Some(endpoint) = &request.user_endpoint {
        metadata.endpoint = Some((endpoint.host.to_string(), endpoint.port));
    }
    metadata
}

/// The tasks that a member says it has.
fn owned_tasks(request: &StreamsGroupHeartbeatRequest) -> Option<Tasks> {
    Some(Tasks {
        active: of_message(request.active_tasks.as_ref()?),
        standby: of_message(request.standby_tasks.as_ref()?),
        warmup: of_message(request.warmup_tasks.as_ref()?),
    })
}

/// Whether there are such tasks.
fn check_tasks(configured: &Configured, ids: &[TaskIds]) -> Result<(), Refusal> {
    let invalid = |text: String| Err((ResponseError::InvalidRequest, text));
    for ids in ids {
        let name = &*ids.subtopology_id;
        let Some(part) = configured.parts.get(name) else {
            return invalid(format!("Subtopology {name} does not exist in the topology."));
        };
        for partition in &ids.partitions {
            if !(0..part.tasks).contains(partition) {
                return invalid(format!(
                    "Task {partition} for subtopology {name} is invalid. Number of tasks for this subtopology: {}",
                    part.tasks
                ));
            }
        }
    }
    Ok(())
}

/// Whether a heartbeat is one, with Apache Kafka's words for what is not.
pub(super) fn check_heartbeat(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |text: &str| Err((ResponseError::InvalidRequest, text.to_owned()));
    let is_blank = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    let has_some = |ids: &Option<Vec<TaskIds>>| ids.as_ref().is_some_and(|ids| !ids.is_empty());
    if request.instance_id.is_some() {
        return invalid("Static membership is not yet supported.");
    }
    if request.task_offsets.is_some() {
        return invalid("TaskOffsets are not supported yet.");
    }
    if request.task_end_offsets.is_some() {
        return invalid("TaskEndOffsets are not supported yet.");
    }
    if has_some(&request.warmup_tasks) {
        return invalid("WarmupTasks are not supported yet.");
    }
    let mut parts = request.topology.iter().flat_map(|topology| &topology.subtopologies);
    if parts.any(|part| !part.source_topic_regex.is_empty()) {
        return invalid("Regular expressions for source topics are not supported yet.");
    }
    if request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() || !super::is_group_name(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if is_blank(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        JOINS => check_join(request)?,
        super::consumer::LEAVES_FOR_NOW => return invalid("InstanceId can't be null."),
        epoch if epoch < super::consumer::LEAVES_FOR_NOW => {
            return invalid(&format!("MemberEpoch is {epoch}, but must be greater than or equal to -2."));
        }
        _ => {}
    }
    let told = [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks].map(Option::is_some);
    if told.contains(&true) && told.contains(&false) {
        return invalid("If one task-type is non-null, all must be non-null.");
    }
    if request.member_epoch != JOINS && request.topology.is_some() {
        return invalid("Topology can only be provided when (re-)joining.");
    }
    Ok(())
}

fn check_join(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |text: String| Err((ResponseError::InvalidRequest, text));
    if request.rebalance_timeout_ms == -1 {
        return invalid("RebalanceTimeoutMs must be provided in first request.".to_owned());
    }
    let kinds = [
        ("ActiveTasks", &request.active_tasks),
        ("StandbyTasks", &request.standby_tasks),
        ("WarmupTasks", &request.warmup_tasks),
    ];
    for (kind, ids) in kinds {
        if ids.as_ref().is_none_or(|ids| !ids.is_empty()) {
            return invalid(format!("{kind} must be empty when (re-)joining."));
        }
    }
    let Some(topology) = &request.topology else {
        return invalid("Topology must be non-null when (re-)joining.".to_owned());
    };
    check_changelogs(topology)
}

fn check_changelogs(topology: &TopologyMessage) -> Result<(), Refusal> {
    let mut changelogs = topology.subtopologies.iter().flat_map(|part| &part.state_changelog_topics);
    match changelogs.find(|topic| topic.partitions != 0) {
        Some(topic) => {
            let text = format!(
                "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                &*topic.name.0, topic.partitions
            );
            Err((ResponseError::StreamsInvalidTopology, text))
        }
        None => Ok(()),
    }
}

/// The names of all topics that a topology speaks of.
pub(crate) fn named_topics(topology: &TopologyMessage) -> BTreeSet<&str> {
    let of_part = |part| {
        topology::inputs(part)
            .chain(part.repartition_sink_topics.iter().map(|topic| &*topic.0))
            .chain(part.state_changelog_topics.iter().map(|topic| &*topic.name.0))
    };
    topology.subtopologies.iter().flat_map(of_part).collect()
}
