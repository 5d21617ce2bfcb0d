//! Runs a hot path under callgrind and counts instructions, allocations, atomics and clock reads per message.
//!
//! Each path runs twice, with a different number of messages. The difference between the runs excludes program startup.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use hot::{Figure, HotPath};

/// Functions that allocate memory.
const ALLOCATE: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];
/// Parts of the names of the C library's functions for the heap. Their instructions do not count: they depend on the
/// state of the heap, so on what ran before, and differ by some percent even between two directories.
const HEAP: [&str; 5] = ["alloc", "free", "memalign", "chunk", "trim"];
/// Function that reads the clock.
const CLOCK: &str = "clock_gettime";
/// Length of the recorded caller chains of these functions.
const CALLERS: usize = 7;
/// Additional batches of the long run: a multiple of the budgets per turn of the driver and of the runtime.
const EXTRA_BATCHES: usize = 32 * 61;
/// The same for paths with many messages per batch.
const EXTRA_LARGE_BATCHES: usize = 61;

/// Counts by function; allocations and clock reads by caller chain.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) instructions: BTreeMap<String, f64>,
    pub(crate) allocations: BTreeMap<String, f64>,
    pub(crate) atomics: BTreeMap<String, f64>,
    pub(crate) clock_reads: BTreeMap<String, f64>,
}

/// Addresses of the atomic instructions of this program.
pub(crate) struct Atomics(HashSet<u64>);

impl Atomics {
    /// Reads them from the disassembly. On x86: instructions with a lock prefix, and `xchg` with a memory operand.
    pub(crate) fn of_this_program() -> Self {
        let mut objdump = Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(env::current_exe().expect("a path"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("objdump is installed (apt-get install binutils)");
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

impl Counts {
    /// Counts per message of a path.
    pub(crate) fn of(path: HotPath, atomics: &Atomics) -> Self {
        let extra = if path.depth() > 16 { EXTRA_LARGE_BATCHES } else { EXTRA_BATCHES };
        let (short, long) = (run(path, 16, atomics), run(path, 16 + extra, atomics));
        let messages = (extra * path.depth()) as f64;
        let per_message = |long: BTreeMap<String, f64>, short: &BTreeMap<String, f64>| {
            let counts = long.into_iter().map(|(name, count)| {
                let before = short.get(&name).copied().unwrap_or_default();
                (name, (count - before) / messages)
            });
            counts.collect()
        };
        Self {
            instructions: per_message(long.instructions, &short.instructions),
            allocations: per_message(long.allocations, &short.allocations),
            atomics: per_message(long.atomics, &short.atomics),
            clock_reads: per_message(long.clock_reads, &short.clock_reads),
        }
    }

    /// The sums, rounded to the digits that are reproducible.
    pub(crate) fn figure(&self) -> Figure {
        let sum = |counts: &BTreeMap<String, f64>, digits: f64| {
            (counts.values().sum::<f64>() * digits).round() / digits + 0.0 // Adding zero turns -0 into 0.
        };
        Figure {
            instructions: sum(&self.instructions, 1.0),
            allocations: sum(&self.allocations, 1000.0),
            atomics: sum(&self.atomics, 100.0),
            clock_reads: sum(&self.clock_reads, 100.0),
        }
    }
}

fn run(path: HotPath, batches: usize, atomics: &Atomics) -> Counts {
    let out = env::temp_dir().join(format!("switchboard-counts-{}-{path}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"])
        .args(ALLOCATE.iter().chain([&CLOCK]).map(|name| format!("--separate-callers{CALLERS}={name}*")))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("a path"))
        .args(["--run", path.name, &batches.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("valgrind is installed (apt-get install valgrind)");
    assert!(status.success(), "{path} fails under valgrind");
    let counts = read(&out, atomics);
    fs::remove_file(&out).expect("callgrind wrote its output");
    counts
}

/// Parses callgrind's output format. `fn=` and `ob=` set the function and object of the following lines `address line
/// cost`. The line after `calls=count …` is the inclusive cost of the call, which is skipped.
fn read(file: &Path, atomics: &Atomics) -> Counts {
    let own_binary = env::current_exe().expect("a path");
    let text = fs::read_to_string(file).expect("callgrind wrote its output");
    let mut counts = Counts::default();
    let (mut function, mut callee, mut is_own_code, mut is_inclusive) = ("", "", false, false);
    let mut costs: HashMap<&str, (u64, u64)> = HashMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if let Some(object) = line.strip_prefix("ob=") {
            is_own_code = Path::new(object) == own_binary;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count: f64 = calls.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
            let (name, callers) = callee.split_once('\'').unwrap_or((callee, ""));
            if ALLOCATE.contains(&name) {
                *counts.allocations.entry(callers.to_owned()).or_default() += count;
            } else if name.split('@').next() == Some(CLOCK) {
                *counts.clock_reads.entry(callers.to_owned()).or_default() += count;
            }
            is_inclusive = true;
        } else if let Some(position) = line.strip_prefix("0x") {
            if std::mem::take(&mut is_inclusive) {
                continue;
            }
            let mut words = position.split(' ');
            let address = words.next().and_then(|address| u64::from_str_radix(address, 16).ok()).unwrap_or_default();
            let count: u64 = words.next_back().and_then(|count| count.parse().ok()).unwrap_or_default();
            let (instructions, atomic) = costs.entry(function).or_default();
            *instructions += count;
            if is_own_code && atomics.0.contains(&address) {
                *atomic += count;
            }
        }
    }
    for (function, (instructions, atomic)) in costs {
        let name = function.split('\'').next().unwrap_or(function).to_owned();
        let is_heap = !name.contains("::") && HEAP.iter().any(|part| name.contains(part));
        if !is_heap {
            *counts.instructions.entry(name.clone()).or_default() += instructions as f64;
        }
        *counts.atomics.entry(name).or_default() += atomic as f64;
    }
    counts
}
