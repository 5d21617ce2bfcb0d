//! The source address of a reply, and its control message (ip(7), ipv6(7)).

use std::net::{IpAddr, Ipv6Addr};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::ControlMessage;

use crate::transport::listener::Route;

/// The source address of replies.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The kernel chooses it.
    Any,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Source {
    pub(super) fn of(route: &Route) -> Self {
        match (route.local_ip, route.interface) {
            (Some(IpAddr::V4(local_ip)), _) => {
                let from = in_addr { s_addr: u32::from_ne_bytes(local_ip.octets()) };
                Self::V4(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: in_addr { s_addr: 0 } })
            }
            (None, 0) => Self::Any,
            (local_ip, interface) => {
                let from = if let Some(IpAddr::V6(local_ip)) = local_ip { local_ip } else { Ipv6Addr::UNSPECIFIED };
                Self::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: interface })
            }
        }
    }

    pub(super) fn control(&self) -> Option<ControlMessage<'_>> {
        match self {
            Self::Any => None,
            Self::V4(info) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Self::V6(info) => Some(ControlMessage::Ipv6PacketInfo(info)),
        }
    }

    /// Exactly the space of the control message: the kernel rejects an empty one behind it.
    pub(super) fn control_space(&self) -> Option<Vec<u8>> {
        match self {
            Self::Any => None,
            Self::V4(_) => Some(nix::cmsg_space!(in_pktinfo)),
            Self::V6(_) => Some(nix::cmsg_space!(in6_pktinfo)),
        }
    }
}
