//! The seam to other instances: events in order and bounded, and no frame is lost in silence.

use switchboard::hub::{HubLink, LinkEvent, Stamp};
use switchboard::prelude::*;
use switchboard::testing::{self, Peer};

use super::{Rooms, member};
use crate::support::secs;

fn stamp(epoch: u64, sequence: u64) -> Stamp {
    Stamp { instance: 2, epoch, sequence }
}

/// A server with a member of room `r`, and the link of its hub.
async fn linked() -> (Rooms, testing::Running, Peer, HubLink) {
    let rooms = Rooms::new(Hub::new());
    let link = rooms.hub.link(1).unwrap();
    let server = rooms.start().await;
    let member = member(&server, "r").await;
    (rooms, server, member, link)
}

async fn published(link: &mut HubLink) -> (String, Stamp, Bytes) {
    match link.next().await {
        LinkEvent::Publish(sent) => (sent.room.to_string(), sent.stamp, sent.frame),
        event => panic!("{event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_another_instance_arrive_in_order_and_a_hole_is_a_gap() {
    let (rooms, _server, mut ann, link) = linked().await;
    link.deliver("r", stamp(0, 7), "7".into());
    link.deliver("r", stamp(0, 8), "8".into());
    link.deliver("r", stamp(0, 8), "again".into());
    link.deliver("nobody", stamp(0, 1), "x".into());
    ann.expect("7\n8\n").await;
    link.deliver("r", stamp(0, 12), "12".into());
    link.deliver("r", stamp(0, 11), "late".into());
    ann.expect("gap r 3\n12\n").await;
    // A heartbeat finds the end of a hole. What arrives later than a gap was told is not delivered.
    link.published("r", stamp(0, 12));
    ann.expect_nothing(secs(1)).await;
    link.published("r", stamp(0, 14));
    ann.expect("gap r 2\n").await;
    link.deliver("r", stamp(0, 13), "late".into());
    link.deliver("r", stamp(0, 15), "15".into());
    ann.expect("15\n").await;
    // Numbered anew.
    link.deliver("r", stamp(1, 3), "3".into());
    ann.expect("gap r 2\n3\n").await;
    // This instance does not deliver to itself.
    link.deliver("r", Stamp { instance: 1, epoch: 0, sequence: 1 }, "own".into());
    ann.expect_nothing(secs(1)).await;
    assert_eq!(rooms.hub.stats().dropped, 7);
}

#[tokio::test(start_paused = true)]
async fn a_link_reports_lost_frames_of_one_room_or_of_all() {
    let (_rooms, server, mut ann, link) = linked().await;
    let mut bob = member(&server, "s").await;
    link.lost(Some("r"), 5);
    ann.expect("gap r 5\n").await;
    bob.expect_nothing(secs(1)).await;
    link.lost(None, 0);
    ann.expect("gap r 0\n").await;
    bob.expect("gap s 0\n").await;
    // Gaps add up for a member that has not been told yet; an unknown number stays unknown.
    ann.send("wait\n").await;
    link.lost(Some("r"), 2);
    link.lost(Some("r"), 3);
    ann.expect_nothing(secs(1)).await;
    bob.send("burst r 300\n").await.expect("overrun true\n").await;
    link.lost(Some("nobody"), 3);
    link.lost(Some("s"), u64::MAX);
    bob.expect("gap s 0\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_instance_is_a_gap_in_its_rooms_and_one_that_has_ended_is_forgotten() {
    let (_rooms, server, mut ann, link) = linked().await;
    let mut bob = member(&server, "s").await;
    link.deliver("r", stamp(0, 1), "1".into());
    ann.expect("1\n").await;
    link.silent(2);
    ann.expect("gap r 0\n").await;
    bob.expect_nothing(secs(1)).await; // it has never published here
    // Its stamps still count.
    link.deliver("r", stamp(0, 3), "3".into());
    ann.expect("gap r 1\n3\n").await;
    link.ended(2);
    link.silent(2);
    ann.expect_nothing(secs(1)).await;
}

/// Runs `share` with each name when it starts.
struct Shares(Hub, Hub, [&'static str; 2]);

impl Handler for Shares {
    type State = ();

    async fn start(&self, cx: &StartContext) -> Result<()> {
        let Self(one, two, [first, second]) = self;
        one.share(cx, first)?;
        one.share(cx, first)?; // nothing changes
        Ok(two.share(cx, second)?)
    }

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        self.0.publish("r", message);
        Ok(Reply::send("published"))
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_fleet_a_shared_hub_is_a_hub_and_names_are_checked() {
    let start = |names| {
        let server = Server::bind(format!("mem:{}", harness::unique("shares"))).framing(Lines::default());
        server.start(Shares(Hub::new(), Hub::new(), names))
    };
    let running = start(["one", "two"]).await.unwrap();
    assert!(running.fleet().is_none());
    running.drain().await;
    for (names, error) in [(["one", "one"], "two hubs with the name \"one\""), (["", "x"], "is not the name of a hub")]
    {
        let failed = start(names).await.err().unwrap().to_string();
        assert!(failed.contains(error), "{failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_link_gets_the_frames_of_this_instance_with_their_numbers() {
    let (rooms, server, mut ann, mut link) = linked().await;
    assert!(matches!(link.next().await, LinkEvent::Subscribe(room) if &*room == "r"));
    rooms.hub.publish("r", "1");
    rooms.hub.publish("s", "a");
    rooms.hub.publish("r", "2");
    ann.expect("1\n2\n").await;
    assert!(link.stamps().is_empty(), "the frames still wait");
    let number = |sequence| Stamp { instance: 1, epoch: 0, sequence };
    assert_eq!(published(&mut link).await, ("r".into(), number(1), "1".into()));
    assert_eq!(published(&mut link).await, ("s".into(), number(1), "a".into()));
    assert_eq!(published(&mut link).await, ("r".into(), number(2), "2".into()));
    let mut stamps = link.stamps();
    stamps.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(stamps, [("r".into(), number(2)), ("s".into(), number(1))]);
    // A frame that the full queue drops has a number, so that the others notice.
    for n in 0..5000 {
        rooms.hub.publish("s", n.to_string());
    }
    assert_eq!(rooms.hub.stats().link_dropped, 5000 - 4096);
    for n in 0..4096 {
        assert_eq!(published(&mut link).await.1, number(2 + n));
    }
    assert!(link.stamps().contains(&("s".into(), number(5001))));
    drop((ann, server));
}

#[tokio::test(start_paused = true)]
async fn the_link_follows_the_rooms_that_have_members() {
    let (rooms, server, mut ann, mut link) = linked().await;
    assert!(rooms.hub.link(3).is_err());
    assert!(matches!(link.next().await, LinkEvent::Subscribe(room) if &*room == "r"));
    let mut bob = member(&server, "r").await;
    // Changes that cancel each other out are not reported, and changes come before frames.
    bob.send("join s\nleave s\njoin t\npublish t x\n").await.expect("joined\nleft true\njoined\nto 1\nx\n").await;
    assert!(matches!(link.next().await, LinkEvent::Subscribe(room) if &*room == "t"));
    assert_eq!(published(&mut link).await.0, "t");
    let mut subscribed = link.subscribed();
    subscribed.sort();
    assert_eq!(subscribed.iter().map(|room| &**room).collect::<Vec<_>>(), ["r", "t"]);
    bob.reset().expect_closed(CloseReason::IoError).await;
    assert!(matches!(link.next().await, LinkEvent::Unsubscribe(room) if &*room == "t"));
    ann.send("leave r\njoin r\n").await.expect("left true\njoined\n").await;
    drop(link);
    // A new link begins with the rooms that exist.
    let mut link = rooms.hub.link(3).unwrap();
    assert!(matches!(link.next().await, LinkEvent::Subscribe(room) if &*room == "r"));
    rooms.hub.publish("r", "1");
    assert_eq!(published(&mut link).await.1, Stamp { instance: 3, epoch: 0, sequence: 1 });
}

#[tokio::test(start_paused = true)]
async fn more_rooms_than_the_limit_are_numbered_anew() {
    let rooms = Rooms::new(Hub::new().rooms(2));
    let mut link = rooms.hub.link(1).unwrap();
    let mut stamps = Vec::new();
    for room in ["a", "b", "a", "c", "a"] {
        rooms.hub.publish(room, "x");
        let (_, stamp, _) = published(&mut link).await;
        stamps.push((stamp.epoch, stamp.sequence));
    }
    assert_eq!(stamps, [(0, 1), (0, 1), (0, 2), (1, 1), (1, 1)]);
}
