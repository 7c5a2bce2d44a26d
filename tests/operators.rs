//! The examples of docs/operators.md, compiled, built, and held against the page.

use tidewater::{
    Core, DropReason, EmitStrategy, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, OffsetReset, Printed,
    RecordContext, TableJoined, TimestampExtractor, Topology, TopologyBuilder, UserError, ValueAndTimestamp,
    ValueTimestampHeaders, ValueTransformer, VersionedStore, prelude::*,
};
use tidewater_testkit::TestDriver;

const CLICKS: Topic<String, String> = Topic::new("clicks");
const VIEWS: Topic<String, String> = Topic::new("views");
const ORDERS: Topic<String, i64> = Topic::new("orders");
const USERS: Topic<String, String> = Topic::new("users");
const CITIES: Topic<String, String> = Topic::new("cities");
const WORDS: Topic<String, String> = Topic::new("words");
const NUMBERS: Topic<String, i64> = Topic::new("numbers");
const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");
const NAMES: Topic<String, String> = Topic::new("names");
const NAMED: Topic<String, String> = Topic::new("named");
const TEXTS: Topic<String, Option<String>> = Topic::new("texts");
const PER_WINDOW: Topic<Windowed<String>, Option<i64>> = Topic::new("per-window");
const PER_SESSION: Topic<SessionWindowed<String>, Option<i64>> = Topic::new("per-session");

fn sources(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).named("clicks").offset_reset(OffsetReset::Latest);
    let by_time = builder.stream(&VIEWS).timestamps(TimestampExtractor::WallClock);
    let all = builder.stream_matching("log-.*", &WORDS);
    let users = builder.table(&USERS).store("users");
    let cities = builder.global_table(&CITIES).store("cities");
    let _ = (clicks, by_time, all, users, cities);
}

fn stateless(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS);
    let pages = clicks.filter(|_, page| page.starts_with('/')).filter_not(|_, page| page == "/health");
    let upper = pages.map_values(|page| page.to_uppercase()).map_values_with_key(|user, page| format!("{user} {page}"));
    let by_page = upper.map(|user, page| (page, user)).select_key(|_, user| user.clone());
    let words = by_page.flat_map_values(|user| user.split(' ').map(str::to_owned).collect::<Vec<_>>());
    words.flat_map(|_, word| vec![(word.clone(), 1i64), (word, 2)]).to(&NUMBERS);
}

fn side_effects(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).peek(|user, page| println!("{user} went to {page}"));
    clicks.for_each(|user, _| println!("{user}"));
    clicks.print("clicks").named("printer");
    let errors = Printed::to(std::io::stderr()).label("users").mapped(|user: &String, _: &String| user.clone());
    clicks.print(errors);
}

fn branches(builder: &StreamsBuilder) {
    let mut split = builder.stream(&CLICKS).split().named("by-kind-");
    let health = split.branch(|_, page| page == "/health");
    let rest = split.otherwise();
    health.merge(&rest).to(&WORDS);
}

fn repartitioned(builder: &StreamsBuilder) {
    let by_page = builder.stream(&CLICKS).select_key(|_, page| page.clone());
    let spread = by_page.repartition().partitions(8).named("by-page");
    spread.to(&WORDS).partitioned_by(|_, page, _, count| Some(vec![page.len() as i32 % count]));
    let topic = |click: &Record<String, String>, _: &RecordContext| format!("clicks-of-{}", click.value);
    spread.to_chosen("topic-by-user", &WORDS, topic);
}

fn grouped(builder: &StreamsBuilder) {
    let orders = builder.stream(&ORDERS);
    orders.group_by_key().count().store("orders-by-user").to_stream().to(&COUNTS);
    orders.group_by_key().reduce(|sum, amount| sum + amount).to_stream().to(&COUNTS);
    let by_size = orders.group_by(|_, amount| (amount / 100).to_string());
    by_size.aggregate(|| 0, |_size, amount, most: i64| most.max(amount)).to_stream().to(&COUNTS);
}

fn cogrouped(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).group_by_key();
    let orders = builder.stream(&ORDERS).group_by_key();
    let activity = clicks.cogroup(|_user, _page, points: i64| points + 1);
    let activity = activity.cogroup(&orders, |_user, amount, points| points + amount);
    activity.aggregate(|| 0).store("activity").to_stream().to(&COUNTS);
}

fn windows_of_several(builder: &StreamsBuilder) {
    let (clicks, orders) = (builder.stream(&CLICKS).group_by_key(), builder.stream(&ORDERS).group_by_key());
    let activity = clicks.cogroup(|_, _, points: i64| points + 1).cogroup(&orders, |_, amount, points| points + amount);
    activity.windowed_by(Tumbling::of(hours(1))).aggregate(|| 0).to_stream().to(&PER_WINDOW);
    let visits = Sessions::with_gap(minutes(30));
    activity.windowed_by(visits).aggregate(|| 0, |_, a, b| a + b).to_stream().to(&PER_SESSION);
    orders.windowed_by(visits).aggregate(|| 0, |_, n, sum| sum + n, |_, a, b| a + b).to_stream().to(&PER_SESSION);
}

fn windowed(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).group_by_key();
    let tumbling = Tumbling::of(minutes(5)).grace(minutes(1));
    clicks.windowed_by(tumbling).count().retention(days(1)).to_stream().to(&PER_WINDOW);
    clicks.windowed_by(Hopping::of(minutes(5), minutes(1))).count().to_stream().to(&PER_WINDOW);
    clicks.windowed_by(Sliding::of(minutes(5))).count().to_stream().to(&PER_WINDOW);
    clicks.windowed_by(Unlimited::starting(0)).count().to_stream().to(&PER_WINDOW);
    clicks.windowed_by(Sessions::with_gap(minutes(30))).count().to_stream().to(&PER_SESSION);
}

fn final_results(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).group_by_key();
    let windows = Tumbling::of(minutes(5)).grace(minutes(1));
    let once = clicks.windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose);
    once.count().to_stream().to(&PER_WINDOW);
    let counts = clicks
        .windowed_by(windows)
        .count()
        .suppress(Suppress::until_window_closes().max_records(10_000).fail_when_full());
    counts.to_stream().to(&PER_WINDOW);
    let users = builder.table(&USERS).suppress(Suppress::until_time_limit(seconds(10)));
    users.to_stream().to(&TEXTS);
}

fn tables(builder: &StreamsBuilder) {
    let users = builder.table(&USERS);
    let named = users.filter(|_, name| !name.is_empty()).filter_not(|_, name| name == "root");
    let lengths = named.map_values(|name| name.len() as i64).store("lengths");
    lengths.to_stream().to(&COUNTS);
    builder.stream(&CLICKS).to_table().store("last-click").to_stream().to(&TEXTS);
}

fn grouped_tables(builder: &StreamsBuilder) {
    let by_name = builder.table(&USERS).group_by(|_id, name| (name.clone(), name.len() as i64));
    by_name.count().to_stream().to(&COUNTS);
    by_name.reduce(|sum, length| sum + length, |sum, length| sum - length).to_stream().to(&COUNTS);
    let total = by_name.aggregate(|| 0, |_, length, sum: i64| sum + length, |_, length, sum| sum - length);
    total.to_stream().to(&COUNTS);
}

fn stream_joins(builder: &StreamsBuilder) {
    let (clicks, views) = (builder.stream(&CLICKS), builder.stream(&VIEWS));
    let windows = JoinWindows::of(minutes(5)).before(minutes(1)).after(minutes(2)).grace(seconds(30));
    clicks.join(&views, windows.clone(), |click, view| format!("{click} {view}")).to(&WORDS);
    clicks.left_join(&views, windows.clone(), |click, view| format!("{click} {view:?}")).to(&WORDS);
    clicks.outer_join(&views, windows, |click, view| format!("{click:?} {view:?}")).to(&WORDS);
}

fn table_lookups(builder: &StreamsBuilder) {
    let (clicks, users) = (builder.stream(&CLICKS), builder.table(&USERS).versioned(days(1)));
    clicks.join_table(&users, |page, name| format!("{name} {page}")).to(&WORDS);
    clicks.left_join_table(&users, |page, name| format!("{name:?} {page}")).to(&WORDS);
    let cities = builder.global_table(&CITIES);
    clicks.join_global(&cities, |_user, page| page.clone(), |page, city| format!("{page} {city}")).to(&WORDS);
    clicks.left_join_global(&cities, |_user, page| page.clone(), |page, city| format!("{page} {city:?}")).to(&WORDS);
}

fn waiting_for_tables(builder: &StreamsBuilder) {
    let users = builder.table(&USERS).store("users").versioned(days(1));
    let joined = builder.stream(&CLICKS).try_join_table_with_grace(&users, true, minutes(5), |_user, page, name| {
        let name = name.ok_or("nobody of that name")?;
        Ok(format!("{name} {page}"))
    });
    joined.to(&WORDS);
}

fn table_joins(builder: &StreamsBuilder) {
    let (users, cities) = (builder.table(&USERS), builder.table(&CITIES));
    users.join(&cities, |name, city| format!("{name} in {city}")).to_stream().to(&TEXTS);
    users.left_join(&cities, |name, city| format!("{name} in {city:?}")).to_stream().to(&TEXTS);
    users.outer_join(&cities, |name, city| format!("{name:?} in {city:?}")).store("both").to_stream().to(&TEXTS);
}

fn foreign_keys(builder: &StreamsBuilder) {
    let (users, cities) = (builder.table(&USERS), builder.table(&CITIES));
    let city_of = |_id: &String, user: &String| user.split('@').next_back().unwrap_or_default().to_owned();
    users.join_foreign(&cities, city_of, |user, city| format!("{user}: {city}")).to_stream().to(&TEXTS);
    users.left_join_foreign(&cities, city_of, |user, city| format!("{user}: {city:?}")).to_stream().to(&TEXTS);
    let spread = TableJoined::default().other_partitioned_by(|city: &String, count| city.len() as i32 % count);
    let joined =
        users.try_join_foreign_with(&cities, true, spread, move |k, v| Ok(city_of(k, v)), |_, city| Ok(city.cloned()));
    joined.to_stream().to(&TEXTS);
}

/// Counts the pages of each user, and sends the counts every minute of stream time.
struct PageCounter(KeyValueStore<String, i64>);

impl Processor for PageCounter {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = i64;

    fn init(&mut self, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        ctx.schedule(every(minutes(1)).on(PunctuationClock::StreamTime));
        Ok(())
    }

    fn process(&mut self, click: Record<String, String>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        let count = self.0.get(ctx, &click.key)?.unwrap_or(0);
        Ok(self.0.put(ctx, &click.key, &(count + 1))?)
    }

    fn punctuate(&mut self, due: Punctuation, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        for (user, count) in self.0.all(ctx)? {
            ctx.forward(Record::new(user, count, due.at))?;
        }
        Ok(())
    }
}

fn processors(builder: &StreamsBuilder) {
    let counts = builder.store(KeyValueStore::<String, i64>::define("page-counts").in_memory().without_changelog());
    let clicks = builder.stream(&CLICKS);
    clicks.process(move |stores| PageCounter(stores.open(&counts))).named("counter").to(&NUMBERS);
    builder.store(WindowStore::<String, i64>::define("by-hour", days(1), hours(1)));
    builder.store(VersionedStore::<String, i64>::define("prices", days(7)));
    builder.store(KeyValueStore::<String, ValueTimestampHeaders<i64>>::define_with_headers("traced"));
    builder.store(WindowStore::<String, ValueAndTimestamp<i64>>::define_timestamped("dated", hours(1), minutes(5)));
    builder.store(KeyValueStore::<String, i64>::define("hot").least_recently_used(1000));
}

/// Keeps the last text of each key in a store that others read.
struct Fill(KeyValueStore<String, String>);

impl Processor for Fill {
    type KIn = String;
    type VIn = String;
    type KOut = ();
    type VOut = ();

    fn process(&mut self, text: Record<String, String>, ctx: &mut Context<'_, (), ()>) -> Result<(), UserError> {
        Ok(self.0.put(ctx, &text.key, &text.value)?)
    }
}

/// Writes the name of the user before each page.
struct Names(KeyValueStore<String, String>);

impl FixedKeyProcessor for Names {
    type K = String;
    type VIn = String;
    type VOut = String;

    fn process(
        &mut self,
        click: FixedKeyRecord<String, String>,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> Result<(), UserError> {
        let name = self.0.get(ctx, click.key())?.unwrap_or_default();
        let named = format!("{name} {}", click.value());
        Ok(ctx.forward(click.with_value(named))?)
    }
}

fn shared_stores(builder: &StreamsBuilder) {
    let names = builder.global_store(&NAMES, KeyValueStore::define("names"), |stores, names| Fill(stores.open(names)));
    let names = names.handle();
    let named = builder.stream(&CLICKS).process_values(move |stores| Names(stores.open(&names)));
    named.to(&WORDS);
    builder.store(SessionStore::<String, i64>::define("visits", hours(1)));
}

/// Writes each name with how often the row has changed.
struct Revisions(KeyValueStore<String, i64>);

impl ValueTransformer for Revisions {
    type K = String;
    type V = String;
    type VOut = String;

    fn transform(&mut self, id: &String, name: Option<String>, task: &mut Core) -> Result<Option<String>, UserError> {
        let revision = self.0.get(task, id)?.unwrap_or(0) + 1;
        self.0.put(task, id, &revision)?;
        Ok(name.map(|name| format!("{name} ({revision})")))
    }
}

fn transformed_tables(builder: &StreamsBuilder) {
    let revisions = builder.store(KeyValueStore::define("revisions"));
    let users = builder.table(&USERS).transform_values(move |stores| Revisions(stores.open(&revisions)));
    users.store("revised").to_stream().to(&TEXTS);
}

fn node_by_node() -> Topology {
    let builder = TopologyBuilder::new();
    let counts = builder.store(KeyValueStore::<String, i64>::define("page-counts"));
    let clicks = builder.add_source("clicks", &CLICKS);
    let counter = builder.add_processor("counter", &[&clicks], move |stores| PageCounter(stores.open(&counts)));
    builder.add_sink("numbers", &NUMBERS, &[&counter]);
    builder.add_global_store("names-source", &NAMES, "names", KeyValueStore::define("names"), |stores, names| {
        Fill(stores.open(names))
    });
    builder.add_read_only_store("users-source", &NAMED, "users", KeyValueStore::define("users"), |stores, users| {
        Fill(stores.open(users))
    });
    builder.build().unwrap()
}

fn additions(builder: &StreamsBuilder) {
    let clicks = builder.stream(&CLICKS).distinct(Distinct::within(hours(24)));
    let calm = clicks.debounce(seconds(5)).rate_limit(RateLimit::of(10, minutes(1)));
    calm.delay(Wait::of(minutes(1)).on(PunctuationClock::StreamTime)).to(&WORDS);
    clicks.map_async(Concurrency::per_key(32), |page| async move { page.len() as i64 }).to(&NUMBERS);
    builder.table(&USERS).store("users").ttl(days(30)).to_stream().to(&TEXTS);
    let windows = clicks.group_by_key().windowed_by(Tumbling::of(minutes(5))).close_when_idle(minutes(10));
    windows.count().to_stream().to(&PER_WINDOW);
}

#[test]
fn every_example_builds_and_starts() {
    let examples: [fn(&StreamsBuilder); 21] = [
        sources,
        stateless,
        side_effects,
        branches,
        repartitioned,
        grouped,
        cogrouped,
        windows_of_several,
        windowed,
        final_results,
        tables,
        grouped_tables,
        stream_joins,
        table_lookups,
        waiting_for_tables,
        table_joins,
        foreign_keys,
        processors,
        shared_stores,
        transformed_tables,
        additions,
    ];
    for example in examples {
        let builder = StreamsBuilder::new();
        example(&builder);
        TestDriver::new(builder.build().unwrap());
    }
    let driver = TestDriver::new(node_by_node());
    driver.input(&CLICKS).send("ann".to_owned(), "/".to_owned(), 0);
    driver.input(&CLICKS).send("ann".to_owned(), "/news".to_owned(), 60_000);
    assert_eq!(driver.output(&NUMBERS).read_values(), [1, 2]);
    assert_eq!(driver.dropped().get(&DropReason::Late), None);
}

/// Each Rust block of the page stands in this file, line by line.
#[test]
fn the_page_shows_what_is_compiled() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(|line| line.trim().to_owned()).collect() };
    let source = lines(include_str!("operators.rs"));
    let page = include_str!("../docs/operators.md");
    let blocks: Vec<_> = page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 18, "{}", blocks.len());
    for block in blocks {
        let block = lines(block.trim());
        assert!(source.windows(block.len()).any(|part| part == block), "not compiled:\n{}", block.join("\n"));
    }
}
