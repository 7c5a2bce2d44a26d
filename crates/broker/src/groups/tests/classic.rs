//! Members of the classic protocol.

use bytes::Bytes;
use proptest::prelude::*;
use tidewater_protocol::messages::GroupId;
use tidewater_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use tidewater_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use tidewater_types::{Offset, TopicPartition};

use super::super::describe::Listed;
use super::*;

/// A client, as far as it knows.
#[derive(Default)]
struct Member {
    id: String,
    instance: Option<String>,
    generation: i32,
    /// The ids of all members, if it leads.
    led: Vec<String>,
    joining: Option<oneshot::Receiver<JoinGroupResponse>>,
    syncing: Option<(i32, oneshot::Receiver<SyncGroupResponse>)>,
}

struct World {
    groups: Groups,
    around: Around,
    members: Vec<Member>,
    /// What each generation was told: its leader, and what its members were given.
    leaders: BTreeMap<i32, String>,
    shares: BTreeMap<i32, Bytes>,
    /// The last commit that was taken.
    committed: Option<i64>,
}

fn code<T>(result: Result<T, ResponseError>) -> i16 {
    result.map_or_else(|error| error.code(), |_| 0)
}

impl World {
    fn new(members: usize) -> Self {
        // Every other one keeps its place under a name.
        let member = |number: usize| Member {
            instance: (number % 2 == 1).then(|| format!("instance-{number}")),
            ..Member::default()
        };
        World {
            groups: Groups::default(),
            around: Around::default(),
            members: (0..members).map(member).collect(),
            leaders: BTreeMap::new(),
            shares: BTreeMap::new(),
            committed: None,
        }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R) -> R {
        self.around.change(&mut self.groups, change)
    }

    fn group(&self) -> Option<&ClassicGroup> {
        match self.groups.groups.get(GROUP)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) | Group::Streams(_) => None,
        }
    }

    fn join(&mut self, number: usize) {
        let member = &self.members[number];
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))]);
        let (reply, answer) = oneshot::channel();
        let client = Client { id: format!("c{number}"), host: "/here".to_owned() };
        self.change(|groups, outside| groups.join(outside, &request, (VERSION, client), reply));
        self.members[number].joining = Some(answer);
        self.hear();
    }

    fn sync(&mut self, number: usize) {
        let member = &self.members[number];
        let generation = member.generation;
        // Each share says whose assignment it is.
        let whole = Bytes::from(format!("{generation} by {}", member.id));
        let share =
            |id: &String| SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(whole.clone());
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_generation_id(generation)
            .with_assignments(member.led.iter().map(share).collect());
        let (reply, answer) = oneshot::channel();
        self.change(|groups, outside| groups.sync(outside, &request, reply));
        self.members[number].syncing = Some((generation, answer));
        self.hear();
    }

    fn heartbeat(&mut self, number: usize) {
        let member = &self.members[number];
        let (id, generation) = (member.id.clone(), member.generation);
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&id))
            .with_generation_id(generation);
        if self.change(|groups, outside| groups.heartbeat(outside, &request)).is_ok() {
            let newest = self.leaders.keys().next_back().copied();
            assert_eq!(newest, Some(generation), "a member of an old generation is not told so");
            assert!(self.group().is_some_and(|group| group.has_member(&id)));
        }
    }

    fn commit(&mut self, number: usize, offset: i64) {
        let Member { id, instance, generation, .. } = &self.members[number];
        // A client that has joined no generation does not commit.
        if id.is_empty() || *generation == 0 {
            return;
        }
        let (id, generation) = (id.clone(), *generation);
        let committer =
            Committer { member: &id, instance: instance.as_deref(), generation, in_transaction: false, version: 9 };
        if self.groups.check_commit(GROUP, &committer, &[], ResponseError::GroupIdNotFound).is_err() {
            return;
        }
        // A generation in which nobody has come back is told to nobody.
        let newest = self.leaders.keys().next_back().copied();
        assert!(newest <= Some(generation), "a commit of an old generation is taken: {newest:?}, {generation}");
        assert!(self.group().is_some_and(|group| group.has_member(&id)));
        let commits = vec![offset_of("t", 0, None, offset)];
        if self.change(|groups, outside| groups.commit(outside, GROUP, None, commits)).is_ok() {
            self.committed = Some(offset);
        }
    }

    /// What was committed last is what there is, whatever has become of the group.
    fn check_committed(&self) {
        let found = self.groups.offsets().get(GROUP, &TopicPartition::new("t", 0));
        assert_eq!(found.map(|committed| committed.offset.0), self.committed);
    }

    fn leave(&mut self, number: usize) {
        let leaving = [MemberIdentity::default().with_member_id(text(&self.members[number].id))];
        let left = self.change(|groups, outside| groups.leave(outside, GROUP, &leaving)).unwrap();
        if code(left[0]) == 0 {
            assert!(self.group().is_none_or(|group| !group.has_member(&self.members[number].id)));
        }
        self.members[number] = Member { instance: self.members[number].instance.take(), ..Member::default() };
        self.hear();
    }

    fn pass(&mut self, time: Duration) {
        self.around.now += time;
        self.change(|groups, outside| groups.pass_time(outside));
        self.hear();
    }

    /// What is in the log is all that is left.
    fn restart(&mut self) {
        let before = self.groups.describe(GROUP);
        self.groups = self.around.replayed();
        if let Some(before) = before.ok().filter(|group| &*group.group_state == "Stable") {
            assert_eq!(self.groups.describe(GROUP), Ok(before), "a stable group is in the log as it is");
        }
        // A generation that was not assigned is not in the log, and its number is given again.
        let generation = self.group().map_or(-1, ClassicGroup::generation);
        self.leaders.retain(|known, _| *known <= generation);
        for member in &mut self.members {
            (member.joining, member.syncing) = (None, None);
        }
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for member in &mut self.members {
            if let Some(answer) = member.joining.as_mut().and_then(|joining| joining.try_recv().ok()) {
                member.joining = None;
                match answer.error_code {
                    0 => {
                        let leader = answer.leader.to_string();
                        member.id = answer.member_id.to_string();
                        member.generation = answer.generation_id;
                        member.led = answer.members.iter().map(|member| member.member_id.to_string()).collect();
                        // A leader that comes back under a new id leads on, and is not told to assign.
                        let known = self.leaders.entry(answer.generation_id).or_insert_with(|| leader.clone());
                        if !member.led.is_empty() && !answer.skip_assignment {
                            assert_eq!(*known, leader, "two lead generation {}", answer.generation_id);
                            assert_eq!(leader, member.id);
                        }
                        if answer.skip_assignment {
                            member.led.clear();
                        }
                    }
                    // MEMBER_ID_REQUIRED
                    79 => member.id = answer.member_id.to_string(),
                    _ => member.id.clear(),
                }
            }
            let Some((generation, syncing)) = &mut member.syncing else { continue };
            let generation = *generation;
            let Ok(answer) = syncing.try_recv() else { continue };
            member.syncing = None;
            if answer.error_code == 0 && !answer.assignment.is_empty() {
                let share = self.shares.entry(generation).or_insert_with(|| answer.assignment.clone());
                assert_eq!(*share, answer.assignment, "generation {generation} was assigned twice");
            }
        }
    }

    /// Nobody does anything any more: all who wait are answered, and the group is empty in the end.
    fn come_to_rest(&mut self) {
        for _ in 0..100 {
            self.pass(Duration::from_secs(30));
        }
        for member in &mut self.members {
            // A replaced request is dropped; that is an answer, too.
            if let Some(joining) = &mut member.joining {
                assert!(!matches!(joining.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "waits for ever");
            }
            if let Some((_, syncing)) = &mut member.syncing {
                assert!(!matches!(syncing.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "waits for ever");
            }
        }
        assert!(self.group().is_none_or(ClassicGroup::is_empty), "{:?}", self.groups);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Sync(usize),
    Heartbeat(usize),
    Commit(usize, i64),
    Leave(usize),
    /// A client forgets who it was.
    Crash(usize),
    Pass(u64),
    FailNext,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0usize..4;
    prop_oneof![
        8 => who().prop_map(Step::Join),
        8 => who().prop_map(Step::Sync),
        3 => who().prop_map(Step::Heartbeat),
        4 => (who(), 0i64..1000).prop_map(|(number, offset)| Step::Commit(number, offset)),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Crash),
        6 => (0u64..6_000).prop_map(Step::Pass),
        1 => Just(Step::FailNext),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_generation_has_one_leader_and_one_assignment_and_nobody_waits_for_ever(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(4);
        for step in steps {
            match step {
                Step::Join(number) => world.join(number),
                Step::Sync(number) => world.sync(number),
                Step::Heartbeat(number) => world.heartbeat(number),
                Step::Commit(number, offset) => world.commit(number, offset),
                Step::Leave(number) => world.leave(number),
                Step::Crash(number) => {
                    let instance = world.members[number].instance.take();
                    world.members[number] = Member { instance, ..Member::default() };
                }
                Step::Pass(time) => world.pass(Duration::from_millis(time)),
                Step::FailNext => world.around.log.fails = true,
                Step::Restart => world.restart(),
            }
            world.check_committed();
        }
        world.come_to_rest();
        world.check_committed();
    }
}

/// Two members join, the leader assigns, and both have their shares.
fn stable() -> World {
    let mut world = World::new(2);
    for number in [0, 0, 1] {
        world.join(number); // The first one is given an id, and joins with it.
    }
    world.pass(Duration::from_secs(3));
    world.pass(Duration::from_secs(3));
    world.sync(1);
    world.sync(0);
    assert_eq!(world.shares.len(), 1);
    assert_eq!(&*world.groups.describe(GROUP).unwrap().group_state, "Stable");
    world
}

#[test]
fn members_that_are_not_heard_of_go_and_the_others_rebalance() {
    let mut world = stable();
    world.pass(Duration::from_secs(9));
    world.heartbeat(0);
    world.pass(Duration::from_secs(2));
    let group = world.groups.describe(GROUP).unwrap();
    assert_eq!((&*group.group_state, group.members.len()), ("PreparingRebalance", 1));
    world.join(0);
    assert_eq!(world.members[0].generation, 2);
    world.sync(0);
    assert_eq!(&*world.groups.describe(GROUP).unwrap().group_state, "Stable");
}

#[test]
fn an_instance_that_comes_back_keeps_its_share_without_a_rebalance() {
    let mut world = stable();
    let (id, generation) = (world.members[1].id.clone(), world.members[1].generation);
    world.members[1].id.clear();
    world.join(1);
    assert_ne!(world.members[1].id, id);
    assert_eq!(world.members[1].generation, generation);
    assert_eq!(&*world.groups.describe(GROUP).unwrap().group_state, "Stable");
    world.members[1].id = id;
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(&world.members[1].id))
        .with_group_instance_id(Some(text("instance-1")))
        .with_generation_id(generation);
    let fenced = world.change(|groups, outside| groups.heartbeat(outside, &request));
    assert_eq!(fenced, Err(ResponseError::FencedInstanceId));
}

#[test]
fn commits_are_taken_from_members_of_the_generation_only() {
    let world = stable();
    let Member { id, generation, .. } = &world.members[0];
    let check = |id: &str, generation: i32| {
        let committer = Committer { member: id, instance: None, generation, in_transaction: false, version: 9 };
        world.groups.check_commit(GROUP, &committer, &[], ResponseError::GroupIdNotFound)
    };
    assert_eq!(check(id, *generation), Ok(()));
    assert_eq!(check(id, generation - 1), Err(ResponseError::IllegalGeneration));
    assert_eq!(check("stranger", *generation), Err(ResponseError::UnknownMemberId));
    assert_eq!(check("", -1), Err(ResponseError::UnknownMemberId));
    let nobody = |generation| Committer { member: "", instance: None, generation, in_transaction: false, version: 9 };
    let other =
        |generation| world.groups.check_commit("other", &nobody(generation), &[], ResponseError::GroupIdNotFound);
    let in_transaction = Committer { in_transaction: true, ..nobody(-1) };
    assert_eq!(world.groups.check_commit(GROUP, &in_transaction, &[], ResponseError::IllegalGeneration), Ok(()));
    assert_eq!(other(-1), Ok(()));
    assert_eq!(other(0), Err(ResponseError::GroupIdNotFound));
}

#[test]
fn offsets_of_nobody_go_after_their_retention_and_the_group_with_them() {
    let mut world = World::new(0);
    let place = TopicPartition::new("t", 0);
    let at = Timestamp(world.around.now.as_millis() as i64);
    let committed =
        Committed { offset: Offset(7), leader_epoch: 0, metadata: String::new(), at, expires: None, topic_id: None };
    world.change(|groups, outside| groups.commit(outside, GROUP, None, vec![(place.clone(), committed)])).unwrap();
    let expected = Listed { name: GROUP, kind: "classic", protocol_type: "", state: "Empty" };
    assert_eq!(world.groups.list().collect::<Vec<_>>(), [expected]);
    world.pass(Duration::from_secs(6 * 24 * 3600));
    assert!(world.groups.offsets().get(GROUP, &place).is_some());
    world.pass(Duration::from_secs(25 * 3600));
    assert!(world.groups.offsets().get(GROUP, &place).is_none());
    assert_eq!(world.groups.list().count(), 0);
    world.restart();
    assert_eq!(world.groups.list().count(), 0);
}

#[test]
fn an_offset_that_was_committed_for_a_time_goes_when_that_is_over() {
    let mut world = World::new(0);
    let now = world.around.now.as_millis() as i64;
    let committed = |expires: Option<i64>| Committed {
        offset: Offset(7),
        leader_epoch: -1,
        metadata: "note".to_owned(),
        at: Timestamp(now),
        expires: expires.map(Timestamp),
        topic_id: None,
    };
    let places = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    let (short, long) = (committed(Some(now + 60_000)), committed(None));
    let commits = vec![(places[0].clone(), short.clone()), (places[1].clone(), long.clone())];
    world.change(|groups, outside| groups.commit(outside, GROUP, None, commits)).unwrap();
    world.restart();
    let found = |world: &World| places.each_ref().map(|place| world.groups.offsets().get(GROUP, place).cloned());
    assert_eq!(found(&world), [Some(short), Some(long.clone())]);
    world.pass(Duration::from_secs(24 * 3600));
    assert_eq!(found(&world), [None, Some(long)]);
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut world = stable();
    let places = [TopicPartition::new("t", 0)];
    // The members' subscriptions cannot be read: whatever they are, their topics are taken for subscribed.
    let deleted = world.change(|groups, outside| groups.delete_offsets_of(outside, GROUP, &places));
    assert_eq!(deleted, Ok(vec![Err(ResponseError::GroupSubscribedToTopic)]));
    assert_eq!(world.change(|groups, outside| groups.delete(outside, GROUP)), Err(ResponseError::NonEmptyGroup));
    (0..2).for_each(|number| world.leave(number));
    assert_eq!(world.change(|groups, outside| groups.delete(outside, GROUP)), Ok(()));
    let gone = world.change(|groups, outside| groups.delete(outside, GROUP));
    assert_eq!(gone, Err(ResponseError::GroupIdNotFound));
}

// The consumer protocol.
