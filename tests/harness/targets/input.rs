//! Reads parameters from the front of a fuzz input. Missing bytes are zero, so every input is valid.

/// The rest of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub(super) fn byte(&mut self) -> u8 {
        self.some(1).first().copied().unwrap_or(0)
    }

    /// The next bytes, or fewer at the end of the input.
    pub(super) fn some(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A message limit, mostly small so that messages reach it.
    pub(super) fn limit(&mut self) -> usize {
        match self.byte() {
            byte @ 0..=191 => usize::from(byte),
            byte => usize::from(byte) * 64,
        }
    }
}
