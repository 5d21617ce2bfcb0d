//! Tests of `server/bind_hint.rs`.

use super::*;

fn about(endpoint: &str, kind: ErrorKind) -> String {
    of(&endpoint.parse().unwrap(), kind).unwrap_or_default()
}

#[test]
fn a_low_port_needs_a_privilege() {
    let hint = privileged_port(443, 1024).unwrap();
    for part in ["ports below 1024", "CAP_NET_BIND_SERVICE", "systemd:NAME", "net.ipv4.ip_unprivileged_port_start"] {
        assert!(hint.contains(part), "{hint}");
    }
    assert_eq!(privileged_port(1024, 1024), None);
    assert_eq!(privileged_port(443, 80), None);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let hint = about("tcp://192.0.2.1:80", ErrorKind::AddrNotAvailable);
    assert_eq!(hint, "no interface of this machine has the address 192.0.2.1; see `ip address`, or listen on 0.0.0.0");
    assert!(about("udp://[2001:db8::1]:80", ErrorKind::AddrNotAvailable).ends_with("listen on [::]"));
}

#[test]
fn the_directory_of_a_unix_socket_is_named() {
    assert!(about("unix:/not/there/a", ErrorKind::NotFound).starts_with("the directory /not/there does not exist"));
    let hint = about("unixgram:/etc/a", ErrorKind::PermissionDenied);
    assert!(hint.starts_with("user ") && hint.ends_with("cannot create files in the directory /etc"), "{hint}");
    assert_eq!(about("unix:@a", ErrorKind::PermissionDenied), "");
}

#[test]
fn the_owner_of_a_port_is_named() {
    let [tcp, udp, unix] = ["tcp://[::]:80", "udp://[::]:80", "unix:/a"].map(|endpoint| endpoint.parse().unwrap());
    let nginx = Owner::Process { id: 1, command: "nginx".into() };
    assert_eq!(in_use(&tcp, &nginx), "process 1 (nginx) uses it");
    let other = "a process of another user (uid 33) uses it; `sudo ss -lunp` shows which one";
    assert_eq!(in_use(&udp, &Owner::Unreadable(Some(33))), other);
    assert!(in_use(&unix, &Owner::Unreadable(None)).starts_with("a process of another user uses it; `sudo ss -lxp`"));
}
