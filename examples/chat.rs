//! A chat in rooms, for people with a terminal. Try it twice: `nc 127.0.0.1 9999`.
//!
//! The server pushes: what one person says goes to all others in the room. Nobody waits for a slow reader.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::settings::{Rate, Timeouts};

/// Everything that grows has an end.
const LONGEST_NAME: usize = 20;
const LONGEST_LINE: usize = 500;
const ROOMS: usize = 100;
const PEOPLE_IN_A_ROOM: usize = 100;

const LOBBY: &str = "lobby";
const HELP: &str = "* /join ROOM, /who, /quit; anything else is said to the room";

/// All rooms. What connections share is a field of the handler.
#[derive(Default)]
struct Chat {
    rooms: Mutex<Rooms>,
}

/// Who is in each room, and how to reach them. A room is there while somebody is in it.
type Rooms = BTreeMap<String, BTreeMap<String, Pusher>>;

/// What one connection remembers: nothing until the person has a name.
struct Guest {
    name: String,
    room: String,
}

impl Handler for Chat {
    // A datagram's sender never leaves, so it is not let in.
    const NEEDS: Needs = Needs::Stream;

    type State = Option<Guest>;

    async fn open(&self, _: &mut Context<Self::State>) -> Result<Reply> {
        Ok(Reply::send("* your name?"))
    }

    async fn message(&self, cx: &mut Context<Self::State>, line: Bytes) -> Result<Reply> {
        let line = readable(&line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (word, &cx.state) {
            ("/quit", _) => Ok(Reply::send("* bye").then_finish()),
            (_, None) => self.introduce(cx, &line),
            ("/join", Some(_)) => self.join(cx, rest.trim()),
            ("/who", Some(guest)) => Ok(Reply::send(self.who(&guest.room))),
            (_, Some(_)) if word.starts_with('/') => Ok(Reply::send(HELP)),
            ("", Some(_)) => Ok(Reply::none()),
            (_, Some(guest)) => {
                tell(&self.rooms(), &guest.room, &guest.name, format!("{}: {line}", guest.name));
                Ok(Reply::none()) // who spoke sees it in the terminal already
            }
        }
    }

    /// However the connection ended, the others hear of it: /quit, a closed terminal, a reader who was too slow.
    async fn close(&self, cx: &mut Context<Self::State>, _: CloseReason) {
        if let Some(guest) = cx.state.take() {
            leave(&mut self.rooms(), &guest.room, &guest.name);
        }
    }
}

impl Chat {
    /// A panic under the lock leaves nothing half-done that would matter here.
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn introduce(&self, cx: &mut Context<Option<Guest>>, name: &str) -> Result<Reply> {
        let mut rooms = self.rooms();
        if !is_name(name) {
            return Ok(Reply::send(format!("* a name is 1 to {LONGEST_NAME} letters and digits; your name?")));
        }
        if rooms.values().any(|people| people.contains_key(name)) {
            return Ok(Reply::send("* somebody has that name; your name?"));
        }
        if let Err(full) = enter(&mut rooms, LOBBY, name, cx.pusher()) {
            return Ok(Reply::send(full).then_finish());
        }
        cx.state = Some(Guest { name: name.into(), room: LOBBY.into() });
        Ok(Reply::many([format!("* hello, {name}, this is the {LOBBY}"), HELP.into()]))
    }

    fn join(&self, cx: &mut Context<Option<Guest>>, room: &str) -> Result<Reply> {
        let pusher = cx.pusher();
        let Some(guest) = &mut cx.state else { return Ok(Reply::none()) };
        if !is_name(room) {
            return Ok(Reply::send(format!("* /join ROOM, where ROOM is 1 to {LONGEST_NAME} letters and digits")));
        }
        if guest.room == room {
            return Ok(Reply::send("* you are there"));
        }
        let mut rooms = self.rooms();
        if let Err(full) = enter(&mut rooms, room, &guest.name, pusher) {
            return Ok(Reply::send(full));
        }
        leave(&mut rooms, &guest.room, &guest.name);
        guest.room = room.into();
        Ok(Reply::send(format!("* this is {room}")))
    }

    fn who(&self, room: &str) -> String {
        let rooms = self.rooms();
        let names: Vec<_> = rooms.get(room).into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
        format!("* {}", names.join(", "))
    }
}

fn enter(rooms: &mut Rooms, room: &str, name: &str, pusher: Pusher) -> Result<(), &'static str> {
    if !rooms.contains_key(room) && rooms.len() >= ROOMS {
        return Err("* there are too many rooms already");
    }
    let people = rooms.entry(room.into()).or_default();
    if people.len() >= PEOPLE_IN_A_ROOM {
        return Err("* the room is full");
    }
    people.insert(name.into(), pusher);
    tell(rooms, room, name, format!("* {name} comes in"));
    Ok(())
}

fn leave(rooms: &mut Rooms, room: &str, name: &str) {
    if let Some(people) = rooms.get_mut(room) {
        people.remove(name);
        if people.is_empty() {
            rooms.remove(room);
        }
    }
    tell(rooms, room, name, format!("* {name} leaves"));
}

/// Sends a line to everybody in a room but one. All of this happens under the lock, and so everybody reads the same story;
/// that is fine, because pushing never waits: somebody whose outbox is full is let go, and `close` removes them.
fn tell(rooms: &Rooms, room: &str, but: &str, line: impl Into<Bytes>) {
    let line = line.into();
    for (_, pusher) in rooms.get(room).into_iter().flatten().filter(|(name, _)| *name != but) {
        let _ = pusher.push_or_close(line.clone()); // the bytes are shared; an error only says that they are gone
    }
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What others may see in their terminals: no control characters, which could paint over what someone else has said.
fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let mut timeouts = Timeouts::default();
    timeouts.idle = Duration::from_secs(3600); // people think before they speak
    Server::bind(address)
        .framing(Lines::default().max(LONGEST_LINE))
        .timeouts(timeouts)
        // Without it, who pastes a book fills everybody's outbox before they have a chance to read. On a Unix socket it
        // limits nobody: those people share a machine.
        .layer(RatePerSource::new(Rate::per_second(5), 20))
        .serve(Chat::default())
        .await
}
