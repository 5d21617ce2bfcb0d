//! A hot path under callgrind: what happened, how often, and on whose behalf.
//!
//! The same path is run twice, once longer than the other time; the difference is what its messages cost, and nothing of the
//! program's start is in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::hot::{Figure, HotPath};

/// How the allocator is asked for memory.
const ALLOCATE: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];
/// How the clock is read.
const CLOCK: &str = "clock_gettime";
/// How many callers of these are told apart.
const CALLERS: usize = 7;
/// How many batches more the long run has: a multiple of both the driver's turns and the runtime's.
const MORE: usize = 32 * 61;
/// The same for paths that bring many messages at once.
const MORE_OF_MANY: usize = 61;

/// What was counted: by function, or for allocations and the clock by the chain of callers.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) instructions: BTreeMap<String, f64>,
    pub(crate) allocations: BTreeMap<String, f64>,
    pub(crate) atomics: BTreeMap<String, f64>,
    pub(crate) clock_reads: BTreeMap<String, f64>,
}

/// The addresses of the atomic instructions of this program.
pub(crate) struct Atomics(HashSet<u64>);

impl Atomics {
    /// Reads them from the disassembly. With x86 they are those with a lock prefix, and any exchange with memory.
    pub(crate) fn of_this_program() -> Self {
        let mut objdump = Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(env::current_exe().expect("a path"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("objdump is there (apt-get install binutils)");
        let lines = BufReader::new(objdump.stdout.take().expect("a pipe")).lines();
        let addresses = lines.map_while(Result::ok).filter_map(|line| {
            let (address, instruction) = line.split_once(':')?;
            let mut words = instruction.split_whitespace();
            let is_atomic = match words.next()? {
                "lock" => true,
                "xchg" => words.next()?.contains('('),
                _ => false,
            };
            is_atomic.then(|| u64::from_str_radix(address.trim(), 16).ok()).flatten()
        });
        let addresses = addresses.collect();
        assert!(objdump.wait().is_ok_and(|status| status.success()), "objdump reads this program");
        Self(addresses)
    }
}

impl Counted {
    /// What one message of a path costs.
    pub(crate) fn of(path: HotPath, atomics: &Atomics) -> Self {
        let more = if path.depth() > 16 { MORE_OF_MANY } else { MORE };
        let (short, long) = (run(path, 16, atomics), run(path, 16 + more, atomics));
        let messages = (more * path.depth()) as f64;
        let each = |long: BTreeMap<String, f64>, short: &BTreeMap<String, f64>| {
            let each = long.into_iter().map(|(name, count)| {
                let before = short.get(&name).copied().unwrap_or_default();
                (name, (count - before) / messages)
            });
            each.collect()
        };
        Self {
            instructions: each(long.instructions, &short.instructions),
            allocations: each(long.allocations, &short.allocations),
            atomics: each(long.atomics, &short.atomics),
            clock_reads: each(long.clock_reads, &short.clock_reads),
        }
    }

    /// The sums, rounded to what can be relied on.
    pub(crate) fn figure(&self) -> Figure {
        let sum = |counts: &BTreeMap<String, f64>, digits: f64| {
            (counts.values().sum::<f64>() * digits).round() / digits + 0.0 // not -0
        };
        Figure {
            instructions: sum(&self.instructions, 1.0),
            allocations: sum(&self.allocations, 1000.0),
            atomics: sum(&self.atomics, 100.0),
            clock_reads: sum(&self.clock_reads, 100.0),
        }
    }
}

fn run(path: HotPath, batches: usize, atomics: &Atomics) -> Counted {
    let out = env::temp_dir().join(format!("switchboard-counts-{}-{path}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"])
        .args(ALLOCATE.iter().chain([&CLOCK]).map(|name| format!("--separate-callers{CALLERS}={name}*")))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("a path"))
        .args(["--run", path.name, &batches.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("valgrind is there (apt-get install valgrind)");
    assert!(status.success(), "{path} does not run under valgrind");
    let counted = read(&out, atomics);
    fs::remove_file(&out).expect("it is there");
    counted
}

/// Reads callgrind's format: `fn=` and `ob=` say where the lines of cost that follow belong, `address line cost`; after
/// `calls=count …` stands a line with what the call cost inclusively, which is told again where it arose.
fn read(file: &Path, atomics: &Atomics) -> Counted {
    let me = env::current_exe().expect("a path");
    let text = fs::read_to_string(file).expect("callgrind has written it");
    let mut counted = Counted::default();
    let (mut function, mut callee, mut is_mine, mut is_inclusive) = ("", "", false, false);
    let mut shares: HashMap<&str, (u64, u64)> = HashMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if let Some(object) = line.strip_prefix("ob=") {
            is_mine = Path::new(object) == me;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count: f64 = calls.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
            let (name, callers) = callee.split_once('\'').unwrap_or((callee, ""));
            if ALLOCATE.contains(&name) {
                *counted.allocations.entry(callers.to_owned()).or_default() += count;
            } else if name.split('@').next() == Some(CLOCK) {
                *counted.clock_reads.entry(callers.to_owned()).or_default() += count;
            }
            is_inclusive = true;
        } else if let Some(position) = line.strip_prefix("0x") {
            if std::mem::take(&mut is_inclusive) {
                continue;
            }
            let mut words = position.split(' ');
            let address = words.next().and_then(|address| u64::from_str_radix(address, 16).ok()).unwrap_or_default();
            let count: u64 = words.next_back().and_then(|count| count.parse().ok()).unwrap_or_default();
            let (instructions, atomic) = shares.entry(function).or_default();
            *instructions += count;
            if is_mine && atomics.0.contains(&address) {
                *atomic += count;
            }
        }
    }
    for (function, (instructions, atomic)) in shares {
        let name = function.split('\'').next().unwrap_or(function).to_owned();
        *counted.instructions.entry(name.clone()).or_default() += instructions as f64;
        *counted.atomics.entry(name).or_default() += atomic as f64;
    }
    counted
}
