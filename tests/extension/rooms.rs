//! A third-party handler whose clients join rooms, and publish what other clients receive.

use switchboard::prelude::*;

pub(crate) const SUMMARY: &str = "join ROOM, and publish ROOM TEXT";

#[derive(Default)]
pub(crate) struct Rooms {
    hub: Hub,
}

pub(crate) fn build(_: NoOptions) -> Result<Rooms> {
    Ok(Rooms { hub: Hub::new() })
}

impl Handler for Rooms {
    const NEEDS: Needs = Needs::Stream;

    type State = ();

    async fn start(&self, cx: &StartContext) -> Result<()> {
        Ok(self.hub.share(cx, "rooms")?)
    }

    async fn message(&self, cx: &mut Context, line: Bytes) -> Result<Reply> {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (room, text) = rest.split_once(' ').unwrap_or((rest, ""));
        Ok(match command {
            "join" => {
                self.hub.join(cx, room)?;
                Reply::send("joined")
            }
            "leave" => Reply::send(if self.hub.leave(cx, room) { "left" } else { "no member" }),
            "publish" => {
                self.hub.publish(room, text.to_owned());
                Reply::none()
            }
            _ => Reply::close(),
        })
    }

    async fn gap(&self, _: &mut Context, _: &str, missed: u64) -> Result<Reply> {
        Ok(Reply::send(format!("gap {missed}")))
    }
}
