//! From an item to an article: HTML to text, a canonical address, a time. What cannot be read is an error with its reason.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use thiserror::Error;
use url::Url;

use super::article::{Article, Item};
use super::terms::terms;

/// Why an item is no article.
#[derive(Debug, Error, PartialEq)]
pub enum Malformed {
    /// There is nothing to read in it.
    #[error("item {0} has neither title nor text")]
    Empty(String),
    /// It does not say when it was published.
    #[error("item {id} was published {published:?}, which is no date")]
    Date { id: String, published: String },
    /// Its address is none.
    #[error("item {id} has the address {url:?}: {reason}")]
    Url { id: String, url: String, reason: url::ParseError },
    /// Its HTML cannot be read.
    #[error("item {id}: {reason}")]
    Html { id: String, reason: html2text::Error },
}

/// What follows an address to say how one came there, not where one is.
const TRACKING: [&str; 4] = ["utm_", "fbclid", "gclid", "ref_src"];
/// Columns of the plain text; wide, for lines are joined afterwards.
const WIDTH: usize = 1000;

/// Reads an item.
pub fn normalise(item: Item) -> Result<Article, Malformed> {
    let text = format!("{} {}", plain(&item.id, &item.title)?, plain(&item.id, &item.body)?);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Err(Malformed::Empty(item.id));
    }
    let Some(published_ms) = published_ms(&item.published) else {
        return Err(Malformed::Date { id: item.id, published: item.published });
    };
    let url = match canonical(&item.url) {
        Ok(url) => url,
        Err(reason) => return Err(Malformed::Url { id: item.id, url: item.url, reason }),
    };
    let terms = terms(&text, &item.topics);
    let Item { id, source, title, topics, .. } = item;
    Ok(Article { id, source, url, title, text, published_ms, topics, terms })
}

fn plain(id: &str, text: &str) -> Result<String, Malformed> {
    let is_html = text.contains("</") || text.contains("/>") || text.contains("<p>") || text.contains("<br>");
    if !is_html {
        return Ok(text.to_owned());
    }
    let config = html2text::config::plain_no_decorate();
    config.string_from_read(text.as_bytes(), WIDTH).map_err(|reason| Malformed::Html { id: id.to_owned(), reason })
}

fn canonical(url: &str) -> Result<String, url::ParseError> {
    let mut url = Url::parse(url)?;
    url.set_fragment(None);
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !TRACKING.iter().any(|tracking| name.starts_with(tracking)))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    Ok(url.to_string())
}

/// Milliseconds since 1970 of a date: RFC 3339, or Reuters' `26-FEB-1987 15:01:01.79`, which may have remarks behind it.
pub fn published_ms(date: &str) -> Option<i64> {
    if let Ok(date) = DateTime::parse_from_rfc3339(date) {
        return Some(date.timestamp_millis());
    }
    let mut words = date.split_whitespace();
    let day = NaiveDate::parse_from_str(words.next()?, "%d-%b-%Y").ok()?;
    let clock: String =
        words.next()?.chars().take_while(|&each| each.is_ascii_digit() || ":.".contains(each)).collect();
    let (seconds, hundredths) = clock.split_once('.').unwrap_or((&clock, "0"));
    let time = NaiveDateTime::parse_from_str(&format!("{day} {seconds}"), "%Y-%m-%d %H:%M:%S").ok()?;
    let millis = format!("{hundredths:0<3}").get(..3)?.parse::<i64>().ok()?;
    Some(time.and_utc().timestamp_millis() + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item {
            id: "1".to_owned(),
            url: "https://News.example/a?id=7&utm_source=feed#top".to_owned(),
            title: "A  Title".to_owned(),
            body: "<p>First &amp; last.</p>\n<p>End</p>".to_owned(),
            published: "1987-02-26T15:01:01.790Z".to_owned(),
            ..Item::default()
        }
    }

    #[test]
    fn html_becomes_text_and_addresses_lose_what_tells_nothing() {
        let article = normalise(item()).unwrap();
        assert_eq!(article.text, "A Title First & last. End");
        assert_eq!(article.url, "https://news.example/a?id=7");
    }

    #[test]
    fn both_forms_of_dates_are_read() {
        let expected = DateTime::parse_from_rfc3339("1987-02-26T15:01:01.790Z").unwrap().timestamp_millis();
        assert_eq!(published_ms("1987-02-26T15:01:01.790Z"), Some(expected));
        for reuters in ["26-FEB-1987 15:01:01.79", " 26-FEB-1987  15:01:01.79\u{5}\u{5}F # a remark"] {
            assert_eq!(published_ms(reuters), Some(expected), "{reuters}");
        }
        assert_eq!(published_ms("31-MAR-1987 605:12:19.12"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let empty = Item { title: String::new(), body: " ".to_owned(), ..item() };
        assert_eq!(normalise(empty), Err(Malformed::Empty("1".to_owned())));
        let undated = Item { published: "soon".to_owned(), ..item() };
        assert_eq!(normalise(undated).unwrap_err().to_string(), "item 1 was published \"soon\", which is no date");
        let nowhere = Item { url: "nowhere".to_owned(), ..item() };
        assert!(normalise(nowhere).unwrap_err().to_string().contains("\"nowhere\""));
    }
}
