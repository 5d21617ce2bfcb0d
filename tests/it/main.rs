//! What ListenerSet promises: one module for each kind of promise, one test for each promise, named like it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that finds no footing should end
#![allow(clippy::print_stderr)] // a test says why it is skipped

/// What the tests share.
mod support;

/// A connection is greeted, its messages are answered in order, and it ends for one known reason.
mod lifecycle;

/// Each peer of a datagram socket is answered from where it asked, in order, and holds up nobody.
mod datagram;

/// Who may come, how many at once and how fast, by the address of the client itself.
mod edge;

/// At its limits a listener takes no more memory than they say.
mod memory;

/// Whoever makes up senders gets nobody flooded, no client forgotten, and no memory.
mod forged;

/// A stop loses nothing that was under way, takes no longer than it may, and says exactly what it cut.
mod drain;

/// A reload stops nothing that stays: no listener, no open connection, and after an error nothing at all.
mod changes;

/// What is counted is what happened, by names that are fixed.
mod metrics;

/// Operators see how it does and change what it does, and nobody else changes anything.
mod admin;

/// The next process takes over from the one before, and nobody notices.
mod upgrade;

/// What the program says of itself, and of what would happen.
mod cli;

/// A person at a terminal talks to a server.
mod terminal;

/// The reference says what the program says.
mod reference;

/// The page for people, in a browser.
mod page;

/// What is packaged is good.
mod packaging;

/// Sockets that the service manager passes are listened on, by name.
mod activation;

/// A service manager knows at every moment how the server does.
mod supervised;

/// A framing finds the same messages however the bytes are cut, and never more than its limit.
mod framing;

/// Any bytes at all: no promise is broken by what nobody thought of.
mod fuzz;

/// Layers stand in a known order, at either seam, and those of tower fit.
mod layers;

/// Whoever stands in front says who the client is, exactly; nobody else is believed, and nobody comes around it.
mod proxy;

/// The compiler's message for a common mistake says what to do.
mod diagnostics;

/// What any task pushes leaves in order, waits in a bounded queue, and holds up nobody else.
mod push;

/// The page of defaults says what the program does.
mod defaults;

/// The house itself: one-way dependencies, small files that say what they are for, nothing left lying about.
mod tidy;

/// TCP and Unix sockets as clients find them, and what is said when one cannot be had.
mod transports;

/// TLS around any transport of connections, as clients find it, and what is said of files that do not fit.
mod tls;

/// A reload gives whoever comes from then on the new certificates, or changes nothing and says why.
mod reload;

/// The examples: each does what it is there to show.
mod examples;
/// The program from outside.
mod program;
/// The README: what it says is so.
mod readme;
