//! A join by foreign key of tables that are not partitioned by the hashes of their keys.

use std::collections::BTreeMap;

use tidewater::TableJoined;
use tidewater::prelude::*;

const NEW_USERS: Topic<String, String> = Topic::new("new-users");
const NEW_CITIES: Topic<String, String> = Topic::new("new-cities");
const USERS: Topic<String, String> = Topic::new("users");
const CITIES: Topic<String, String> = Topic::new("cities");
const LIVES_IN: Topic<String, Option<String>> = Topic::new("lives-in");

fn place(key: &str, count: i32) -> i32 {
    key.len() as i32 % count
}

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream(&NEW_USERS).to(&USERS).partitioned_by(|_, key, _, count| Some(vec![place(key, count)]));
    builder.stream(&NEW_CITIES).to(&CITIES).partitioned_by(|_, key, _, count| Some(vec![place(key, count)]));
    let (users, cities) = (builder.table(&USERS), builder.table(&CITIES));
    let joined = TableJoined::default()
        .partitioned_by(|user: &String, count| place(user, count))
        .other_partitioned_by(|city: &String, count| place(city, count));
    let lives_in = users.try_join_foreign_with(
        &cities,
        false,
        joined,
        |_, city| Ok(city.clone()),
        |city, country| Ok(country.map(|country| format!("{city}, {country}"))),
    );
    lives_in.to_stream().to(&LIVES_IN);
    builder.build().unwrap()
}

#[tokio::test]
async fn each_row_meets_the_row_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    for topic in [NEW_USERS, NEW_CITIES, USERS, CITIES] {
        log.create_topic(&topic, 3).unwrap();
    }
    log.create_topic(&LIVES_IN, 1).unwrap();
    let record = |key: &str, value: &str| Record::new(key.to_owned(), value.to_owned(), 0);
    let cities = [("Bonn", "Germany"), ("Turku", "Finland"), ("Aarhus", "Denmark")];
    let users = ["a", "bb", "ccc", "dddd", "eeeee"].into_iter().zip(cities.iter().cycle());
    let users: Vec<_> = users.map(|(user, (city, _))| (user, *city)).collect();
    log.send(&NEW_CITIES, cities.map(|(city, country)| record(city, country))).unwrap();
    log.send(&NEW_USERS, users.iter().map(|(user, city)| record(user, city))).unwrap();
    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    while app.lag().unwrap() > 0 {
        assert!(!app.has_failed());
        tokio::task::yield_now().await;
    }
    app.stop().await.unwrap();

    let count = log.end_offsets("lives-in").unwrap()[0].0;
    let found = log.read(&LIVES_IN, count as usize).unwrap();
    let found: BTreeMap<_, _> = found.into_iter().map(|record| (record.key, record.value)).collect();
    let country = |city: &str| cities.iter().find(|(name, _)| *name == city).unwrap().1;
    let expected = users.iter().map(|(user, city)| ((*user).to_owned(), Some(format!("{city}, {}", country(city)))));
    assert_eq!(found, expected.collect());
    log.close().unwrap();
}
