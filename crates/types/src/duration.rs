//! Short names for durations, so that a topology reads like a sentence: `minutes(10)`.

use std::time::Duration;

/// `n` milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
pub const fn minutes(n: u64) -> Duration {
    seconds(n * 60)
}

/// `n` hours.
pub const fn hours(n: u64) -> Duration {
    minutes(n * 60)
}

/// `n` days of 24 hours.
pub const fn days(n: u64) -> Duration {
    hours(n * 24)
}
