//! Members of the consumer protocol.

use proptest::prelude::*;
use tidewater_protocol::messages::{GroupId, consumer_group_heartbeat_request};

use super::*;

/// A consumer that keeps what it is told to have, and gives up the rest when it feels like it.
#[derive(Default)]
struct Consumer {
    id: String,
    instance: Option<String>,
    epoch: i32,
    /// What it reads from.
    owned: BTreeMap<Uuid, Vec<i32>>,
    told: BTreeMap<Uuid, Vec<i32>>,
}

struct ConsumerWorld {
    groups: Groups,
    around: Around,
    consumers: Vec<Consumer>,
    /// What was committed last, by the number of the partition.
    committed: BTreeMap<i32, i64>,
}

impl ConsumerWorld {
    fn new(consumers: usize) -> Self {
        let mut around = Around::default();
        around.topics.set("a", 5);
        around.topics.set("b", 3);
        ConsumerWorld {
            groups: Groups::default(),
            around,
            consumers: (0..consumers).map(|_| Consumer::default()).collect(),
            committed: BTreeMap::new(),
        }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R) -> R {
        self.around.change(&mut self.groups, change)
    }

    fn request(&self, number: usize, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let consumer = &self.consumers[number];
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&consumer.id))
            .with_member_epoch(epoch)
            .with_instance_id(consumer.instance.as_deref().map(text))
    }

    fn send(&mut self, request: &ConsumerGroupHeartbeatRequest) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.change(|groups, outside| groups.consumer_heartbeat(outside, request, Client::default()))
    }

    /// A heartbeat with all there is to say; the consumer does as it is told, if `gives_up`.
    fn heartbeat(&mut self, number: usize, regex: bool, gives_up: bool) {
        let epoch = self.consumers[number].epoch;
        if gives_up {
            let consumer = &mut self.consumers[number];
            consumer.owned = consumer.told.clone();
        }
        let owned = self.consumers[number].owned.iter().map(|(topic, partitions)| {
            consumer_group_heartbeat_request::TopicPartitions::default()
                .with_topic_id(*topic)
                .with_partitions(partitions.clone())
        });
        let owned = if epoch == 0 { Vec::new() } else { owned.collect() };
        let names = if regex { vec![] } else { vec![topic_name("a"), topic_name("b")] };
        let request = self
            .request(number, epoch)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_names(Some(names))
            .with_subscribed_topic_regex(Some(text(if regex { "[a-c]" } else { "" })))
            .with_topic_partitions(Some(owned));
        match self.send(&request) {
            Ok(response) => {
                let consumer = &mut self.consumers[number];
                consumer.id = response.member_id.unwrap().to_string();
                consumer.epoch = response.member_epoch;
                let assigned = response.assignment.unwrap();
                consumer.told =
                    assigned.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions)).collect();
            }
            Err((error, _)) => {
                let consumer = &mut self.consumers[number];
                assert!(matches!(
                    error,
                    ResponseError::FencedMemberEpoch
                        | ResponseError::UnknownMemberId
                        | ResponseError::GroupIdNotFound
                        | ResponseError::NotCoordinator
                ));
                if error != ResponseError::NotCoordinator {
                    *consumer = Consumer { instance: consumer.instance.take(), ..Consumer::default() };
                }
            }
        }
    }

    fn group(&self) -> Option<&ConsumerGroup> {
        match self.groups.groups.get(GROUP)? {
            Group::Consumer(group) => Some(group),
            Group::Classic(_) | Group::Streams(_) => None,
        }
    }

    /// No partition has two owners, whatever anybody does.
    fn check(&self) {
        let found = self.groups.offsets().all(GROUP);
        let found: BTreeMap<i32, i64> = found.map(|(place, committed)| (place.partition, committed.offset.0)).collect();
        assert_eq!(found, self.committed, "what was committed last is what there is");
        let Some(group) = self.group() else { return };
        for (place, owners) in group.assigned() {
            assert_eq!(owners.len(), 1, "{place:?} is of {owners:?}");
        }
    }

    /// A consumer commits for all partitions of a topic that it has not given up yet, in the epoch that it knows.
    fn commit(&mut self, number: usize, offset: i64) {
        let (topic, _) = self.around.topics.topics["a"];
        let Consumer { id, epoch, owned, .. } = &self.consumers[number];
        let partitions = owned.get(&topic).cloned().unwrap_or_default();
        if partitions.is_empty() || *epoch <= 0 {
            return;
        }
        let is_member = self.group().is_some_and(|group| group.has_member(id));
        let committer = Committer { member: id, instance: None, generation: *epoch, in_transaction: false, version: 9 };
        let commits: Vec<_> =
            partitions.iter().map(|partition| offset_of("a", *partition, Some(topic), offset)).collect();
        let checked = self.groups.check_commit(GROUP, &committer, &commits, ResponseError::GroupIdNotFound);
        assert_eq!(checked.is_ok(), is_member, "what it has, a member may commit for: {checked:?}");
        if is_member && self.change(|groups, outside| groups.commit(outside, GROUP, None, commits)).is_ok() {
            self.committed.extend(partitions.iter().map(|partition| (*partition, offset)));
        }
    }

    fn restart(&mut self) {
        let describe = |world: &Self| world.groups.describe_consumer(GROUP, &world.around.topics, &Assignor::ALL).ok();
        let before = describe(self);
        self.groups = self.around.replayed();
        assert_eq!(describe(self), before, "the log has all of it");
    }
}

#[derive(Clone, Debug)]
enum ConsumerStep {
    Heartbeat(usize, bool, bool),
    Commit(usize, i64),
    Leave(usize),
    Crash(usize),
    Pass(u64),
    Grow,
    NewTopic,
    FailNext,
    Restart,
}

fn consumer_step() -> impl Strategy<Value = ConsumerStep> {
    let who = || 0usize..4;
    prop_oneof![
        12 => (who(), prop::bool::weighted(0.2), prop::bool::weighted(0.8))
            .prop_map(|(number, regex, gives_up)| ConsumerStep::Heartbeat(number, regex, gives_up)),
        4 => (who(), 0i64..1000).prop_map(|(number, offset)| ConsumerStep::Commit(number, offset)),
        1 => who().prop_map(ConsumerStep::Leave),
        1 => who().prop_map(ConsumerStep::Crash),
        3 => (0u64..20_000).prop_map(ConsumerStep::Pass),
        1 => Just(ConsumerStep::Grow),
        1 => Just(ConsumerStep::NewTopic),
        1 => Just(ConsumerStep::FailNext),
        1 => Just(ConsumerStep::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_partition_is_never_of_two_consumers_and_in_the_end_all_have_their_shares(
        steps in prop::collection::vec(consumer_step(), 1..80),
    ) {
        let mut world = ConsumerWorld::new(4);
        for step in steps {
            match step {
                ConsumerStep::Heartbeat(number, regex, gives_up) => world.heartbeat(number, regex, gives_up),
                ConsumerStep::Commit(number, offset) => world.commit(number, offset),
                ConsumerStep::Leave(number) => {
                    if !world.consumers[number].id.is_empty() {
                        let _ = world.send(&world.request(number, LEAVES));
                        world.consumers[number] = Consumer::default();
                    }
                }
                ConsumerStep::Crash(number) => world.consumers[number] = Consumer::default(),
                ConsumerStep::Pass(time) => {
                    world.around.now += Duration::from_millis(time);
                    world.change(|groups, outside| groups.pass_time(outside));
                }
                ConsumerStep::Grow => {
                    let (_, partitions) = world.around.topics.topics["a"];
                    world.around.topics.set("a", partitions + 1);
                }
                ConsumerStep::NewTopic => world.around.topics.set("c", 2),
                ConsumerStep::FailNext => world.around.log.fails = true,
                ConsumerStep::Restart => world.restart(),
            }
            world.check();
        }
        // Those who were lost are forgotten, and the others come to rest.
        world.around.log.fails = false;
        for round in 0..40 {
            world.around.now += Duration::from_secs(4);
            world.change(|groups, outside| groups.pass_time(outside));
            (0..4).for_each(|number| world.heartbeat(number, round < 20, true));
            world.check();
        }
        let owners = world.group().unwrap().assigned();
        let partitions: i32 = ["a", "b"].iter().map(|name| world.around.topics.topics[*name].1).sum();
        prop_assert_eq!(owners.len() as i32, partitions);
        let loads: Vec<usize> =
            world.consumers.iter().map(|consumer| consumer.told.values().map(Vec::len).sum()).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        prop_assert_eq!(world.groups.list().next().map(|group| group.state), Some("Stable"));
        world.restart();
    }
}

#[test]
fn what_one_gives_up_comes_to_the_other_only_then() {
    let mut world = ConsumerWorld::new(2);
    let load =
        |world: &ConsumerWorld, number: usize| -> usize { world.consumers[number].told.values().map(Vec::len).sum() };
    world.heartbeat(0, false, true);
    assert_eq!((load(&world, 0), world.consumers[0].epoch), (8, 2));
    world.around.now += Duration::from_secs(1);
    world.heartbeat(1, false, true);
    assert_eq!((load(&world, 1), world.consumers[1].epoch), (0, 3), "all is taken");
    world.heartbeat(0, false, true); // It is told to give four up, and has them still.
    assert_eq!((load(&world, 0), world.consumers[0].epoch), (4, 2));
    world.heartbeat(1, false, true);
    assert_eq!(load(&world, 1), 0);
    world.heartbeat(0, false, true); // It has.
    assert_eq!(world.consumers[0].epoch, 3);
    world.heartbeat(1, false, true);
    assert_eq!((load(&world, 1), world.consumers[1].epoch), (4, 3));
    assert_eq!(world.groups.list().next().map(|group| group.state), Some("Stable"));
}

#[test]
fn partitions_are_shared_out_anew_after_a_while_and_heartbeats_are_wanted_then() {
    let mut world = ConsumerWorld::new(2);
    let join = |world: &ConsumerWorld, id: &str| {
        world
            .request(0, JOINS)
            .with_member_id(text(id))
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_topic_partitions(Some(Vec::new()))
            .with_subscribed_topic_names(Some(vec![topic_name("a")]))
    };
    let answer = world.send(&join(&world, "one")).unwrap();
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (2, 5000));
    world.around.now += Duration::from_millis(400);
    let answer = world.send(&join(&world, "two")).unwrap();
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (2, 1000), "the group's epoch is 3 by now");
    assert!(answer.assignment.unwrap().topic_partitions.is_empty());
    assert_eq!(world.groups.list().next().map(|group| group.state), Some("Assigning"));
    // The log knows when it was.
    world.restart();
    let heartbeat = world.request(0, 2).with_member_id(text("two"));
    let wanted = |answer: &ConsumerGroupHeartbeatResponse| (answer.member_epoch, answer.heartbeat_interval_ms);
    world.around.now += Duration::from_millis(599);
    assert_eq!(wanted(&world.send(&heartbeat).unwrap()), (2, 1000));
    world.around.now += Duration::from_millis(1);
    assert_eq!(wanted(&world.send(&heartbeat).unwrap()), (3, 5000));
}

#[test]
fn who_keeps_what_it_must_give_up_is_removed_in_the_end() {
    let mut world = ConsumerWorld::new(2);
    world.heartbeat(0, false, true);
    world.heartbeat(0, false, true); // It has what it was told to.
    world.heartbeat(1, false, true);
    for _ in 0..5 {
        world.heartbeat(0, false, false);
        world.heartbeat(1, false, true);
        world.around.now += Duration::from_secs(5);
        world.change(|groups, outside| groups.pass_time(outside));
    }
    // The rebalance timeout is over, though it was heard of all the time.
    world.heartbeat(1, false, true);
    assert_eq!(world.consumers[1].told.values().map(Vec::len).sum::<usize>(), 8);
    world.check();
}

#[test]
fn an_instance_that_leaves_for_now_has_its_partitions_kept() {
    let mut world = ConsumerWorld::new(2);
    world.consumers[0].instance = Some("one".to_owned());
    (0..4).for_each(|turn| world.heartbeat(turn % 2, false, true));
    (0..4).for_each(|turn| world.heartbeat(turn % 2, false, true));
    let told = world.consumers[0].told.clone();
    let other = Consumer { instance: Some("one".to_owned()), ..Consumer::default() };
    let away = std::mem::replace(&mut world.consumers[0], other);
    let joining = world
        .request(0, JOINS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_topic_partitions(Some(Vec::new()))
        .with_subscribed_topic_names(Some(vec![topic_name("a"), topic_name("b")]));
    assert_eq!(world.send(&joining).unwrap_err().0, ResponseError::UnreleasedInstanceId);
    world.consumers[0] = away;
    world.send(&world.request(0, LEAVES_FOR_NOW)).unwrap();
    world.consumers[0] = Consumer { instance: Some("one".to_owned()), ..Consumer::default() };
    world.heartbeat(0, false, true);
    assert_eq!(world.consumers[0].told, told);
    world.restart();
    world.check();
}

#[test]
fn an_answer_that_was_lost_is_given_again_to_who_subscribes_by_a_regular_expression() {
    let mut world = ConsumerWorld::new(1);
    let request = world
        .request(0, JOINS)
        .with_member_id(text("m"))
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_topic_partitions(Some(Vec::new()))
        .with_subscribed_topic_regex(Some(text("[ab]")));
    let epoch = world.send(&request).unwrap().member_epoch;
    // It says all that there is to say, and nothing has changed.
    let again = world.send(&request.with_member_epoch(epoch)).unwrap();
    assert!(again.assignment.is_some_and(|assigned| !assigned.topic_partitions.is_empty()));
}
