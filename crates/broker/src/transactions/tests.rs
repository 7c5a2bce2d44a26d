//! Transactions under producers that do anything in any order, with time passing, writes that fail, and restarts.

use proptest::prelude::*;

use super::*;
use crate::journal::Record;

const TIMEOUT_MS: i32 = 10_000;
const IDS: [&str; 2] = ["one", "two"];

#[derive(Default)]
struct Log {
    records: Vec<Record>,
    fails: u32,
}

impl Journal for Log {
    fn append_as(&mut self, _: &str, _: Option<Producer>, records: Vec<Record>) -> Result<(), ResponseError> {
        if self.fails > 0 {
            self.fails -= 1;
            return Err(ResponseError::NotCoordinator);
        }
        self.records.extend(records);
        Ok(())
    }
}

/// What stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A record of a producer's transaction, by that one's number in the test.
    Data(Producer, usize),
    End(Producer, ControlKind),
}

impl Event {
    fn producer(&self) -> Producer {
        match self {
            Event::Data(producer, _) | Event::End(producer, _) => *producer,
        }
    }
}

#[derive(Default)]
struct Partitions {
    events: BTreeMap<TopicPartition, Vec<Event>>,
    fails: u32,
}

impl Partitions {
    fn epoch_of(&self, place: &TopicPartition, id: i64) -> i16 {
        let events = self.events.get(place).into_iter().flatten();
        events
            .map(Event::producer)
            .filter(|producer| producer.id == id)
            .map(|producer| producer.epoch)
            .max()
            .unwrap_or(-1)
    }

    fn has_open(&self, place: &TopicPartition, producer: Producer) -> bool {
        let events = self.events.get(place).into_iter().flatten();
        matches!(events.rev().find(|event| event.producer().id == producer.id), Some(Event::Data(last, _)) if *last == producer)
    }
}

impl Markers for Partitions {
    fn write(&mut self, place: &TopicPartition, marker: &TransactionMarker) -> Result<(), ResponseError> {
        if self.fails > 0 {
            self.fails -= 1;
            return Err(ResponseError::KafkaStorageError);
        }
        let producer = Producer { id: marker.producer_id, epoch: marker.producer_epoch };
        let events = self.events.entry(place.clone()).or_default();
        events.push(Event::End(producer, marker.kind));
        Ok(())
    }
}

struct World {
    transactions: Transactions,
    log: Log,
    partitions: Partitions,
    now: Duration,
    settings: TransactionSettings,
    made: i64,
}

impl World {
    fn new() -> Self {
        World {
            transactions: Transactions::default(),
            log: Log::default(),
            partitions: Partitions::default(),
            now: Duration::from_secs(1),
            settings: TransactionSettings::default(),
            made: 0,
        }
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Transactions, &mut Outside<'_>) -> R) -> R {
        let made = &mut self.made;
        let mut outside = Outside {
            now: self.now,
            wall: Timestamp(self.now.as_millis() as i64),
            settings: &self.settings,
            journal: &mut self.log,
            markers: &mut self.partitions,
            new_id: &mut || {
                *made += 1;
                Ok(*made)
            },
        };
        change(&mut self.transactions, &mut outside)
    }

    fn begin(&mut self, id: &str, expected: Option<Producer>) -> Result<Producer, ResponseError> {
        self.change(|transactions, outside| transactions.begin(outside, id, TIMEOUT_MS, expected))
    }

    fn add(&mut self, id: &str, producer: Producer, partition: i32, rules: Rules) -> Result<(), ResponseError> {
        self.change(|transactions, outside| transactions.add(outside, id, producer, &[place(partition)], rules))
    }

    fn end(
        &mut self,
        id: &str,
        producer: Producer,
        kind: ControlKind,
        rules: Rules,
    ) -> Result<Producer, ResponseError> {
        self.change(|transactions, outside| transactions.end(outside, id, producer, kind, rules))
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.transactions.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.change(|transactions, outside| transactions.pass_time(outside));
        }
        self.now = end;
    }

    fn restart(&mut self) {
        self.transactions = Transactions::default();
        for (key, value) in &self.log.records {
            self.transactions.replay(key, value.as_deref());
        }
        self.transactions.start(self.now, Timestamp(self.now.as_millis() as i64), &self.settings);
    }

    fn state(&self, id: &str) -> State {
        self.transactions.describe(id).unwrap().state
    }
}

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[test]
fn a_transaction_ends_in_all_its_partitions() {
    for rules in [Rules::First, Rules::Second] {
        let mut world = World::new();
        let first = world.begin("one", None).unwrap();
        assert_eq!(first, Producer { id: 1, epoch: 0 });
        world.add("one", first, 0, rules).unwrap();
        world.add("one", first, 1, rules).unwrap();
        assert_eq!(world.state("one"), State::Ongoing);
        let next = world.end("one", first, ControlKind::Commit, rules).unwrap();
        assert_eq!(next.epoch, if rules == Rules::First { 0 } else { 1 });
        assert_eq!(world.state("one"), State::CompleteCommit);
        for partition in 0..2 {
            assert_eq!(world.partitions.events[&place(partition)], [Event::End(next, ControlKind::Commit)]);
        }
        // A repeat is answered as before, and the opposite is refused.
        assert_eq!(world.end("one", first, ControlKind::Commit, rules), Ok(next));
        assert_eq!(world.end("one", first, ControlKind::Abort, rules), Err(ResponseError::InvalidTxnState));
    }
}

#[test]
fn a_producer_that_begins_fences_the_one_before() {
    let mut world = World::new();
    let first = world.begin("one", None).unwrap();
    world.add("one", first, 0, Rules::Second).unwrap();
    let second = world.begin("one", None).unwrap();
    assert_eq!(second, Producer { id: 1, epoch: 2 }, "the epoch between is that of the abort");
    let marker = Event::End(Producer { id: 1, epoch: 1 }, ControlKind::Abort);
    assert_eq!(world.partitions.events[&place(0)], [marker]);
    assert_eq!(world.add("one", first, 0, Rules::Second), Err(ResponseError::ProducerFenced));
    assert_eq!(world.end("one", first, ControlKind::Commit, Rules::First), Err(ResponseError::ProducerFenced));
    let stranger = Producer { id: 99, epoch: 0 };
    assert_eq!(world.add("one", stranger, 0, Rules::Second), Err(ResponseError::InvalidProducerIdMapping));
    assert_eq!(world.add("none", second, 0, Rules::Second), Err(ResponseError::InvalidProducerIdMapping));
}

#[test]
fn a_transaction_is_aborted_after_its_timeout_even_over_a_restart() {
    let mut world = World::new();
    let producer = world.begin("one", None).unwrap();
    world.add("one", producer, 0, Rules::First).unwrap();
    world.pass(Duration::from_millis(6_000));
    world.restart();
    world.pass(Duration::from_millis(3_999));
    assert_eq!(world.state("one"), State::Ongoing);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.state("one"), State::CompleteAbort);
    assert_eq!(world.end("one", producer, ControlKind::Commit, Rules::First), Err(ResponseError::ProducerFenced));
}

#[test]
fn what_is_decided_goes_on_after_failures_and_restarts() {
    let mut world = World::new();
    let producer = world.begin("one", None).unwrap();
    world.add("one", producer, 0, Rules::Second).unwrap();
    world.partitions.fails = 1;
    let next = world.end("one", producer, ControlKind::Commit, Rules::Second).unwrap();
    assert_eq!(world.state("one"), State::PrepareCommit);
    assert_eq!(world.add("one", next, 0, Rules::Second), Err(ResponseError::ConcurrentTransactions));
    assert_eq!(world.begin("one", None), Err(ResponseError::ConcurrentTransactions));
    world.restart();
    world.pass(Duration::ZERO);
    assert_eq!(world.state("one"), State::CompleteCommit);
    assert_eq!(world.partitions.events[&place(0)], [Event::End(next, ControlKind::Commit)]);
}

#[test]
fn after_the_last_epoch_comes_another_number() {
    let mut world = World::new();
    let mut producer = world.begin("one", None).unwrap();
    while producer.epoch < i16::MAX - 1 {
        producer = world.end("one", producer, ControlKind::Abort, Rules::Second).unwrap();
    }
    world.add("one", producer, 0, Rules::Second).unwrap();
    let next = world.end("one", producer, ControlKind::Commit, Rules::Second).unwrap();
    assert_eq!(next, Producer { id: 2, epoch: 0 });
    let marker = Producer { id: 1, epoch: i16::MAX };
    assert_eq!(world.partitions.events[&place(0)], [Event::End(marker, ControlKind::Commit)]);
    assert_eq!(world.end("one", producer, ControlKind::Commit, Rules::Second), Ok(next), "a repeat");
}

#[test]
fn a_producer_that_goes_on_after_an_error_says_who_it_is() {
    let mut world = World::new();
    let producer = world.begin("one", None).unwrap();
    let next = world.begin("one", Some(producer)).unwrap();
    assert_eq!(next, Producer { epoch: 1, ..producer });
    assert_eq!(world.begin("one", Some(producer)), Ok(next), "a repeat");
    world.begin("one", None).unwrap();
    assert_eq!(world.begin("one", Some(next)), Err(ResponseError::ProducerFenced));
}

#[test]
fn unused_ids_are_forgotten() {
    let mut world = World::new();
    world.begin("one", None).unwrap();
    world.pass(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(world.transactions.list().count(), 1);
    world.pass(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(world.transactions.list().count(), 0);
    world.restart();
    assert_eq!(world.transactions.list().count(), 0);
}

/// A client, as far as it knows.
struct Client {
    id: &'static str,
    rules: Rules,
    producer: Option<Producer>,
    /// The number of its transaction, if one is open.
    open: Option<usize>,
}

#[derive(Clone, Debug)]
enum Act {
    Begin(usize, bool),
    Write(usize, i32),
    End(usize, bool),
    Pass(u64),
    FailJournal(u32),
    FailMarkers(u32),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..4usize, any::<bool>()).prop_map(|(client, says_who)| Act::Begin(client, says_who)),
        8 => (0..4usize, 0..3i32).prop_map(|(client, partition)| Act::Write(client, partition)),
        4 => (0..4usize, any::<bool>()).prop_map(|(client, commits)| Act::End(client, commits)),
        2 => (0..6_000u64).prop_map(Act::Pass),
        1 => (1..3u32).prop_map(Act::FailJournal),
        1 => (1..4u32).prop_map(Act::FailMarkers),
        1 => Just(Act::Restart),
    ]
}

/// Runs a history, and checks that each transaction is seen whole or not at all, as its producer was told.
fn run(acts: Vec<Act>) {
    let mut world = World::new();
    let rules = [Rules::First, Rules::Second];
    let client = |n: usize| Client { id: IDS[n % 2], rules: rules[n / 2], producer: None, open: None };
    let mut clients: Vec<Client> = (0..4).map(client).collect();
    let mut begun = 0;
    let mut told: BTreeMap<usize, ControlKind> = BTreeMap::new();
    for act in acts {
        match act {
            Act::Begin(n, says_who) => {
                let client = &mut clients[n];
                let expected = client.producer.filter(|_| says_who);
                if let Ok(producer) = world.begin(client.id, expected) {
                    client.producer = Some(producer);
                    client.open = None;
                }
            }
            Act::Write(n, partition) => {
                let client = &mut clients[n];
                let Some(producer) = client.producer else { continue };
                let joined = world.add(client.id, producer, partition, client.rules);
                // By the first rules, a client asks before it writes; by the second, it writes, and an open transaction goes on.
                let goes_on = client.rules == Rules::Second && world.partitions.has_open(&place(partition), producer);
                let is_fenced = world.partitions.epoch_of(&place(partition), producer.id) > producer.epoch;
                if is_fenced || (joined.is_err() && !goes_on) {
                    continue;
                }
                let number = *client.open.get_or_insert_with(|| {
                    begun += 1;
                    begun
                });
                world.partitions.events.entry(place(partition)).or_default().push(Event::Data(producer, number));
            }
            Act::End(n, commits) => {
                let client = &mut clients[n];
                let (Some(producer), Some(number)) = (client.producer, client.open) else { continue };
                let kind = if commits { ControlKind::Commit } else { ControlKind::Abort };
                match world.end(client.id, producer, kind, client.rules) {
                    Ok(next) => {
                        told.insert(number, kind);
                        client.open = None;
                        client.producer = Some(if client.rules == Rules::Second { next } else { producer });
                    }
                    // It has to begin anew.
                    Err(ResponseError::NotCoordinator | ResponseError::ConcurrentTransactions) => {}
                    Err(_) => (client.producer, client.open) = (None, None),
                }
            }
            Act::Pass(ms) => world.pass(Duration::from_millis(ms)),
            Act::FailJournal(times) => world.log.fails = times,
            Act::FailMarkers(times) => world.partitions.fails = times,
            Act::Restart => world.restart(),
        }
    }
    (world.log.fails, world.partitions.fails) = (0, 0);
    world.pass(Duration::from_secs(60));
    assert!(world.transactions.list().all(|found| !matches!(found.state, State::Ongoing)));
    let mut ends: BTreeMap<usize, ControlKind> = BTreeMap::new();
    for (place, events) in &world.partitions.events {
        for (at, event) in events.iter().enumerate() {
            let Event::Data(producer, number) = event else { continue };
            let end = events[at..].iter().find_map(|event| match event {
                Event::End(ended, kind) if ended.id == producer.id => Some(*kind),
                _ => None,
            });
            let end = end.unwrap_or_else(|| panic!("transaction {number} stays open in {place}: {events:?}"));
            let known = *ends.entry(*number).or_insert(end);
            assert_eq!(known, end, "transaction {number} in {place}: {events:?}");
        }
    }
    for (number, kind) in told {
        if let Some(end) = ends.get(&number) {
            assert_eq!(*end, kind, "transaction {number}: {:?}", world.partitions.events);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn transactions_are_seen_whole_or_not_at_all(acts in proptest::collection::vec(act(), 1..60)) {
        run(acts);
    }
}
