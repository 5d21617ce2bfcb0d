//! What members read that are in time, behind, or excluded.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

/// Reads to the end: frames as numbers, gaps as `-missed`, an unknown gap as `i64::MIN`.
fn read(cursor: &mut Cursor, ring: &Ring<i64>, excluded: &AtomicU64) -> Vec<i64> {
    std::iter::from_fn(|| match cursor.read(ring, u64::MAX, excluded) {
        Read::Frame(frame) => Some(frame),
        Read::Gap(missed) if missed.number() == 0 => Some(i64::MIN),
        Read::Gap(missed) => Some(-(missed.number() as i64)),
        Read::Empty => None,
    })
    .collect()
}

#[test]
fn a_member_behind_the_ring_reads_what_it_has_missed_and_then_the_rest() {
    let (mut ring, none) = (Ring::default(), AtomicU64::new(0));
    ring.push(1, None, 3);
    let mut cursor = ring.cursor(7);
    assert_eq!(read(&mut cursor, &ring, &none), [0_i64; 0]);
    for frame in 2..=6 {
        ring.push(frame, None, 3);
    }
    assert_eq!(read(&mut cursor, &ring, &none), [-2, 4, 5, 6]);
    assert_eq!(read(&mut cursor, &ring, &none), [0_i64; 0]);
    assert_eq!((ring.start(), ring.end(), cursor.entries()), (3, 6, 6));
}

#[test]
fn frames_that_exclude_the_member_are_not_read_and_not_missed() {
    let (mut ring, excluded) = (Ring::default(), AtomicU64::new(0));
    let mut cursor = ring.cursor(7);
    let publish = |ring: &mut Ring<i64>, frame, except| {
        excluded.fetch_add(u64::from(except == Some(7)), SeqCst);
        ring.push(frame, except, 3);
    };
    for frame in 1..=4 {
        publish(&mut ring, frame, Some(7));
    }
    publish(&mut ring, 5, Some(8));
    assert_eq!(read(&mut cursor, &ring, &excluded), [5]);
    for (frame, except) in [(6, Some(7)), (7, None), (8, Some(7)), (9, None), (10, Some(7)), (11, None)] {
        publish(&mut ring, frame, except);
    }
    assert_eq!(read(&mut cursor, &ring, &excluded), [-1, 9, 11]);
    for frame in 12..=20 {
        publish(&mut ring, frame, Some(7));
    }
    assert_eq!(read(&mut cursor, &ring, &excluded), [0_i64; 0]);
}

#[test]
fn gaps_of_the_link_keep_their_place_and_add_up_when_they_are_replaced() {
    let (mut ring, none) = (Ring::default(), AtomicU64::new(0));
    let (mut fast, mut slow) = (ring.cursor(1), ring.cursor(2));
    ring.push(1, None, 3);
    ring.push_gap(Missed::new(5), 3);
    ring.push(2, None, 3);
    assert_eq!(read(&mut fast, &ring, &none), [1, -5, 2]);
    ring.push(3, None, 3);
    ring.push(4, None, 3);
    assert_eq!(read(&mut slow, &ring, &none), [-6, 2, 3, 4]);
    ring.push_gap(Missed::new(0), 3);
    assert_eq!(read(&mut fast, &ring, &none), [3, 4, i64::MIN]);
    for frame in 5..=7 {
        ring.push(frame, None, 3);
    }
    assert_eq!(read(&mut fast, &ring, &none), [5, 6, 7]);
    assert_eq!(read(&mut slow, &ring, &none), [i64::MIN, 5, 6, 7]);
}

#[test]
fn a_gap_of_an_impossible_size_has_an_unknown_number() {
    let (mut ring, none) = (Ring::default(), AtomicU64::new(0));
    let mut cursor = ring.cursor(1);
    ring.push_gap(Missed::new(u64::MAX), 1);
    ring.push_gap(Missed::new(u64::MAX), 1);
    ring.push(1, None, 1);
    let Read::Gap(missed) = cursor.read(&ring, u64::MAX, &none) else { panic!("a gap is expected") };
    assert_eq!(missed.number(), 0);
    assert!(matches!(cursor.read(&ring, u64::MAX, &none), Read::Frame(1)));
}

#[test]
fn a_member_that_ends_at_an_entry_reads_nothing_behind_it() {
    let (mut ring, excluded) = (Ring::default(), AtomicU64::new(1));
    let mut cursor = ring.cursor(7);
    ring.push(1, None, 3);
    ring.push(2, Some(7), 3);
    let end = ring.end();
    ring.push(3, None, 3);
    assert!(matches!(cursor.read(&ring, end, &excluded), Read::Frame(1)));
    assert!(matches!(cursor.read(&ring, end, &excluded), Read::Empty));
    ring.push(4, None, 3);
    ring.push(5, None, 3);
    assert!(matches!(cursor.read(&ring, end, &excluded), Read::Empty));
}
