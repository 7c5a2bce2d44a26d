//! Members of the classic and of the consumer protocol in one group, which changes its own as they come and go.

use bytes::Bytes;
use proptest::prelude::*;
use tidewater_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use tidewater_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use tidewater_protocol::messages::{GroupId, consumer_group_heartbeat_request};

use super::embedded::{by_id, read_assignment, write_assignment};
use super::*;
use crate::groups::assign::Partitions;
use crate::wire::Writer;

const TOPIC: &str = "t";
const PARTITIONS: i32 = 6;

/// A client that may speak either protocol.
#[derive(Debug, Default)]
struct Member {
    speaks_consumer: bool,
    id: String,
    instance: Option<String>,
    /// Or generation.
    epoch: i32,
    has: Partitions,
    /// Of the classic protocol: it has joined, and knows its share.
    is_in: bool,
    /// The members to whom it must assign, if it leads.
    led: Vec<String>,
    joining: Option<oneshot::Receiver<JoinGroupResponse>>,
    syncing: Option<oneshot::Receiver<SyncGroupResponse>>,
}

impl Member {
    /// As it is when it begins.
    fn begin(&mut self) {
        let (speaks_consumer, instance) = (self.speaks_consumer, self.instance.take());
        *self = Member { speaks_consumer, instance, ..Member::default() };
    }
}

struct World {
    groups: Groups,
    around: Around,
    members: Vec<Member>,
}

/// A subscription of version 1: the topic, and what its member has.
fn subscription(has: &Partitions, topics: &dyn Topics) -> Bytes {
    let mut out = Writer::new(1);
    out.i32(1);
    out.text(TOPIC);
    out.i32(-1);
    // What is owned stands there as in an assignment, without the version before and the user data after it.
    let owned = write_assignment(1, has, topics);
    Bytes::from([out.finish(), owned[2..owned.len() - 4].to_vec()].concat())
}

impl World {
    fn new(members: usize) -> Self {
        let mut around = Around::default();
        around.topics.set(TOPIC, PARTITIONS);
        let members = (0..members).map(|_| Member::default()).collect();
        World { groups: Groups::default(), around, members }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R) -> R {
        self.around.change(&mut self.groups, change)
    }

    fn pass(&mut self, time: Duration) {
        self.around.now += time;
        self.change(|groups, outside| groups.pass_time(outside));
        self.hear();
    }

    /// One step of a member's client, whatever it has to do next.
    fn act(&mut self, number: usize) {
        let member = &self.members[number];
        if member.speaks_consumer {
            self.consumer_heartbeat(number);
        } else if member.joining.is_some() || member.syncing.is_some() {
            // It waits.
        } else if member.is_in {
            self.classic_heartbeat(number);
        } else {
            self.join(number);
        }
        self.hear();
    }

    fn consumer_heartbeat(&mut self, number: usize) {
        if self.members[number].id.is_empty() {
            self.around.made += 1;
            self.members[number].id = format!("m{}", self.around.made);
        }
        let member = &self.members[number];
        let owned = member.has.iter().map(|(topic, partitions)| {
            consumer_group_heartbeat_request::TopicPartitions::default()
                .with_topic_id(*topic)
                .with_partitions(partitions.iter().copied().collect())
        });
        let owned = if member.epoch == JOINS { Vec::new() } else { owned.collect() };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&member.id))
            .with_member_epoch(member.epoch)
            .with_instance_id(member.instance.as_deref().map(text))
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
            .with_topic_partitions(Some(owned));
        let heard = self.change(|groups, outside| groups.consumer_heartbeat(outside, &request, Client::default()));
        let member = &mut self.members[number];
        match heard {
            Ok(response) => {
                member.epoch = response.member_epoch;
                if let Some(assigned) = response.assignment {
                    let topics = assigned.topic_partitions.into_iter();
                    member.has = topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect();
                }
            }
            Err((error, text)) => {
                let is_expected = matches!(
                    error,
                    ResponseError::FencedMemberEpoch
                        | ResponseError::UnknownMemberId
                        | ResponseError::GroupIdNotFound
                        | ResponseError::UnreleasedInstanceId
                        | ResponseError::FencedInstanceId
                        | ResponseError::NotCoordinator
                );
                assert!(is_expected, "{error}: {text}");
                if error != ResponseError::NotCoordinator {
                    member.begin();
                }
            }
        }
    }

    fn join(&mut self, number: usize) {
        let member = &self.members[number];
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(subscription(&member.has, &self.around.topics));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_protocol_type(text(CONSUMER))
            .with_protocols(vec![protocol]);
        let (reply, answer) = oneshot::channel();
        self.change(|groups, outside| groups.join(outside, &request, (VERSION, Client::default()), reply));
        self.members[number].joining = Some(answer);
    }

    fn sync(&mut self, number: usize) {
        let member = &self.members[number];
        let topic = self.around.topics.topics[TOPIC].0;
        let count = member.led.len() as i32;
        // Each has every so-manieth partition.
        let share = |(at, id): (usize, &String)| {
            let numbers = (0..PARTITIONS).filter(|number| number % count == at as i32).collect();
            let partitions = Partitions::from([(topic, numbers)]);
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(write_assignment(1, &partitions, &self.around.topics).into())
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_generation_id(member.epoch)
            .with_protocol_type(Some(text(CONSUMER)))
            .with_protocol_name(Some(text("cooperative-sticky")))
            .with_assignments(member.led.iter().enumerate().map(share).collect());
        let (reply, answer) = oneshot::channel();
        self.change(|groups, outside| groups.sync(outside, &request, reply));
        self.members[number].syncing = Some(answer);
    }

    fn classic_heartbeat(&mut self, number: usize) {
        let member = &self.members[number];
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_generation_id(member.epoch);
        let heard = self.change(|groups, outside| groups.heartbeat(outside, &request));
        let member = &mut self.members[number];
        match heard {
            Ok(()) => {}
            Err(ResponseError::RebalanceInProgress) => member.is_in = false,
            Err(ResponseError::IllegalGeneration) => {
                // It keeps its id, and nothing else.
                (member.is_in, member.epoch) = (false, 0);
                member.has.clear();
            }
            Err(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => member.begin(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Clients read their answers, and ask for their shares once they have joined.
    fn hear(&mut self) {
        for number in 0..self.members.len() {
            let member = &mut self.members[number];
            if let Some(joining) = &mut member.joining
                && let Ok(answer) = joining.try_recv()
            {
                member.joining = None;
                match answer.error_code {
                    0 => {
                        (member.id, member.epoch) = (answer.member_id.to_string(), answer.generation_id);
                        member.led = answer.members.iter().map(|member| member.member_id.to_string()).collect();
                        self.sync(number);
                    }
                    // MEMBER_ID_REQUIRED
                    79 => member.id = answer.member_id.to_string(),
                    // REBALANCE_IN_PROGRESS, NOT_COORDINATOR
                    27 | 16 => {}
                    _ => member.begin(),
                }
            }
            let topics = &self.around.topics;
            let member = &mut self.members[number];
            let Some(syncing) = &mut member.syncing else { continue };
            let Ok(answer) = syncing.try_recv() else { continue };
            member.syncing = None;
            match answer.error_code {
                0 => {
                    member.has = by_id(&read_assignment(&answer.assignment).unwrap().partitions, topics);
                    member.is_in = true;
                }
                27 | 16 => {}
                22 => {
                    member.epoch = 0;
                    member.has.clear();
                }
                _ => member.begin(),
            }
        }
    }

    fn leave(&mut self, number: usize) {
        let member = &self.members[number];
        if member.speaks_consumer {
            let request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(GroupId(text(GROUP)))
                .with_member_id(text(&member.id))
                .with_instance_id(member.instance.as_deref().map(text))
                .with_member_epoch(LEAVES);
            let _ = self.change(|groups, outside| groups.consumer_heartbeat(outside, &request, Client::default()));
        } else {
            let leaving = [MemberIdentity::default().with_member_id(text(&member.id))];
            let _ = self.change(|groups, outside| groups.leave(outside, GROUP, &leaving));
        }
        self.members[number].begin();
        self.hear();
    }

    /// The same member comes back, with the other protocol.
    fn change_protocol(&mut self, number: usize) {
        self.leave(number);
        self.members[number].speaks_consumer ^= true;
    }

    /// Everybody acts, until all is as it should be.
    fn come_to_rest(&mut self) {
        for _ in 0..60 {
            (0..self.members.len()).for_each(|number| self.act(number));
            self.pass(Duration::from_secs(3));
            self.check();
        }
        let kinds: Vec<(&str, &str)> = self.groups.list().map(|group| (group.kind, group.state)).collect();
        let speaks_any = |consumer: bool| self.members.iter().any(|member| member.speaks_consumer == consumer);
        let kind = if speaks_any(true) { "consumer" } else { "classic" };
        assert_eq!(kinds, [(kind, "Stable")], "{:?}", self.members);
        let has: Vec<usize> = self.members.iter().map(|member| member.has.values().map(BTreeSet::len).sum()).collect();
        let all: BTreeSet<i32> =
            self.members.iter().flat_map(|member| member.has.values().flatten().copied()).collect();
        assert_eq!(
            (has.iter().sum::<usize>() as i32, all.len() as i32),
            (PARTITIONS, PARTITIONS),
            "{:?}",
            self.members
        );
        assert!(has.iter().max().unwrap() - has.iter().min().unwrap() <= 1, "{has:?}");
    }

    fn kind(&self) -> Option<&'static str> {
        self.groups.list().next().map(|group| group.kind)
    }

    /// No partition has two owners, as far as the broker knows.
    fn check(&self) {
        let Some(Group::Consumer(group)) = self.groups.groups.get(GROUP) else { return };
        for (place, owners) in group.assigned() {
            assert_eq!(owners.len(), 1, "{place:?} is of {owners:?}");
        }
    }

    fn restart(&mut self) {
        let describe = |world: &Self| world.groups.describe_consumer(GROUP, &world.around.topics, &Assignor::ALL).ok();
        let before = describe(self);
        self.groups = self.around.replayed();
        assert_eq!(describe(self), before, "the log has all of it");
        for member in &mut self.members {
            // Requests that wait are lost with the connections.
            (member.joining, member.syncing) = (None, None);
        }
    }
}

#[test]
fn consumers_change_their_protocol_one_by_one_and_back() {
    let mut world = World::new(3);
    world.come_to_rest();
    for number in 0..3 {
        world.change_protocol(number);
        world.come_to_rest();
    }
    assert_eq!(world.kind(), Some("consumer"));
    for number in 0..3 {
        world.change_protocol(number);
        world.come_to_rest();
    }
    assert_eq!(world.kind(), Some("classic"));
}

#[test]
fn an_instance_takes_its_share_with_it_to_the_other_protocol() {
    let mut world = World::new(2);
    for (number, member) in world.members.iter_mut().enumerate() {
        member.instance = Some(format!("i{number}"));
    }
    world.come_to_rest();
    let before = world.members[0].has.clone();
    world.members[0].begin();
    world.members[0].speaks_consumer = true;
    world.act(0);
    assert_eq!((world.kind(), &world.members[0].has), (Some("consumer"), &before));
    world.come_to_rest();
    let before = world.members[0].has.clone();
    world.members[0].begin();
    world.members[0].speaks_consumer = false;
    world.act(0);
    // The last one of the consumer protocol went with it, and nobody need rebalance.
    assert_eq!((world.kind(), &world.members[0].has), (Some("classic"), &before));
    assert_eq!(world.groups.list().next().map(|group| group.state), Some("Stable"));
    world.come_to_rest();
}

#[test]
fn what_may_not_change_its_protocol_does_not() {
    let mut world = World::new(2);
    world.around.settings.migration = MigrationPolicy::Disabled;
    world.come_to_rest();
    let joins = |groups: &mut Groups, outside: &mut Outside<'_>| {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text("new"))
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_names(Some(vec![topic_name(TOPIC)]))
            .with_topic_partitions(Some(Vec::new()));
        groups.consumer_heartbeat(outside, &request, Client::default())
    };
    let (error, text) = world.change(joins).unwrap_err();
    assert_eq!(error, ResponseError::GroupIdNotFound);
    assert_eq!(text, "Cannot upgrade classic group g to consumer group because online upgrade is disabled.");
    world.around.settings.migration = MigrationPolicy::Upgrade;
    world.change(joins).unwrap();
    assert_eq!(world.kind(), Some("consumer"));
    let leaves = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(super::text(GROUP)))
        .with_member_id(super::text("new"))
        .with_member_epoch(LEAVES);
    world.change(|groups, outside| groups.consumer_heartbeat(outside, &leaves, Client::default())).unwrap();
    assert_eq!(world.kind(), Some("consumer"), "it goes one way only");
}

#[test]
fn a_member_that_is_refused_changes_no_group() {
    let mut world = World::new(1);
    let joins = |group: &str| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text("new"))
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_regex(Some(text("(")))
            .with_topic_partitions(Some(Vec::new()))
    };
    let refused = |world: &mut World, group: &str| {
        let request = joins(group);
        let heard = world.change(|groups, outside| groups.consumer_heartbeat(outside, &request, Client::default()));
        assert_eq!(heard.unwrap_err().0, ResponseError::InvalidRegularExpression);
    };
    // One with members, which go on.
    world.come_to_rest();
    let written = world.around.log.records.len();
    refused(&mut world, GROUP);
    assert_eq!((world.kind(), world.around.log.records.len()), (Some("classic"), written));
    world.come_to_rest();
    // One without, which has offsets.
    world.change(|groups, outside| groups.make_classic(outside, "other")).unwrap();
    refused(&mut world, "other");
    let replayed = world.around.replayed();
    assert!(replayed.list().any(|group| group.name == "other"));
}

#[test]
fn who_waits_for_a_rebalance_has_a_share_after_the_change() {
    let mut world = World::new(3);
    world.members[0].instance = Some("i".to_owned());
    world.members[2].speaks_consumer = true;
    for number in [1, 1, 0] {
        world.act(number);
    }
    world.pass(Duration::from_secs(4));
    // A rebalance begins for one more, and amid it an instance comes back with the other protocol, for whom nothing need change.
    world.members[2].speaks_consumer = false;
    world.act(2);
    world.act(2);
    world.members[0].begin();
    world.members[0].speaks_consumer = true;
    world.come_to_rest();
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize),
    ChangeProtocol(usize),
    Leave(usize),
    Crash(usize),
    Pass(u64),
    FailNext,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0usize..4;
    prop_oneof![
        12 => who().prop_map(Step::Act),
        1 => who().prop_map(Step::ChangeProtocol),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Crash),
        3 => (0u64..10_000).prop_map(Step::Pass),
        1 => Just(Step::FailNext),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whoever_comes_with_whichever_protocol_all_have_their_shares_in_the_end(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(4);
        // One has a place of its own.
        world.members[0].instance = Some("i".to_owned());
        for step in steps {
            match step {
                Step::Act(number) => world.act(number),
                Step::ChangeProtocol(number) => world.change_protocol(number),
                Step::Leave(number) => world.leave(number),
                Step::Crash(number) => world.members[number].begin(),
                Step::Pass(time) => world.pass(Duration::from_millis(time)),
                Step::FailNext => world.around.log.fails = true,
                Step::Restart => world.restart(),
            }
            world.check();
        }
        world.around.log.fails = false;
        world.come_to_rest();
    }
}
