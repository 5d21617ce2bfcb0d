//! A connection that drains alone: the signal for it is that of the connection.

use std::fmt;

use super::Inner;
use crate::connection::control_signal::ControlSignal;
use crate::drain::DrainsAlone;

impl DrainsAlone for Inner {
    fn is_draining(&self) -> bool {
        self.control.current() == ControlSignal::Drain
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}
