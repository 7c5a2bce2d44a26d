//! Polls feeds: conditional requests, back-off when a feed fails, and never more than one request at a time to a host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidewater::prelude::*;
use ureq::Agent;
use ureq::http::StatusCode;

use super::article::{ARTICLES, Item};
use super::input::feed;
use super::normalise::published_ms;

/// A feed that answers is asked again after this time.
const INTERVAL: Duration = Duration::from_secs(300);
/// One that fails after this time, doubled with each failure in a row.
const BACK_OFF: Duration = Duration::from_secs(30);
const BACK_OFF_LIMIT: Duration = Duration::from_secs(3600);
/// Requests to one host stand at least this far apart.
const HOST_INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(20);
/// The most that a feed may have.
const FEED_BYTES_LIMIT: u64 = 16 << 20;

/// One feed, and when to ask for it. Times are counted from the start.
#[derive(Debug, Default)]
pub struct Feed {
    url: String,
    host: String,
    etag: Option<String>,
    last_modified: Option<String>,
    failures: u32,
    due: Duration,
}

impl Feed {
    /// A feed that is due at once.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let parsed = url::Url::parse(url).with_context(|| format!("--poll {url} is not the address of a feed"))?;
        let host = parsed.host_str().unwrap_or_default().to_owned();
        Ok(Feed { url: url.to_owned(), host, ..Feed::default() })
    }

    /// What happened to a request decides when the next one is due.
    fn answered(&mut self, succeeded: bool, now: Duration) {
        self.failures = if succeeded { 0 } else { self.failures + 1 };
        let wait = match self.failures {
            0 => INTERVAL,
            failures => BACK_OFF.saturating_mul(1 << (failures - 1).min(16)).min(BACK_OFF_LIMIT),
        };
        self.due = now + wait;
    }
}

/// Asks for feeds when they are due, and sends what is new in them.
pub struct Poller {
    agent: Agent,
    feeds: Vec<Feed>,
    hosts: BTreeMap<String, Duration>,
}

impl Poller {
    /// For these addresses.
    pub fn new(urls: &[String]) -> anyhow::Result<Self> {
        let feeds = urls.iter().map(|url| Feed::new(url)).collect::<anyhow::Result<_>>()?;
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        let config = config.user_agent(concat!("tidewater-news/", env!("CARGO_PKG_VERSION")));
        Ok(Poller { agent: config.build().new_agent(), feeds, hosts: BTreeMap::new() })
    }

    /// Polls until told to stop.
    pub fn run(&mut self, log: &Log, stop: &AtomicBool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            self.poll(log, started.elapsed())?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Asks for the feeds that are due and whose hosts have rested; gives the number of items that were sent.
    pub fn poll(&mut self, log: &Log, now: Duration) -> anyhow::Result<usize> {
        let mut sent = 0;
        for number in 0..self.feeds.len() {
            let feed = &self.feeds[number];
            let rested = self.hosts.get(&feed.host).is_none_or(|last| now >= *last + HOST_INTERVAL);
            if now < feed.due || !rested {
                continue;
            }
            self.hosts.insert(feed.host.clone(), now);
            let answer = self.ask(number);
            self.feeds[number].answered(answer.is_ok(), now);
            match answer {
                Ok(items) => {
                    let record = |item: Item| {
                        let at = published_ms(&item.published).map_or_else(|| log.now(), Timestamp);
                        Record::new(item.id.clone(), item, at)
                    };
                    sent += log.send(&ARTICLES, items.into_iter().map(record))?;
                }
                Err(error) => {
                    eprintln!("{}: {error:#}; again in {:?}", self.feeds[number].url, self.feeds[number].due - now)
                }
            }
        }
        Ok(sent)
    }

    fn ask(&mut self, number: usize) -> anyhow::Result<Vec<Item>> {
        let known = &mut self.feeds[number];
        let mut request = self.agent.get(&known.url);
        if let Some(etag) = &known.etag {
            request = request.header("if-none-match", etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header("if-modified-since", date);
        }
        let mut response = request.call()?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Vec::new()),
            status if !status.is_success() => anyhow::bail!("the server answered {status}"),
            _ => {}
        }
        let body = response.body_mut().with_config().limit(FEED_BYTES_LIMIT).read_to_vec()?;
        let items = feed(&body)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        (known.etag, known.last_modified) = (header("etag"), header("last-modified"));
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::super::load::create_topics;
    use super::super::topology::V1;
    use super::*;

    const FEED: &str =
        "<rss version=\"2.0\"><channel><title>T</title><item><guid>1</guid><title>One</title></item></channel></rss>";

    #[test]
    fn a_feed_that_fails_is_asked_less_and_less() {
        let mut feed = Feed::new("http://a.example/feed").unwrap();
        let mut waits = Vec::new();
        for _ in 0..9 {
            feed.answered(false, Duration::ZERO);
            waits.push(feed.due.as_secs());
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        feed.answered(true, Duration::ZERO);
        assert_eq!(feed.due, INTERVAL);
    }

    #[test]
    fn what_has_not_changed_is_not_sent_again() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/feed", server.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let mut conditions = Vec::new();
            for status in ["200 OK", "304 Not Modified", "500 Internal Server Error"] {
                let (mut stream, _) = server.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                conditions.push(head.iter().any(|line| line.to_lowercase() == "if-none-match: \"v1\""));
                let body = if status.starts_with("200") { FEED } else { "" };
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\netag: \"v1\"\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
            conditions
        });
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).unwrap();
        create_topics(&log, &V1).unwrap();
        let mut poller = Poller::new(&[url]).unwrap();
        let mut now = Duration::ZERO;
        assert_eq!(poller.poll(&log, now).unwrap(), 1);
        assert_eq!(poller.poll(&log, now).unwrap(), 0, "not due yet");
        now += INTERVAL;
        assert_eq!(poller.poll(&log, now).unwrap(), 0, "not modified");
        now += INTERVAL;
        assert_eq!(poller.poll(&log, now).unwrap(), 0, "the server fails");
        assert_eq!(serving.join().unwrap(), [false, true, true]);
    }
}
