//! Each limit of a hub holds, and is named.

use switchboard::prelude::*;

use super::{Rooms, member};

#[tokio::test(start_paused = true)]
async fn a_join_above_a_limit_names_it() {
    let rooms = Rooms::new(Hub::new().rooms(2).members(2).rooms_per_connection(1));
    let server = rooms.start().await;
    let (mut ann, _bob) = (member(&server, "r").await, member(&server, "r").await);
    ann.send("join s\n").await.expect("the connection is in 1 rooms, its limit (Hub::rooms_per_connection)\n").await;
    ann.send("join r\n").await.expect("joined\n").await;
    let mut cid = server.connect().await;
    cid.send("join r\n").await.expect("the room has 2 members, its limit (Hub::members)\n").await;
    let _dan = member(&server, "s").await;
    cid.send("join t\n").await.expect("the hub has 2 rooms, its limit (Hub::rooms)\n").await;
    let long = "x".repeat(256);
    cid.send(format!("join {long}\n")).await.expect("the name of the room has 256 bytes; 255 are allowed\n").await;
    let stats = rooms.hub.stats();
    assert_eq!((stats.rooms, stats.members), (2, 3));
    // A place that becomes free can be taken.
    ann.send("leave r\njoin s\n").await.expect("left true\njoined\n").await;
    cid.send("join r\n").await.expect("joined\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_one_frame_works() {
    let server = Rooms::new(Hub::new().queue(0)).start().await;
    let mut ann = member(&server, "r").await;
    ann.send("burst r 1\n").await.expect("overrun false\n0\n").await;
    ann.send("burst r 3\n").await.expect("overrun true\ngap r 2\n2\n").await;
}
