//! The highest temperature of each room in windows of ten seconds, one result a window, late readings within two seconds
//! included.

use serde::{Deserialize, Serialize};
use tidewater::prelude::*;

/// What a sensor says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Degrees Celsius.
    pub celsius: f64,
}
tidewater::json!(Reading);

/// Readings by room.
pub const READINGS: Topic<String, Reading> = Topic::new("readings");
/// The highest of each room and window.
pub const HIGHEST: Topic<Windowed<String>, Option<f64>> = Topic::new("highest");

/// Windows, grace, and one result when a window closes.
pub fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&READINGS)
        .map_values(|reading| reading.celsius)
        .group_by_key()
        .windowed_by(Tumbling::of(seconds(10)).grace(seconds(2)))
        .reduce(f64::max)
        .store("highest")
        .suppress(Suppress::until_window_closes())
        .to_stream()
        .to(&HIGHEST);
    builder.build()
}

#[allow(dead_code, reason = "tests use the topology alone")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Log::open(folder.path())?;
    log.create_topic(&READINGS, 1)?;
    log.create_topic(&HIGHEST, 1)?;
    let reading =
        |(second, room, celsius): (i64, &str, f64)| Record::new(room.to_owned(), Reading { celsius }, second * 1000);
    let readings = [
        (1, "attic", 28.5),
        (4, "cellar", 14.0),
        (8, "attic", 31.0),
        (11, "cellar", 14.5),
        (9, "attic", 33.0), // late, within the grace
        (30, "attic", 25.0),
    ];
    log.send(&READINGS, readings.map(reading))?;
    let app = Tidewater::app("temperature").log(&log).start(topology()?).await?;
    for record in log.read(&HIGHEST, 3)? {
        let window = record.key.window;
        println!("{:6} from {:2} s: {:?} °C", record.key.key, window.start / 1000, record.value);
    }
    app.stop().await?;
    Ok(())
}
