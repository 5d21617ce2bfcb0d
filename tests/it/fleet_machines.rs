//! A fleet of three machines behind HAProxy with the shipped configuration: shared limits while Redis fails in every
//! way, a rolling upgrade, an evacuation and a ban.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use harness::Signal;

use crate::fleet::Redis;
use crate::machines::{Clients, Instance, LineClient, Machines, Tools, on_the_balancer, wait_until};

/// Messages per second of a source, its burst, and one slice: a lease of 200 ms.
const RATE: f64 = 100.0;
const BURST: f64 = 20.0;
const SLICE: f64 = 20.0;

fn set<'s>(settings: &[&'s str]) -> Vec<&'s str> {
    settings.iter().flat_map(|setting| ["--set", setting]).collect()
}

/// Begins or ends a fault.
type Action<'a> = &'a dyn Fn();

/// Starts the machines with a source limit that they share. Long timeouts of Redis would delay a message that waits
/// for it by more than a test may take.
fn fleet(tools: &Tools) -> Option<(Redis, Machines)> {
    let redis = Redis::start(&["--port", "6379", "--bind", "10.77.0.2", "--protected-mode", "no"])?;
    let settings = [
        "fleet.link=redis://10.77.0.2:6379",
        "fleet.lease=200ms",
        "fleet.timeout=10s",
        "drain.deadline=9s", // an upgraded process serves busy connections for two thirds of it
        "rate.messages_per_source=100/s",
        "rate.burst=20",
    ];
    let machines = Machines::start(tools, "switchboard", &set(&settings));
    wait_until_shared(&machines);
    Some((redis, machines))
}

fn state(instance: &Instance) -> String {
    instance.status()["fleet"]["state"].as_str().unwrap().to_owned()
}

fn wait_until_shared(machines: &Machines) {
    machines.wait_until("three instances share the limits", |instance| {
        let fleet = &instance.status()["fleet"];
        fleet["state"] == "shared" && fleet["instances"] == 3 && fleet["connected"] == true
    });
}

/// A source that sends as fast as it can, on two connections for each instance. It connects again if one closes.
#[derive(Default)]
struct HotSource {
    replies: AtomicUsize,
    is_stopped: AtomicBool,
}

impl HotSource {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
    const CONNECTIONS: usize = 6;

    /// Sends from other threads while `meanwhile` runs.
    fn sends<R>(&self, meanwhile: impl FnOnce() -> R) -> R {
        thread::scope(|scope| {
            (0..Self::CONNECTIONS).for_each(|_| drop(scope.spawn(|| self.send())));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
            self.is_stopped.store(true, SeqCst);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn send(&self) {
        while !self.is_stopped.load(SeqCst) {
            let Ok(mut client) = LineClient::connect(Self::ADDRESS) else { continue };
            while !self.is_stopped.load(SeqCst) && client.exchange("hot").is_ok() {
                self.replies.fetch_add(1, SeqCst);
            }
        }
    }

    /// Waits for so many replies, and checks that the fleet has admitted at most the rate meanwhile, a burst, and one
    /// slice for each process.
    #[track_caller]
    fn is_limited(&self, what: &str, wanted: usize, processes: f64) {
        let (began, before) = (Instant::now(), self.replies.load(SeqCst));
        wait_until(what, || self.replies.load(SeqCst) >= before + wanted);
        let (replies, seconds) = ((self.replies.load(SeqCst) - before) as f64, began.elapsed().as_secs_f64());
        // The first reply on each connection can be one to an earlier message.
        let most = RATE * seconds + BURST + processes * SLICE + Self::CONNECTIONS as f64;
        assert!(replies <= most, "{what}: {replies} messages in {seconds} s, at most {most}");
    }
}

/// Fifty clients, each with its own address and an open connection.
struct Neighbours(Vec<LineClient>);

impl Neighbours {
    fn connect() -> Self {
        Self((1..=50).map(|nth| LineClient::connect(Ipv4Addr::new(127, 0, 2, nth)).unwrap()).collect())
    }

    /// Each sends so many messages, one after another. No reply is lost.
    fn exchange(&mut self, messages: usize) {
        for nth in 0..messages {
            self.0.iter_mut().for_each(|client| client.send(&nth.to_string()).unwrap());
            self.0.iter_mut().for_each(|client| client.receive().unwrap());
        }
    }
}

#[test]
fn a_source_gets_its_rate_and_no_neighbour_waits_whatever_happens_to_redis() {
    on_the_balancer(|tools| {
        let Some((redis, machines)) = fleet(&tools) else { return };
        let mut neighbours = Neighbours::connect();
        let hot = HotSource::default();
        let redis = RefCell::new(redis);
        let run = |command: &str| drop(redis.borrow().run([command]));
        let signal = |signal| redis.borrow().signal(signal);
        let (kill, revive) = (|| redis.borrow_mut().kill(), || redis.borrow_mut().revive());
        let nothing = || {};
        // What happens, the state that follows, and the end of it.
        let faults: [(&str, Action<'_>, &str, Action<'_>); 6] = [
            ("nothing", &nothing, "shared", &nothing),
            ("paused", &|| signal(Signal::SIGSTOP), "divided", &|| signal(Signal::SIGCONT)),
            ("emptied", &|| run("FLUSHALL"), "shared", &nothing),
            ("read-only", &|| run("REPLICAOF 127.0.0.1 1"), "divided", &|| run("REPLICAOF NO ONE")),
            ("out of memory", &|| run("CONFIG SET maxmemory 1"), "divided", &|| run("CONFIG SET maxmemory 0")),
            ("killed", &kill, "divided", &revive),
        ];
        let began = Instant::now();
        hot.sends(|| {
            for (fault, begins, expected, ends) in &faults {
                begins();
                neighbours.exchange(2);
                machines.wait_until(fault, |instance| state(instance) == *expected);
                hot.is_limited(fault, 150, 3.0);
                neighbours.exchange(10);
                ends();
                wait_until_shared(&machines);
            }
        });
        // Each fault begins a bucket or a division with at most one burst more.
        let (replies, seconds) = (hot.replies.load(SeqCst) as f64, began.elapsed().as_secs_f64());
        let most = RATE * seconds + 3.0 * SLICE + BURST * (1.0 + 2.0 * faults.len() as f64);
        assert!(replies <= most, "{replies} messages in {seconds} s, at most {most}");
    });
}

const ACCEPTED: &str = "switchboard_connections_accepted_total{listener=\"main\"}";
const MESSAGES: &str = "switchboard_messages_total{listener=\"main\",outcome=\"ok\"}";

#[test]
fn a_rolling_upgrade_refuses_no_client_continues_the_counters_and_keeps_the_limits() {
    on_the_balancer(|tools| {
        let Some((_redis, machines)) = fleet(&tools) else { return };
        let hot = HotSource::default();
        let clients = Clients::start(&[1, 2, 2, 19]);
        let mut counted = BTreeMap::new();
        hot.sends(|| {
            for instance in &machines.instances {
                clients.wait_for_more(50);
                instance.upgrade();
                // Both processes count as instances until the old one has drained.
                hot.is_limited("the upgraded fleet", 100, 6.0);
                clients.wait_for_more(50);
                for line in [ACCEPTED, MESSAGES] {
                    let now = machines.sum(line);
                    let before = counted.insert(line, now).unwrap_or_default();
                    assert!(now > before, "{line}: {before}, then {now}");
                }
            }
        });
        let (errors, messages) = clients.stop();
        assert_eq!(errors, [] as [String; 0], "{}", machines.haproxy.stdout());
        assert!(!machines.haproxy.stdout().contains("is DOWN"), "{}", machines.haproxy.stdout());
        for instance in &machines.instances {
            instance.log.wait_for_event(|event| event["message"] == "drained");
        }
        let expected = (messages + hot.replies.load(SeqCst)) as f64;
        wait_until("all messages are counted", || machines.sum(MESSAGES) >= expected);
        // A message of the hot source can have been answered after the source has stopped.
        assert!(machines.sum(MESSAGES) <= expected + HotSource::CONNECTIONS as f64);
        wait_until_shared(&machines);
    });
}

#[test]
fn an_evacuated_third_gets_its_last_message_at_the_requested_rate_and_connects_again() {
    const CLIENTS: u8 = 240;
    on_the_balancer(|tools| {
        let options = set(&["handlers.phases.closing=bye"]);
        let machines = Machines::start(&tools, "extended", &[&["--handler", "phases"], &*options].concat());
        let clients = (1..=CLIENTS).map(|nth| {
            let mut client = LineClient::connect(Ipv4Addr::new(127, 0, 4, nth)).unwrap();
            client.exchange("hi").unwrap();
            client
        });
        let clients: Vec<_> = clients.collect();
        let open = |instance: &Instance| instance.status()["listeners"][0]["open"].as_u64().unwrap();
        // HAProxy gives each instance the same number.
        assert!(machines.instances.iter().all(|instance| open(instance) == u64::from(CLIENTS) / 3));
        let began = Instant::now();
        let begun = machines.instances[0].send("POST", "/evacuate?share=0.3334&rate=20/s", "");
        assert_eq!(begun.status, 202, "{}", begun.body);
        let ended = machines.instances[0].log.wait_for_event(|event| event["message"] == "evacuated");
        assert!(began.elapsed().as_secs_f64() >= 26.0 / 20.0 - 0.1, "{:?}", began.elapsed());
        assert_eq!((&ended["closed"], &ended["remaining"]), (&27.into(), &0.into()), "{ended}");
        let mut closed = 0;
        for (nth, mut client) in (1..).zip(clients) {
            if client.exchange("still here").is_err() {
                closed += 1;
                let mut client = LineClient::connect(Ipv4Addr::new(127, 0, 4, nth)).unwrap();
                client.exchange("here again").unwrap();
            }
        }
        assert_eq!(closed, 27);
    });
}

#[test]
fn a_banned_client_behind_the_balancer_is_rejected_and_its_neighbour_is_served() {
    let (bad, good) = (Ipv4Addr::new(127, 0, 5, 1), Ipv4Addr::new(127, 0, 5, 2));
    on_the_balancer(move |tools| {
        let machines = Machines::start(&tools, "switchboard", &[]);
        let open = |from| {
            let mut client = LineClient::connect(from).unwrap();
            client.exchange("hi").unwrap();
            client
        };
        let (mut banned, mut served) = (open(bad), open(good));
        for instance in &machines.instances {
            let reply = instance.send("POST", "/bans", &format!("{{\"network\": \"{bad}\", \"duration\": \"10m\"}}"));
            assert_eq!(reply.status, 200, "{}", reply.body);
        }
        assert_eq!(banned.rest(), "", "the open connection closes");
        for _ in 0..6 {
            let mut client = LineClient::connect(bad).unwrap();
            let _ = client.send("hi"); // the connection may be closed before
            assert_eq!(client.rest(), "");
            open(good);
        }
        served.exchange("hi").unwrap();
        let rejected = "switchboard_connections_rejected_total{listener=\"main\",reason=\"banned\"}";
        assert_eq!(machines.sum(rejected), 6.0);
    });
}
