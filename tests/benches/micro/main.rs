//! The pieces of the road of a message, timed one by one: `cargo bench -p switchboard-tests --bench micro`, and after `--` a part
//! of a name to time these alone.
//!
//! The rates are of messages: 10 Mitem/s are 100 ns each. Times depend on the machine and on who else uses it, so
//! nothing here passes or fails; the guard of the same paths, which counts instead, is the bench `counts`.
#![allow(clippy::unwrap_used)] // a bench that finds no footing should end

mod edge;
mod framings;
mod paths;

fn main() {
    divan::main();
}
