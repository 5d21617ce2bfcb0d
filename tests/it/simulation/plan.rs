//! What happens in one run: the listeners, the clients, the network and the commands. The seed determines it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use switchboard::registry::HandlerInstance;
use switchboard::server::{ListenerSet, ListenerSpec};
use switchboard::settings::{DrainSettings, Limits, Networks, ProxySettings, Rate, Rates, Timeouts};
use switchboard::testing::{Random, SimulatedNetwork};
use switchboard::transport::Transports;

use super::client::{Client, Conduct, PROXY};
use super::handler::{Encoding, Ledger, Numbered, Style};

/// With the longest delay for which lost replies are checked, less than the time that a drain lingers.
const MAX_READING_DELAY: Duration = Duration::from_millis(50);

/// How long before a drain half of the clients start.
const MAX_RUSH: Duration = Duration::from_secs(2);

/// A listener.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) encoding: Encoding,
    pub(super) style: Style,
    pub(super) is_datagram: bool,
    /// Its clients come through a proxy, with a PROXY header.
    pub(super) is_proxied: bool,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) rates: Rates,
    /// A change replaces the handler.
    pub(super) generation: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Reloads with these listeners.
    Reload(Vec<Site>),
    Evacuate(f64, Rate),
    Ban(IpAddr, Duration),
    Unban(IpAddr),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sites: Vec<Site>,
    pub(super) clients: Vec<Client>,
    pub(super) actions: Vec<(Duration, Action)>,
    pub(super) drain: DrainSettings,
    /// When the drain begins. `None`: after the last client has left.
    pub(super) drain_at: Option<Duration>,
    pub(super) is_lossy: bool,
    /// No segment or datagram takes longer.
    pub(super) longest_delay: Duration,
}

fn secs(seconds: usize) -> Duration {
    Duration::from_secs(seconds as u64)
}

fn time(random: &mut Random, longest: Duration) -> Duration {
    Duration::from_millis(random.below(usize::try_from(longest.as_millis()).unwrap()) as u64)
}

/// One of two settings.
fn either<T>(random: &mut Random, one: T, other: T) -> T {
    if random.below(2) == 0 { one } else { other }
}

impl Site {
    fn new(name: String, is_datagram: bool, random: &mut Random) -> Self {
        let encoding = if is_datagram {
            Encoding::Raw
        } else {
            *random.choose(&[Encoding::Raw, Encoding::Lines, Encoding::Length])
        };
        let styles = [Style::Now, Style::Slow, Style::Later, Style::Unordered];
        let style =
            if encoding == Encoding::Raw && !is_datagram { styles[random.below(3)] } else { *random.choose(&styles) };
        let (limits, timeouts, rates) = (Limits::default(), Timeouts::default(), Rates::default());
        let is_proxied = !is_datagram && random.below(3) == 0;
        let mut site = Self { name, encoding, style, is_datagram, is_proxied, limits, timeouts, rates, generation: 0 };
        site.change(random);
        site
    }

    /// Chooses the settings at random. Good clients keep within those that close a connection.
    fn change(&mut self, random: &mut Random) {
        let tight = 3 + random.below(40);
        let frame = 256 + random.below(4000);
        self.limits = Limits::default().frame(frame).in_flight(1 + random.below(8)).outbox(1 + random.below(8));
        let (sessions, first_message) = (4 + random.below(8), secs(5 + random.below(20)));
        self.limits.sessions = either(random, sessions, 10_000);
        self.limits.handshakes = either(random, 4, 256);
        self.timeouts = Timeouts::default()
            .idle(secs(5 + random.below(50)))
            .frame(secs(4 + random.below(20)))
            .write(secs(2 + random.below(20)));
        self.timeouts.first_message = either(random, Duration::ZERO, first_message);
        self.timeouts.message = either(random, Duration::ZERO, secs(10));
        self.timeouts.lifetime = if random.below(4) == 0 { secs(20 + random.below(100)) } else { Duration::ZERO };
        self.rates.burst = either(random, 0, 2);
        if random.below(3) == 0 {
            self.limits.connections = tight;
        }
        if random.below(3) == 0 {
            self.limits.connections_per_source = 1 + random.below(4);
        }
        if random.below(4) == 0 {
            self.rates.messages_per_source = Rate::per_second(u32::try_from(5 + random.below(50)).unwrap());
        }
        if random.below(4) == 0 {
            self.rates.connections_per_source = Rate::per_second(u32::try_from(1 + random.below(5)).unwrap());
        }
    }

    fn spec(&self) -> ListenerSpec {
        let scheme = if self.is_datagram { "simgram" } else { "sim" };
        let mut spec = ListenerSpec::new(&*self.name, format!("{scheme}:{}", self.name).parse().unwrap());
        spec.framing = self.encoding.framing();
        if self.is_proxied {
            let proxies = Networks::from_iter([PROXY.into()]);
            spec = spec.proxy(ProxySettings::default().trusted(proxies));
        }
        spec.limits(self.limits).timeouts(self.timeouts).rates(self.rates)
    }
}

/// The listeners of a start or a reload. A listener that has not changed keeps its handler.
pub(super) fn listeners(
    sites: &[Site],
    drain: DrainSettings,
    net: &SimulatedNetwork,
    ledger: &Arc<Ledger>,
    running: &mut Vec<(String, u64, HandlerInstance)>,
) -> ListenerSet {
    let mut transports = Transports::default();
    transports.add(net.clone());
    let mut set = ListenerSet::new(transports);
    set.drain_settings(drain);
    for site in sites {
        let known = running.iter().find(|(name, generation, _)| (name, *generation) == (&site.name, site.generation));
        let handler = known.map(|(.., handler)| handler.clone()).unwrap_or_else(|| {
            let (style, ledger) = (site.style, ledger.clone());
            let is_checked = site.is_datagram || site.encoding != Encoding::Raw;
            let handler = HandlerInstance::new(Numbered { is_checked, style, ledger });
            running.push((site.name.clone(), site.generation, handler.clone()));
            handler
        });
        set.listen(site.spec(), &handler);
    }
    set
}

impl Plan {
    pub(super) fn new(seed: u64) -> (Self, SimulatedNetwork) {
        let random = &mut Random::new(seed);
        let mut sites = vec![Site::new("one".into(), false, random), Site::new("two".into(), false, random)];
        sites.push(Site::new("packets".into(), true, random));
        let span = secs(20 + random.below(100));
        let count = if random.below(50) == 0 { 2000 } else { 20 + random.below(150) };
        let hosts = 1 + random.below(count);
        let drain_at = (random.below(2) == 0).then(|| time(random, span + secs(10)));
        let mut clients = Vec::from_iter((0..count).map(|number| Self::client(number, hosts, &sites, span, random)));
        if let Some(drain_at) = drain_at {
            // Many are in the middle of their messages when the drain begins.
            let late = clients.iter_mut().step_by(2);
            late.for_each(|client| client.start = drain_at.saturating_sub(time(random, MAX_RUSH)));
        }
        let drain = DrainSettings::default().deadline(secs(1 + random.below(40)));
        let drain = drain.announce(if random.below(4) == 0 { secs(2) } else { Duration::ZERO });
        let actions = Self::actions(&sites, hosts, span, random);
        let (net, is_lossy, longest_delay) = Self::network(count, random);
        (Self { sites, clients, actions, drain, drain_at, is_lossy, longest_delay }, net)
    }

    fn client(number: usize, hosts: usize, sites: &[Site], span: Duration, random: &mut Random) -> Client {
        let site = random.choose(sites);
        let conducts = [
            [Conduct::Good; 5].as_slice(),
            &[Conduct::Stays, Conduct::Stalls, Conduct::Quits, Conduct::Resets, Conduct::Partial, Conduct::Greedy],
        ];
        let conduct = match *random.choose(&conducts.concat()) {
            _ if site.is_datagram => Conduct::Good,
            // Raw messages have neither parts nor a largest size.
            Conduct::Partial | Conduct::Greedy if site.encoding == Encoding::Raw => Conduct::Quits,
            conduct => conduct,
        };
        // Many messages exceed what the server reads ahead.
        let most_messages = if random.below(30) == 0 { 200 } else { 8 };
        Client {
            number,
            address: SocketAddr::new(host(random.below(hosts)), 1024 + u16::try_from(number).unwrap()),
            listener: site.name.clone(),
            encoding: site.encoding,
            style: site.style,
            is_datagram: site.is_datagram,
            is_proxied: site.is_proxied,
            conduct,
            start: time(random, span),
            messages: random.below(most_messages) as u64,
            pause: time(
                random,
                *random.clone().choose(&[secs(3), Duration::from_millis(20), Duration::from_millis(1)]),
            ),
            reading_delay: either(random, Duration::ZERO, MAX_READING_DELAY),
        }
    }

    fn network(clients: usize, random: &mut Random) -> (SimulatedNetwork, bool, Duration) {
        let begin = Duration::from_millis(random.below(20) as u64);
        let jitter = *random.choose(&[20, 400]);
        let longest_delay = begin + Duration::from_millis(random.below(jitter) as u64);
        let mut net = SimulatedNetwork::new(random.next_u64()).delay(begin..longest_delay);
        let smallest = if clients > 200 { 200 } else { *random.choose(&[5, 40, 200, 200]) };
        net = net.segment(*random.choose(&[smallest, 1000, 65_536])).window(*random.choose(&[64, 600, 65_536]));
        net = net.faults_within(secs(10));
        if random.below(2) == 0 {
            net = net.resets(0.1).outages(0.2, secs(40)).partitions(0.05);
        }
        let is_lossy = random.below(2) == 0;
        if is_lossy {
            net = net.loss(0.1).duplicates(0.1).truncation(0.05);
        }
        (net, is_lossy, longest_delay)
    }

    fn actions(sites: &[Site], hosts: usize, span: Duration, random: &mut Random) -> Vec<(Duration, Action)> {
        let mut sites = sites.to_vec();
        let mut actions = Vec::new();
        let mut at = Duration::ZERO;
        for _ in 0..random.below(7) {
            at += time(random, span / 3);
            let address = host(random.below(hosts));
            let action = match random.below(6) {
                0 => Action::Evacuate(
                    0.1 + 0.1 * f64::from(u8::try_from(random.below(9)).unwrap()),
                    Rate::per_second(20),
                ),
                1 => Action::Ban(address, time(random, secs(100)) + secs(1)),
                2 => Action::Unban(address),
                3 => {
                    // A listener without clients, which comes and goes.
                    match sites.iter().position(|site| site.name == "extra") {
                        Some(extra) => drop(sites.remove(extra)),
                        None => sites.push(Site::new("extra".into(), false, random)),
                    }
                    Action::Reload(sites.clone())
                }
                4 => {
                    let changed = random.below(sites.len());
                    sites[changed].generation += 1;
                    Action::Reload(sites.clone())
                }
                _ => {
                    sites.iter_mut().for_each(|site| site.change(random));
                    Action::Reload(sites.clone())
                }
            };
            actions.push((at, action));
        }
        actions
    }
}

fn host(number: usize) -> IpAddr {
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}
