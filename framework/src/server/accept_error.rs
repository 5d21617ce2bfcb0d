//! Classifies accept errors, which decides how the accept loop reacts.

use std::io;

use nix::errno::Errno;

use crate::metrics::AcceptErrorClass as Class;

/// Classifies an accept error. Linux also reports pending network errors of the new connection here; accept(2) recommends
/// to retry.
pub(super) fn classify(error: &io::Error) -> Class {
    use Errno as E;
    if let Some(code) = error.raw_os_error() {
        return match E::from_raw(code) {
            E::EINTR | E::EAGAIN => Class::Again,
            E::ECONNABORTED | E::ECONNRESET | E::EPROTO | E::EPERM | E::ETIMEDOUT => Class::Connection,
            E::ENETDOWN | E::ENETUNREACH | E::EHOSTDOWN | E::EHOSTUNREACH | E::ENONET => Class::Connection,
            E::ENOPROTOOPT | E::EOPNOTSUPP => Class::Connection,
            E::EMFILE | E::ENFILE | E::ENOBUFS | E::ENOMEM => Class::Exhausted,
            E::EBADF | E::ENOTSOCK | E::EINVAL | E::EFAULT => Class::Listener,
            _ => Class::Other,
        };
    }
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Class::Again,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => {
            Class::Connection
        }
        io::ErrorKind::OutOfMemory => Class::Exhausted,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_sorted() {
        let table = [
            (Class::Again, &[Errno::EINTR, Errno::EAGAIN][..]),
            (
                Class::Connection,
                &[
                    Errno::ECONNABORTED,
                    Errno::ECONNRESET,
                    Errno::EPROTO,
                    Errno::EPERM,
                    Errno::ETIMEDOUT,
                    Errno::ENETDOWN,
                    Errno::ENETUNREACH,
                    Errno::EHOSTDOWN,
                    Errno::EHOSTUNREACH,
                    Errno::ENONET,
                    Errno::ENOPROTOOPT,
                    Errno::EOPNOTSUPP,
                ],
            ),
            (Class::Exhausted, &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]),
            (Class::Listener, &[Errno::EBADF, Errno::ENOTSOCK, Errno::EINVAL, Errno::EFAULT]),
            (Class::Other, &[Errno::EIO, Errno::ELOOP]),
        ];
        for (class, errors) in table {
            for error in errors {
                assert_eq!(classify(&io::Error::from(*error)), class, "{error}");
            }
        }
        assert_eq!(classify(&io::Error::from(io::ErrorKind::ConnectionReset)), Class::Connection);
        assert_eq!(classify(&io::Error::other("a transport's own")), Class::Other);
    }
}
