//! Event time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in milliseconds since the Unix epoch, as Kafka counts event time.
///
/// Negative values are moments before 1970, except [`Timestamp::NONE`], which stands for "no time known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// No time known (−1 on the wire).
    pub const NONE: Timestamp = Timestamp(-1);

    /// The moment in milliseconds since the Unix epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }
}

impl From<i64> for Timestamp {
    fn from(ms: i64) -> Self {
        Timestamp(ms)
    }
}

/// The moment that lies this long after the epoch; a duration beyond the range stands for the last moment.
impl From<Duration> for Timestamp {
    fn from(since_epoch: Duration) -> Self {
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
