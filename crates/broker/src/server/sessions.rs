//! Fetch sessions (KIP-227): the broker keeps which partitions a client reads, so that the client says only what changes, and is told only
//! of partitions that have something new.
//!
//! As in Apache Kafka's `FetchSession`: a session has an id, and an epoch that rises with each fetch.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidewater_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use tidewater_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use tidewater_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use tidewater_protocol::{ResponseError, StrBytes};
use uuid::Uuid;

use crate::api::fetch::Found;
use crate::topics::NAME_LIMIT;

/// Partitions of all sessions together. One of a topic whose name is longer than Kafka allows counts as several.
const PARTITIONS: usize = 200_000;
/// A session that nobody has used for so long may give way to a new one.
const EVICTION_TIME: Duration = Duration::from_secs(120);
/// The epoch of a fetch that wants a session.
const INITIAL: i32 = 0;
/// The epoch of a fetch that wants none, or no longer.
const FINAL: i32 = -1;
/// The id of no session.
const NONE: i32 = 0;

/// A partition of a topic, which is named by its id or by its name.
type Place = (Uuid, StrBytes, i32);

/// A partition in a session.
#[derive(Debug)]
struct Cached {
    place: Place,
    /// Of a topic that is asked for by its id, what it was called when it was seen first; empty before.
    name: StrBytes,
    wanted: FetchPartition,
    /// What the client was told last; −1 for nothing.
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    /// What the next fetch must have.
    epoch: i32,
    /// Whether topics are named by their ids.
    is_by_id: bool,
    used: Duration,
    /// In the order in which they are read: what was sent goes to the end, so that all have their turn.
    partitions: BTreeMap<u64, Cached>,
    places: HashMap<Place, u64>,
    next: u64,
    /// What its partitions count.
    weight: usize,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct FetchSessions {
    sessions: HashMap<i32, Session>,
    /// How many there may be.
    slots: usize,
    last_id: i32,
    /// What the partitions of all count.
    partitions: usize,
}

impl FetchSessions {
    /// Sessions whose ids begin behind one. They should not be those of the process before, of which clients may still speak.
    pub fn behind(last_id: i32, slots: usize) -> Self {
        FetchSessions { sessions: HashMap::new(), slots, last_id, partitions: 0 }
    }
}

/// What a fetch is to its session.
#[derive(Debug, PartialEq)]
pub(super) enum Role {
    /// It has none.
    Alone,
    /// It wants one.
    First,
    /// It goes on with one.
    Next(i32),
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl Session {
    fn new(is_by_id: bool, used: Duration) -> Self {
        Session { epoch: 1, is_by_id, used, partitions: BTreeMap::new(), places: HashMap::new(), next: 0, weight: 0 }
    }

    fn put(&mut self, cached: Cached) {
        self.weight += weight(&cached.place);
        self.places.insert(cached.place.clone(), self.next);
        self.partitions.insert(self.next, cached);
        self.next += 1;
    }

    fn take(&mut self, place: &Place) -> Option<Cached> {
        let at = self.places.remove(place)?;
        self.weight -= weight(place);
        self.partitions.remove(&at)
    }

    /// Takes in what the client wants to read, or no longer.
    fn update(&mut self, request: &FetchRequest) {
        for topic in &request.topics {
            for wanted in &topic.partitions {
                let place = place(topic.topic_id, &topic.topic, wanted.partition);
                let wanted = wanted.clone();
                match self.places.get(&place).and_then(|at| self.partitions.get_mut(at)) {
                    Some(cached) => cached.wanted = wanted,
                    None => {
                        let name = topic.topic.0.clone();
                        self.put(Cached { place, name, wanted, high_watermark: -1, log_start: -1 });
                    }
                }
            }
        }
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                self.take(&place(topic.topic_id, &topic.topic, *partition));
            }
        }
    }

    /// All that it reads, as a request has it.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Cached { place: (id, ..), name, wanted, .. } in self.partitions.values() {
            match topics.last_mut() {
                Some(last) if last.topic_id == *id && *last.topic == *name => last.partitions.push(wanted.clone()),
                _ => {
                    let topic = FetchTopic::default().with_topic_id(*id).with_topic(TopicName(name.clone()));
                    topics.push(topic.with_partitions(vec![wanted.clone()]));
                }
            }
        }
        topics
    }

    /// Whether the client has to be told of a partition, and notes that it is.
    fn tells(&mut self, topic: &FetchableTopicResponse, data: &PartitionData, has_records: bool) -> bool {
        let place = &place(topic.topic_id, &topic.topic, data.partition_index);
        let Some(cached) = self.places.get(place).and_then(|at| self.partitions.get_mut(at)) else { return true };
        if cached.name.is_empty() {
            cached.name = topic.topic.0.clone();
        }
        let has_news = has_records
            || data.error_code != 0
            || cached.high_watermark != data.high_watermark
            || cached.log_start != data.log_start_offset;
        (cached.high_watermark, cached.log_start) = match data.error_code {
            0 => (data.high_watermark, data.log_start_offset),
            // When it is mended, that is told.
            _ => (-1, cached.log_start),
        };
        if has_records && let Some(cached) = self.take(place) {
            self.put(cached);
        }
        has_news
    }
}

/// What a partition counts in its session.
fn weight((_, name, _): &Place) -> usize {
    name.len().div_ceil(NAME_LIMIT).max(1)
}

fn place(id: Uuid, name: &TopicName, partition: i32) -> Place {
    (id, if id.is_nil() { name.0.clone() } else { StrBytes::default() }, partition)
}

impl FetchSessions {
    /// Completes a fetch with what its session reads.
    ///
    /// # Errors
    /// When there is no such session, or it is elsewhere.
    pub fn begin(&mut self, request: &mut FetchRequest, is_by_id: bool, now: Duration) -> Result<Role, ResponseError> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if matches!(epoch, INITIAL | FINAL) {
            self.end_session(id);
            return Ok(if epoch == INITIAL { Role::First } else { Role::Alone });
        }
        let session = self.sessions.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.is_by_id != is_by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        let before = session.weight;
        session.update(request);
        (session.epoch, session.used) = (next_epoch(epoch), now);
        self.partitions = self.partitions - before + session.weight;
        request.topics = session.topics();
        if self.partitions > PARTITIONS {
            // The client begins another one, if there is room.
            self.end_session(id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        Ok(Role::Next(id))
    }

    /// Begins the session that a fetch wants, if there is room; and leaves out what the client of a session knows.
    pub fn end(&mut self, role: Role, request: &FetchRequest, is_by_id: bool, now: Duration, found: &mut Found) {
        let id = match role {
            Role::Alone => return,
            Role::Next(id) => id,
            Role::First => match self.begin_session(request, is_by_id, now) {
                Some(id) => id,
                None => return,
            },
        };
        // It may have ended meanwhile.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        found.response.session_id = id;
        let is_first = role == Role::First;
        let mut bodies = std::mem::take(&mut found.bodies).into_iter();
        let mut kept = Vec::new();
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        for mut topic in std::mem::take(&mut found.response.responses) {
            let mut partitions = std::mem::take(&mut topic.partitions);
            partitions.retain(|data| {
                let body = bodies.next().flatten();
                let tells = session.tells(&topic, data, body.is_some()) || is_first;
                if tells {
                    kept.push(body);
                }
                tells
            });
            if !partitions.is_empty() {
                responses.push(topic.with_partitions(partitions));
            }
        }
        found.response.responses = responses;
        found.bodies = kept;
    }

    fn begin_session(&mut self, request: &FetchRequest, is_by_id: bool, now: Duration) -> Option<i32> {
        let mut session = Session::new(is_by_id, now);
        session.update(request);
        if session.partitions.is_empty() {
            return None;
        }
        if self.sessions.len() >= self.slots {
            let (&oldest, used) =
                self.sessions.iter().map(|(id, session)| (id, session.used)).min_by_key(|(_, used)| *used)?;
            if now.saturating_sub(used) < EVICTION_TIME {
                return None;
            }
            self.end_session(oldest);
        }
        if self.partitions + session.weight > PARTITIONS {
            return None;
        }
        let mut id = next_epoch(self.last_id);
        while self.sessions.contains_key(&id) {
            id = next_epoch(id);
        }
        self.last_id = id;
        self.partitions += session.weight;
        self.sessions.insert(id, session);
        Some(id)
    }

    fn end_session(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.weight;
        }
    }
}

/// What a fetch is answered whose session is none.
pub(super) fn refused(error: ResponseError) -> Found {
    let response = FetchResponse::default().with_error_code(error.code()).with_session_id(NONE);
    Found { response, bodies: Vec::new(), bytes: 0, has_error: true, missing: 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tidewater_protocol::messages::fetch_request::ForgottenTopic;

    use super::*;

    const SLOTS: usize = 1000;
    const NOW: Duration = Duration::from_secs(1000);

    fn topic(name: &str, partitions: &[(i32, i64)]) -> FetchTopic {
        let wanted = |(partition, offset): &(i32, i64)| {
            FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset)
        };
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        FetchTopic::default().with_topic(name).with_partitions(partitions.iter().map(wanted).collect())
    }

    fn request(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
        FetchRequest::default().with_session_id(id).with_session_epoch(epoch).with_topics(topics)
    }

    /// What is found where all partitions have this high watermark, and nothing to read.
    fn found(request: &FetchRequest, high_watermark: i64) -> Found {
        let data = |wanted: &FetchPartition| {
            PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_high_watermark(high_watermark)
                .with_log_start_offset(0)
        };
        let topics = request.topics.iter().map(|topic| {
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(topic.partitions.iter().map(data).collect())
        });
        let response = FetchResponse::default().with_responses(topics.collect());
        let bodies = request.topics.iter().flat_map(|topic| &topic.partitions).map(|_| None).collect();
        Found { response, bodies, bytes: 0, has_error: false, missing: 0 }
    }

    /// A fetch, and what is told of which partitions.
    fn fetch(
        sessions: &mut FetchSessions,
        mut request: FetchRequest,
        high_watermark: i64,
    ) -> Result<(i32, Vec<(String, i32)>), ResponseError> {
        let role = sessions.begin(&mut request, false, NOW)?;
        let mut found = found(&request, high_watermark);
        sessions.end(role, &request, false, NOW, &mut found);
        let told = found
            .response
            .responses
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|data| (topic.topic.to_string(), data.partition_index)));
        let told: Vec<_> = told.collect();
        assert_eq!(found.bodies.len(), told.len());
        Ok((found.response.session_id, told))
    }

    fn places(of: &[(&str, i32)]) -> Vec<(String, i32)> {
        of.iter().map(|(name, partition)| ((*name).to_owned(), *partition)).collect()
    }

    #[test]
    fn a_session_tells_what_is_new() {
        let mut sessions = FetchSessions::behind(0, SLOTS);
        let (id, told) = fetch(&mut sessions, request(0, INITIAL, vec![topic("a", &[(0, 0), (1, 0)])]), 5).unwrap();
        assert_eq!((id, told), (1, places(&[("a", 0), ("a", 1)])));
        assert_eq!(fetch(&mut sessions, request(id, 1, vec![]), 5), Ok((id, vec![])));
        assert_eq!(fetch(&mut sessions, request(id, 2, vec![]), 6), Ok((id, places(&[("a", 0), ("a", 1)]))));
        // Another one, and one less.
        let mut more = request(id, 3, vec![topic("b", &[(7, 0)])]);
        let gone =
            ForgottenTopic::default().with_topic(TopicName(StrBytes::from_static_str("a"))).with_partitions(vec![0]);
        more.forgotten_topics_data = vec![gone];
        assert_eq!(fetch(&mut sessions, more, 6), Ok((id, places(&[("b", 7)]))));
        assert_eq!(fetch(&mut sessions, request(id, 4, vec![]), 7), Ok((id, places(&[("a", 1), ("b", 7)]))));
        assert_eq!(sessions.partitions, 2);
    }

    #[test]
    fn names_that_no_topic_can_have_count_by_their_length() {
        let mut sessions = FetchSessions::behind(0, SLOTS);
        let long = "x".repeat(32_000);
        let wanted = |sessions: &mut FetchSessions| {
            let partitions: Vec<(i32, i64)> = (0..200).map(|partition| (partition, 0)).collect();
            fetch(sessions, request(0, INITIAL, vec![topic(&long, &partitions)]), 5).unwrap().0
        };
        let begun = (0..SLOTS).take_while(|_| wanted(&mut sessions) != NONE).count();
        assert_eq!(begun, PARTITIONS / (200 * 129));
        while let Some(id) = sessions.sessions.keys().next().copied() {
            sessions.end_session(id);
        }
        assert_eq!(sessions.partitions, 0);
    }

    #[test]
    fn what_is_not_the_next_fetch_of_a_session_is_refused() {
        let mut sessions = FetchSessions::behind(0, SLOTS);
        let first = || request(0, INITIAL, vec![topic("a", &[(0, 0)])]);
        let (id, _) = fetch(&mut sessions, first(), 5).unwrap();
        let refused = |sessions: &mut FetchSessions, request| fetch(sessions, request, 5).unwrap_err();
        assert_eq!(refused(&mut sessions, request(9, 1, vec![])), ResponseError::FetchSessionIdNotFound);
        assert_eq!(refused(&mut sessions, request(0, 1, vec![])), ResponseError::FetchSessionIdNotFound);
        assert_eq!(refused(&mut sessions, request(id, 2, vec![])), ResponseError::InvalidFetchSessionEpoch);
        let by_id = sessions.begin(&mut request(id, 1, vec![]), true, NOW);
        assert_eq!(by_id, Err(ResponseError::FetchSessionTopicIdError));
        // Its last fetch, which reads what it says only.
        let last = fetch(&mut sessions, request(id, FINAL, vec![topic("b", &[(1, 0)])]), 5);
        assert_eq!(last, Ok((NONE, places(&[("b", 1)]))));
        assert_eq!(refused(&mut sessions, request(id, 1, vec![])), ResponseError::FetchSessionIdNotFound);
        // One that begins anew has another id.
        let (id, _) = fetch(&mut sessions, first(), 5).unwrap();
        let (other, _) = fetch(&mut sessions, request(id, INITIAL, vec![topic("a", &[(0, 0)])]), 5).unwrap();
        assert_ne!(id, other);
        assert_eq!(sessions.sessions.len(), 1);
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_gives_way_when_it_is_old() {
        let mut sessions = FetchSessions::behind(0, SLOTS);
        let begin = |sessions: &mut FetchSessions, now: Duration| {
            let mut first = request(0, INITIAL, vec![topic("a", &[(0, 0)])]);
            let role = sessions.begin(&mut first, false, now).unwrap();
            let mut found = found(&first, 5);
            sessions.end(role, &first, false, now, &mut found);
            found.response.session_id
        };
        for _ in 0..SLOTS {
            assert_ne!(begin(&mut sessions, NOW), NONE);
        }
        assert_eq!(begin(&mut sessions, NOW), NONE);
        assert_ne!(begin(&mut sessions, NOW + EVICTION_TIME), NONE);
        assert_eq!((sessions.sessions.len(), sessions.partitions), (SLOTS, SLOTS));
        // One that grows beyond all bounds ends.
        let id = *sessions.sessions.keys().next().unwrap();
        let many: Vec<(i32, i64)> = (0..PARTITIONS as i32).map(|partition| (partition, 0)).collect();
        let grown = sessions.begin(&mut request(id, 1, vec![topic("b", &many)]), false, NOW);
        assert_eq!(grown, Err(ResponseError::FetchSessionIdNotFound));
        assert_eq!(sessions.partitions, SLOTS - 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(i32),
        Forget(i32),
        /// There is something new in a partition.
        Write(i32),
        Fetch,
        /// Another client takes the only place.
        Evict,
    }

    fn step() -> impl Strategy<Value = Step> {
        let partition = || 0i32..4;
        prop_oneof![
            3 => partition().prop_map(Step::Want),
            2 => partition().prop_map(Step::Forget),
            4 => partition().prop_map(Step::Write),
            6 => Just(Step::Fetch),
            1 => Just(Step::Evict),
        ]
    }

    proptest! {
        /// What a client has been told of the partitions that it reads is what is so, whatever it was not told again; and nothing is
        /// told twice.
        #[test]
        fn a_client_knows_what_is_so_after_each_fetch(steps in prop::collection::vec(step(), 1..80)) {
            let mut sessions = FetchSessions::behind(0, 1);
            let mut now = NOW;
            let mut ends = [1i64; 4];
            // What the client wants, what of that the session has, and what it was told; as a client keeps it.
            let (mut wanted, mut known) = (BTreeSet::from([0]), BTreeSet::new());
            let mut told = BTreeMap::new();
            let (mut id, mut epoch) = (NONE, INITIAL);
            for step in steps {
                match step {
                    Step::Want(partition) => drop(wanted.insert(partition)),
                    Step::Forget(partition) if wanted.len() > 1 => drop(wanted.remove(&partition)),
                    Step::Forget(_) => {}
                    Step::Write(partition) => ends[partition as usize] += 1,
                    Step::Evict => {
                        now += EVICTION_TIME;
                        let mut other = request(NONE, INITIAL, vec![topic("other", &[(0, 0)])]);
                        let role = sessions.begin(&mut other, false, now).unwrap();
                        let mut found = found(&other, 1);
                        sessions.end(role, &other, false, now, &mut found);
                        now += EVICTION_TIME;
                    }
                    Step::Fetch => {
                        let new: Vec<(i32, i64)> = wanted.difference(&known).map(|partition| (*partition, 0)).collect();
                        let mut fetch = request(id, epoch, if new.is_empty() { vec![] } else { vec![topic("a", &new)] });
                        let gone: Vec<i32> = known.difference(&wanted).copied().collect();
                        let name = TopicName(StrBytes::from_static_str("a"));
                        fetch.forgotten_topics_data = vec![ForgottenTopic::default().with_topic(name).with_partitions(gone)];
                        let Ok(role) = sessions.begin(&mut fetch, false, now) else {
                            // It begins anew with all that it wants.
                            (id, epoch) = (NONE, INITIAL);
                            known.clear();
                            told.clear();
                            continue;
                        };
                        let is_first = role == Role::First;
                        let mut found = found(&fetch, 0);
                        for data in found.response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                            data.high_watermark = ends[data.partition_index as usize];
                        }
                        sessions.end(role, &fetch, false, now, &mut found);
                        for data in found.response.responses.iter().flat_map(|topic| &topic.partitions) {
                            let before = told.insert(data.partition_index, data.high_watermark);
                            prop_assert!(is_first || before != Some(data.high_watermark), "told twice");
                        }
                        known.clone_from(&wanted);
                        told.retain(|partition, _| known.contains(partition));
                        let so: BTreeMap<i32, i64> =
                            wanted.iter().map(|partition| (*partition, ends[*partition as usize])).collect();
                        prop_assert_eq!(&told, &so);
                        (id, epoch) = match found.response.session_id {
                            NONE => {
                                known.clear();
                                (NONE, INITIAL)
                            }
                            id => (id, next_epoch(epoch)),
                        };
                    }
                }
                prop_assert!(sessions.sessions.len() <= 1);
                let weights: usize = sessions.sessions.values().map(|session| session.partitions.len()).sum();
                prop_assert_eq!(sessions.partitions, weights);
            }
        }
    }
}
