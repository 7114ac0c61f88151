//! The id by which one network namespace knows another.

#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;

use rustix::io::{read, retry_on_intr, write};

use crate::error::{Error, Result, Step};
use crate::namespace::Namespace;
use crate::ns_fd::NsFd;
use crate::sys::{self, Errno, net};

impl NsFd {
    /// The id by which this thread's network namespace knows this one: `id` of `ip netns`, `link-netnsid` of
    /// `ip link`. `None` if it has none yet: it gets one when an interface is moved there, or by `ip netns set`.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_namespaces::{Namespace, NsFd};
    ///
    /// match NsFd::current(Namespace::Net)?.netnsid()? {
    ///     Some(id) => println!("netnsid {id}"),
    ///     None => println!("no netnsid was assigned"),
    /// }
    /// # Ok::<(), linux_namespaces::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for other kinds;
    /// [`LimitReached`](crate::ErrorKind::LimitReached) without a descriptor for the socket that is asked.
    ///
    /// # References
    ///
    /// `RTM_GETNSID` of [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html),
    /// [ip-netns(8)](https://man7.org/linux/man-pages/man8/ip-netns.8.html)
    #[doc(alias = "RTM_GETNSID")]
    #[doc(alias = "NETNSA_NSID")]
    pub fn netnsid(&self) -> Result<Option<u32>> {
        if self.kind() != Namespace::Net {
            return Err(Error::invalid(format!("a {} namespace has no netnsid", self.kind())));
        }
        let refused = |errno| Error::os(Step::QueryNamespace, errno).of(self.kind());
        let id = ask(self.as_raw_fd()).map_err(refused)?;
        // NETNSA_NSID_NOT_ASSIGNED is -1.
        Ok(u32::try_from(id).ok())
    }
}

fn ask(namespace: i32) -> sys::Result<i32> {
    let socket = net::route_socket()?;
    retry_on_intr(|| write(&socket, &request(namespace)))?;
    let mut buffer = [0; 256];
    let length = retry_on_intr(|| read(&socket, &mut buffer))?;
    answer(&buffer[..length])
}

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

/// A `struct nlmsghdr`, a `struct rtgenmsg` filled up to 4 bytes, and one attribute.
fn request(namespace: i32) -> [u8; 28] {
    let mut message = [0; 28];
    message[..4].copy_from_slice(&28_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_GETNSID.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message[20..22].copy_from_slice(&8_u16.to_ne_bytes());
    message[22..24].copy_from_slice(&NETNSA_FD.to_ne_bytes());
    message[24..].copy_from_slice(&namespace.to_ne_bytes());
    message
}

/// As the request; or the error, which is a negative number behind the header.
fn answer(message: &[u8]) -> sys::Result<i32> {
    match half(message, 4) {
        Some(NLMSG_ERROR) => {
            let errno = word(message, 16).and_then(i32::checked_neg);
            let errno = errno.filter(|errno| (1..4096).contains(errno));
            Err(errno.map_or(Errno::PROTO, Errno::from_raw_os_error))
        }
        Some(RTM_NEWNSID) if half(message, 22) == Some(NETNSA_NSID) => {
            word(message, 24).ok_or(Errno::PROTO)
        }
        _ => Err(Errno::PROTO),
    }
}

fn half(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn word(message: &[u8], at: usize) -> Option<i32> {
    let bytes = message.get(at..at + 4)?;
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Errno, NETNSA_NSID, NLMSG_ERROR, RTM_NEWNSID, answer, request};
    use proptest::prelude::*;

    /// As a request, of another type, and with this at the end.
    fn message(kind: u16, attribute: u16, value: i32) -> [u8; 28] {
        let mut message = request(value);
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[22..24].copy_from_slice(&attribute.to_ne_bytes());
        message
    }

    #[test]
    fn an_answer_is_a_number_or_an_error() {
        assert_eq!(answer(&message(RTM_NEWNSID, NETNSA_NSID, 7)), Ok(7));
        assert_eq!(answer(&message(RTM_NEWNSID, 2, 7)), Err(Errno::PROTO));
        for (value, errno) in [(-1, Errno::PERM), (0, Errno::PROTO), (i32::MIN, Errno::PROTO)] {
            let mut refused = message(NLMSG_ERROR, 0, 0);
            refused[16..20].copy_from_slice(&value.to_ne_bytes());
            assert_eq!(answer(&refused), Err(errno), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let number = answer(&bytes);
            prop_assert!(number.is_err() || bytes.len() >= 28);
        }
    }
}
