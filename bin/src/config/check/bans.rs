//! Checks the times of bans.

use switchboard::settings::{BanSettings, Interval};

use super::config::Check;
use crate::config::tree::path;

impl Check<'_> {
    /// Without the section, strikes lead to no ban, and bans are only in memory.
    pub(super) fn bans(&mut self) -> BanSettings {
        let Some(bans) = self.file.bans.clone() else { return BanSettings::by_hand() };
        let (term, longest) = (path("bans.term"), path("bans.longest"));
        if self.report.is_invalid(&term) || self.report.is_invalid(&longest) {
            return bans;
        }
        if bans.term.is_zero() {
            self.reject(
                &term,
                "\"0s\" is no time; write it like \"1h\", or set bans.strikes = \"0/s\" to ban nobody by strikes",
            );
        } else if bans.longest < bans.term {
            let [shown_term, shown_longest] = [bans.term, bans.longest].map(|time| Interval::from(time).to_string());
            let what = format!(
                "\"{shown_longest}\" is shorter than bans.term, \"{shown_term}\"; raise it, or lower bans.term"
            );
            let key = if self.is_set(&longest) { &longest } else { &term };
            let origin = self.first_origin([&longest, &term]);
            self.report.add(key, what, origin);
        }
        bans
    }
}
