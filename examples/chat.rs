//! A chat server with rooms. Try it in two terminals: `nc 127.0.0.1 9999`.
//!
//! The hub sends each line to all other members of the room. A slow client does not delay the others.
//!
//! Several instances share their rooms through Redis. Start each with another address and the same link:
//! `chat tcp://127.0.0.1:9999 redis://127.0.0.1`

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard::fleet::Fleet;
use switchboard::hub::JoinError;
use switchboard::prelude::*;
use switchboard::settings::{FleetSettings, Rate, Timeouts};

// Every collection and every length has a limit.
const MAX_NAME_LENGTH: usize = 20;
const MAX_LINE_LENGTH: usize = 500;
const MAX_ROOMS: usize = 100;
const MAX_MEMBERS: usize = 100;

const LOBBY: &str = "lobby";
const HELP: &str = "* commands: /join ROOM, /who, /quit; other lines are sent to the room";

struct Chat {
    rooms: Hub,
    /// The room of each member on this instance, by name. For commands only: the hub knows who gets the lines of a
    /// room.
    members: Mutex<BTreeMap<String, String>>,
}

impl Default for Chat {
    fn default() -> Self {
        // A member that does not read is disconnected.
        let rooms = Hub::new().rooms(MAX_ROOMS).members(MAX_MEMBERS).slow(Slow::Close);
        Self { rooms, members: Mutex::default() }
    }
}

/// State of a connection after the client has chosen a name.
struct Member {
    name: String,
    room: String,
}

impl Handler for Chat {
    // A datagram peer never disconnects, so it could not be removed from its room.
    const NEEDS: Needs = Needs::Stream;

    type State = Option<Member>;

    /// Lines reach the members on all instances.
    async fn start(&self, cx: &StartContext) -> Result<()> {
        Ok(self.rooms.share(cx, "rooms")?)
    }

    async fn open(&self, _: &mut Context<Self::State>) -> Result<Reply> {
        Ok(Reply::send("* enter your name"))
    }

    async fn message(&self, cx: &mut Context<Self::State>, line: Bytes) -> Result<Reply> {
        let line = printable(&line);
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (command, &cx.state) {
            ("/quit", _) => Ok(Reply::send("* bye").then_finish()),
            (_, None) => self.set_name(cx, &line),
            ("/join", Some(_)) => self.join(cx, rest.trim()),
            ("/who", Some(member)) => Ok(Reply::send(self.who(&member.room))),
            (_, Some(_)) if command.starts_with('/') => Ok(Reply::send(HELP)),
            ("", Some(_)) => Ok(Reply::none()),
            (_, Some(member)) => {
                // The sender already sees the line in its terminal.
                self.rooms.except(cx).publish(&member.room, format!("{}: {line}", member.name));
                Ok(Reply::none())
            }
        }
    }

    /// Called if the room had a larger burst of lines than its queue holds, or if lines of other instances were lost.
    async fn gap(&self, _: &mut Context<Self::State>, _: &str, missed: u64) -> Result<Reply> {
        Ok(Reply::send(match missed {
            0 => "* you may have missed lines".to_owned(), // their number is unknown
            _ => format!("* you have missed {missed} lines"),
        }))
    }

    /// Called for every close reason: /quit, a disconnect, a slow client. The connection has left its room already.
    async fn close(&self, cx: &mut Context<Self::State>, _: CloseReason) {
        if let Some(Member { name, room }) = cx.state.take() {
            self.members().remove(&name);
            self.rooms.publish(&room, format!("* {name} left"));
        }
    }
}

impl Chat {
    /// Ignores poisoning: a panic while the lock is held leaves the map usable.
    fn members(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_name(&self, cx: &mut Context<Option<Member>>, name: &str) -> Result<Reply> {
        let mut members = self.members();
        if !is_name(name) {
            return Ok(Reply::send(format!("* a name is 1 to {MAX_NAME_LENGTH} letters and digits; enter your name")));
        }
        if members.contains_key(name) {
            return Ok(Reply::send("* this name is in use; enter your name"));
        }
        if let Err(error) = self.enter(cx, LOBBY, name) {
            return Ok(Reply::send(error).then_finish());
        }
        members.insert(name.into(), LOBBY.into());
        cx.state = Some(Member { name: name.into(), room: LOBBY.into() });
        Ok(Reply::many([format!("* hello, {name}, you are in room {LOBBY}"), HELP.into()]))
    }

    fn join(&self, cx: &mut Context<Option<Member>>, room: &str) -> Result<Reply> {
        let Some(Member { name, room: old }) = &cx.state else { return Ok(Reply::none()) };
        if !is_name(room) {
            return Ok(Reply::send(format!("* /join ROOM, where ROOM is 1 to {MAX_NAME_LENGTH} letters and digits")));
        }
        if old == room {
            return Ok(Reply::send("* you are already in this room"));
        }
        if let Err(error) = self.enter(cx, room, name) {
            return Ok(Reply::send(error));
        }
        self.rooms.leave(cx, old);
        self.rooms.publish(old, format!("* {name} left"));
        self.members().insert(name.clone(), room.into());
        cx.state = Some(Member { name: name.clone(), room: room.into() });
        Ok(Reply::send(format!("* you are in room {room}")))
    }

    fn enter(&self, cx: &Context<Option<Member>>, room: &str, name: &str) -> Result<(), &'static str> {
        self.rooms.join(cx, room).map_err(|error| match error {
            JoinError::Members(_) => "* the room is full",
            _ => "* too many rooms",
        })?;
        self.rooms.except(cx).publish(room, format!("* {name} joined"));
        Ok(())
    }

    fn who(&self, room: &str) -> String {
        let members = self.members();
        let names: Vec<_> = members.iter().filter(|(_, of)| *of == room).map(|(name, _)| name.as_str()).collect();
        format!("* {}", names.join(", "))
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Removes control characters, which could manipulate the terminals of other members.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// The settings of the protocol, which the server and its tests have in common.
fn configure(server: Server) -> Server<Lines> {
    let mut timeouts = Timeouts::default();
    timeouts.idle = Duration::from_secs(3600); // Chat users are often silent for a long time.
    server.framing(Lines::default().max(MAX_LINE_LENGTH)).timeouts(timeouts)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("tcp://127.0.0.1:9999".into());
    let mut server = configure(Server::bind(address));
    if let Some(link) = args.next() {
        server = server.fleet(Fleet::new(&FleetSettings::default().link(Some(link.parse()?)))?);
    }
    server
        // Without this limit, a client that sends a long text fills the outboxes of all members. It does not apply to
        // Unix sockets, which have no source address.
        .layer(RatePerSource::new(Rate::per_second(5), 20))
        .serve(Chat::default())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::{self, Law, Peer};

    async fn start() -> testing::Running {
        testing::Server::new(Chat::default()).set(configure).start().await
    }

    async fn join(server: &testing::Running, name: &str) -> Peer {
        let mut peer = server.connect().await;
        peer.expect("* enter your name\n").await.send(format!("{name}\n")).await;
        peer.expect(format!("* hello, {name}, you are in room lobby\n{HELP}\n")).await;
        peer
    }

    #[tokio::test(start_paused = true)]
    async fn members_of_a_room_see_lines_joins_and_leaves() {
        let server = start().await;
        let mut ann = join(&server, "ann").await;
        let mut bob = join(&server, "bob").await;
        ann.expect("* bob joined\n").await.send("hi\n").await;
        bob.expect("ann: hi\n").await.send("/quit\n").await;
        bob.expect("* bye\n").await.expect_closed(CloseReason::HandlerClosed).await;
        ann.expect("* bob left\n").await;
        ann.reset().expect_closed(CloseReason::IoError).await;
        join(&server, "ann").await; // the name is free again
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_who_does_not_read_is_disconnected_and_delays_nobody() {
        let server = start().await;
        let mut slow = join(&server, "slow").await;
        let mut fast = join(&server, "fast").await;
        slow.expect("* fast joined\n").await.stop_reading();
        let line = "x".repeat(MAX_LINE_LENGTH);
        for _ in 0..1000 {
            fast.send(format!("{line}\n")).await;
        }
        fast.expect("* slow left\n").await;
        slow.expect_closed(CloseReason::OutboxFull).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_member_stays_for_an_hour() {
        let server = start().await;
        let mut ann = join(&server, "ann").await;
        ann.expect_nothing(Duration::from_secs(3599)).await.expect_closed(CloseReason::Idle).await;
    }

    #[test]
    fn chat_keeps_the_laws() {
        testing::conformance(Chat::default)
            .framing(Lines::default().max(MAX_LINE_LENGTH))
            .messages(["ann", "hi", "/who", "/join den", "", "/quit"])
            .waive(Law::TwoAtOnce, "a name is free for one client, and members of a room see each other")
            .waive(Law::NoReader, "a repeated command gets a shorter reply than the first one")
            .cases(40)
            .check();
    }
}
