//! An authoritative DNS server: one handler serves UDP and TCP, and truncates replies that are too long for UDP.
//! Try it: `dig @127.0.0.1 -p 9999 www.example.com`, or `many.example.com` for a reply that needs TCP.

use std::collections::BTreeMap;
use std::process::ExitCode;

use domain::base::iana::{Class, Opcode, OptRcode};
use domain::base::message_builder::StaticCompressor;
use domain::base::name::{FlattenInto, ParsedName};
use domain::base::opt::{Opt, OptRecord};
use domain::base::{Header, Message, MessageBuilder, Name, Question, Rtype, ToName};
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use switchboard::framing::ByteOrder;
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::ListenerSpec;
use switchboard::transport::Transports;

const ZONE: &str = r#"
$ORIGIN example.com.
$TTL 3600
@        IN SOA   ns1 hostmaster 2026010101 7200 3600 1209600 300
@           NS    ns1
@           NS    ns2
@           A     192.0.2.80
@           AAAA  2001:db8::80
@           MX    10 mail
@           TXT   "v=spf1 mx -all"
ns1         A     192.0.2.53
ns2         AAAA  2001:db8::53
mail        A     192.0.2.25
www         CNAME example.com.
alias       CNAME www
dangling    CNAME nowhere
elsewhere   CNAME www.example.net.
ping        CNAME pong
pong        CNAME ping
_dns._tcp   SRV   0 0 53 ns1
"#;
/// Names with many addresses, whose answers are longer than 512 and longer than 1232 bytes.
const MANY: [(&str, u8); 2] = [("several", 50), ("many", 100)];

/// The largest UDP reply without EDNS (RFC 1035, section 4.2.1).
const MIN_UDP_REPLY: u16 = 512;
/// The largest UDP reply. It fits the smallest MTU of IPv6 (1280, RFC 8200, section 5) with IP and UDP headers.
const MAX_UDP_REPLY: u16 = 1232;
/// The largest UDP reply in bytes per byte of its question, so that a forged source address is no use to an attacker.
const MAX_AMPLIFICATION: usize = 3;

type Record = domain::base::Record<Name<Bytes>, ZoneRecordData<Bytes, Name<Bytes>>>;

struct Dns {
    zone: Zone,
}

impl Handler for Dns {
    type State = ();

    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        let (is_datagram, size) = (cx.kind() == Kind::Datagram, message.len());
        // `from_octets` rejects a message that is shorter than a header. A reply to a reply could go on forever.
        let Some(message) = Message::from_octets(message).ok().filter(|message| !message.header().qr()) else {
            return Ok(if is_datagram { Reply::none() } else { Reply::finish() });
        };
        let query = Query::parse(&message);
        let mut largest = usize::from(u16::MAX);
        if is_datagram {
            // A reply above the budget is an error. The budget also contains what earlier, short replies have left.
            let budget = cx.reply_budget().unwrap_or(usize::MAX);
            largest = budget.min(MAX_AMPLIFICATION * size).min(udp_size(query.as_ref()));
        }
        let answer = self.answer(message.header().opcode(), query.as_ref());
        let mut reply = encode(message.header(), query.as_ref(), &answer)?;
        if reply.len() > largest {
            // The client repeats the question over TCP. It ignores the records of a truncated reply.
            let truncated = Answer { is_truncated: true, ..Answer::empty(answer.rcode) };
            reply = encode(message.header(), query.as_ref(), &truncated)?;
        }
        Ok(Reply::send(reply))
    }
}

impl Dns {
    fn answer(&self, opcode: Opcode, query: Option<&Query>) -> Answer<'_> {
        match query {
            _ if opcode != Opcode::QUERY => Answer::empty(OptRcode::NOTIMP),
            None => Answer::empty(OptRcode::FORMERR),
            Some(Query { edns: Some(edns), .. }) if edns.version() > 0 => Answer::empty(OptRcode::BADVERS),
            Some(Query { question, .. }) => {
                let is_transfer = matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR);
                if is_transfer || question.qclass() != Class::IN || !question.qname().ends_with(&self.zone.apex) {
                    return Answer::empty(OptRcode::REFUSED);
                }
                self.zone.find(question.qname().to_bytes(), question.qtype())
            }
        }
    }
}

/// The parts of a valid message that the server uses.
struct Query {
    question: Question<ParsedName<Bytes>>,
    edns: Option<OptRecord<Bytes>>,
}

impl Query {
    /// `None`: the message is malformed, or does not have exactly one question.
    fn parse(message: &Message<Bytes>) -> Option<Self> {
        let question = message.sole_question().ok()?;
        let mut edns = None;
        let mut records = message.additional().ok()?;
        for record in &mut records {
            let Some(opt) = record.ok()?.into_record::<Opt<Bytes>>().ok()? else { continue };
            // A message has at most one OPT record, at the root (RFC 6891, section 6.1).
            if !opt.owner().is_root() || edns.replace(OptRecord::from_record(opt)).is_some() {
                return None;
            }
        }
        (records.pos() == message.as_slice().len()).then_some(Self { question, edns })
    }
}

/// The largest UDP reply that the client can receive.
fn udp_size(query: Option<&Query>) -> usize {
    let edns = query.and_then(|query| query.edns.as_ref());
    edns.map_or(MIN_UDP_REPLY, |edns| edns.udp_payload_size().clamp(MIN_UDP_REPLY, MAX_UDP_REPLY)).into()
}

struct Answer<'a> {
    rcode: OptRcode,
    records: Vec<&'a Record>,
    /// Part of a negative answer, so that clients know how long to cache it (RFC 2308, section 3).
    soa: Option<&'a Record>,
    /// Sets the bit TC (RFC 1035, section 4.1.1).
    is_truncated: bool,
}

impl Answer<'_> {
    fn empty(rcode: OptRcode) -> Self {
        Self { rcode, records: Vec::new(), soa: None, is_truncated: false }
    }
}

/// Encodes a reply. The question in it has the letter case of the client.
fn encode(request: Header, query: Option<&Query>, answer: &Answer<'_>) -> Result<Bytes> {
    let mut reply = MessageBuilder::from_target(StaticCompressor::new(BytesMut::new()))?;
    let header = reply.header_mut();
    header.set_id(request.id());
    header.set_qr(true);
    header.set_opcode(request.opcode());
    header.set_aa(matches!(answer.rcode, OptRcode::NOERROR | OptRcode::NXDOMAIN));
    header.set_tc(answer.is_truncated);
    header.set_rd(request.rd());
    header.set_rcode(answer.rcode.rcode());
    let mut reply = reply.question();
    query.iter().try_for_each(|query| reply.push(&query.question))?;
    let mut reply = reply.answer();
    answer.records.iter().try_for_each(|record| reply.push(*record))?;
    let mut reply = reply.authority();
    answer.soa.iter().try_for_each(|soa| reply.push(*soa))?;
    let mut reply = reply.additional();
    if let Some(edns) = query.and_then(|query| query.edns.as_ref()) {
        reply.opt(|opt| {
            opt.set_udp_payload_size(MAX_UDP_REPLY);
            opt.set_rcode(answer.rcode);
            opt.set_dnssec_ok(edns.dnssec_ok());
            Ok(())
        })?;
    }
    Ok(reply.finish().into_target().freeze())
}

struct Zone {
    apex: Name<Bytes>,
    /// In canonical order: a name comes directly before the names below it (RFC 4034, section 6.1).
    names: BTreeMap<Name<Bytes>, Vec<Record>>,
    /// For negative answers. Its TTL is the one of a negative answer (RFC 2308, section 5).
    soa: Record,
}

impl Zone {
    fn parse(text: &str) -> Result<Self> {
        let mut names: BTreeMap<Name<Bytes>, Vec<Record>> = BTreeMap::new();
        let mut soa = None;
        for entry in Zonefile::from(text) {
            let Entry::Record(record) = entry? else { return Err("$INCLUDE is not supported".into()) };
            let record: Record = record.flatten_into();
            if let ZoneRecordData::Soa(data) = record.data() {
                let ttl = data.minimum().min(record.ttl());
                soa = Some(Record::new(record.owner().clone(), record.class(), ttl, record.data().clone()));
            }
            names.entry(record.owner().clone()).or_default().push(record);
        }
        let soa = soa.ok_or("the zone has no SOA record")?;
        Ok(Self { apex: soa.owner().clone(), names, soa })
    }

    /// Follows aliases (CNAME) as long as they stay in the zone (RFC 1034, section 4.3.2).
    fn find(&self, mut name: Name<Bytes>, rtype: Rtype) -> Answer<'_> {
        let mut answer = Answer::empty(OptRcode::NOERROR);
        while name.ends_with(&self.apex) {
            let records = self.names.get(&name).map_or(&[][..], Vec::as_slice);
            let before = answer.records.len();
            answer.records.extend(records.iter().filter(|record| rtype == record.rtype() || rtype == Rtype::ANY));
            if answer.records.len() > before {
                break;
            }
            let alias = records.iter().find_map(|record| match record.data() {
                ZoneRecordData::Cname(cname) => Some((record, cname.cname())),
                _ => None,
            });
            let Some((record, target)) = alias else {
                // A name exists if it has records, or if there are names below it.
                let mut names = self.names.range(name.clone()..).map(|(next, _)| next);
                let exists = names.next().is_some_and(|next| next.ends_with(&name));
                answer.rcode = if exists { OptRcode::NOERROR } else { OptRcode::NXDOMAIN };
                answer.soa = Some(&self.soa);
                break;
            };
            if answer.records.contains(&record) {
                break; // a loop of aliases
            }
            answer.records.push(record);
            name = target.clone();
        }
        answer
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let (_, socket) = address.split_once("://").unwrap_or(("", &address));
    let many = MANY.map(|(name, count)| (1..=count).map(|n| format!("{name} A 198.51.100.{n}\n")).collect::<String>());
    let dns = HandlerInstance::new(Dns { zone: Zone::parse(&format!("{ZONE}{}", many.concat()))? });
    let datagrams = ListenerSpec::new("datagram", format!("udp://{socket}").parse()?);
    // The message has a length prefix on TCP (RFC 1035, section 4.2.2). A datagram is the message.
    let streams = ListenerSpec::new("stream", format!("tcp://{socket}").parse()?);
    let streams = streams.framing(Length::new(2, ByteOrder::Big, 0)?);
    let mut listeners = ListenerSet::new(Transports::default());
    listeners.listen(datagrams, &dns).listen(streams, &dns);
    Ok(listeners.run().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    /// A query with recursion desired, for a name below `example.com`.
    fn query(id: u8, name: &str, rtype: Rtype) -> Vec<u8> {
        let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap_or(63));
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[&[0], &rtype.to_int().to_be_bytes()[..], &[0, 1]].concat());
        query
    }

    #[test]
    fn dns_keeps_the_laws_on_connections_and_datagrams() {
        let dns = || Dns { zone: Zone::parse(ZONE).unwrap_or_else(|error| panic!("{error}")) };
        let queries =
            || [("example.com", Rtype::SOA), ("www.example.com", Rtype::A), ("missing.example.com", Rtype::A)];
        let queries = || (1..).zip(queries()).map(|(id, (name, rtype))| query(id, name, rtype));
        let length = Length::new(2, ByteOrder::Big, 0).unwrap_or_else(|error| panic!("{error}"));
        conformance(dns).framing(length).messages(queries()).cases(40).check();
        conformance(dns).datagrams().messages(queries()).cases(40).check();
    }
}
