//! The conformance kit: checks that a handler cannot be broken by the network, by other clients, or by the server.
//!
//! The author provides messages. The kit compares runs with each other, so it needs no expected replies: the same
//! messages, cut differently, sent together, or interleaved with those of another client, must get the same replies.
//! What the server does to a connection must end in a close reason, with one call of `close`, and leave nothing.
//! [`Law`] lists all rules.
//!
//! ```
//! use switchboard::prelude::*;
//! use switchboard::testing;
//!
//! /// Answers in capitals.
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type State = ();
//!
//!     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
//!         Ok(Reply::send(message.to_ascii_uppercase()))
//!     }
//! }
//!
//! // In a test:
//! testing::conformance(|| Shout).framing(Lines::default()).messages(["hello", "", "x"]).check();
//! ```

mod checker;
mod conversations;
mod exchange;
mod failure;
mod framing;
mod law;
mod laws;
mod probe;
mod random;
mod record;
mod reference;
mod report;
mod run;
mod session;
mod shrink;
mod subject;
mod tasks;

pub use framing::{ProbeCodec, ProbeFraming};
pub use law::Law;
pub use probe::Probe;
pub use random::Random;
pub use report::Report;

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Encoder;

use crate::error::BoxError;
use crate::framing::{Framing, Raw};
use crate::handler::{Handler, HandlerLayer, IntoFrame};
use crate::server::Server;
use crate::testing::conformance::checker::Checker;
use crate::testing::conformance::conversations::{Generate, conversations};
use crate::testing::conformance::shrink::Case;
use crate::testing::conformance::subject::{Normalise, Tested};

/// Cases of each law, if the test sets no other number.
const CASES: usize = 100;
/// The seed, if neither the test nor the environment sets one.
const SEED: u64 = 1;
/// The variable with the seed.
const SEED_VARIABLE: &str = "SWITCHBOARD_SEED";

type Unchanged<F> = fn(Server<ProbeFraming<F>>) -> Server<ProbeFraming<F>>;

/// A check of a handler: see [`conformance`].
#[must_use = "nothing is checked until check or run is called"]
pub struct Conformance<M, F: Framing = Raw, S = Unchanged<F>> {
    handler: M,
    framing: Arc<F>,
    change: S,
    plan: Plan,
}

/// What is checked.
struct Plan {
    messages: Vec<Bytes>,
    generate: Option<Box<Generate>>,
    normalise: Option<Normalise>,
    waived: HashMap<Law, &'static str>,
    cases: usize,
    seed: u64,
    is_datagram: bool,
    replay: Option<(Law, Case)>,
}

/// Checks a handler against the [laws](Law). `handler` makes a new one for each run.
///
/// # Panics
///
/// The variable `SWITCHBOARD_SEED` is not a number.
///
/// ```
/// use switchboard::prelude::*;
/// use switchboard::testing::{self, Law};
///
/// let echo = || handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let report = testing::conformance(echo)
///     .framing(Lines::default())
///     .messages(["hello", "", "x"])
///     .waive(Law::TwoAtOnce, "an example of a reason")
///     .cases(20)
///     .run();
/// assert!(report.broken().is_empty());
/// assert!(report.to_string().contains("two_at_once  waived: an example of a reason"));
/// ```
pub fn conformance<M>(handler: M) -> Conformance<M> {
    let seed = std::env::var(SEED_VARIABLE).ok().map(|seed| {
        seed.parse()
            .unwrap_or_else(|_| panic!("{SEED_VARIABLE} is {seed:?}; set it to the number that a failure shows"))
    });
    Conformance {
        handler,
        framing: Arc::default(),
        change: |server| server,
        plan: Plan {
            messages: Vec::new(),
            generate: None,
            normalise: None,
            waived: HashMap::new(),
            cases: CASES,
            seed: seed.unwrap_or(SEED),
            is_datagram: false,
            replay: None,
        },
    }
}

impl<M> Conformance<M> {
    /// Sets the framing, before the messages. The default is [`Raw`], whose messages have no boundaries: waive
    /// [`Law::Cuts`] with it, and mostly [`Law::Pipelining`].
    pub fn framing<F: Framing>(self, framing: F) -> Conformance<M, F> {
        let Self { handler, plan, .. } = self;
        Conformance { handler, framing: Arc::new(framing), change: |server| server, plan }
    }
}

impl<M, F: Framing, S> Conformance<M, F, S> {
    /// Changes any setting of the server: limits, timeouts, layers …
    pub fn set<S2, L>(self, change: S2) -> Conformance<M, F, S2>
    where
        S2: Fn(Server<ProbeFraming<F>>) -> Server<ProbeFraming<F>, L>,
    {
        let Self { handler, framing, plan, .. } = self;
        Conformance { handler, framing, change, plan }
    }

    /// Sets the messages of the client, in their order. The framing encodes them.
    ///
    /// # Panics
    ///
    /// The framing cannot encode a message.
    pub fn messages(mut self, messages: impl IntoIterator<Item: IntoFrame<F::Out>>) -> Self {
        let encode = |message: F::Out| {
            let mut buffer = BytesMut::new();
            let encoded = self.framing.codec(usize::MAX).encode(message, &mut buffer).map_err(Into::<BoxError>::into);
            encoded.unwrap_or_else(|error| panic!("the framing cannot encode a message: {error}"));
            buffer.freeze()
        };
        self.plan.messages = messages.into_iter().map(|message| encode(message.into_frame())).collect();
        self
    }

    /// Sets the messages of the client as the bytes that it sends: for a framing whose requests and replies differ.
    pub fn encoded(mut self, messages: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        self.plan.messages = messages.into_iter().map(|message| Bytes::copy_from_slice(message.as_ref())).collect();
        self
    }

    /// Sets a function that makes further conversations, as the bytes of each message. Without one, the kit chooses
    /// from the messages at random.
    pub fn generate(mut self, generate: impl Fn(&mut Random) -> Vec<Bytes> + 'static) -> Self {
        self.plan.generate = Some(Box::new(generate));
        self
    }

    /// Changes each reply before it is compared: removes a time or a random number.
    pub fn normalise(mut self, normalise: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.plan.normalise = Some(Arc::new(normalise));
        self
    }

    /// Does not check a law, and does not assume it for the others. The report shows the reason.
    ///
    /// Without [`Law::ReplyOrder`], replies are compared without their order: for replies with request ids.
    pub fn waive(mut self, law: Law, reason: &'static str) -> Self {
        self.plan.waived.insert(law, reason);
        self
    }

    /// Checks the laws of datagrams instead of those of connections. Each message is a datagram. The peers are
    /// validated, so the limit of `limits.amplification` does not apply.
    pub fn datagrams(mut self) -> Self {
        self.plan.is_datagram = true;
        self
    }

    /// Sets the largest number of cases of each law. The default is 100.
    pub fn cases(mut self, cases: usize) -> Self {
        self.plan.cases = cases.max(1);
        self
    }

    /// Sets the seed of the random cases. The default is fixed, so that a test is the same every time; the variable
    /// `SWITCHBOARD_SEED` sets another one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// Checks one case only, as a failure prints it.
    pub fn replay(
        self,
        law: Law,
        messages: impl IntoIterator<Item: AsRef<[u8]>>,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut this = self.encoded(messages);
        let case = Case { messages: this.plan.messages.clone(), numbers: numbers.into_iter().collect() };
        this.plan.replay = Some((law, case));
        this
    }

    /// Checks all laws.
    ///
    /// # Panics
    ///
    /// A law does not hold. The text shows the smallest case that was found, as a script and as a test.
    pub fn check<H, L>(self)
    where
        M: Fn() -> H,
        H: Handler<F::In, F::Out>,
        S: Fn(Server<ProbeFraming<F>>) -> Server<ProbeFraming<F>, L>,
        L: HandlerLayer<Probe<H>, F::In, F::Out>,
    {
        let report = self.run();
        assert!(report.broken().is_empty(), "{}\n\n{report}", report.failures());
    }

    /// Checks all laws, and returns the result.
    pub fn run<H, L>(self) -> Report
    where
        M: Fn() -> H,
        H: Handler<F::In, F::Out>,
        S: Fn(Server<ProbeFraming<F>>) -> Server<ProbeFraming<F>, L>,
        L: HandlerLayer<Probe<H>, F::In, F::Out>,
    {
        let Self { handler, framing, change, plan } = self;
        assert!(!plan.messages.is_empty(), "there are no messages: use messages or encoded");
        let (generate, random) = (plan.generate.as_deref(), &mut Random::new(plan.seed));
        let conversations = conversations(&plan.messages, generate, plan.cases, plan.is_datagram, random);
        let tested = Tested {
            handler: &handler,
            framing,
            change: &change,
            normalise: plan.normalise,
            is_unordered: plan.waived.contains_key(&Law::ReplyOrder),
            is_datagram: plan.is_datagram,
        };
        let checker = Checker {
            subject: &tested,
            handler: type_name::<H>(),
            framing: type_name::<F>(),
            conversations,
            waived: plan.waived,
            cases: plan.cases,
            seed: plan.seed,
            laws: Law::ALL.into_iter().filter(|law| law.concerns(plan.is_datagram)).collect(),
            references: HashMap::new(),
        };
        match plan.replay {
            Some((law, case)) => checker.replay(law, case),
            None => checker.run(),
        }
    }
}

impl<M, F: Framing, S> fmt::Debug for Conformance<M, F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conformance").field("messages", &self.plan.messages).finish_non_exhaustive()
    }
}
