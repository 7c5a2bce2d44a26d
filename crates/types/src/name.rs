//! Names that somebody may have misspelt.

/// The known name that the fewest edits make of a wrong one: what was probably meant.
///
/// ```
/// let known = ["retention.ms", "segment.ms"];
/// assert_eq!(tidewater_types::nearest_name("retention.msec", known), Some("retention.ms"));
/// ```
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| strsim::levenshtein(name, known))
}
