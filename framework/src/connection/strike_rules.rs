//! Whose strikes a listener counts.

use std::fmt;

use crate::bans::Bans;
use crate::settings::Networks;

/// The bans to which the strikes of the clients of one listener lead, and who gets none.
#[derive(Clone, Default)]
pub(crate) struct StrikeRules {
    pub(crate) bans: Bans,
    /// The networks of `access.allow`, whose clients get no strikes.
    pub(crate) exempt: Networks,
    /// Every connection must begin with a PROXY header.
    pub(crate) has_proxy: bool,
}

impl fmt::Debug for StrikeRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrikeRules").field("has_proxy", &self.has_proxy).finish_non_exhaustive()
    }
}
