//! Newswire that never was, from a seed: stories with exact repeats, near repeats, others a little alike, and broken ones.

use std::path::Path;

use serde_json::{Value, json};

const WORDS: usize = 100;
const TOPICS: [&str; 6] = ["grain", "crude", "earn", "acq", "ship", "corn"];

/// A sequence of numbers that depends on its seed alone.
pub struct Draw(pub u64);

impl Draw {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Writes so many stories into a folder, in the form of the Reuters corpus.
pub fn write(folder: &Path, stories: usize) {
    let mut draw = Draw(7);
    let mut all: Vec<Value> = Vec::new();
    let mut bodies: Vec<Vec<String>> = Vec::new();
    for n in 0..stories {
        let word = |draw: &mut Draw| format!("word{}", draw.below(5000));
        let mut body: Vec<String> = (0..WORDS).map(|_| word(&mut draw)).collect();
        if n > 10 {
            let earlier = bodies[n - 1 - draw.below(10)].clone();
            // How many words differ: none, few (a near repeat), or some more.
            match draw.below(20) {
                0 => body = earlier,
                1 | 2 => {
                    body = earlier;
                    body.truncate(WORDS - draw.below(8));
                }
                3 => {
                    body = earlier;
                    body.truncate(WORDS - 15 - draw.below(25));
                }
                _ => {}
            }
        }
        let minutes = n * 7;
        let date = format!(
            "{:2}-MAR-1987 {:02}:{:02}:{:02}.{:02}",
            1 + minutes / 1440 % 31,
            minutes / 60 % 24,
            minutes % 60,
            draw.below(60),
            draw.below(100),
        );
        let date = if draw.below(50) == 0 { "some day".to_owned() } else { date };
        all.push(json!({
            "id": n.to_string(), "date": date, "title": "", "body": body.join(" "),
            "topics": [TOPICS[draw.below(TOPICS.len())]], "places": ["usa"],
        }));
        bodies.push(body);
    }
    std::fs::write(folder.join("stories.json"), Value::Array(all).to_string()).unwrap();
}
