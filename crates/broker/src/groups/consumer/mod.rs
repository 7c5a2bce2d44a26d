//! A group of the consumer protocol (KIP-848): the broker assigns, and members move towards their targets one heartbeat at a time, each
//! giving up what it must before others get it.
//!
//! ```text
//!   the group:    epoch      rises when members, their subscriptions, or their topics change
//!   its target:   epoch      that of the group, once it was assigned
//!   a member:     epoch      that of the target, once it has given up what is not its own any more
//!
//!   Stable ---> Unrevoked (must give up first) ---> Unreleased (waits for others to give up) ---> Stable
//! ```
//!
//! What a heartbeat decides is a list of changes: written first, then applied, and applied again when the log is read. As in
//! Apache Kafka's `ConsumerGroup`, `CurrentAssignmentBuilder` and `TargetAssignmentBuilder`.

mod classic_members;
mod describe;
mod reconcile;
mod request;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidewater_protocol::messages::consumer_group_heartbeat_response as heartbeat;
use tidewater_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tidewater_protocol::{ResponseError, StrBytes};
use uuid::Uuid;

use super::assign::{Assignor, Partitions, Wants};
use super::records::{Change, Current, MemberState, Metadata, Resolved, consumer_record, topics_key};
use super::settings::{due, heartbeat_within};
use super::topic_hash::metadata_hash;
use super::{Client, Committer, Outside, Record, Timer, Timers};
use classic_members::replacing;
use reconcile::{Subscribed, check_epoch, reconcile, updated};
pub(super) use request::check_heartbeat;
use subscription::matches;

/// The epoch of a member that joins.
pub(super) const JOINS: i32 = 0;
/// The epoch of a member that leaves.
pub(super) const LEAVES: i32 = -1;
/// The epoch of an instance that leaves, and will come back.
pub(super) const LEAVES_FOR_NOW: i32 = -2;
/// From this version on, members of these groups may commit: it tells a member's epoch that is not the newest.
pub(super) const COMMITS_BY_EPOCH: i16 = 9;
/// The epoch of a group that nobody has joined.
const FIRST_EPOCH: i32 = 1;

type MemberId = Arc<str>;

/// Why a request is refused: Kafka's error, and a text.
pub(super) type Refusal = (ResponseError, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Member {
    metadata: Metadata,
    current: Current,
}

impl Member {
    /// The error for an epoch that is not its own, which the classic protocol knows as a generation.
    fn stale(&self) -> ResponseError {
        match self.metadata.classic {
            Some(_) => ResponseError::IllegalGeneration,
            None => ResponseError::StaleMemberEpoch,
        }
    }
}

/// Whether a member subscribes to something else than before.
fn is_resubscribed(before: &Metadata, after: &Metadata) -> bool {
    (&before.topics, before.regex()) != (&after.topics, after.regex())
}

/// A group.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    name: Arc<str>,
    epoch: i32,
    target_epoch: i32,
    /// When it was assigned, in milliseconds since 1970; 0 for never.
    target_at: i64,
    metadata_hash: i64,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<String, MemberId>,
    target: BTreeMap<MemberId, Partitions>,
    /// Who has, or has not yet given up, each partition.
    owners: BTreeMap<(Uuid, i32), MemberId>,
    /// Regular expressions of subscriptions, and the topics that they fit.
    regexes: BTreeMap<String, Resolved>,
    /// The topics' version that `metadata_hash` and the regular expressions were last held against.
    seen_topics: Option<u64>,
    /// What deletes the group whose place it takes, and makes it what it is, to be written with its own first records.
    replaces: Vec<Record>,
}

impl ConsumerGroup {
    pub fn new(name: Arc<str>, replaces: Vec<Record>) -> Self {
        ConsumerGroup {
            name,
            replaces,
            epoch: FIRST_EPOCH,
            target_epoch: 0,
            target_at: 0,
            metadata_hash: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            target: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            seen_topics: None,
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
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(|member| self.is_reconciled(member)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    fn is_reconciled(&self, member: &Member) -> bool {
        member.current.state == MemberState::Stable && member.current.epoch == self.target_epoch
    }

    // Changes.

    /// Takes a change in, of a heartbeat or of the log.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(Some((epoch, hash))) => (self.epoch, self.metadata_hash) = (epoch, hash),
            Change::TargetEpoch(Some((epoch, at))) => (self.target_epoch, self.target_at) = (epoch, at),
            Change::Epoch(None) | Change::TargetEpoch(None) => {}
            Change::Member(id, Some(metadata)) => {
                let id: MemberId = id.into();
                if let Some(instance) = &metadata.instance {
                    self.instances.insert(instance.clone(), id.clone());
                }
                self.members.entry(id).or_default().metadata = metadata;
            }
            Change::Member(id, None) => {
                if let Some(member) = self.members.remove(&*id) {
                    self.release(&id, &member.current);
                    if let Some(instance) = member.metadata.instance
                        && self.instances.get(&instance).is_some_and(|holder| **holder == *id)
                    {
                        self.instances.remove(&instance);
                    }
                }
            }
            Change::Target(id, Some(partitions)) => drop(self.target.insert(id.into(), partitions)),
            Change::Target(id, None) => drop(self.target.remove(&*id)),
            Change::Current(id, Some(current)) => {
                let id: MemberId = id.into();
                if let Some(before) = self.members.get(&id).map(|member| member.current.clone()) {
                    self.release(&id, &before);
                }
                for places in [&current.assigned, &current.revoking] {
                    for (topic, partitions) in places {
                        self.owners.extend(partitions.keys().map(|partition| ((*topic, *partition), id.clone())));
                    }
                }
                self.members.entry(id).or_default().current = current;
            }
            Change::Current(id, None) => {
                if let Some(member) = self.members.get_mut(&*id) {
                    let before = std::mem::take(&mut member.current);
                    self.release(&id, &before);
                }
            }
            Change::Regex(regex, Some(resolved)) => drop(self.regexes.insert(regex, resolved)),
            Change::Regex(regex, None) => drop(self.regexes.remove(&regex)),
        }
    }

    fn release(&mut self, id: &str, current: &Current) {
        for places in [&current.assigned, &current.revoking] {
            for (topic, partitions) in places {
                for partition in partitions.keys() {
                    if self.owners.get(&(*topic, *partition)).is_some_and(|owner| **owner == *id) {
                        self.owners.remove(&(*topic, *partition));
                    }
                }
            }
        }
    }

    /// Writes changes, and takes them in.
    fn commit(&mut self, outside: &mut Outside<'_>, changes: Vec<Change>) -> Result<(), Refusal> {
        if changes.is_empty() {
            return Ok(());
        }
        let own = changes.iter().map(|change| consumer_record(&self.name, change));
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
            .chain(self.regexes.keys().map(|regex| Change::Regex(regex.clone(), None)))
            .collect::<Vec<_>>();
        let records = changes.iter().map(|change| consumer_record(&self.name, change));
        let last = consumer_record(&self.name, &Change::Epoch(None));
        records.chain([(topics_key(&self.name), None), last]).collect()
    }

    // Heartbeats.

    /// A member is there: it joins, says what has changed with it, and hears what it has to do.
    pub fn heartbeat(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &ConsumerGroupHeartbeatRequest,
        client: Client,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id: MemberId = match &*request.member_id {
            "" => (outside.new_id)().to_string().into(),
            id => id.into(),
        };
        if self.members.len() >= outside.settings.consumer_max_size && !self.members.contains_key(&id) {
            let text =
                format!("The consumer group has reached its maximum capacity of {} members.", self.members.len());
            return Err((ResponseError::GroupMaxSizeReached, text));
        }
        let instance = request.instance_id.as_deref();
        let mut changes = Vec::new();
        let (before, replaced) = self.find_or_make(&id, instance, request, &mut changes)?;
        let metadata = updated(&before.metadata, request, client);
        let owned = request.topic_partitions.as_ref().map(|topics| {
            topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)))
                .collect()
        });
        let (was_classic, assigned_before) = (before.metadata.classic.is_some(), keys(&before.current.assigned));
        let member = self.advance(outside, timers, &id, (before, replaced.as_ref()), metadata, owned, changes)?;
        if was_classic {
            timers.cancel(&self.rejoin_timer(&id));
            timers.cancel(&self.sync_timer(&id));
        }
        let times = outside.times_of(&self.name);
        timers.set(Timer::Heartbeat(self.name.clone(), id.clone()), outside.now + times.session_timeout);
        let is_put_off = self.epoch > self.target_epoch;
        let interval = heartbeat_within(times.heartbeat_interval, times.assignment_interval, is_put_off);
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(&id)))
            .with_member_epoch(member.current.epoch)
            .with_heartbeat_interval_ms(interval);
        let is_full = request.member_epoch == JOINS
            || request.rebalance_timeout_ms != -1
                && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
                && request.topic_partitions.is_some();
        let assigned = keys(&member.current.assigned);
        if !is_full && assigned == assigned_before {
            return Ok(response);
        }
        let of_topic = |(topic, partitions): (Uuid, BTreeSet<i32>)| {
            heartbeat::TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.into_iter().collect())
        };
        let assignment =
            heartbeat::Assignment::default().with_topic_partitions(assigned.into_iter().map(of_topic).collect());
        Ok(response.with_assignment(Some(assignment)))
    }

    /// Takes in what a member has said of itself, shares partitions out if that or topics make it necessary, and goes the member's next
    /// step to its target.
    fn advance(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        id: &MemberId,
        (before, replaced): (Member, Option<&MemberId>),
        metadata: Metadata,
        owned: Option<BTreeSet<(Uuid, i32)>>,
        mut changes: Vec<Change>,
    ) -> Result<Member, Refusal> {
        let mut member = Member { metadata, ..before.clone() };
        self.resolve(outside, &before.metadata, &member.metadata, &mut changes)?;
        self.assign(outside, id, &before, &member, replaced.map(|id| &**id), &mut changes);
        // What is left is this member's own way to its target.
        let target_epoch = target_epoch(&changes).unwrap_or(self.target_epoch);
        let target = self.target_of(id, replaced.map(|id| &**id), &changes);
        let holder = |place: (Uuid, i32)| {
            let owner = self.owners.get(&place)?;
            // What the replaced member had is this one's.
            (Some(owner) != replaced).then_some(owner)
        };
        let is_new = is_resubscribed(&before.metadata, &member.metadata);
        let next = if !is_new && member.current.state == MemberState::Stable && member.current.epoch == target_epoch {
            member.current.clone()
        } else {
            let names = self.topics_of(&member.metadata, &changes);
            let topics = names.iter().filter_map(|name| outside.topics.find(name)).map(|(topic, _)| topic).collect();
            let subscribed = Subscribed { topics, is_new };
            let is_held = |place| holder(place).is_some();
            reconcile(&member.current, target_epoch, &target, &subscribed, owned.as_ref(), is_held)
        };
        if next != member.current || replaced.is_some() {
            changes.push(Change::Current(id.to_string(), Some(next.clone())));
        }
        member.current = next;
        self.commit(outside, changes)?;
        self.seen_topics = Some(outside.topics.version());
        if let Some(replaced) = replaced {
            self.forget_timers(replaced, timers);
        }
        match member.current.state {
            // One of the classic protocol is waited for when it is told to join again.
            MemberState::Unrevoked if member.metadata.classic.is_some() => {}
            MemberState::Unrevoked if member.current != before.current => {
                self.expect_revocation(id, &member, outside.now, timers);
            }
            MemberState::Unrevoked => {}
            MemberState::Stable | MemberState::Unreleased => {
                timers.cancel(&Timer::Revocation(self.name.clone(), id.clone()));
            }
        }
        Ok(member)
    }

    /// The member as it was, and whom it replaces.
    fn find_or_make(
        &self,
        id: &MemberId,
        instance: Option<&str>,
        request: &ConsumerGroupHeartbeatRequest,
        changes: &mut Vec<Change>,
    ) -> Result<(Member, Option<MemberId>), Refusal> {
        let joins = request.member_epoch == JOINS;
        let holder = instance.and_then(|instance| self.instances.get(instance));
        match (instance, holder) {
            (Some(instance), Some(holder)) if joins => {
                let holding = self.members.get(holder);
                // One of the classic protocol gives way at once.
                if holding.is_some_and(|old| old.metadata.classic.is_none() && old.current.epoch != LEAVES_FOR_NOW) {
                    let text = format!(
                        "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by {holder} member."
                    );
                    return Err((ResponseError::UnreleasedInstanceId, text));
                }
                return Ok((self.replace(holder, id, changes), Some(holder.clone())));
            }
            (Some(instance), None) if !joins => {
                return Err((ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown.")));
            }
            (Some(instance), Some(holder)) if holder != id => {
                let text = format!("Static member {id} with instance id {instance} was fenced by member {holder}.");
                return Err((ResponseError::FencedInstanceId, text));
            }
            _ => {}
        }
        let Some(member) = self.members.get(id) else {
            if joins {
                return Ok((Member::default(), None));
            }
            let text = format!("Member {id} is not a member of group {}.", self.name);
            return Err((ResponseError::UnknownMemberId, text));
        };
        check_epoch(member, request)?;
        Ok((member.clone(), None))
    }

    /// Puts a new member in an instance's place, with what that had.
    fn replace(&self, holder: &MemberId, id: &MemberId, changes: &mut Vec<Change>) -> Member {
        changes.push(Change::Current(holder.to_string(), None));
        changes.push(Change::Target(holder.to_string(), None));
        changes.push(Change::Member(holder.to_string(), None));
        let target = self.target.get(holder).cloned().unwrap_or_default();
        changes.push(Change::Target(id.to_string(), Some(target)));
        let old = self.members.get(holder).cloned().unwrap_or_default();
        Member { current: replacing(&old.current), ..old }
    }

    /// Notes what is new about a member, and which topics its regular expression fits.
    fn resolve(
        &self,
        outside: &Outside<'_>,
        before: &Metadata,
        after: &Metadata,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let mut wanted: BTreeSet<&String> = BTreeSet::new();
        if let Some(regex) = after.regex()
            && (before.regex() != Some(regex) || !self.regexes.contains_key(regex))
        {
            wanted.insert(regex);
        }
        if self.seen_topics != Some(outside.topics.version()) {
            wanted.extend(self.regexes.keys());
        }
        for regex in wanted {
            let topics = match matches(regex, outside.topics) {
                Ok(topics) => topics,
                Err(refusal) if after.regex() == Some(regex) => return Err(refusal),
                // Of others, what was found before counts on.
                Err(_) => continue,
            };
            let known = self.regexes.get(regex);
            if known.is_none_or(|known| known.topics != topics) {
                let resolved = Resolved { topics, version: 0, at: outside.wall };
                changes.push(Change::Regex(regex.clone(), Some(resolved)));
            }
        }
        Ok(())
    }

    /// Notes a change of the member, of the group's epoch if that or topics make one, and then a new target, unless the last one is
    /// too new.
    fn assign(
        &self,
        outside: &Outside<'_>,
        id: &MemberId,
        before: &Member,
        after: &Member,
        replaced: Option<&str>,
        changes: &mut Vec<Change>,
    ) {
        let is_new = !self.members.contains_key(id);
        if is_new || replaced.is_some() || before.metadata != after.metadata {
            changes.push(Change::Member(id.to_string(), Some(after.metadata.clone())));
        }
        let mut rises = (is_new && replaced.is_none()) || is_resubscribed(&before.metadata, &after.metadata);
        let version = outside.topics.version();
        if !rises && self.seen_topics == Some(version) && self.epoch <= self.target_epoch {
            return;
        }
        let mut members: BTreeMap<MemberId, Metadata> =
            self.members.iter().map(|(id, member)| (id.clone(), member.metadata.clone())).collect();
        replaced.map(|replaced| members.remove(replaced));
        members.insert(id.clone(), after.metadata.clone());
        let mut hash = self.metadata_hash;
        if rises || self.seen_topics != Some(version) {
            hash = metadata_hash(&self.subscribed(&members, changes), outside.topics);
            rises |= hash != self.metadata_hash;
        }
        let mut epoch = self.epoch;
        if rises {
            epoch = epoch.saturating_add(1);
            changes.push(Change::Epoch(Some((epoch, hash))));
        }
        let interval = outside.times_of(&self.name).assignment_interval;
        if epoch > self.target_epoch && outside.wall.0 >= due(self.target_at, interval, outside.wall.0) {
            self.retarget(outside, &members, epoch, changes);
        }
        changes.extend(self.unused_regexes(&members));
    }

    /// Lets those go that none of the members has.
    fn unused_regexes(&self, members: &BTreeMap<MemberId, Metadata>) -> Vec<Change> {
        let is_used = |regex: &String| members.values().any(|metadata| metadata.regex() == Some(regex));
        self.regexes.keys().filter(|regex| !is_used(regex)).map(|regex| Change::Regex(regex.clone(), None)).collect()
    }

    /// The names of all topics that members subscribe to, with regular expressions that have just been resolved.
    fn subscribed(&self, members: &BTreeMap<MemberId, Metadata>, changes: &[Change]) -> BTreeSet<String> {
        members.values().flat_map(|metadata| self.topics_of(metadata, changes)).collect()
    }

    fn topics_of(&self, metadata: &Metadata, changes: &[Change]) -> BTreeSet<String> {
        let mut topics = metadata.topics.clone();
        if let Some(regex) = metadata.regex() {
            let newly = changes.iter().find_map(|change| match change {
                Change::Regex(changed, Some(resolved)) if changed == regex => Some(resolved),
                _ => None,
            });
            topics
                .extend(newly.or(self.regexes.get(regex)).iter().flat_map(|resolved| resolved.topics.iter().cloned()));
        }
        topics
    }

    fn retarget(
        &self,
        outside: &Outside<'_>,
        members: &BTreeMap<MemberId, Metadata>,
        epoch: i32,
        changes: &mut Vec<Change>,
    ) {
        let known = |name: &String| outside.topics.find(name);
        let topics: BTreeMap<Uuid, i32> = self.subscribed(members, changes).iter().filter_map(known).collect();
        let wants = |(id, metadata): (&MemberId, &Metadata)| {
            let subscribed =
                self.topics_of(metadata, changes).iter().filter_map(known).map(|(topic, _)| topic).collect();
            let has = self.target_of(id, None, changes);
            (id.clone(), Wants { instance: metadata.instance.clone(), topics: subscribed, has })
        };
        let wants: BTreeMap<MemberId, Wants> = members.iter().map(wants).collect();
        let target = Self::assignor(members, &outside.settings.assignors).assign(&wants, &topics);
        for (id, partitions) in target {
            if wants.get(&id).is_none_or(|wants| wants.has != partitions) || !self.target.contains_key(&id) {
                changes.push(Change::Target(id.to_string(), Some(partitions)));
            }
        }
        changes.push(Change::TargetEpoch(Some((epoch, outside.wall.0))));
    }

    /// The assignor that most members name, the first if nobody does.
    fn assignor(members: &BTreeMap<MemberId, Metadata>, assignors: &[Assignor]) -> Assignor {
        let votes = |assignor: Assignor| {
            members.values().filter(|metadata| metadata.assignor.as_deref() == Some(assignor.name())).count()
        };
        let most = assignors.iter().copied().rev().max_by_key(|assignor| votes(*assignor));
        most.unwrap_or(Assignor::ALL[0])
    }

    /// A member's target as it will be with some changes.
    fn target_of(&self, id: &str, replaced: Option<&str>, changes: &[Change]) -> Partitions {
        let newly = changes.iter().rev().find_map(|change| match change {
            Change::Target(changed, partitions) if **changed == *id => partitions.clone(),
            _ => None,
        });
        newly.or_else(|| self.target.get(replaced.unwrap_or(id)).cloned()).unwrap_or_default()
    }

    // Leaving.

    /// A member leaves; or an instance does, for now. Gives the member that is then to be dismissed.
    pub fn leave(
        &mut self,
        outside: &mut Outside<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Vec<MemberId>), Refusal> {
        let id = &*request.member_id.to_string();
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(id)))
            .with_member_epoch(request.member_epoch);
        if let Some(instance) = request.instance_id.as_deref() {
            match self.instances.get(instance) {
                None => return Err((ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown."))),
                Some(holder) if **holder != *id => {
                    let text = format!("Static member {id} with instance id {instance} was fenced by member {holder}.");
                    return Err((ResponseError::FencedInstanceId, text));
                }
                Some(_) => {}
            }
        }
        let Some((id, member)) = self.members.get_key_value(id) else {
            let text = format!("Member {id} is not a member of group {}.", self.name);
            return Err((ResponseError::UnknownMemberId, text));
        };
        if request.member_epoch == LEAVES_FOR_NOW {
            let mut current = Current { epoch: LEAVES_FOR_NOW, revoking: BTreeMap::new(), ..member.current.clone() };
            current.assigned.values_mut().flat_map(BTreeMap::values_mut).for_each(|since| *since = 0);
            self.commit(outside, vec![Change::Current(id.to_string(), Some(current))])?;
            return Ok((response, Vec::new()));
        }
        Ok((response, vec![id.clone()]))
    }

    /// Removes members, and with them what they had; the others are given it with their next heartbeats.
    pub fn dismiss(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        leaving: &[MemberId],
    ) -> Result<(), Refusal> {
        if leaving.is_empty() {
            return Ok(());
        }
        let mut changes: Vec<Change> = leaving
            .iter()
            .flat_map(|id| {
                [
                    Change::Current(id.to_string(), None),
                    Change::Target(id.to_string(), None),
                    Change::Member(id.to_string(), None),
                ]
            })
            .collect();
        let left = self.members.iter().filter(|(id, _)| !leaving.contains(id));
        let members: BTreeMap<_, _> = left.map(|(id, member)| (id.clone(), member.metadata.clone())).collect();
        let hash = metadata_hash(&self.subscribed(&members, &[]), outside.topics);
        changes.extend(self.unused_regexes(&members));
        changes.push(Change::Epoch(Some((self.epoch.saturating_add(1), hash))));
        self.commit(outside, changes)?;
        leaving.iter().for_each(|id| self.forget_timers(id, timers));
        Ok(())
    }

    pub fn has_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    fn forget_timers(&self, id: &str, timers: &mut Timers<Timer>) {
        let id: MemberId = id.into();
        timers.cancel(&Timer::Heartbeat(self.name.clone(), id.clone()));
        timers.cancel(&self.rejoin_timer(&id));
        timers.cancel(&self.sync_timer(&id));
        timers.cancel(&Timer::Revocation(self.name.clone(), id));
    }

    /// Waits for nobody any more.
    pub fn forget_all_timers(&self, timers: &mut Timers<Timer>) {
        self.members.keys().for_each(|id| self.forget_timers(id, timers));
    }

    fn expect_revocation(&self, id: &MemberId, member: &Member, now: Duration, timers: &mut Timers<Timer>) {
        let timeout = Duration::from_millis(u64::try_from(member.metadata.rebalance_timeout_ms).unwrap_or(0));
        timers.set(Timer::Revocation(self.name.clone(), id.clone()), now + timeout);
    }

    // Offsets.

    /// Whether a commit by this member, in this epoch, is taken; an older epoch counts for partitions that were assigned in it
    /// or before (KIP-1251).
    pub fn check_commit(
        &self,
        committer: &Committer<'_>,
        places: impl Iterator<Item = (Option<Uuid>, i32)>,
    ) -> Result<(), ResponseError> {
        let epoch = committer.generation;
        if (epoch < 0 && self.members.is_empty()) || (committer.in_transaction && committer.is_nobody()) {
            return Ok(());
        }
        let member = self.members.get(committer.member).ok_or(ResponseError::UnknownMemberId)?;
        let is_classic = member.metadata.classic.is_some();
        if !committer.in_transaction && !is_classic && committer.version < COMMITS_BY_EPOCH {
            return Err(ResponseError::UnsupportedVersion);
        }
        let current = &member.current;
        if epoch == current.epoch {
            return Ok(());
        }
        let assigned_in = |topic: Uuid, partition: i32| {
            [&current.assigned, &current.revoking]
                .into_iter()
                .find_map(|places| places.get(&topic)?.get(&partition).copied())
        };
        let mut is_known = |(topic, partition): (Option<Uuid>, i32)| {
            topic.and_then(|topic| assigned_in(topic, partition)).is_some_and(|assigned| epoch >= assigned)
        };
        let mut places = places;
        if epoch < current.epoch && epoch >= 0 && places.all(&mut is_known) {
            return Ok(());
        }
        Err(member.stale())
    }

    /// Whether a member in this epoch may read offsets.
    pub fn check_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        match id {
            None if epoch < 0 => Ok(()),
            id => {
                let member = self.members.get(id.unwrap_or_default()).ok_or(ResponseError::UnknownMemberId)?;
                if epoch == member.current.epoch { Ok(()) } else { Err(member.stale()) }
            }
        }
    }

    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.topics_of(&member.metadata, &[]).contains(topic))
    }

    #[cfg(test)]
    pub fn assigned(&self) -> BTreeMap<(Uuid, i32), Vec<MemberId>> {
        let mut owners: BTreeMap<(Uuid, i32), Vec<MemberId>> = BTreeMap::new();
        for (id, member) in &self.members {
            for places in [&member.current.assigned, &member.current.revoking] {
                for (topic, partitions) in places {
                    for partition in partitions.keys() {
                        owners.entry((*topic, *partition)).or_default().push(id.clone());
                    }
                }
            }
        }
        owners
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn keys(places: &BTreeMap<Uuid, BTreeMap<i32, i32>>) -> Partitions {
    places.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}

fn target_epoch(changes: &[Change]) -> Option<i32> {
    changes.iter().rev().find_map(|change| match change {
        Change::TargetEpoch(Some((epoch, _))) => Some(*epoch),
        _ => None,
    })
}
