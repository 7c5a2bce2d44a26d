//! Names and places of the two stores of a stream-stream join, each its own.

use tidewater::prelude::*;

const LEFT: Topic<String, String> = Topic::new("left");
const RIGHT: Topic<String, String> = Topic::new("right");
const OUT: Topic<String, String> = Topic::new("out");

fn described(windows: JoinWindows) -> String {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    left.left_join(&right, windows, |left, right| format!("{left}{right:?}")).to(&OUT);
    builder.build().unwrap().describe().to_string()
}

#[test]
fn one_name_begins_all_and_a_side_s_own_stands_alone() {
    let windows = || JoinWindows::of(seconds(1));
    let both = described(windows().store("pairs"));
    assert!(both.contains("pairs-this-join-store") && both.contains("pairs-outer-other-join-store"), "{both}");
    let own = described(windows().store("pairs").left_store("seen").in_memory());
    assert!(own.contains("[seen]") && own.contains("pairs-outer-other-join-store"), "{own}");
    assert!(own.contains("seen-left-shared-join-store") && !own.contains("pairs-this-join-store"), "{own}");
    let right = described(windows().right_store("heard"));
    assert!(right.contains("[heard]") && right.contains("KSTREAM-JOINTHIS-0000000004-store"), "{right}");
}
