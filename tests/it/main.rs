//! Integration tests: one module per group of guarantees, one test per guarantee.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed setup step fails the test
#![allow(clippy::print_stderr)] // a skipped test prints the reason

/// Shared test helpers.
mod support;

/// The life of a connection: greeting, replies in order, and exactly one close reason.
mod lifecycle;

/// Datagrams: each peer gets its replies in order, from the address it sent to, and delays no other peer.
mod datagram;

/// Datagrams with a forged source or a broadcast address, which are difficult to answer.
mod datagram_faults;

/// Datagrams that are received and sent together keep their order, and an error concerns only its own datagram.
mod datagram_batches;

/// Unix datagrams: a reply reaches only the client that sent the request, and no client stops the replies to others.
mod unixgram;

/// Admission by client address: access lists, connection limits and rates.
mod edge;

/// Bans and strikes: by effective address, on streams and datagrams, for new and open connections.
mod bans;

/// Bans from outside: commands, the admin endpoint, restart, SIGKILL, upgrade, and fail2ban.
mod bans_program;

/// Unknown clients cannot make handshakes expensive, and cannot keep other clients out of them.
mod handshake_faults;

/// Clients cannot fill the log, every suppressed or dropped line is counted, and lines are never mixed.
mod log_faults;

/// A program on the library prints its log after one call.
mod logging;

/// A listener at its limits stays within the memory that the limits allow.
mod memory;

/// Spoofed source addresses: no amplification, no evicted clients, and bounded memory.
mod forged;

/// Many simulated clients and a whole server on a simulated network.
mod simulation;

/// A paused or starved process closes no active connection.
mod paused;

/// Start and stop of handlers: each runs once, and a failure has its documented outcome.
mod start_stop;

/// Start and stop of handlers in a program: signals, reload, upgrade, exit status and metrics.
mod start_stop_program;

/// Drain (graceful shutdown): no reply is lost, the deadline holds, and aborted connections are counted.
mod drain;

/// Evacuation (partial drain): a share of the connections closes at a rate, idle ones first.
mod evacuation;

/// Reload by difference: unchanged listeners and open connections continue, and a rejected reload changes nothing.
mod changes;

/// Metrics have fixed names and correct values.
mod metrics;

/// The admin endpoint shows the state, runs commands, and protects both.
mod admin;

/// The admin endpoint under attack and under load: it stays reachable, and a drain never waits.
mod admin_faults;

/// Upgrade: the new process takes over the sockets, and no client notices.
mod upgrade;

/// The counters over upgrades: they never decrease, and their sums are exact when the old process has ended.
mod upgrade_counters;

/// An upgrade whose new program fails leaves the old process serving, and no other process behind.
mod failed_upgrades;

/// What a process inherits, what it passes on in an upgrade, and what both accept from outside.
mod process_faults;

/// Subcommands that print: schema, man page, completions, check and diff.
mod cli;

/// Commands for a running server, which talk to its admin endpoint.
mod commands;

/// The live view of a running server in terminals of different widths.
mod top;

/// The end of a connection: the last message of the handler, a close by a task, and timeouts by phase.
mod closing;

/// Configuration: files without keys, inherited variables, errors without secrets, escapes and permissions.
mod config_faults;

/// Changes of the protocol of an open connection: framing and TLS.
mod switch;

/// The interactive client in a terminal.
mod terminal;

/// Certificates of a running server: what a reload changes, and which of them expire soon.
mod certificates;

/// The client: TLS, all addresses of a host, hex output, and errors that name what helps.
mod connect;

/// Conversation scripts against servers of this project and of others.
mod scripts;

/// The load generator: results, errors by kind, and a run that is interrupted.
mod bench;

/// The reference page matches the output of the program.
mod reference;

/// The dashboard in a browser.
mod page;

/// A browser that a test controls.
mod browser;

/// The dashboard shows what happened before it was opened, one page per listener, and what a command will change.
mod page_views;

/// The history of the server and the other routes behind the dashboard.
mod history;

/// The packaged examples, systemd units and files are valid.
mod packaging;

/// The Kubernetes manifests are valid, fit the program and the image, and their scripts work.
mod kubernetes;

/// Three machines behind HAProxy, as network namespaces.
mod machines;

/// Three instances behind HAProxy, with the shipped configuration: a rolling restart refuses no client.
mod balancer;

/// A fleet of three machines behind HAProxy: shared limits, a rolling upgrade, an evacuation and a ban.
mod fleet_machines;

/// The alerts and the dashboard match the declared metrics, and Prometheus evaluates every expression.
mod monitoring;

/// The operator's guide shows what the program prints.
mod operators_guide;

/// Packages of the crates, the image and the unit fit what registries, runtimes and service managers expect.
mod conventions;

/// The handler author's guide is complete and its commands work.
mod guide;

/// Socket activation: the server listens on the sockets that the service manager passes, by name.
mod activation;

/// The service manager receives every state change and the watchdog notifications.
mod supervised;

/// A framing finds the same messages for any read sizes and never exceeds its limit.
mod framing;

/// The fuzz targets hold for the corpus and for mutations of it.
mod fuzz;

/// Later replies: their order, and what waits for them.
mod later;

/// Layers have a defined order at both seams, and tower layers fit.
mod layers;

/// The PROXY protocol: only trusted proxies set the client address, and direct clients are rejected.
mod proxy;

/// Compiler messages for common mistakes name the fix.
mod diagnostics;

/// Pushed messages keep their order, wait in a bounded queue, and delay no other connection.
mod push;

/// Rooms: all members get the frames in one order or a gap, and many members delay nobody.
mod hub;

/// The page of defaults matches the program.
mod defaults;

/// The source tree: one-way dependencies, short files, standard names.
mod tidy;

/// The message path in the README matches the call stack inside a handler.
mod message_path;

/// The flight recorder: files of failed connections, and their replay.
mod recorder;

/// Recordings that end inside a message or have long messages, and what a replay compares.
mod recorder_faults;

/// The live tap: both directions of a connection, without secrets, bounded and logged.
mod tap;

/// Recorded conversations in Wireshark.
mod pcap;

/// A third party registers a framing, a layer and a transport by name; a setting is one field.
mod extension;

/// Errors with the line of a wrong value, causes of failed starts, `init`, and lines for the journal.
mod hints;
/// No two files of a crate import each other.
mod imports;

/// TCP and Unix sockets, and the errors for addresses that cannot be bound.
mod transports;

/// Sockets in hostile or changing surroundings: replaced paths, several addresses, lost paths and addresses.
mod socket_faults;

/// Several instances share limits through Redis.
mod fleet;

/// A fleet whose server is wrong, gone, paused, empty, read-only or full.
mod fleet_faults;

/// Hubs of several instances: each member gets each frame in order, or a gap, through every fault of the link.
mod fleet_hub;

/// The server of a fleet fails over to a replica, and its user has only the permissions that the guide names.
mod fleet_failover;

/// Bans of several instances: all have the same ones, and they converge after every fault of the link.
mod fleet_bans;

/// TLS over every stream transport, and the errors for invalid files.
mod tls;

/// TLS on request (STARTTLS): plaintext first, then a handshake under the limits of every other handshake.
mod starttls;

/// Certificate reload: new connections get the new certificates, and a rejected reload changes nothing.
mod reload;

/// The conformance kit: correct handlers keep all laws.
mod conformance;

/// The conformance kit: broken handlers and framings break the law that names their fault.
mod conformance_zoo;

/// The test kit for handlers: it behaves like the network, and each failure explains itself.
mod testing;

/// Each example does what it demonstrates.
mod examples;
/// The built binary, tested from outside.
mod program;
/// The README matches the program.
mod readme;
