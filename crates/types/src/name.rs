//! Names that somebody may have misspelt, and the files in which they stand.

/// The known name that the fewest edits make of a wrong one: what was probably meant.
///
/// ```
/// let known = ["retention.ms", "segment.ms"];
/// assert_eq!(tidewater_types::nearest_name("retention.msec", known), Some("retention.ms"));
/// ```
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| strsim::levenshtein(name, known))
}

/// A line of a properties file that is neither a setting nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongLine<'a> {
    /// Its number, from 1 on.
    pub number: usize,
    /// What stands there.
    pub line: &'a str,
}

/// The names and values of a properties file, in its order. A value is all that stands behind the first `=` or `:`.
///
/// ```
/// let lines = tidewater_types::property_lines("# settings\nnum.partitions = 3\n");
/// assert_eq!(lines.collect::<Vec<_>>(), [Ok(("num.partitions", "3"))]);
/// ```
pub fn property_lines(text: &str) -> impl Iterator<Item = Result<(&str, &str), WrongLine<'_>>> {
    let lines = text.lines().map(str::trim).enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', '!'])).map(|(index, line)| {
        let (name, value) = line.split_once(['=', ':']).ok_or(WrongLine { number: index + 1, line })?;
        Ok((name.trim(), value.trim()))
    })
}
