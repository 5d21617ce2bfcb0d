//! Tests of `listener_spec.rs`.

use std::time::Duration;

use super::*;
use crate::framing::Lines;
use crate::layer::Trace;
use crate::settings::Rate;

fn spec() -> ListenerSpec {
    ListenerSpec::new("main", Endpoint::Memory("main".to_owned())).framing(Lines::default())
}

#[test]
fn changes_of_admission_and_socket_settings_keep_the_pipeline() {
    let mut other = spec().proxy(ProxySettings::default()).tls(TlsSettings::new("a", "b"));
    (other.name, other.endpoint) = ("other".to_owned(), Endpoint::Memory("other".to_owned()));
    (other.limits.connections, other.limits.connections_per_source, other.limits.handshakes) = (1, 2, 3);
    other.timeouts.handshake = Duration::from_secs(1);
    (other.rates.connections_per_source, other.rates.failed_handshakes_per_source) =
        (Rate::per_second(1), Rate::per_second(2));
    other.socket.backlog = 1;
    assert_ne!(spec(), other);
    assert!(spec().same_pipeline(&other));
}

#[test]
fn changes_of_any_other_setting_rebuild_the_pipeline() {
    let changes: [fn(&mut ListenerSpec); 8] = [
        |spec| spec.framing = AnyFraming::default(),
        |spec| spec.layers.push(LayerInstance::new(Trace::messages())),
        |spec| spec.limits.frame += 1,
        |spec| spec.limits.outbox += 1,
        |spec| spec.limits.sessions += 1,
        |spec| spec.timeouts.idle += Duration::from_secs(1),
        |spec| spec.rates.messages_per_source = Rate::per_second(1),
        |spec| spec.rates.burst += 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut other = spec();
        change(&mut other);
        assert!(!spec().same_pipeline(&other), "change {index}");
    }
}
