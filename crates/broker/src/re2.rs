//! The regular expressions of Apache Kafka's broker, which are those of RE2/J.
//!
//! The dialect of the `regex` crate is a near relation: [`compile`] writes an expression of RE2's [syntax] anew in it, and refuses what
//! RE2/J refuses. Nothing goes back while it matches, in either.
//!
//! [syntax]: https://github.com/google/re2/wiki/Syntax

use regex::{Regex, RegexBuilder};

/// The largest program that an expression may become.
const PROGRAM_LIMIT_BYTES: usize = 2 << 20;
/// How deep groups may be in one another.
const NEST_LIMIT: u32 = 1000;
/// The largest number in `x{2,1000}`.
const REPEAT_LIMIT: u32 = 1000;
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// An expression that fits whole texts.
///
/// # Errors
/// Why RE2/J would not take it, or that it is too large.
pub(crate) fn compile(expression: &str) -> Result<Regex, String> {
    compile_for(expression, Texts::Any)
}

/// The same for names of topics, which are ASCII: a much smaller program where the expression has all letters of the world.
pub(crate) fn compile_for_topics(expression: &str) -> Result<Regex, String> {
    compile_for(expression, Texts::Ascii)
}

/// What an expression is for.
#[derive(Clone, Copy, PartialEq)]
enum Texts {
    Any,
    Ascii,
}

fn compile_for(expression: &str, texts: Texts) -> Result<Regex, String> {
    let translated = Translation { rest: expression, out: String::new(), flags: String::new(), texts }.run()?;
    // By itself first: a group that is closed too often must not be that around it.
    let build = |expression: &str| {
        let mut builder = RegexBuilder::new(expression);
        builder.size_limit(PROGRAM_LIMIT_BYTES).nest_limit(NEST_LIMIT).build().map_err(|error| error.to_string())
    };
    build(&translated)?;
    build(&format!("^(?:{translated})$"))
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
    /// Flags that hold from here on, and are to be written: what repeats behind them repeats what is before them.
    flags: String,
    texts: Texts,
}

impl<'a> Translation<'a> {
    fn run(mut self) -> Result<String, String> {
        let mut is_repeated = false;
        while let Some(next) = self.rest.chars().next() {
            let repeats = match next {
                '*' | '+' | '?' => {
                    self.take();
                    self.out.push(next);
                    true
                }
                '{' => self.take_count()?,
                _ => false,
            };
            if repeats {
                if is_repeated {
                    return Err(format!("invalid nested repetition operator before {:?}", self.rest));
                }
                if let Some(rest) = self.rest.strip_prefix('?') {
                    self.rest = rest;
                    self.out.push('?');
                }
            } else {
                let flags = std::mem::take(&mut self.flags);
                self.out.push_str(&flags);
                match next {
                    // It is no count, and cannot be repeated.
                    '{' => self.take_literal(),
                    '[' => self.take_class()?,
                    '\\' => self.take_escape()?,
                    '(' => self.take_group()?,
                    '.' | '^' | '$' | '|' | ')' => {
                        self.take();
                        self.out.push(next);
                    }
                    _ => self.take_literal(),
                }
            }
            is_repeated = repeats || next == '{';
        }
        Ok(self.out)
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take_literal(&mut self) {
        if let Some(literal) = self.take() {
            self.put(literal);
        }
    }

    /// Writes a character that stands for itself, in a class or out of it.
    fn put(&mut self, literal: char) {
        self.out.push_str(&format!(r"\x{{{:X}}}", u32::from(literal)));
    }

    /// Takes `{2}`, `{2,}` or `{2,3}`; of anything else nothing.
    fn take_count(&mut self) -> Result<bool, String> {
        let Some((inner, behind)) = self.rest[1..].split_once('}') else { return Ok(false) };
        let (least, most) = inner
            .split_once(',')
            .map_or((inner, Some(inner)), |(least, most)| (least, Some(most).filter(|most| !most.is_empty())));
        let is_number = |digits: &str| {
            !digits.is_empty()
                && digits.bytes().all(|digit| digit.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'))
        };
        if !is_number(least) || !most.is_none_or(is_number) {
            return Ok(false);
        }
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| *number <= REPEAT_LIMIT);
        let bounds = (number(least), most.map_or(Some(REPEAT_LIMIT), number));
        if !matches!(bounds, (Some(least), Some(most)) if least <= most) {
            return Err(format!("invalid repeat count {{{inner}}}"));
        }
        self.out.push_str(&self.rest[..inner.len() + 2]);
        self.rest = behind;
        Ok(true)
    }

    fn take_group(&mut self) -> Result<(), String> {
        let Some(special) = self.rest.strip_prefix("(?") else {
            self.take();
            self.out.push('(');
            return Ok(());
        };
        let bad = || Err(format!("invalid or unsupported Perl syntax in (?{special}"));
        let end = special.find([':', ')', '>']).map_or(special.len(), |at| at + 1);
        let (head, behind) = special.split_at(end);
        if let Some(name) = head.strip_prefix("P<").or_else(|| head.strip_prefix('<')) {
            let is_name = |name: &str| {
                !name.is_empty() && name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
            };
            if !name.strip_suffix('>').is_some_and(is_name) {
                return bad();
            }
        } else if !head.ends_with([':', ')']) || !head[..head.len() - 1].chars().all(|flag| "imsU-".contains(flag)) {
            return bad();
        }
        self.rest = behind;
        match head {
            ")" => {}
            _ if head.ends_with(')') => self.flags = format!("(?{head}"),
            _ => self.out.push_str(&format!("(?{head}")),
        }
        Ok(())
    }

    fn take_escape(&mut self) -> Result<(), String> {
        if let Some(quoted) = self.rest.strip_prefix(r"\Q") {
            let (quoted, behind) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            quoted.chars().for_each(|literal| self.put(literal));
            self.rest = behind;
            return Ok(());
        }
        match self.rest[1..].chars().next() {
            Some('b') => self.put_instead(r"(?-u:\b)"),
            Some('B') => self.put_instead(r"\B"),
            Some('A') => self.put_instead(r"\A"),
            Some('z') => self.put_instead(r"\z"),
            _ if self.take_escaped_class()? => {}
            _ => {
                let literal = self.take_escaped_literal()?;
                self.put(literal);
            }
        }
        Ok(())
    }

    /// Takes a backslash and a letter, for which something else stands.
    fn put_instead(&mut self, translated: &str) {
        self.rest = &self.rest[2..];
        self.out.push_str(translated);
    }

    /// Takes `\d` or `\pL` and the like, in a class or out of it; of anything else nothing. The former are of ASCII.
    fn take_escaped_class(&mut self) -> Result<bool, String> {
        match self.rest[1..].chars().next() {
            Some('d') => self.put_instead("[0-9]"),
            Some('D') => self.put_instead("[^0-9]"),
            Some('s') => self.put_instead(r"[\t\n\f\r\x20]"),
            Some('S') => self.put_instead(r"[^\t\n\f\r\x20]"),
            Some('w') => self.put_instead("[0-9A-Za-z_]"),
            Some('W') => self.put_instead("[^0-9A-Za-z_]"),
            Some(sign @ ('p' | 'P')) => {
                self.rest = &self.rest[2..];
                let name = match self.rest.strip_prefix('{') {
                    Some(braced) => {
                        let (name, behind) = braced.split_once('}').ok_or("invalid character class range: no }")?;
                        self.rest = behind;
                        name.to_owned()
                    }
                    None => self.take().map(String::from).unwrap_or_default(),
                };
                let (name, is_negated) = name.strip_prefix('^').map_or((&*name, false), |name| (name, true));
                let is_other = (sign == 'P') != is_negated;
                let letter = if is_other { 'P' } else { 'p' };
                // Of categories and scripts alone, by the names that they have.
                let is_proper = name.starts_with(|first: char| first.is_ascii_uppercase());
                let property = match name {
                    _ if !is_proper || name.starts_with("Is") => {
                        return Err(format!("invalid character class range: {name}"));
                    }
                    "Any" => "{Any}".to_owned(),
                    category if category.len() <= 2 => format!("{{gc={category}}}"),
                    script => format!("{{sc={script}}}"),
                };
                self.out.push_str(&match self.texts {
                    Texts::Any => format!(r"\{letter}{property}"),
                    Texts::Ascii => format!(r"[\{letter}{property}&&[\x00-\x7F]]"),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a backslash and what it makes a character of.
    fn take_escaped_literal(&mut self) -> Result<char, String> {
        self.take();
        let bad = |what: char| format!(r"invalid escape sequence: \{what}");
        let escaped = self.take().ok_or("trailing backslash at end of expression")?;
        Ok(match escaped {
            'a' => '\x07',
            'f' => '\x0C',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0B',
            'x' => self.take_hex().ok_or_else(|| bad('x'))?,
            // A single digit but 0 would be a group that was found.
            '1'..='7' if !self.rest.starts_with(|next: char| next.is_digit(8)) => return Err(bad(escaped)),
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                let digits = format!("{escaped}{}", &self.rest[..more]);
                self.rest = &self.rest[more..];
                u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32).ok_or_else(|| bad(escaped))?
            }
            literal if !literal.is_ascii_alphanumeric() => literal,
            _ => return Err(bad(escaped)),
        })
    }

    /// Takes `7F` or `{10FFFF}`.
    fn take_hex(&mut self) -> Option<char> {
        let (digits, behind) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = behind;
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
    }

    fn take_class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        let missing = || format!("missing closing ]: {whole}");
        self.take();
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some((name, behind)) = self.rest.strip_prefix("[:").and_then(|named| named.split_once(":]")) {
                let plain = name.strip_prefix('^').unwrap_or(name);
                if !POSIX_CLASSES.contains(&plain) {
                    return Err(format!("invalid character class range: [:{name}:]"));
                }
                self.out.push_str(&format!("[:{name}:]"));
                self.rest = behind;
                continue;
            }
            if self.rest.starts_with('\\') && self.take_escaped_class()? {
                continue;
            }
            let least = self.take_class_literal().ok_or_else(missing)??;
            let is_range = self.rest.strip_prefix('-').is_some_and(|behind| !behind.starts_with(']'));
            self.put(least);
            if is_range {
                self.take();
                let most = self.take_class_literal().ok_or_else(missing)??;
                if most < least {
                    return Err(format!("invalid character class range: {least}-{most}"));
                }
                self.out.push('-');
                self.put(most);
            }
        }
        self.take();
        self.out.push(']');
        Ok(())
    }

    fn take_class_literal(&mut self) -> Option<Result<char, String>> {
        if self.rest.starts_with('\\') { Some(self.take_escaped_literal()) } else { self.take().map(Ok) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 20] = [
        "cg", "cg-1", "a.b", "a_b", "id-open", "Topic9", "x", "", "ab", "aab", "ABC", "a b", "tab\tx", "[a]", "a&&b",
        "é", "Ωmega", "9", "-", "line\nx",
    ];

    /// What RE2/J 1.8, which is Apache Kafka 4.3's, makes of expressions: `!` if it refuses one, or which of the texts fit, by their
    /// places.
    const CASES: &str = include_str!("re2_cases.tsv");

    #[test]
    fn expressions_mean_what_they_mean_to_apache_kafka() {
        for (at, case) in CASES.lines().enumerate() {
            let (expression, expected) = case.rsplit_once('\t').unwrap();
            let fit = |regex: Regex| {
                let fit = TEXTS.iter().enumerate().filter(|(_, text)| regex.is_match(text));
                let fit: Vec<String> = fit.map(|(at, _)| at.to_string()).collect();
                if fit.is_empty() { "-".to_owned() } else { fit.join(" ") }
            };
            let found = compile(expression).map_or("!".to_owned(), fit);
            assert_eq!(found, expected, "line {}: {expression:?} is {:?}", at + 1, compile(expression));
            // The same of what can be a topic's name.
            let (any, of_topics) = (compile(expression), compile_for_topics(expression));
            assert_eq!(any.is_ok(), of_topics.is_ok(), "{expression:?}");
            if let (Ok(any), Ok(of_topics)) = (any, of_topics) {
                let ascii = TEXTS.iter().filter(|text| text.is_ascii());
                ascii
                    .for_each(|text| assert_eq!(any.is_match(text), of_topics.is_match(text), "{expression:?} {text}"));
            }
        }
    }

    #[test]
    fn expressions_may_be_large() {
        let names: Vec<String> = (0..1300).map(|number| format!("topic-name-number-{number:06}")).collect();
        assert!(compile_for_topics(&names.join("|")).unwrap().is_match("topic-name-number-001299"));
        let nested = format!("{}a{}", "(".repeat(400), ")".repeat(400));
        assert!(compile_for_topics(&nested).unwrap().is_match("a"));
        for letters in [r"[\p{L}\p{N}._-]{1,249}", r"\p{L}{1,249}", r"\PN{1,249}"] {
            let regex = compile_for_topics(letters).unwrap();
            assert!(regex.is_match("news") && !regex.is_match("news!9"), "{letters}");
        }
    }

    #[test]
    fn an_expression_that_grows_is_refused() {
        assert!(compile("((a{1000}){1000}){1000}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(expression in ".{0,40}") {
            let _ = compile(&expression);
        }
    }
}
