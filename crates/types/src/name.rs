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

/// A line of a properties file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongLine {
    /// Its number, from 1 on.
    pub number: usize,
    /// What stands there.
    pub line: String,
}

/// The names and values of a properties file, in its order, as Java's `Properties.load` reads them: a name ends at the first `=`, `:` or
/// blank; a backslash at the end of a line goes on in the next one, and elsewhere stands before what is meant as it is. Blanks around
/// values do not count.
///
/// ```
/// let lines = tidewater_types::property_lines("# settings\nnum.partitions = 3\nlisteners = A://:1,\\\n    B://:2\n");
/// let read: Result<Vec<_>, _> = lines.collect();
/// assert_eq!(read.unwrap(), [("num.partitions", "3"), ("listeners", "A://:1,B://:2")].map(|(n, v)| (n.to_owned(), v.to_owned())));
/// ```
pub fn property_lines(text: &str) -> impl Iterator<Item = Result<(String, String), WrongLine>> {
    let mut lines = text.lines().map(str::trim_start).enumerate();
    std::iter::from_fn(move || {
        let (index, first) = lines.find(|(_, line)| !line.trim_end().is_empty() && !line.starts_with(['#', '!']))?;
        let mut line = first.to_owned();
        while goes_on(&line) {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next));
        }
        Some(read_property(&line).ok_or(WrongLine { number: index + 1, line }))
    })
}

/// Whether a line ends with a backslash that stands for itself.
fn goes_on(line: &str) -> bool {
    line.chars().rev().take_while(|letter| *letter == '\\').count() % 2 == 1
}

fn read_property(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let end = line.find(|letter: char| {
        let ends = !escaped && (letter.is_whitespace() || letter == '=' || letter == ':');
        escaped = !escaped && letter == '\\';
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Some((unescaped(name)?, unescaped(value.trim())?))
}

/// What is meant by a text with backslashes; `None` if one begins a number of a letter that is none.
fn unescaped(text: &str) -> Option<String> {
    let mut meant = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            meant.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => meant.push('\t'),
            Some('n') => meant.push('\n'),
            Some('r') => meant.push('\r'),
            Some('f') => meant.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let number = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
                meant.push(char::from_u32(number)?);
            }
            Some(other) => meant.push(other),
            None => {}
        }
    }
    Some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let read = |text: &str| property_lines(text).collect::<Result<Vec<_>, _>>().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("  ! no\n\n a.b : 1 \r\n"), [pair("a.b", "1")]);
        assert_eq!(read("a b=c\nnothing"), [pair("a", "b=c"), pair("nothing", "")]);
        assert_eq!(read("a\\:b=\\u0041\\=\\\\"), [pair("a:b", "A=\\")]);
        assert_eq!(read("a=1,\\\n  2,\\\n\t3\nb=\\\\\nc=4"), [pair("a", "1,2,3"), pair("b", "\\"), pair("c", "4")]);
        let wrong = property_lines("a=1\nb=\\u00g1").nth(1).unwrap().unwrap_err();
        assert_eq!((wrong.number, wrong.line.as_str()), (2, "b=\\u00g1"));
    }
}
