//! Tests of `server/acceptor.rs`.

use super::*;

#[test]
fn accept_errors_are_classified() {
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
