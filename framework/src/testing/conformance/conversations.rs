//! The conversations that a check uses: the one of the author, and random ones.

use std::collections::HashSet;

use bytes::Bytes;

use crate::testing::conformance::random::Random;

/// Conversations besides the one of the author.
const MAX_CONVERSATIONS: usize = 8;
/// Messages of a random conversation.
const MAX_MESSAGES: usize = 6;

/// Makes a conversation.
pub(super) type Generate = dyn Fn(&mut Random) -> Vec<Bytes>;

/// The conversation of the author, and others for so many cases.
pub(super) fn conversations(
    messages: &[Bytes],
    generate: Option<&Generate>,
    cases: usize,
    are_datagrams: bool,
    random: &mut Random,
) -> Vec<Vec<Bytes>> {
    let mut conversations = vec![messages.to_vec()];
    for _ in 0..MAX_CONVERSATIONS.min(cases / 8) {
        conversations.push(match generate {
            Some(generate) => generate(random),
            // Datagrams in another order are the matter of one law.
            None if are_datagrams => messages.iter().filter(|_| random.below(2) == 0).cloned().collect(),
            None => (0..1 + random.below(MAX_MESSAGES)).map(|_| random.choose(messages).clone()).collect(),
        });
    }
    let mut seen = HashSet::new();
    conversations.retain(|messages| !messages.is_empty() && seen.insert(messages.clone()));
    conversations
}
