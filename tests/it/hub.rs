//! Rooms: order, gaps, slow members, and the end of a membership.

mod bounds;
mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use switchboard::hub::JoinError;
use switchboard::prelude::*;
use switchboard::testing::{self, Peer};
use tokio::sync::Semaphore;

use crate::support::{secs, timeouts};

/// Runs the command in each line.
#[derive(Clone)]
struct Rooms {
    hub: Hub,
    /// `wait` and `later` take one permit.
    gate: Arc<Semaphore>,
    /// Frames that the views have made.
    viewed: Arc<AtomicUsize>,
}

impl Rooms {
    fn new(hub: Hub) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        Self { hub, gate, viewed: Arc::default() }
    }

    async fn start(&self) -> testing::Running {
        testing::Server::new(self.clone()).framing(Lines::default()).start().await
    }
}

fn outcome(result: Result<(), JoinError>) -> Reply {
    Reply::send(result.map_or_else(|error| error.to_string(), |()| "joined".to_owned()))
}

impl Handler for Rooms {
    type State = ();

    async fn message(&self, cx: &mut Context, line: Bytes) -> Result<Reply> {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (room, text) = rest.split_once(' ').unwrap_or((rest, ""));
        cx.validate_address();
        let gate = self.gate.clone();
        let opened = async move {
            gate.acquire().await?.forget();
            Ok(Reply::send("opened"))
        };
        Ok(match command {
            "join" => outcome(self.hub.join(cx, room)),
            "view" => {
                let (prefix, viewed) = (text.to_owned(), self.viewed.clone());
                outcome(self.hub.join_with(cx, room, move |frame: Bytes| {
                    assert_ne!(frame, "panic");
                    viewed.fetch_add(1, SeqCst);
                    (frame != "hidden").then(|| format!("{prefix}{}", frame.escape_ascii()).into())
                }))
            }
            "change-view" => {
                self.hub.publish(room, "before");
                self.hub.join_with(cx, room, |frame: Bytes| Some([b"new ", &*frame].concat().into()))?;
                cx.pusher().try_push("pushed")?;
                self.hub.publish(room, "after");
                Reply::none()
            }
            "leave" => Reply::send(format!("left {}", self.hub.leave(cx, room))),
            "publish" => Reply::send(format!("to {}", self.hub.publish(room, text.to_owned()).members)),
            "except" => Reply::send(format!("to {}", self.hub.except(cx).publish(room, text.to_owned()).members)),
            "burst" => {
                let published: Vec<_> =
                    (0..text.parse()?).map(|n: u32| self.hub.publish(room, n.to_string())).collect();
                Reply::send(format!("overrun {}", published.iter().any(|published| published.overrun)))
            }
            "viewed" => Reply::send(self.viewed.load(SeqCst).to_string()),
            "wait" => opened.await?,
            "later" => Reply::later(opened),
            "finish" => {
                self.hub.publish(room, "last");
                Reply::send("bye").then_finish()
            }
            _ => Reply::send("pong"),
        })
    }

    async fn gap(&self, _: &mut Context, room: &str, missed: u64) -> Result<Reply> {
        match room {
            "panics" => panic!("in gap"),
            "fails" => Err("in gap".into()),
            "closes" => Ok(Reply::close()),
            "waits" => {
                self.gate.acquire().await?.forget();
                Ok(Reply::send(format!("gap {room} {missed}")))
            }
            _ => Ok(Reply::send(format!("gap {room} {missed}"))),
        }
    }
}

async fn member(server: &testing::Running, room: &str) -> Peer {
    let mut peer = server.connect().await;
    peer.send(format!("join {room}\n")).await.expect("joined\n").await;
    peer
}

/// The lines from one number to another.
fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn all_members_get_the_frames_of_a_room_in_one_order() {
    let server = Rooms::new(Hub::new().queue(1000)).start().await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(member(&server, "r").await);
    }
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    for n in 0..500 {
        one.send(format!("publish r one {n}\n")).await;
        two.send(format!("publish r two {n}\n")).await;
    }
    let mut all = Vec::new();
    for _ in 0..1000 {
        all.push(members[0].receive_until("\n").await);
    }
    for publisher in ["one", "two"] {
        let of: Vec<_> = all.iter().filter(|line| line.starts_with(publisher.as_bytes())).collect();
        let expected: Vec<_> = (0..500).map(|n| format!("{publisher} {n}\n")).collect();
        assert_eq!(of, expected.iter().collect::<Vec<_>>());
    }
    for member in &mut members[1..] {
        member.expect(all.concat()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn publish_tells_the_number_of_members_and_can_exclude_the_publisher() {
    let server = Rooms::new(Hub::new()).start().await;
    let (mut ann, mut bob) = (member(&server, "r").await, member(&server, "r").await);
    ann.send("except r hi\n").await.expect("to 2\n").await;
    bob.expect("hi\n").await;
    ann.expect_nothing(secs(1)).await.send("publish r all\n").await.expect("to 2\nall\n").await;
    bob.expect("all\n").await;
    ann.send("publish other hi\n").await.expect("to 0\n").await;
    // Joining again changes nothing.
    ann.send("join r\npublish r again\n").await.expect("joined\nto 2\nagain\n").await;
    bob.expect("again\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_member_misses_frames_and_its_handler_gets_their_number() {
    let rooms = Rooms::new(Hub::new().queue(64));
    let server = rooms.start().await;
    let (mut slow, mut fast) = (member(&server, "r").await, member(&server, "r").await);
    let (mut publisher, text) = (server.connect().await, "x".repeat(1000));
    slow.stop_reading();
    for n in 0..1000 {
        publisher.send(format!("publish r {n} {text}\n")).await.expect("to 2\n").await;
        fast.expect(format!("{n} {text}\n")).await;
    }
    slow.resume_reading();
    let missed = Reader(slow, 0).read_to(999).await;
    assert!((500..1000).contains(&missed), "{missed}");
    assert_eq!(rooms.hub.stats().dropped, u64::from(missed));
}

/// A member, and the number of the frame that it gets next.
struct Reader(Peer, u32);

impl Reader {
    /// Reads up to the frame `end`. Returns how many frames were in gaps.
    async fn read_to(&mut self, end: u32) -> u32 {
        let Self(peer, next) = self;
        let mut missed = 0;
        while *next <= end {
            let line = peer.receive_until("\n").await;
            let line = std::str::from_utf8(&line).unwrap().trim_end();
            match line.strip_prefix("gap r ") {
                Some(count) => {
                    missed += count.parse::<u32>().unwrap();
                    *next += count.parse::<u32>().unwrap();
                }
                None => {
                    assert_eq!(line.split(' ').next().unwrap(), next.to_string());
                    *next += 1;
                }
            }
        }
        assert_eq!(*next, end + 1);
        missed
    }
}

#[tokio::test(start_paused = true)]
async fn every_member_gets_every_frame_in_order_or_a_gap() {
    let mut missed = 0;
    for seed in 1..30_u32 {
        let mut random = seed;
        let mut below = |limit: u32| {
            random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (random >> 16) % limit
        };
        let rooms = Rooms::new(Hub::new().queue(32));
        let server = testing::Server::new(rooms.clone()).framing(Lines::default()).window(2048).start().await;
        let (mut members, mut next, text) = (Vec::new(), 0, "x".repeat(100));
        for _ in 0..200 {
            let at = below(6) as usize;
            match below(10) {
                0 if members.len() < 6 => members.push(Reader(member(&server, "r").await, next)),
                1 if at < members.len() => {
                    members.swap_remove(at).0.reset();
                }
                2 if at < members.len() => {
                    members[at].0.stop_reading();
                }
                3 if at < members.len() => {
                    members[at].0.resume_reading();
                }
                4 => (0..below(50)).for_each(|_| {
                    rooms.hub.publish("r", format!("{next} {text}"));
                    next += 1;
                }),
                5..8 => {
                    rooms.hub.publish("r", format!("{next} {text}"));
                    next += 1;
                }
                _ => {
                    for _ in 0..below(20) {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        for member in &mut members {
            member.0.resume_reading();
        }
        rooms.hub.publish("r", next.to_string());
        for member in &mut members {
            missed += member.read_to(next).await;
        }
    }
    assert!(missed > 100, "{missed}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_member_is_closed_if_the_hub_says_so() {
    let rooms = Rooms::new(Hub::new().queue(64).slow(Slow::Close));
    let server = rooms.start().await;
    let (mut slow, mut fast) = (member(&server, "r").await, member(&server, "r").await);
    let (mut publisher, text) = (server.connect().await, "x".repeat(1000));
    slow.stop_reading();
    for n in 0..1000 {
        publisher.send(format!("publish r {n} {text}\n")).await.receive_until("\n").await;
        fast.expect(format!("{n} {text}\n")).await;
    }
    slow.expect_closed(CloseReason::OutboxFull).await;
    let stats = rooms.hub.stats();
    assert_eq!((stats.closed, stats.members, stats.published), (1, 1, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_burst_above_the_queue_is_a_gap_for_fast_members_too() {
    for slow in [Slow::Drop, Slow::Close] {
        let server = Rooms::new(Hub::new().slow(slow)).start().await;
        let (mut ann, mut bob) = (member(&server, "r").await, server.connect().await);
        bob.send("burst r 256\n").await.expect("overrun false\n").await;
        ann.expect(numbers(0..256)).await;
        bob.send("burst r 300\n").await.expect("overrun true\n").await;
        ann.expect("gap r 44\n").await.expect(numbers(44..300)).await;
        ann.send("burst r 300\n").await.expect("overrun true\ngap r 44\n").await.expect(numbers(44..300)).await;
        bob.send("publish r end\n").await.expect("to 1\n").await;
        ann.expect("end\n").await.expect_nothing(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_waits_for_the_call_in_progress_and_the_frames_behind_it_wait_for_the_gap() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let (mut ann, mut bob) = (member(&server, "waits").await, server.connect().await);
    ann.send("wait\n").await;
    bob.send("publish waits first\n").await.expect("to 1\n").await;
    ann.expect("first\n").await;
    bob.send("burst waits 300\n").await.expect("overrun true\n").await;
    ann.expect_nothing(secs(1)).await;
    rooms.gate.add_permits(1);
    ann.expect("opened\n").await.expect_nothing(secs(1)).await;
    // More frames are lost during the call for the gap.
    bob.send("burst waits 256\n").await.expect("overrun false\n").await;
    ann.expect_nothing(secs(1)).await;
    rooms.gate.add_permits(2);
    ann.expect("gap waits 44\n").await.expect("gap waits 256\n").await.expect(numbers(0..256)).await;
}

/// It was offered frames and has lost some, as a slow member, but its client reads.
#[tokio::test(start_paused = true)]
async fn a_member_with_a_busy_handler_is_not_closed_as_slow() {
    let rooms = Rooms::new(Hub::new().slow(Slow::Close));
    let server = rooms.start().await;
    let (mut ann, mut bob) = (member(&server, "waits").await, server.connect().await);
    bob.send("burst waits 300\n").await.expect("overrun true\n").await;
    // The call for the gap waits for the gate. Twice, the whole queue is replaced meanwhile.
    for _ in 0..2 {
        bob.send("burst waits 256\n").await.expect("overrun false\n").await;
        ann.expect_nothing(secs(1)).await;
    }
    rooms.gate.add_permits(2);
    ann.expect("gap waits 44\n").await.expect("gap waits 512\n").await.expect(numbers(0..256)).await;
    assert_eq!(rooms.hub.stats().closed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_reported_while_a_later_reply_is_in_progress() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let (mut ann, mut bob) = (member(&server, "r").await, server.connect().await);
    ann.send("later\n").await;
    bob.send("burst r 300\n").await.expect("overrun true\n").await;
    // Replies keep their order. The frames do not wait for a later reply.
    ann.expect(numbers(44..300)).await.expect_nothing(secs(1)).await;
    rooms.gate.add_permits(1);
    ann.expect("opened\ngap r 44\n").await.send("ping\n").await.expect("pong\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_can_close_its_connection_and_no_other() {
    let server = Rooms::new(Hub::new()).start().await;
    let mut bob = server.connect().await;
    for (room, reason) in
        [("panics", CloseReason::Panic), ("fails", CloseReason::HandlerError), ("closes", CloseReason::HandlerClosed)]
    {
        let mut ann = member(&server, room).await;
        bob.send(format!("burst {room} 300\n")).await.expect("overrun true\n").await;
        ann.expect_closed(reason).await;
        bob.send(format!("publish {room} x\n")).await.expect("to 0\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_call_has_the_message_timeout() {
    let rooms = Rooms::new(Hub::new());
    let server = testing::Server::new(rooms.clone()).framing(Lines::default());
    let server = server.set(|server| server.timeouts(timeouts(|t| t.message = secs(3)))).start().await;
    let mut ann = member(&server, "waits").await;
    ann.send("burst waits 300\n").await.expect("overrun true\n").await;
    ann.expect_closed(CloseReason::MessageTimeout).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_gets_nothing_more() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let (mut ann, mut bob) = (member(&server, "r").await, member(&server, "r").await);
    // The frames of the burst are not written before the member leaves.
    ann.send("burst r 300\nleave r\nleave r\n").await.expect("overrun true\nleft true\nleft false\n").await;
    bob.expect("gap r 44\n").await.expect(numbers(44..300)).await.send("publish r x\n").await;
    bob.expect("to 1\nx\n").await;
    ann.expect_nothing(secs(1)).await.send("join r\npublish r back\n").await.expect("joined\nto 2\nback\n").await;
    bob.expect("back\n").await.send("leave r\n").await.expect("left true\n").await;
    ann.send("leave r\n").await.expect("left true\n").await;
    let stats = rooms.hub.stats();
    assert_eq!((stats.rooms, stats.members), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_membership_ends_with_its_connection() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let members = || (rooms.hub.stats().rooms, rooms.hub.stats().members);
    let mut ann = member(&server, "a").await;
    ann.send("join b\n").await.expect("joined\n").await;
    assert_eq!(members(), (2, 2));
    ann.reset().expect_closed(CloseReason::IoError).await;
    assert_eq!(members(), (0, 0));
    member(&server, "a").await.half_close().expect_closed(CloseReason::PeerClosed).await;
    assert_eq!(members(), (0, 0));
    let mut slow = member(&server, "a").await;
    slow.stop_reading();
    rooms.hub.publish("a", vec![b'x'; 1_000_000]);
    slow.expect_nothing(secs(1)).await;
    server.connections().iter().for_each(Connection::kill);
    slow.expect_closed(CloseReason::Killed).await;
    assert_eq!(members(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn frames_published_before_a_graceful_close_are_sent() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let (mut ann, mut bob) = (member(&server, "r").await, member(&server, "r").await);
    ann.send("finish r\n").await.expect("bye\nlast\n").await.expect_closed(CloseReason::HandlerClosed).await;
    bob.expect("last\n").await;
    let mut cid = member(&server, "r").await;
    bob.send("burst r 200\nfinish r\n").await.expect("overrun false\nbye\n").await;
    bob.expect(numbers(0..200)).await.expect("last\n").await.expect_closed(CloseReason::HandlerClosed).await;
    cid.expect(numbers(0..200)).await.expect("last\n").await;
    // The handler of a closing connection is not called for a gap: no frame behind it is sent.
    cid.send("burst r 300\nfinish r\n").await.expect("overrun true\nbye\n").await;
    cid.expect_closed(CloseReason::HandlerClosed).await;
}

#[tokio::test(start_paused = true)]
async fn a_view_makes_the_frames_of_its_member() {
    let rooms = Rooms::new(Hub::new());
    let server = rooms.start().await;
    let (mut ann, mut bob) = (server.connect().await, member(&server, "r").await);
    ann.send("view r ann: \n").await.expect("joined\n").await;
    bob.send("publish r 1\npublish r hidden\npublish r 2\n").await.expect("to 2\nto 2\nto 2\n1\nhidden\n2\n").await;
    ann.expect("ann: 1\nann: 2\n").await;
    // Another view begins where the previous one ends, and pushed frames come between them.
    ann.send("change-view r\n").await.expect("ann: before\npushed\nnew after\n").await;
    bob.expect("before\nafter\n").await;
    assert_eq!(rooms.hub.members_of("r"), 2);
    // A panic in a view closes only its connection.
    ann.send("view r ann: \n").await.expect("joined\n").await;
    bob.send("publish r panic\n").await.expect("to 2\npanic\n").await;
    ann.expect_closed(CloseReason::Panic).await;
    bob.send("publish r 3\n").await.expect("to 1\n3\n").await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_members_delay_neither_the_publisher_nor_other_connections() {
    const MEMBERS: usize = 10_000;
    let rooms = Rooms::new(Hub::new());
    let server = testing::Server::new(rooms.clone()).framing(Lines::default());
    let server = server.set(|server| server.limits(crate::support::limits(|l| l.connections = MEMBERS + 2)));
    let server = server.start().await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = server.connect().await;
        member.send("view r >\n").await.expect("joined\n").await;
        members.push(member);
    }
    let (mut publisher, mut other) = (server.connect().await, server.connect().await);
    publisher.send("publish r hi\nviewed\n").await.expect("to 10000\n0\n").await;
    // Another connection has its turn again and again while the members have theirs.
    let mut turns = 0;
    loop {
        let reply = other.send("viewed\n").await.receive_until("\n").await;
        if reply == "10000\n" {
            break;
        }
        turns += 1;
    }
    assert!(turns > 20, "{turns}");
    for member in &mut members {
        member.expect(">hi\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_datagram_peer_gets_the_frames_and_is_not_told_of_gaps() {
    let rooms = Rooms::new(Hub::new().queue(8).rooms_per_connection(2));
    let server = testing::Server::datagrams(rooms.clone()).start().await;
    let mut ann = server.datagram_peer(([127, 0, 0, 1], 4001));
    ann.send("join r").await.expect("joined").await.send("publish r hi").await.expect("to 1").await.expect("hi").await;
    ann.send("join s").await.expect("joined").await.send("join t").await;
    ann.expect("the connection is in 2 rooms, its limit (Hub::rooms_per_connection)").await;
    ann.send("burst r 10").await.expect("overrun true").await;
    for n in 2..10 {
        ann.expect(n.to_string()).await;
    }
    ann.send("view r >").await.expect("joined").await.send("publish r 1").await.expect("to 1").await.expect(">1").await;
    ann.send("publish r panic").await.expect("to 1").await.expect_nothing(secs(1)).await;
    assert_eq!(rooms.hub.members_of("r"), 0);
    ann.send("join t").await.expect("joined").await.send("leave s").await.expect("left true").await;
    ann.send("publish s x").await.expect("to 0").await;
}
