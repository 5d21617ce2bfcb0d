//! The other instances whose hubs are linked with this one, and when each has sent something last.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// An instance that has sent nothing for so long may have lost frames.
const SILENT: Duration = Duration::from_secs(5);
/// An instance that has sent nothing for so long has ended.
const ENDED: Duration = Duration::from_secs(60);
/// Maximum instances. Further ones are not watched.
const MAX_PEERS: usize = 1_024;

#[derive(Default)]
pub(super) struct Peers(HashMap<u64, Peer>);

struct Peer {
    seen: Instant,
    is_silent: bool,
}

/// Instances that were silent for too long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Since now.
    pub(super) silent: Vec<u64>,
    pub(super) ended: Vec<u64>,
}

impl Peers {
    pub(super) fn seen(&mut self, instance: u64) {
        if self.0.len() < MAX_PEERS || self.0.contains_key(&instance) {
            self.0.insert(instance, Peer { seen: Instant::now(), is_silent: false });
        }
    }

    pub(super) fn ended(&mut self, instance: u64) {
        self.0.remove(&instance);
    }

    /// Nothing could be received until now.
    pub(super) fn connected(&mut self) {
        self.0.values_mut().for_each(|peer| peer.seen = Instant::now());
    }

    pub(super) fn missing(&mut self) -> Missing {
        let mut missing = Missing::default();
        self.0.retain(|instance, peer| {
            let silence = peer.seen.elapsed();
            if silence >= ENDED {
                missing.ended.push(*instance);
                return false;
            }
            if silence >= SILENT && !peer.is_silent {
                peer.is_silent = true;
                missing.silent.push(*instance);
            }
            true
        });
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_silent_once_and_then_ended() {
        let mut peers = Peers::default();
        peers.seen(1);
        peers.seen(2);
        tokio::time::advance(SILENT).await;
        peers.seen(2);
        assert_eq!(peers.missing(), Missing { silent: vec![1], ended: vec![] });
        assert_eq!(peers.missing(), Missing::default());
        tokio::time::advance(SILENT).await;
        peers.connected();
        assert_eq!(peers.missing(), Missing::default(), "nobody could be heard");
        peers.ended(2);
        tokio::time::advance(ENDED).await;
        assert_eq!(peers.missing(), Missing { silent: vec![], ended: vec![1] });
        assert_eq!(peers.missing(), Missing::default());
    }
}
