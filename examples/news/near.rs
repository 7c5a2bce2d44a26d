//! Near repeats: compares each article with those of the last day that share a band with it.
//!
//! What was found of an article is kept with it, so that an article that comes again after a crash gets the same verdict,
//! even though later articles are in the stores by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewater::prelude::*;
use tidewater::{AsCore, StoreHandle, UserError};

use super::article::{Article, Repeat};
use super::similar::{bands, shingles, similarity};

/// How far apart in time repeats may be.
pub const WITHIN: Duration = hours(24);
/// How long the stores answer. Far longer than a day: after a crash, articles come again that lie as far behind the newest one
/// as what was read since the last commit, and a second's reading of old news is months of them.
pub const RETENTION: Duration = days(400);

/// What is kept of an article.
#[derive(Clone, Serialize, Deserialize)]
pub struct Seen {
    id: String,
    shingles: Vec<u64>,
    of: BTreeMap<String, f64>,
}

/// The articles (by fingerprint) that have a band at a time.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Members {
    fingerprints: Vec<String>,
}

tidewater::json!(Seen, Members);

/// The two stores, as a builder gave them.
#[derive(Clone, Copy)]
pub struct NearStores {
    seen: StoreHandle<WindowStore<String, Seen>>,
    bands: StoreHandle<WindowStore<u64, Members>>,
}

impl NearStores {
    /// Adds the stores to a program.
    pub fn add(builder: &StreamsBuilder) -> Self {
        let kept = |name: &str| format!("near-{name}");
        NearStores {
            seen: builder.store(WindowStore::define(kept("seen"), RETENTION, WITHIN)),
            bands: builder.store(WindowStore::define(kept("bands"), RETENTION, WITHIN)),
        }
    }
}

/// Adds to each article which earlier ones it repeats. Keys are fingerprints.
pub struct FindRepeats {
    seen: WindowStore<String, Seen>,
    bands: WindowStore<u64, Members>,
    threshold: f64,
}

impl FindRepeats {
    /// With this similarity as the least that makes a repeat.
    pub fn open(stores: &mut Stores<'_>, handles: &NearStores, threshold: f64) -> Self {
        FindRepeats { seen: stores.open(&handles.seen), bands: stores.open(&handles.bands), threshold }
    }
}

impl Processor for FindRepeats {
    type KIn = String;
    type VIn = Article;
    type KOut = String;
    type VOut = (Article, Repeat);

    fn process(
        &mut self,
        record: Record<String, Article>,
        ctx: &mut Context<'_, String, (Article, Repeat)>,
    ) -> Result<(), UserError> {
        let Record { key: fingerprint, value: article, timestamp: at, headers } = record;
        let shingles = shingles(&article.text);
        let candidates = self.join_bands(ctx, &fingerprint, &shingles, at)?;
        let of = match self.seen.get(ctx, &fingerprint, at)? {
            Some(seen) if seen.id == article.id => seen.of,
            _ => {
                let of = self.compare(ctx, &article.id, &shingles, candidates)?;
                let seen = Seen { id: article.id.clone(), shingles, of: of.clone() };
                self.seen.put(ctx, &fingerprint, &seen, at)?;
                of
            }
        };
        let repeat = Repeat { url: article.url.clone(), of };
        Ok(ctx.forward(Record { key: article.id.clone(), value: (article, repeat), timestamp: at, headers })?)
    }
}

impl FindRepeats {
    /// Enters an article in its bands; gives the others there, by time and fingerprint.
    fn join_bands(
        &self,
        ctx: &mut impl AsCore,
        fingerprint: &str,
        shingles: &[u64],
        at: Timestamp,
    ) -> Result<BTreeSet<(Timestamp, String)>, UserError> {
        let day = Timestamp::from(WITHIN).0;
        let mut candidates = BTreeSet::new();
        for band in bands(shingles) {
            let mut here = Members::default();
            for (start, members) in self.bands.fetch(ctx, &band, at.0 - day, at.0 + day)? {
                candidates.extend(members.fingerprints.iter().map(|fingerprint| (start, fingerprint.clone())));
                if start == at {
                    here = members;
                }
            }
            if !here.fingerprints.iter().any(|each| each == fingerprint) {
                here.fingerprints.push(fingerprint.to_owned());
                self.bands.put(ctx, &band, &here, at)?;
            }
        }
        Ok(candidates)
    }

    /// The ids of the candidates that are alike, with their similarity.
    fn compare(
        &self,
        ctx: &mut impl AsCore,
        id: &str,
        shingles: &[u64],
        candidates: BTreeSet<(Timestamp, String)>,
    ) -> Result<BTreeMap<String, f64>, UserError> {
        let mut of = BTreeMap::new();
        for (start, fingerprint) in candidates {
            let Some(other) = self.seen.get(ctx, &fingerprint, start)? else { continue };
            let alike = similarity(shingles, &other.shingles);
            if alike >= self.threshold && other.id != id {
                of.insert(other.id, alike);
            }
        }
        Ok(of)
    }
}
