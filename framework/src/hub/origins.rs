//! What a room has received from other instances, to notice frames that have not arrived.

use std::collections::HashMap;

/// Maximum instances that a room remembers. Above it, the one that has sent the fewest frames is forgotten.
const MAX_ORIGINS: usize = 1_024;

/// Numbers a frame that is published to a room on several instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The instance that has published the frame: a random number of its process.
    pub instance: u64,
    /// Grows when the instance numbers its frames anew.
    pub epoch: u64,
    /// The number of the frame among those of the instance in this room and epoch, from 1.
    pub sequence: u64,
}

/// The last stamp of each instance.
#[derive(Default)]
pub(super) struct Origins(HashMap<u64, Stamp>);

impl Origins {
    pub(super) fn has(&self, instance: u64) -> bool {
        self.0.contains_key(&instance)
    }

    pub(super) fn forget(&mut self, instance: u64) {
        self.0.remove(&instance);
    }

    /// The number of frames that are missing before this stamp; `None` if the stamp is old. `has_frame`: the frame with
    /// this stamp has arrived; otherwise it is missing too. Nothing is missing before the first stamp of an instance:
    /// the room had no member here.
    pub(super) fn receive(&mut self, stamp: Stamp, has_frame: bool) -> Option<u64> {
        let arrived = u64::from(has_frame);
        let hole = match self.0.get(&stamp.instance) {
            None => 0,
            Some(last) if last.epoch > stamp.epoch => return None,
            Some(last) if last.epoch < stamp.epoch => stamp.sequence.saturating_sub(arrived),
            Some(last) if last.sequence >= stamp.sequence => return None,
            Some(last) => stamp.sequence - last.sequence - arrived,
        };
        if self.0.len() >= MAX_ORIGINS && !self.0.contains_key(&stamp.instance) {
            let forgotten = self.0.values().min_by_key(|last| last.sequence).map(|last| last.instance);
            forgotten.and_then(|instance| self.0.remove(&instance));
        }
        self.0.insert(stamp.instance, stamp);
        Some(hole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(instance: u64, epoch: u64, sequence: u64) -> Stamp {
        Stamp { instance, epoch, sequence }
    }

    #[test]
    fn a_hole_in_the_sequence_is_counted_and_a_repeated_stamp_is_not() {
        let mut origins = Origins::default();
        for (stamp, has_frame, expected) in [
            (stamp(1, 0, 10), true, Some(0)), // the room has its first member
            (stamp(1, 0, 11), true, Some(0)),
            (stamp(1, 0, 15), true, Some(3)),
            (stamp(1, 0, 14), true, None),
            (stamp(1, 0, 15), false, None),
            (stamp(1, 0, 17), false, Some(2)),
            (stamp(2, 0, 1), true, Some(0)), // another instance
            (stamp(1, 1, 1), true, Some(0)), // numbered anew
            (stamp(1, 0, 18), true, None),
            (stamp(1, 2, 3), true, Some(2)),
            (stamp(1, 3, 2), false, Some(2)),
        ] {
            assert_eq!(origins.receive(stamp, has_frame), expected, "{stamp:?}");
        }
    }

    #[test]
    fn the_number_of_instances_is_bounded() {
        let mut origins = Origins::default();
        for instance in 0..2 * MAX_ORIGINS as u64 {
            origins.receive(stamp(instance, 0, 1 + instance), true);
        }
        assert_eq!(origins.0.len(), MAX_ORIGINS);
    }
}
