//! `switchboard tap`: prints the messages of a connection of the running server, as a conversation script.

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use switchboard::settings::text::escape_unsafe;

use crate::client::address::AdminAddress;
use crate::client::commands::Printed;
use crate::client::http::{ClientError, stream};
use crate::client::options::TapOptions;

/// The largest event.
const MAX_EVENT: usize = 16 << 20;

/// A message of the connection.
#[derive(Deserialize)]
struct Message {
    step: String,
    /// The data are bytes on the wire and no message.
    bytes: bool,
}

/// `progress` prints a text at once.
pub(super) async fn tap(
    server: &AdminAddress,
    options: &TapOptions,
    progress: impl Fn(&str),
) -> Result<Printed, ClientError> {
    let seconds = options.duration.as_secs_f64();
    let path = format!("/connections/{}/tap?duration={}ms", options.id, (seconds * 1000.0) as u64);
    let mut body = stream(server, Method::GET, &path).await?;
    let (mut text, mut ended) = (String::new(), false);
    while let Some(chunk) = body.next().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if text.len() > MAX_EVENT {
            return Err(ClientError::TooLarge);
        }
        while let Some((event, rest)) = text.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            ended |= event.starts_with("event: end");
            progress(&shown(&event, options.server.json)?);
            text = rest;
        }
    }
    if ended { Ok(Printed::default()) } else { Err(ClientError::Closed) }
}

/// The text of an event. The server has escaped the data of steps.
fn shown(event: &str, as_json: bool) -> Result<String, ClientError> {
    let part = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let (name, data) = (part("event: "), part("data: "));
    if data.is_empty() {
        return Ok(String::new()); // a comment
    }
    let value: Json = serde_json::from_str(data).map_err(ClientError::Invalid)?;
    if as_json {
        let mut line = Map::from_iter([("event".to_owned(), name.into())]);
        line.extend(value.as_object().cloned().unwrap_or_default());
        return Ok(format!("{}\n", Json::Object(line)));
    }
    let text = |key: &str| escape_unsafe(value[key].as_str().unwrap_or_default(), |c| c == '\n');
    Ok(match name {
        "start" => text("script"),
        "message" => {
            let Message { step, bytes } = serde_json::from_value(value).map_err(ClientError::Invalid)?;
            let step = escape_unsafe(&step, |c| c == '\n');
            match bytes {
                // A script has messages or bytes.
                true => format!("# bytes on the wire:\n# {}\n", step.replace('\n', "\n# ")),
                false => format!("{step}\n"),
            }
        }
        "missed" => format!("# {} messages are missing\n", value["messages"]),
        "end" if value["why"] == "closed" => format!("< closed {}\n", text("reason")),
        _ => format!("# end of the tap: {}\n", text("why")),
    })
}
