//! Who gets which partitions: the assignors of the broker, as pure functions of members, what they have now, and topics.
//!
//! `range` gives each member a stretch of every topic, so that topics with as many partitions go to the same member. `uniform` gives all
//! members as many partitions, and takes from nobody what they can keep. As in Apache Kafka's `RangeAssignor` and `UniformAssignor`
//! (KIP-848).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// How partitions are shared out among members of a group of the consumer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// All have as many, and keep what they can.
    Uniform,
    /// Of each topic, all have a stretch.
    Range,
}

impl Assignor {
    /// All of them, the one that is taken if nobody names one first.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// What members call it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn of(name: &str) -> Option<Self> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The partitions of each member.
    pub(super) fn assign(
        self,
        members: &BTreeMap<Arc<str>, Wants>,
        topics: &BTreeMap<Uuid, i32>,
    ) -> BTreeMap<Arc<str>, Partitions> {
        match self {
            Assignor::Range => range(members, topics),
            Assignor::Uniform => uniform(members, topics),
        }
    }
}

/// What a member wants, and what it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    pub instance: Option<String>,
    /// Topics that there are.
    pub topics: BTreeSet<Uuid>,
    pub has: Partitions,
}

/// Members with an instance first, by its name; then the others by their ids.
fn range(members: &BTreeMap<Arc<str>, Wants>, topics: &BTreeMap<Uuid, i32>) -> BTreeMap<Arc<str>, Partitions> {
    let mut ordered: Vec<(&Arc<str>, &Wants)> = members.iter().collect();
    ordered.sort_by(|(a_id, a), (b_id, b)| {
        let rank = |id: &Arc<str>, wants: &Wants| match &wants.instance {
            Some(instance) => (0, instance.clone()),
            None => (1, id.to_string()),
        };
        rank(a_id, a).cmp(&rank(b_id, b))
    });
    let mut assigned: BTreeMap<Arc<str>, Partitions> =
        members.keys().map(|id| (id.clone(), Partitions::new())).collect();
    for (&topic, &partitions) in topics {
        let takers: Vec<_> = ordered.iter().filter(|(_, wants)| wants.topics.contains(&topic)).collect();
        let Ok(count) = i32::try_from(takers.len()) else { continue };
        if count == 0 {
            continue;
        }
        let (quota, mut extra, mut next) = (partitions / count, partitions % count, 0);
        for (id, _) in takers {
            let end = (next + quota + i32::from(extra > 0)).min(partitions);
            extra -= i32::from(extra > 0);
            if next < end
                && let Some(own) = assigned.get_mut(*id)
            {
                own.insert(topic, (next..end).collect());
            }
            next = end;
        }
    }
    assigned
}

/// Everybody keeps what they have, up to their share; what is left goes to those who have the fewest; and as long as somebody has
/// two more than another one who could take them, one moves.
fn uniform(members: &BTreeMap<Arc<str>, Wants>, topics: &BTreeMap<Uuid, i32>) -> BTreeMap<Arc<str>, Partitions> {
    let ids: Vec<&Arc<str>> = members.keys().collect();
    let wants: Vec<&Wants> = members.values().collect();
    let mut owned: Vec<BTreeSet<(Uuid, i32)>> = vec![BTreeSet::new(); ids.len()];
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    // Those who want the same have the same share, and some one more.
    let is_alike = wants.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    let total: usize = topics.values().map(|count| usize::try_from(*count).unwrap_or(0)).sum();
    let (quota, mut extra) = match ids.len() {
        count if is_alike && count > 0 => (total / count, total % count),
        _ => (usize::MAX, 0),
    };
    let keeps = |member: usize| {
        let wants = wants[member];
        wants.has.iter().flat_map(move |(topic, partitions)| {
            let there = topics.get(topic).copied().filter(|_| wants.topics.contains(topic)).unwrap_or(0);
            partitions.range(..there).map(|partition| (*topic, *partition))
        })
    };
    let mut order: Vec<usize> = (0..wants.len()).collect();
    // Who has one more already, may: so nothing moves for it.
    order.sort_by_key(|member| std::cmp::Reverse(keeps(*member).count()));
    for member in order {
        let most = quota.saturating_add(usize::from(extra > 0));
        extra = extra.saturating_sub(1);
        for place in keeps(member) {
            if owned[member].len() < most && taken.insert(place) {
                owned[member].insert(place);
            }
        }
    }
    // Who may take a topic's partitions; the one with the fewest is first.
    let takers = |topic: &Uuid| -> Vec<usize> {
        (0..wants.len()).filter(|member| wants[*member].topics.contains(topic)).collect()
    };
    for (&topic, &count) in topics {
        let takers = takers(&topic);
        let mut by_load: BTreeSet<(usize, usize)> =
            takers.iter().map(|member| (owned[*member].len(), *member)).collect();
        for partition in (0..count).filter(|partition| !taken.contains(&(topic, *partition))) {
            let Some((load, member)) = by_load.pop_first() else { break };
            owned[member].insert((topic, partition));
            by_load.insert((load + 1, member));
        }
    }
    if !is_alike {
        balance(&mut owned, &wants);
    }
    let by_topic = |places: BTreeSet<(Uuid, i32)>| {
        let mut partitions = Partitions::new();
        for (topic, partition) in places {
            partitions.entry(topic).or_default().insert(partition);
        }
        partitions
    };
    ids.into_iter().cloned().zip(owned.into_iter().map(by_topic)).collect()
}

/// Moves partitions from those who have most to those who have least, among those who want their topics. Each move brings two members
/// closer together, so it comes to an end.
fn balance(owned: &mut [BTreeSet<(Uuid, i32)>], wants: &[&Wants]) {
    loop {
        let mut order: Vec<usize> = (0..owned.len()).collect();
        order.sort_by_key(|member| owned[*member].len());
        let step = order.iter().rev().find_map(|&from| {
            let of_topic = |topic: &Uuid| owned[from].range((*topic, i32::MIN)..=(*topic, i32::MAX)).next();
            let worth_it = order.iter().take_while(|&&to| owned[from].len() > owned[to].len() + 1);
            let to = worth_it.filter_map(|&to| Some((to, *wants[to].topics.iter().find_map(of_topic)?))).next()?;
            Some((from, to))
        });
        let Some((from, (to, place))) = step else { return };
        owned[from].remove(&place);
        owned[to].insert(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(number: u128) -> Uuid {
        Uuid::from_u128(number + 1)
    }

    fn wants(topics: &[u128]) -> Wants {
        Wants { topics: topics.iter().map(|number| topic(*number)).collect(), ..Wants::default() }
    }

    fn counts(assigned: &BTreeMap<Arc<str>, Partitions>) -> Vec<usize> {
        assigned.values().map(|own| own.values().map(BTreeSet::len).sum()).collect()
    }

    #[test]
    fn a_range_is_a_stretch_of_each_topic_and_instances_come_first() {
        let mut members: BTreeMap<Arc<str>, Wants> =
            [("a".into(), wants(&[0, 1])), ("b".into(), wants(&[0, 1])), ("z".into(), wants(&[0, 1]))].into();
        members.get_mut("z").unwrap().instance = Some("one".to_owned());
        let topics = [(topic(0), 4), (topic(1), 2)].into();
        let assigned = Assignor::Range.assign(&members, &topics);
        let of = |id: &str| assigned[id].values().map(|own| own.iter().copied().collect()).collect::<Vec<Vec<i32>>>();
        assert_eq!((of("z"), of("a"), of("b")), (vec![vec![0, 1], vec![0]], vec![vec![2], vec![1]], vec![vec![3]]));
    }

    #[test]
    fn who_comes_late_takes_no_more_than_a_share() {
        let topics: BTreeMap<Uuid, i32> = [(topic(0), 5)].into();
        let mut members: BTreeMap<Arc<str>, Wants> = [("a".into(), wants(&[0]))].into();
        members.get_mut("a").unwrap().has = Assignor::Uniform.assign(&members, &topics)["a"].clone();
        members.insert("b".into(), wants(&[0]));
        let assigned = Assignor::Uniform.assign(&members, &topics);
        assert_eq!(counts(&assigned), [3, 2]);
        assert!(assigned["a"][&topic(0)].is_subset(&members["a"].has[&topic(0)]));
    }

    proptest! {
        /// Every partition that somebody wants has one owner who wants it; nobody has two more than somebody who could take one;
        /// and assigning again changes nothing.
        #[test]
        fn uniform_is_whole_even_and_steady(
            members in prop::collection::vec(prop::collection::btree_set(0u128..4, 0..4), 1..6),
            partitions in prop::collection::vec(0i32..7, 4),
        ) {
            let topics: BTreeMap<Uuid, i32> = (0..4).map(|number| (topic(number), partitions[number as usize])).collect();
            let mut wanting: BTreeMap<Arc<str>, Wants> = BTreeMap::new();
            for (number, subscribed) in members.iter().enumerate() {
                let subscribed: Vec<u128> = subscribed.iter().copied().collect();
                wanting.insert(format!("m{number}").into(), wants(&subscribed));
            }
            for assignor in Assignor::ALL {
                let assigned = assignor.assign(&wanting, &topics);
                let mut owners: BTreeMap<(Uuid, i32), &Arc<str>> = BTreeMap::new();
                for (id, own) in &assigned {
                    for (topic, partitions) in own {
                        prop_assert!(wanting[id].topics.contains(topic));
                        for partition in partitions {
                            prop_assert!(owners.insert((*topic, *partition), id).is_none());
                        }
                    }
                }
                for (topic, count) in &topics {
                    let is_wanted = wanting.values().any(|wants| wants.topics.contains(topic));
                    prop_assert!((0..*count).all(|partition| owners.contains_key(&(*topic, partition)) == is_wanted));
                }
                if assignor == Assignor::Uniform {
                    let counts: BTreeMap<_, usize> = assigned.keys().zip(counts(&assigned)).collect();
                    for ((topic, _), owner) in &owners {
                        for (other, wants) in &wanting {
                            prop_assert!(!wants.topics.contains(topic) || counts[owner] <= counts[other] + 1);
                        }
                    }
                    let mut again = wanting.clone();
                    again.iter_mut().for_each(|(id, wants)| wants.has = assigned[id].clone());
                    prop_assert_eq!(assignor.assign(&again, &topics), assigned);
                }
            }
        }
    }
}
