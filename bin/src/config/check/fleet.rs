//! Checks the section of the fleet. Its files are read when the server is built.

use switchboard::settings::FleetSettings;

use super::config::Check;
#[cfg(feature = "fleet")]
use crate::config::tree::path;

#[cfg(feature = "fleet")]
impl Check<'_> {
    /// A fleet needs the address of a server.
    pub(super) fn fleet(&mut self) -> Option<FleetSettings> {
        let settings = self.file.fleet.clone()?;
        let link = path("fleet.link");
        if settings.link.is_none() {
            if !self.report.is_invalid(&link) && !self.report.is_invalid_in(&path("fleet")) {
                let what = "is missing; write it like \"redis://127.0.0.1:6379\"";
                self.report.add(&link, what, self.merged.origin(&path("fleet")));
            }
            return None;
        }
        Some(settings)
    }
}

#[cfg(not(feature = "fleet"))]
impl Check<'_> {
    /// The key is unknown in this build.
    #[expect(clippy::unused_self, reason = "like the function of a build with fleets")]
    pub(super) fn fleet(&mut self) -> Option<FleetSettings> {
        None
    }
}
