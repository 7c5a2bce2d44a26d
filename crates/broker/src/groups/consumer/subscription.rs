//! Subscriptions: the topics that a regular expression fits.

use std::collections::BTreeSet;

use tidewater_protocol::ResponseError;

use super::super::Topics;
use super::Refusal;
use crate::re2;

/// The topics whose whole names a regular expression fits.
pub(super) fn matches(regex: &str, topics: &dyn Topics) -> Result<BTreeSet<String>, Refusal> {
    let compiled = re2::compile_for_topics(regex).map_err(|error| {
        let text = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}");
        (ResponseError::InvalidRegularExpression, text)
    })?;
    Ok(topics.names().into_iter().filter(|name| compiled.is_match(name)).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    struct OneTopic;

    impl Topics for OneTopic {
        fn version(&self) -> u64 {
            0
        }

        fn find(&self, name: &str) -> Option<(Uuid, i32)> {
            (name == "t").then_some((Uuid::from_u128(0x50db_e0ef_c42f_4996_b14f_4a9d_f650_f749), 4))
        }

        fn name_of(&self, _: Uuid) -> Option<String> {
            None
        }

        fn names(&self) -> Vec<String> {
            vec!["t".to_owned()]
        }
    }

    #[test]
    fn regular_expressions_fit_whole_names_and_are_bounded() {
        let fits = |regex: &str| matches(regex, &OneTopic).map(|topics| topics.len());
        assert_eq!((fits("t|u"), fits("."), fits("")), (Ok(1), Ok(1), Ok(0)));
        for refused in ["(", "t{1000000}{1000}", "(?=t)"] {
            assert_eq!(fits(refused).unwrap_err().0, ResponseError::InvalidRegularExpression);
        }
    }
}
