//! Listeners of one server that use the same port or the same path.

use std::io;
use std::net::IpAddr;

use crate::address::Endpoint;
use crate::error::{BoxError, chain};
use crate::listener_spec::ListenerSpec;
use crate::pipeline::Pipeline;
use crate::server::bind::{BoundListener, bind};
use crate::transport::{SharedSocket, Transports};

/// Binds a new socket beside sockets with the same port: all have `SO_REUSEPORT` for a moment (socket(7)).
pub(super) async fn bind_beside(
    transports: &Transports,
    spec: &ListenerSpec,
    pipeline: Pipeline,
    beside: &[SharedSocket],
) -> Result<BoundListener, BoxError> {
    if beside.is_empty() {
        return bind(transports, spec, pipeline, None).await;
    }
    beside.iter().for_each(|socket| socket.set_reuse_port(true));
    let mut sharing = spec.clone();
    sharing.socket.reuse_port = true;
    let bound = bind(transports, &sharing, pipeline, None).await;
    if !spec.socket.reuse_port {
        let new = bound.iter().filter_map(|bound| bound.shared.as_ref());
        beside.iter().chain(new).for_each(|socket| socket.set_reuse_port(false));
    }
    bound
}

/// Whether two endpoints use the same port of the same protocol.
pub(super) fn have_same_port(one: &Endpoint, other: &Endpoint) -> bool {
    let is_udp = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Udp(_));
    let port = one.port().filter(|port| *port != 0);
    port.is_some() && other.port() == port && is_udp(one) == is_udp(other)
}

/// Whether two endpoints are the IPv4 and the IPv6 wildcard address with the same port. Linux rejects the second bind,
/// because `[::]` also receives IPv4 (ipv6(7)). If both are bound, IPv4 goes to the IPv4 socket.
pub(super) fn are_both_wildcards(one: &Endpoint, other: &Endpoint) -> bool {
    let wildcard =
        |endpoint: &Endpoint| endpoint.socket_addr().map(|address| address.ip()).filter(IpAddr::is_unspecified);
    match (wildcard(one), wildcard(other)) {
        (Some(one_ip), Some(other_ip)) => one_ip.is_ipv4() != other_ip.is_ipv4() && have_same_port(one, other),
        _ => false,
    }
}

/// Adds the name of the listener of this server to the error of an address that is in use.
pub(super) fn name_listener<'l>(
    error: BoxError,
    wanted: &Endpoint,
    listeners: impl IntoIterator<Item = (&'l str, &'l Endpoint, Option<&'l SharedSocket>)>,
) -> BoxError {
    if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() != io::ErrorKind::AddrInUse) {
        return error;
    }
    let found = listeners.into_iter().find(|(_, endpoint, socket)| uses(endpoint, *socket, wanted));
    match found {
        Some((name, endpoint, _)) => {
            format!("{}: listener {name} of this server listens on {endpoint}", chain(&*error)).into()
        }
        None => error,
    }
}

/// Whether a listener uses the port, the path or the name of an endpoint.
fn uses(endpoint: &Endpoint, socket: Option<&SharedSocket>, wanted: &Endpoint) -> bool {
    if let (Endpoint::Unix(path) | Endpoint::Unixgram(path), Some(socket)) = (wanted, socket)
        && socket.is_at(path)
    {
        return true;
    }
    let ip = |endpoint: &Endpoint| endpoint.socket_addr().map(|address| address.ip());
    let overlap = match (ip(endpoint), ip(wanted)) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        _ => true, // a host name
    };
    endpoint.same_socket(wanted) || (have_same_port(endpoint, wanted) && overlap)
}
