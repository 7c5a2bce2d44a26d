//! Groups of the streams protocol under members that do anything in any order, with time passing, writes that fail, and restarts.

use proptest::prelude::*;
use tidewater_protocol::messages::streams_group_heartbeat_request::{
    CopartitionGroup, KeyValue, Subtopology, TaskIds, TopicInfo,
};
use tidewater_protocol::messages::{GroupId, TopicName};

use super::super::tests::Around;
use super::super::{Group, Groups};
use super::*;
use crate::groups::consumer::LEAVES;

const GROUP: &str = "g";
const REBALANCE_MS: i32 = 20_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Words are read from "a", repartitioned over "r", and counted in a store with the changelog "s".
fn word_count() -> TopologyMessage {
    let info = |name: &str| TopicInfo::default().with_name(topic(name));
    let cleanup = KeyValue::default().with_key(text("cleanup.policy")).with_value(text("compact"));
    let reads = Subtopology::default()
        .with_subtopology_id(text("0"))
        .with_source_topics(vec![topic("a")])
        .with_repartition_sink_topics(vec![topic("r")]);
    let counts = Subtopology::default()
        .with_subtopology_id(text("1"))
        .with_repartition_source_topics(vec![info("r")])
        .with_state_changelog_topics(vec![info("s").with_topic_configs(vec![cleanup])]);
    TopologyMessage::default().with_epoch(0).with_subtopologies(vec![reads, counts])
}

#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    epoch: i32,
    /// Active, standby, and warm-up tasks that it was told to have.
    told: [Vec<TaskIds>; 3],
    owned: [Vec<TaskIds>; 3],
    status: Vec<i8>,
}

struct World {
    groups: Groups,
    around: Around,
    clients: Vec<Client>,
    made: usize,
}

impl World {
    fn new(clients: usize) -> Self {
        let mut around = Around::default();
        around.topics.set("a", 4);
        World { groups: Groups::default(), around, clients: vec![Client::default(); clients], made: 0 }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R) -> R {
        self.around.change(&mut self.groups, change)
    }

    fn pass(&mut self, time: Duration) {
        self.around.now += time;
        self.change(|groups, outside| groups.pass_time(outside));
    }

    fn request(&self, number: usize, epoch: i32) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(text(&self.clients[number].id))
            .with_member_epoch(epoch)
    }

    /// A heartbeat with all there is to say; the client does as it is told, if `gives_up`. Two clients are in a process each.
    fn heartbeat(&mut self, number: usize, gives_up: bool) -> Result<(), Refusal> {
        self.made += 1;
        let made = self.made;
        let client = &mut self.clients[number];
        if client.id.is_empty() {
            *client = Client { id: format!("m{made}"), ..Client::default() };
        }
        if gives_up {
            client.owned = client.told.clone();
        }
        let joins = client.epoch == JOINS;
        let [active, standby, warmup] = if joins { Default::default() } else { client.owned.clone() };
        let request = self
            .request(number, self.clients[number].epoch)
            .with_endpoint_information_epoch(-1)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_process_id(Some(text(&format!("p{}", number / 2))))
            .with_topology(joins.then(word_count))
            .with_active_tasks(Some(active))
            .with_standby_tasks(Some(standby))
            .with_warmup_tasks(Some(warmup));
        let heard =
            self.change(|groups, outside| groups.streams_heartbeat(outside, &request, super::super::Client::default()));
        match heard {
            Ok((response, to_make)) => {
                let client = &mut self.clients[number];
                client.epoch = response.member_epoch;
                client.status = response.status.unwrap().iter().map(|status| status.status_code).collect();
                if let (Some(active), Some(standby), Some(warmup)) =
                    (response.active_tasks, response.standby_tasks, response.warmup_tasks)
                {
                    client.told = [active, standby, warmup];
                }
                to_make.iter().for_each(|topic| self.around.topics.set(&topic.name, topic.partitions));
                Ok(())
            }
            Err(refusal) => {
                if refusal.0 != ResponseError::NotCoordinator {
                    self.clients[number] = Client::default();
                }
                Err(refusal)
            }
        }
    }

    fn group(&self) -> Option<&StreamsGroup> {
        match self.groups.groups.get(GROUP)? {
            Group::Streams(group) => Some(group),
            _ => None,
        }
    }

    fn state(&self) -> Option<&'static str> {
        self.group().map(StreamsGroup::state)
    }

    /// No task is worked on twice, and no process has one twice, whatever anybody does.
    fn check(&self) {
        let Some(group) = self.group() else { return };
        for (task, owners) in group.active() {
            assert_eq!(owners.len(), 1, "{task:?} is of {owners:?}");
        }
        let mut kept: BTreeMap<(&str, Task), usize> = BTreeMap::new();
        for member in group.members.values() {
            for tasks in [&member.current.assigned, &member.current.revoking] {
                for task in tasks.active.keys().chain(&tasks.standby).chain(&tasks.warmup) {
                    *kept.entry((&member.metadata.process, task.clone())).or_default() += 1;
                }
            }
        }
        assert!(kept.values().all(|count| *count == 1), "{kept:?}");
    }

    fn restart(&mut self) {
        // How the topology stands to its topics is found out again.
        let describe = |world: &Self| world.groups.describe_streams(GROUP).ok().map(|group| group.with_topology(None));
        let before = describe(self);
        self.groups = self.around.replayed();
        assert_eq!(describe(self), before, "the log has all of it");
    }

    fn standby_replicas(&mut self, replicas: usize) {
        let own = BTreeMap::from([("streams.num.standby.replicas".to_owned(), replicas.to_string())]);
        self.around.own_settings.groups = BTreeMap::from([(GROUP.to_owned(), own)]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Heartbeat(usize, bool),
    Leave(usize),
    Crash(usize),
    Pass(u64),
    Standby(usize),
    FailNext,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0usize..5;
    prop_oneof![
        12 => (who(), prop::bool::weighted(0.8)).prop_map(|(number, gives_up)| Step::Heartbeat(number, gives_up)),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Crash),
        4 => (0u64..10_000).prop_map(Step::Pass),
        1 => (0usize..3).prop_map(Step::Standby),
        1 => Just(Step::FailNext),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_task_is_never_worked_on_twice_and_in_the_end_all_are(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(5);
        for step in steps {
            match step {
                Step::Heartbeat(number, gives_up) => {
                    let heard = world.heartbeat(number, gives_up);
                    let is_expected = |error: ResponseError| matches!(
                        error,
                        ResponseError::FencedMemberEpoch | ResponseError::UnknownMemberId
                            | ResponseError::GroupIdNotFound | ResponseError::NotCoordinator
                    );
                    prop_assert!(heard.as_ref().err().is_none_or(|(error, _)| is_expected(*error)), "{heard:?}");
                }
                Step::Leave(number) => {
                    let request = world.request(number, LEAVES);
                    let _ = world.change(|groups, outside| {
                        groups.streams_heartbeat(outside, &request, super::super::Client::default())
                    });
                    world.clients[number] = Client::default();
                }
                Step::Crash(number) => world.clients[number] = Client::default(),
                Step::Pass(time) => world.pass(Duration::from_millis(time)),
                Step::Standby(replicas) => world.standby_replicas(replicas),
                Step::FailNext => world.around.log.fails = true,
                Step::Restart => world.restart(),
            }
            world.check();
        }
        // Those who were lost are forgotten, and the others come to rest.
        world.around.log.fails = false;
        world.standby_replicas(1);
        for _ in 0..40 {
            world.pass(Duration::from_secs(4));
            for number in 0..5 {
                let _ = world.heartbeat(number, true);
            }
            world.check();
        }
        prop_assert_eq!(world.state(), Some("Stable"));
        prop_assert_eq!(world.group().unwrap().active().len(), 8);
        let standby: usize = world.clients.iter().flat_map(|client| &client.told[1]).map(|ids| ids.partitions.len()).sum();
        prop_assert_eq!(standby, 4);
        prop_assert!(world.clients.iter().all(|client| client.status.is_empty()));
        world.restart();
    }
}

#[test]
fn a_group_waits_for_its_first_members_and_its_topics() {
    let mut world = World::new(2);
    world.heartbeat(0, true).unwrap();
    // Its topics are made at once, and tasks shared out when more members had time to come.
    assert_eq!(world.clients[0].status, [ASSIGNMENT_DELAYED, MISSING_INTERNAL_TOPICS]);
    assert_eq!((world.state(), world.clients[0].epoch), (Some("NotReady"), FIRST_EPOCH));
    world.heartbeat(1, true).unwrap();
    assert_eq!(world.clients[1].status, [ASSIGNMENT_DELAYED]);
    world.pass(Duration::from_secs(3));
    (0..2).for_each(|number| world.heartbeat(number, true).unwrap());
    let count = |world: &World, number: usize| {
        world.clients[number].told[0].iter().map(|ids| ids.partitions.len()).sum::<usize>()
    };
    assert_eq!((count(&world, 0), count(&world, 1), world.state()), (4, 4, Some("Stable")));
    assert_eq!(world.around.topics.topics["r"].1, 4);
    assert_eq!(world.around.topics.topics["s"].1, 4);
}

#[test]
fn a_topology_is_held_against_its_topics() {
    let mut world = World::new(1);
    let configured =
        |world: &World, topology: TopologyMessage| configure(&Topology::of(topology), &world.around.topics);
    let trouble = |world: &World, topology| configured(world, topology).unwrap().trouble;
    world.around.topics.topics.remove("a");
    let missing = (MISSING_SOURCE_TOPICS, "Source topics a are missing.".to_owned());
    assert_eq!(trouble(&world, word_count()), Some(missing));
    world.around.topics.set("a", 4);
    let missing = (MISSING_INTERNAL_TOPICS, "Internal topics are missing: r, s".to_owned());
    assert_eq!(trouble(&world, word_count()), Some(missing));
    let made = configured(&world, word_count()).unwrap().to_make;
    assert_eq!(
        made.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect::<Vec<_>>(),
        [("r", 4), ("s", 4)]
    );
    assert_eq!(made[1].configs["cleanup.policy"], "compact");
    world.around.topics.set("r", 3);
    let wrong = "Existing topic r has different number of partitions: expected 4, found 3".to_owned();
    assert_eq!(trouble(&world, word_count()), Some((WRONG_PARTITIONS, wrong)));
    world.around.topics.topics.remove("r");
    // Topics that are joined.
    let joined = |fixed: i32| {
        let mut topology = word_count();
        let part = &mut topology.subtopologies[1];
        part.source_topics = vec![topic("b")];
        part.repartition_source_topics[0].partitions = fixed;
        let together = CopartitionGroup::default().with_source_topics(vec![0]);
        part.copartition_groups = vec![together.with_repartition_source_topics(vec![0])];
        topology
    };
    world.around.topics.set("b", 6);
    let follows = configured(&world, joined(0)).unwrap();
    assert_eq!(follows.parts["1"].repartition_sources["r"].partitions, 6);
    assert_eq!((follows.parts["0"].tasks, follows.parts["1"].tasks), (4, 6));
    let wrong =
        "Number of partitions [5] of repartition topic [r] doesn't match number of partitions [6] of the source topic.";
    assert_eq!(trouble(&world, joined(5)), Some((WRONG_PARTITIONS, wrong.to_owned())));
    // What can never be.
    let mut never = word_count();
    never.subtopologies[0].repartition_sink_topics.clear();
    assert_eq!(configured(&world, never).unwrap_err().0, ResponseError::StreamsInvalidTopology);
    let mut lost = joined(0);
    lost.subtopologies[1].copartition_groups[0].source_topics = vec![9];
    assert_eq!(configured(&world, lost).unwrap_err().0, ResponseError::UnknownServerError);
}

#[test]
fn one_application_is_not_another_and_ends_when_a_member_says_so() {
    let mut world = World::new(3);
    world.heartbeat(0, true).unwrap();
    let mut other = word_count();
    other.subtopologies[0].source_topics.push(topic("z"));
    let joins = |world: &World, topology: TopologyMessage| {
        world
            .request(1, JOINS)
            .with_member_id(text("m9"))
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_topology(Some(topology))
            .with_active_tasks(Some(vec![]))
            .with_standby_tasks(Some(vec![]))
            .with_warmup_tasks(Some(vec![]))
    };
    let request = joins(&world, other);
    let client = super::super::Client::default();
    let refused = world.change(|groups, outside| groups.streams_heartbeat(outside, &request, client.clone()));
    assert_eq!(
        refused.unwrap_err(),
        (ResponseError::InvalidRequest, "Topology updates are not supported yet.".to_owned())
    );
    let epoch = world.clients[0].epoch;
    let request = world.request(0, epoch).with_shutdown_application(true);
    world.change(|groups, outside| groups.streams_heartbeat(outside, &request, client.clone())).unwrap();
    world.heartbeat(1, true).unwrap();
    assert!(world.clients[1].status.contains(&SHUTDOWN_APPLICATION));
    // Nobody is left, and those who come have nothing to do with it.
    for number in 0..2 {
        let request = world.request(number, LEAVES);
        world.change(|groups, outside| groups.streams_heartbeat(outside, &request, client.clone())).unwrap();
    }
    assert_eq!(world.state(), Some("Empty"));
    world.heartbeat(2, true).unwrap();
    assert!(!world.clients[2].status.contains(&SHUTDOWN_APPLICATION));
}

#[test]
fn requests_that_are_none_are_told_in_apaches_words() {
    let world = World::new(1);
    let joins = world
        .request(0, JOINS)
        .with_member_id(text("m"))
        .with_rebalance_timeout_ms(1)
        .with_topology(Some(word_count()))
        .with_active_tasks(Some(vec![]))
        .with_standby_tasks(Some(vec![]))
        .with_warmup_tasks(Some(vec![]));
    assert_eq!(check_heartbeat(&joins), Ok(()));
    let mut changelog = word_count();
    changelog.subtopologies[1].state_changelog_topics[0].partitions = 3;
    let none = |request: StreamsGroupHeartbeatRequest| check_heartbeat(&request).unwrap_err().1;
    assert_eq!(none(joins.clone().with_member_id(text(" "))), "MemberId can't be empty.");
    assert_eq!(none(joins.clone().with_active_tasks(None)), "ActiveTasks must be empty when (re-)joining.");
    assert_eq!(none(joins.clone().with_instance_id(Some(text("i")))), "Static membership is not yet supported.");
    assert_eq!(none(joins.clone().with_topology(None)), "Topology must be non-null when (re-)joining.");
    assert_eq!(none(joins.clone().with_member_epoch(5)), "Topology can only be provided when (re-)joining.");
    assert_eq!(
        none(joins.clone().with_member_epoch(-3)),
        "MemberEpoch is -3, but must be greater than or equal to -2."
    );
    assert_eq!(
        none(joins.with_topology(Some(changelog))),
        "Changelog topic s must have an undefined partition count, but it is set to 3."
    );
}
