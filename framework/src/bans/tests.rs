//! Tests of `bans`.

use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::address::Source;
use crate::close_reason::CloseReason;
use crate::settings::{BanSettings, Network, Rate};

const HOUR: Duration = Duration::from_secs(3600);

fn network(text: &str) -> Network {
    text.parse().expect(text)
}

fn source(text: &str) -> Source {
    Source::of(text.parse().expect(text))
}

fn is_banned(bans: &Bans, address: &str) -> bool {
    bans.is_banned(address.parse().expect(address))
}

#[tokio::test(start_paused = true)]
async fn a_ban_has_the_term_by_default_and_ends() {
    let bans = Bans::default();
    assert!(bans.is_empty());
    let ban = bans.add(NewBan::new(network("192.0.2.7")).reason("port scan")).expect("added");
    assert_eq!((ban.time_left(), ban.origin, &*ban.reason), (HOUR, BanOrigin::Operator, "port scan"));
    assert!(is_banned(&bans, "192.0.2.7") && !is_banned(&bans, "192.0.2.8"));
    assert_eq!(bans.remove_ended(), Some(ban.until));
    tokio::time::advance(HOUR).await;
    assert!(!is_banned(&bans, "192.0.2.7"));
    assert_eq!((bans.list(None, 10), bans.remove(network("192.0.2.7"), None)), (Vec::new(), None));
    assert_eq!(bans.remove_ended(), None);
    assert!(bans.is_empty(), "lookups are cheap again");
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_address_bans_its_64_and_is_removed_by_any_address_of_it() {
    let bans = Bans::default();
    let ban = bans.add(NewBan::new(network("2001:db8::1"))).expect("added");
    assert_eq!(ban.network, network("2001:db8::/64"));
    assert!(is_banned(&bans, "2001:db8::ffff") && !is_banned(&bans, "2001:db8:0:1::1"));
    assert!(bans.remove(network("2001:db8::2"), None).is_some());
    assert!(!is_banned(&bans, "2001:db8::1"));
}

#[tokio::test(start_paused = true)]
async fn invalid_requests_are_rejected_with_the_field() {
    let bans = Bans::new(BanSettings::by_hand().entries(1));
    for (new, part) in [
        (NewBan::new(network("0.0.0.0/0")), "network: 0.0.0.0/0 contains every client"),
        (NewBan::new(network("192.0.2.7")).duration(Duration::ZERO), "duration: "),
        (NewBan::new(network("192.0.2.7")).reason("x".repeat(201)), "reason: it has 201 bytes"),
        (NewBan::new(network("192.0.2.7")).reason("a\nb"), "reason: it contains"),
    ] {
        let error = bans.add(new).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    bans.add(NewBan::new(network("192.0.2.7"))).expect("added");
    let full = bans.add(NewBan::new(network("192.0.2.8"))).expect_err("full");
    assert_eq!((full.clone(), full.to_string().contains("bans.entries")), (BanError::Full(1), true));
    tokio::time::advance(HOUR).await;
    bans.add(NewBan::new(network("192.0.2.8"))).expect("the other one has ended");
}

#[tokio::test(start_paused = true)]
async fn only_a_ban_of_the_named_origin_is_removed() {
    let bans = Bans::default();
    bans.add(NewBan::new(network("192.0.2.7"))).expect("added");
    assert_eq!(bans.remove(network("192.0.2.7"), Some(BanOrigin::Fail2ban)), None);
    bans.add(NewBan::new(network("192.0.2.7")).origin(BanOrigin::Fail2ban).duration(2 * HOUR)).expect("added");
    assert!(bans.remove(network("192.0.2.7"), Some(BanOrigin::Fail2ban)).is_some());
}

#[tokio::test(start_paused = true)]
async fn strikes_ban_a_source_and_the_reason_names_the_last() {
    let bans = Bans::new(BanSettings::default().strikes(Rate::per_minute(2)).term(HOUR));
    bans.strike(source("192.0.2.7"), bans.weight(CloseReason::BadFrame), "bad_frame");
    bans.strike(source("192.0.2.7"), bans.weight(CloseReason::Idle), "idle");
    bans.strike(source("192.0.2.7"), 2, "handler");
    let list = bans.list(None, 10);
    assert_eq!((list.len(), list[0].origin, list[0].times), (1, BanOrigin::Strikes, 1));
    assert_eq!(&*list[0].reason, "3 strikes, the last for handler");
    let report = bans.report();
    assert_eq!((report.strikes, report.active), (3, 1));
    assert!(report.bans.contains(&(BanOrigin::Strikes, 1)));
    bans.configure(BanSettings::by_hand());
    bans.strike(source("192.0.2.8"), 100, "handler");
    assert_eq!((bans.weight(CloseReason::BadFrame), bans.report().strikes), (0, 3), "off");
}

#[tokio::test(start_paused = true)]
async fn bans_are_listed_in_pages_by_network() {
    let bans = Bans::default();
    for text in ["192.0.2.7", "2001:db8::/64", "10.0.0.0/8", "192.0.2.6"] {
        bans.add(NewBan::new(network(text))).expect("added");
    }
    let list = |after: Option<&str>, limit| -> Vec<String> {
        bans.list(after.map(network), limit).iter().map(|ban| ban.network.to_string()).collect()
    };
    assert_eq!(list(None, 3), ["10.0.0.0/8", "192.0.2.6", "192.0.2.7"]);
    assert_eq!(list(Some("192.0.2.7"), 3), ["2001:db8::/64"]);
}

#[tokio::test(start_paused = true)]
async fn subscribers_receive_each_change() {
    let bans = Bans::default();
    let mut changes = bans.subscribe();
    let ban = bans.add(NewBan::new(network("192.0.2.7"))).expect("added");
    bans.remove(network("192.0.2.7"), None);
    assert_eq!(changes.try_recv(), Ok(BanChange::Added(ban.clone())));
    assert_eq!(changes.try_recv(), Ok(BanChange::Removed(ban)));
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn changes_are_saved_and_loaded_unless_saving_is_suspended() {
    let place = tempfile::tempdir().expect("a directory");
    let settings = BanSettings::default().strikes(Rate::per_hour(1)).file(Some(place.path().join("bans.json")));
    let bans = Bans::new(settings.clone());
    bans.load().expect("no file yet");
    bans.add(NewBan::new(network("192.0.2.7"))).expect("added");
    bans.strike(source("192.0.2.8"), 2, "handler");
    bans.save().await.expect("saved");
    let next = Bans::new(settings.clone());
    next.load().expect("readable");
    assert!(is_banned(&next, "192.0.2.7") && is_banned(&next, "192.0.2.8"));
    assert!(next.remove(network("192.0.2.7"), None).is_some());
    next.suspend_saving().await.expect("saved");
    next.add(NewBan::new(network("192.0.2.9"))).expect("added");
    next.save().await.expect("nothing to do");
    bans.load().expect("readable");
    assert!(!is_banned(&bans, "192.0.2.7") && !is_banned(&bans, "192.0.2.9"));
    next.resume_saving();
    next.save().await.expect("saved");
    bans.load().expect("readable");
    assert!(is_banned(&bans, "192.0.2.9"));
    // The next ban of a source takes twice as long, in another process too.
    bans.remove(network("192.0.2.9"), None);
    bans.strike(source("192.0.2.8"), 2, "handler");
    let twice = bans.list(None, 9).into_iter().find(|ban| ban.network == network("192.0.2.8")).expect("banned");
    assert_eq!(twice.times, 2);
}

#[tokio::test]
async fn a_failed_write_is_reported_until_one_succeeds() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("bans");
    std::fs::create_dir(&directory).expect("created");
    let bans = Bans::new(BanSettings::by_hand().file(Some(directory.join("bans.json"))));
    std::fs::remove_dir(&directory).expect("removed");
    bans.add(NewBan::new(network("192.0.2.7"))).expect("in memory");
    bans.save().await.expect_err("no directory");
    assert!(bans.report().file_error.expect("an error").contains("cannot write it"));
    std::fs::create_dir(&directory).expect("created");
    bans.save().await.expect("saved");
    assert_eq!(bans.report().file_error, None);
}
