//! What must be true at the end of every run.

use std::collections::BTreeMap;
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::server::ListenerReport;

use super::client::{Conduct, Ending, Outcome};
use super::handler::{Encoding, Entry, SLOW, Style, message};
use super::plan::{Action, Plan};
use super::world::History;

/// What a drain may take beyond its deadline: a last message and a close hook.
const SLACK: Duration = Duration::from_millis(600);

/// All problems of a run.
pub(super) fn check(plan: &Plan, history: &History) -> Vec<String> {
    let mut problems = history.problems.clone();
    let mut require = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let entries = history.ledger.entries();
    for outcome in &history.outcomes {
        let entry = entries.get(&outcome.client.address).cloned().unwrap_or_default();
        let check = if outcome.client.is_datagram { check_datagrams } else { check_client };
        let found = check(plan, history, outcome, &entry);
        if let Err(problem) = found {
            let number = outcome.client.number;
            require(false, format!("client {number}: {problem}: {outcome:?}, the server saw {entry:?}"));
        }
    }
    // Connections that close during their handshake have no handler, so those of the proxy are not compared.
    let is_compared = |listener: &str| plan.sites.iter().any(|site| site.name == listener && !site.is_proxied);
    let compared = entries.values().filter(|entry| is_compared(&entry.listener));
    check_counts(history, compared, is_compared, &mut require);
    let limit = plan.drain.announce + plan.drain.deadline + SLACK;
    require(history.drain_took <= limit, format!("the drain took {:?}, at most {limit:?}", history.drain_took));
    require(history.drained.stop_failures == 0, format!("{:?}", history.drained));
    require(history.tasks_left == 0, format!("{} tasks are left", history.tasks_left));
    let (started, stopped) = *history.ledger.lives.lock().unwrap();
    require(started == stopped, format!("{started} handlers have started, {stopped} have stopped"));
    require(history.open_before_probes == 0, format!("{} connections are left", history.open_before_probes));
    let rejected = &history.rejected_probes;
    require(rejected.is_empty(), format!("limits count connections that have closed: {rejected:?}"));
    problems
}

fn check_client(plan: &Plan, history: &History, outcome: &Outcome, entry: &Entry) -> Result<(), &'static str> {
    let Outcome { client, end, sent, replies, is_faulted, .. } = outcome;
    let require = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
    let is_raw = client.encoding == Encoding::Raw;
    let handled = if is_raw { entry.bytes } else { entry.handled };
    require(replies.count <= handled, "more replies than messages")?;
    require(entry.opened <= 1 && entry.closed.len() as u64 == entry.opened, "not opened and closed once")?;
    require(entry.damaged == 0 || client.conduct == Conduct::Greedy, "a message is damaged")?;
    let Some(reason) = entry.closed.first().copied() else {
        // Rejected, or the listener has closed before it was accepted.
        return require(!replies.is_greeted && *end != Ending::GaveUp || *is_faulted, "served without a handler");
    };
    let named = replies.reason.as_deref();
    let is_same = |named| if is_raw { reason.as_str().starts_with(named) } else { reason.as_str() == named };
    require(named.is_none_or(is_same), "the last message has another reason")?;
    if *is_faulted || !matches!(client.conduct, Conduct::Good | Conduct::Stays) {
        return Ok(());
    }
    let is_good = client.conduct == Conduct::Good;
    // An earlier ban has ended, or the client was rejected.
    let duration = outcome.began..=outcome.ended;
    let is_banned = history.bans.iter().any(|(address, at)| *address == client.address.ip() && duration.contains(at));
    let is_allowed = match reason {
        CloseReason::PeerClosed => is_good,
        CloseReason::Drain => outcome.ended >= history.drain_began || history.evacuated.is_some(),
        CloseReason::DrainDeadline => outcome.ended >= history.drain_began,
        CloseReason::Banned => is_banned,
        CloseReason::Lifetime => true,
        CloseReason::Idle | CloseReason::FirstMessage => client.conduct == Conduct::Stays,
        _ => false,
    };
    require(is_allowed, "closed for a reason that the client has not caused")?;
    // A ban and the drain deadline also abort a connection that writes its last output.
    let is_late = outcome.ended >= history.drain_began + plan.drain.announce + plan.drain.deadline;
    if is_banned || is_late {
        return Ok(());
    }
    // A drain lingers for 100 ms only. A client that sends meanwhile and is further away can lose what it has not read.
    if reason == CloseReason::Drain && *end == Ending::Reset && plan.longest_delay > Duration::from_millis(45) {
        return Ok(());
    }
    require(replies.is_greeted && replies.count == handled, "a reply is lost")?;
    require(reason == CloseReason::PeerClosed || named == Some(reason.as_str()), "the last message is lost")?;
    let length = |n| if is_raw { message(client.number, n).len() as u64 } else { 1 };
    let sum = |messages: u64| (0..messages).map(length).sum::<u64>();
    require(reason != CloseReason::PeerClosed || replies.count == sum(*sent), "a message is lost")?;
    if reason == CloseReason::Drain && history.evacuated.is_none() {
        let begin = history.drain_began + plan.drain.announce;
        let arrived = outcome.sent_at.iter().filter(|at| **at + plan.longest_delay < begin).count();
        require(replies.count >= sum(arrived as u64), "a message that arrived before the drain is lost")?;
    }
    require(*end == Ending::Closed || reason != CloseReason::PeerClosed, "the end is a reset")
}

fn check_datagrams(plan: &Plan, history: &History, outcome: &Outcome, entry: &Entry) -> Result<(), &'static str> {
    let require = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
    let (arrived, replies) = outcome.datagrams.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let most = if plan.is_lossy { 2 } else { 1 };
    let is_answered_once = outcome.datagrams.iter().all(|(arriving, replies)| *replies <= arriving * most);
    require(is_answered_once, "a datagram has too many replies")?;
    require(entry.handled - entry.damaged <= arrived as u64, "more datagrams than were sent")?;
    require(plan.is_lossy || entry.damaged == 0, "a datagram is damaged")?;
    let is_banned = history.bans.iter().any(|(address, _)| *address == outcome.client.address.ip());
    // A reload that replaces the handler gives the old one the time of a drain, which many messages exceed.
    let reloads = || {
        plan.actions
            .iter()
            .filter_map(|(_, action)| if let Action::Reload(sites) = action { Some(sites) } else { None })
    };
    let sites = reloads().flatten().chain(&plan.sites).filter(|site| site.name == outcome.client.listener);
    let in_flight = sites.map(|site| site.limits.in_flight).min().unwrap_or(1);
    let in_a_row = match outcome.client.style {
        Style::Now => 1,
        Style::Slow => outcome.client.messages,
        Style::Later | Style::Unordered => outcome.client.messages.div_ceil(in_flight as u64),
    };
    let is_replaced = reloads().next().is_some();
    let needed = SLOW * u32::try_from(in_a_row + 1).unwrap_or(u32::MAX);
    let has_time = !is_replaced || outcome.client.messages < 10 && plan.drain.deadline > needed;
    let is_left_alone = outcome.ended < history.drain_began && !is_banned && has_time;
    require(plan.is_lossy || !is_left_alone || replies as u64 == entry.handled, "a reply is lost")
}

fn check_counts<'a>(
    history: &History,
    entries: impl Iterator<Item = &'a Entry> + Clone,
    is_compared: impl Fn(&str) -> bool,
    require: &mut impl FnMut(bool, String),
) {
    let mut reasons: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for reason in entries.clone().flat_map(|entry| &entry.closed) {
        reasons.entry(reason.as_str()).or_default().0 += 1;
    }
    let is_compared = |report: &&ListenerReport| is_compared(&report.name);
    for (reason, count) in history.reports.iter().filter(is_compared).flat_map(|report| &report.closed) {
        reasons.entry(reason.as_str()).or_default().1 += count;
    }
    // The handler gets the reason when the close begins. The connection can be aborted while it writes its last output.
    let (mut aborts, mut aborted) = (0, 0);
    for (reason, (seen, counted)) in &reasons {
        let is_abort = matches!(*reason, "banned" | "drain_deadline" | "write_stalled");
        require(seen >= counted || is_abort, format!("{seen} connections closed with {reason}, {counted} are counted"));
        aborts += counted.saturating_sub(*seen);
        aborted += seen.saturating_sub(*counted);
    }
    require(aborts == aborted, format!("closed connections as seen by the handlers, and as counted: {reasons:?}"));
    for unexpected in ["panic", "handler_error", "message_timeout", "outbox_full", "killed"] {
        require(
            reasons.get(unexpected).is_none_or(|(seen, _)| *seen == 0),
            format!("connections closed: {unexpected}"),
        );
    }
    for report in &history.reports {
        let closed: u64 = report.closed.iter().map(|(_, count)| count).sum();
        let balance = format!("{} accepted, {} open, {closed} closed", report.accepted, report.open);
        require(report.accepted == report.open as u64 + closed, format!("listener {}: {balance}", report.name));
        require(report.open == 0, format!("listener {}: {balance}", report.name));
    }
    // Messages of datagrams are also counted when they are dropped before the handler.
    let streams = history.reports.iter().filter(is_compared).filter(|report| report.kind == Kind::Stream);
    let counted: u64 = streams.flat_map(|report| &report.messages).map(|(_, count)| count).sum();
    let handled: u64 = entries.filter(|entry| entry.opened > 0).map(|entry| entry.handled).sum();
    let aborted = history.outcomes.iter().filter(|outcome| outcome.end != Ending::Closed || outcome.is_faulted).count();
    // A message that waits for its rate does not reach the handler of an aborted connection.
    let is_balanced = handled <= counted && counted <= handled + aborted as u64;
    require(is_balanced, format!("{handled} messages were handled, {counted} are counted"));
}
