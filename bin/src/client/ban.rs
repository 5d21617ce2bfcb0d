//! `switchboard ban`: adds, lists and removes bans.

use axum::http::Method;
use form_urlencoded::Serializer;
use serde_json::json;

use crate::client::address::AdminAddress;
use crate::client::commands::{Printed, json_line};
use crate::client::http::{ClientError, REPLY_TIMEOUT, get, send, successful};
use crate::client::options::BanOptions;
use crate::client::report::{Ban, BanPage, ChangedBan};
use crate::client::text::{self, Align, Column, escape};

pub(super) async fn ban(server: &AdminAddress, options: &BanOptions) -> Result<Printed, ClientError> {
    let json = options.server.json;
    match (&options.network, &options.remove) {
        (Some(network), _) => {
            let mut request = json!({ "network": network.to_string() });
            let duration = options.duration.map(|duration| duration.to_string());
            let fields = [("duration", &duration), ("reason", &options.reason), ("origin", &options.origin)];
            for (name, value) in fields {
                if let Some(value) = value {
                    request[name] = json!(value);
                }
            }
            change(server, Method::POST, "/bans", request.to_string(), json, |ban| {
                format!("banned {} for {}\n", escape(&ban.network), text::duration(ban.seconds_left.round()))
            })
            .await
        }
        (None, Some(network)) => {
            let mut path = format!("/bans/{network}");
            if let Some(origin) = &options.origin {
                path += &format!("?origin={}", form_urlencoded::byte_serialize(origin.as_bytes()).collect::<String>());
            }
            let removed = |ban: &Ban| format!("removed the ban of {}\n", escape(&ban.network));
            change(server, Method::DELETE, &path, String::new(), json, removed).await
        }
        (None, None) => list(server, json).await,
    }
}

async fn change(
    server: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
    json: bool,
    describe: impl FnOnce(&Ban) -> String,
) -> Result<Printed, ClientError> {
    let reply = successful(server, send(server, method, path, body, REPLY_TIMEOUT).await?)?;
    let ChangedBan { ban, exempt_listeners, file_error } = reply.json()?;
    let mut printed = Printed::out(if json { reply.text().trim_end().to_owned() + "\n" } else { describe(&ban) });
    if !exempt_listeners.is_empty() {
        let listeners = escape(&exempt_listeners.join(", "));
        printed.err += &format!("note: access.allow names it, so these listeners still accept it: {listeners}\n");
    }
    if let Some(error) = file_error {
        printed.err += &format!("note: the file of the bans does not have this change: {}\n", escape(&error));
    }
    Ok(printed)
}

async fn list(server: &AdminAddress, json: bool) -> Result<Printed, ClientError> {
    let mut found = BanPage::default();
    loop {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", "10000");
        query.extend_pairs(found.next.as_ref().map(|network| ("after", network)));
        let page: BanPage = get(server, &format!("/bans?{}", query.finish())).await?.json()?;
        // An empty page has no next one.
        let is_last = page.next.is_none() || page.bans.is_empty();
        found.next = page.next;
        found.bans.extend(page.bans);
        if is_last {
            break;
        }
    }
    Ok(Printed::out(match (json, found.bans.is_empty()) {
        (true, _) => json_line(&json!({ "bans": found.bans })),
        (false, true) => "no bans\n".to_owned(),
        (false, false) => table(&found.bans, text::width()),
    }))
}

fn table(bans: &[Ban], width: usize) -> String {
    const COLUMNS: [Column; 5] = [
        ("NETWORK", Align::Left),
        ("ORIGIN", Align::Left),
        ("AGE", Align::Right),
        ("LEFT", Align::Right),
        ("REASON", Align::Left),
    ];
    let row = |ban: &Ban| {
        vec![
            ban.network.clone(),
            ban.origin.clone(),
            text::duration(ban.age_seconds),
            text::duration(ban.seconds_left),
            ban.reason.clone(),
        ]
    };
    text::table(&COLUMNS, &bans.iter().map(row).collect::<Vec<_>>(), width, 4)
}
