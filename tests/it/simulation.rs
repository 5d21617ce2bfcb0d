//! Many simulated clients and a whole server on a simulated network: in every run, the same promises hold.
//!
//! `SWITCHBOARD_SEED=7 cargo test --test it -- simulation` repeats the run of one seed.

mod client;
mod handler;
mod invariants;
mod plan;
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use plan::Plan;

/// The seeds of a test run.
const SEEDS: Range<u64> = 1..41;

fn chosen_seed() -> Option<u64> {
    let seed = std::env::var("SWITCHBOARD_SEED").ok()?;
    Some(seed.parse().expect("SWITCHBOARD_SEED is a number"))
}

/// The problems of one run, with what repeats it.
fn problems_of(seed: u64) -> Option<String> {
    let run = |length| {
        let (plan, net) = Plan::new(seed);
        let net = net.trace_length(length);
        let problems = match world::run(&plan, &net) {
            Ok(history) => invariants::check(&plan, &history),
            Err(panic) => vec![format!("panic: {panic}")],
        };
        (plan, net, problems)
    };
    let (plan, net, problems) = run(100);
    if problems.is_empty() {
        return None;
    }
    let shown = problems.iter().take(5).map(|problem| format!("- {problem}\n")).collect::<String>();
    // The run is repeated for the events of the client that the first problem names.
    let client = plan.clients.iter().find(|client| problems[0].starts_with(&format!("client {}:", client.number)));
    let events = match client.map(|client| format!(":{} ", client.address.port())) {
        Some(address) => run(usize::MAX)
            .1
            .trace()
            .lines()
            .filter(|line| line.contains(&address))
            .fold(String::new(), |text, line| text + line + "\n"),
        None => net.trace(),
    };
    let Plan { sites, clients, actions, drain, drain_at, is_lossy, longest_delay } = &plan;
    Some(format!(
        "seed {seed}: {} problems\n{shown}\nlisteners: {sites:#?}\n{} clients, commands: {actions:#?}\n{drain:?} at \
         {drain_at:?}, delay up to {longest_delay:?}, lossy: {is_lossy}\n\nthe last events:\n{events}\n\
         SWITCHBOARD_SEED={seed} cargo test --test it -- simulation::many",
        problems.len(),
        clients.len(),
    ))
}

/// Checks seeds on all cores, and returns the problems of the first ones that fail.
fn check(seeds: Range<u64>) -> Vec<String> {
    let (next, failures) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while failures.lock().unwrap().len() < 3 {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let problems = problems_of(seed);
                    failures.lock().unwrap().extend(problems);
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

#[test]
fn many_simulated_clients_get_their_replies_and_leave_nothing_behind() {
    let failures = check(chosen_seed().map_or(SEEDS, |seed| seed..seed + 1));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in chosen_seed().map_or(SEEDS, |seed| seed..seed + 1).take(8) {
        let traces = [(); 2].map(|()| {
            let (plan, net) = Plan::new(seed);
            let net = net.trace_length(usize::MAX);
            let _ = world::run(&plan, &net);
            net.trace()
        });
        let differing = traces[0].lines().zip(traces[1].lines()).position(|(one, other)| one != other);
        if let Some(line) = differing {
            let around =
                |trace: &str| trace.lines().skip(line.saturating_sub(10)).take(15).collect::<Vec<_>>().join("\n");
            panic!("seed {seed}: event {line} differs\n{}\n\n{}", around(&traces[0]), around(&traces[1]));
        }
        assert_eq!(traces[0].len(), traces[1].len(), "seed {seed}");
    }
}

/// `SWITCHBOARD_SEED` is the first seed.
#[test]
#[ignore = "takes a minute"]
fn a_thousand_seeds() {
    let first = chosen_seed().unwrap_or(1000);
    let failures = check(first..first + 1000);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
