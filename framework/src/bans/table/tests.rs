//! Tests of `bans/table.rs`.

use std::time::{Duration, SystemTime};

use super::*;

fn network(text: &str) -> Network {
    text.parse().expect(text)
}

fn ban(text: &str, origin: BanOrigin, seconds: u64) -> Ban {
    Ban {
        network: network(text),
        reason: "".into(),
        origin,
        times: 0,
        began: SystemTime::now(),
        until: Instant::now() + Duration::from_secs(seconds),
    }
}

fn added() -> Inserted {
    Inserted::Added { replaced: None }
}

fn bans(table: &BanTable, address: &str) -> bool {
    table.is_banned(address.parse().expect(address))
}

#[tokio::test(start_paused = true)]
async fn an_address_is_found_in_networks_of_any_length() {
    let mut table = BanTable::default();
    for text in ["192.0.2.7", "10.0.0.0/8", "172.16.4.0/22", "2001:db8:1:2::/64", "2001:db8:ff00::/40"] {
        assert_eq!(table.insert(ban(text, BanOrigin::Operator, 60), 100), added());
    }
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "10.255.0.1", "172.16.7.255", "2001:db8:1:2::9", "2001:db8:ffff::"]
    {
        assert!(bans(&table, inside), "{inside}");
    }
    for outside in ["192.0.2.8", "11.0.0.0", "172.16.8.0", "2001:db8:1:3::9", "2001:db8:fe00::", "::1"] {
        assert!(!bans(&table, outside), "{outside}");
    }
    for text in ["192.0.2.7", "10.0.0.0/8", "172.16.4.0/22", "2001:db8:1:2::/64", "2001:db8:ff00::/40"] {
        assert!(table.remove(&network(text)).is_some());
    }
    assert!(table.len() == 0 && table.next_end().is_none() && table.lengths.iter().all(Vec::is_empty));
    assert!(!bans(&table, "10.255.0.1"));
}

#[tokio::test(start_paused = true)]
async fn an_operator_replaces_a_ban_and_others_only_extend_it() {
    let mut table = BanTable::default();
    table.insert(ban("192.0.2.7", BanOrigin::Strikes, 60), 1);
    let left = |table: &BanTable| table.get(&network("192.0.2.7")).map(|ban| ban.time_left().as_secs());
    let shorter = table.insert(ban("192.0.2.7", BanOrigin::Fail2ban, 30), 1);
    assert!(matches!(shorter, Inserted::Kept(kept) if kept.origin == BanOrigin::Strikes));
    assert_eq!(table.insert(ban("192.0.2.7", BanOrigin::Fail2ban, 90), 1), added());
    assert_eq!(left(&table), Some(90));
    assert_eq!(table.insert(ban("192.0.2.7", BanOrigin::Operator, 10), 1), added());
    assert_eq!((left(&table), table.len()), (Some(10), 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_table_rejects_requests_and_replaces_the_strike_ban_that_ends_first() {
    let mut table = BanTable::default();
    table.insert(ban("192.0.2.1", BanOrigin::Operator, 10), 3);
    table.insert(ban("192.0.2.2", BanOrigin::Strikes, 30), 3);
    table.insert(ban("192.0.2.3", BanOrigin::Strikes, 20), 3);
    assert_eq!(table.insert(ban("192.0.2.4", BanOrigin::Operator, 60), 3), Inserted::Full);
    assert_eq!(table.insert(ban("192.0.2.4", BanOrigin::Fail2ban, 60), 3), Inserted::Full);
    let replaced = table.insert(ban("192.0.2.4", BanOrigin::Strikes, 60), 3);
    assert!(matches!(replaced, Inserted::Added { replaced: Some(ban) } if ban.network == network("192.0.2.3")));
    table.insert(ban("192.0.2.2", BanOrigin::Operator, 30), 3);
    table.insert(ban("192.0.2.4", BanOrigin::Operator, 30), 3);
    let full = table.insert(ban("192.0.2.5", BanOrigin::Strikes, 60), 3);
    assert_eq!(full, Inserted::Full, "bans by operators stay");
}

#[tokio::test(start_paused = true)]
async fn ended_bans_do_not_apply_and_are_removed_in_parts() {
    let mut table = BanTable::default();
    for last in 0..=u8::MAX {
        for third in 0..5 {
            table.insert(ban(&format!("10.0.{third}.{last}"), BanOrigin::Operator, 60), usize::MAX);
        }
    }
    table.insert(ban("192.0.2.7", BanOrigin::Operator, 120), usize::MAX);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!bans(&table, "10.0.0.1") && bans(&table, "192.0.2.7"));
    let now = Instant::now();
    assert_eq!([(); 3].map(|()| table.remove_ended(now).len()), [ENDED_AT_ONCE, 280, 0]);
    assert_eq!((table.len(), table.next_end()), (1, Some(now + Duration::from_secs(60))));
}
