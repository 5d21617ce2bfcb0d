//! Without the Cargo feature `script`, no connection is recorded.

use crate::driver::stream::framed_connection::FramedConnection;
use crate::framing::{BoxFraming, Framing};

impl<F: Framing> FramedConnection<F> {
    /// The same connection with another framing.
    pub(super) fn with_other_framing(
        self,
        framing: &BoxFraming<F::In, F::Out>,
        frame_limit: usize,
    ) -> FramedConnection<BoxFraming<F::In, F::Out>> {
        self.with_io(|io| io.with_framing(framing, frame_limit))
    }
}
