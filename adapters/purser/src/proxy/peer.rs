//! Whose program is at the other end of a connection.
//!
//! The address 127.0.0.1 is open to every user of a machine, and the mandate is one user's. A token would have to stand in
//! every program's proxy address, and the plain form has no place for one; the kernel knows who holds a socket, and asking
//! it needs nothing of anybody. So: a connection whose other end belongs to this user, or to root, and to nobody else.
//! Web pages run as this user too; they are known by what browsers say about them (`target.rs`).

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;

/// What the kernel says about the IPv4 sockets of this machine; where there is none (not Linux), nobody can be asked.
const SOCKETS: &str = "/proc/net/tcp";
const OURSELVES: &str = "/proc/self";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Ours,
    Another,
}

/// Looks at the socket at the other end.
pub async fn look(from: SocketAddr, to: SocketAddr) -> Peer {
    let Ok(own) = tokio::fs::metadata(OURSELVES).await else { return unknown() };
    match tokio::fs::read_to_string(SOCKETS).await {
        Ok(table) => find(&table, from, to, own.uid()),
        Err(_) => unknown(),
    }
}

const fn unknown() -> Peer {
    if cfg!(target_os = "linux") { Peer::Another } else { Peer::Ours }
}

/// Columns: number, local address, remote address, state, queues, timer, retransmits, uid, timeouts, inode. A socket that
/// nobody holds any more has no inode and is shown as root's.
fn find(table: &str, from: SocketAddr, to: SocketAddr, own: u32) -> Peer {
    let (Some(from), Some(to)) = (written(from), written(to)) else { return Peer::Another };
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, _, _, _, _, uid, _, inode, ..] = columns.as_slice() else { continue };
        if *local == from && *remote == to {
            let is_ours = uid.parse::<u32>().is_ok_and(|uid| uid == own || uid == 0);
            return if is_ours && *inode != "0" { Peer::Ours } else { Peer::Another };
        }
    }
    Peer::Another
}

/// As the table writes an address: its four bytes as a number of this machine, and the port.
fn written(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip: &Ipv4Addr = address.ip();
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:D925 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 33456 1 0 100 0 0 10 0
   1: 0100007F:E5B6 0100007F:D925 01 00000000:00000000 00:00000000 00000000  1000        0 33457 2 0 20 0 0 10 -1
   2: 0100007F:D925 0100007F:E5B6 01 00000000:00000000 00:00000000 00000000  1000        0 33458 1 0 20 0 0 10 -1
   3: 0100007F:E5B7 0100007F:D925 01 00000000:00000000 00:00000000 00000000     0        0 33459 2 0 20 0 0 10 -1
   4: 0100007F:E5B8 0100007F:D925 01 00000000:00000000 00:00000000 00000000 65534        0 33460 2 0 20 0 0 10 -1
   5: 0100007F:E5B9 0100007F:D925 05 00000000:00000000 00:00000000 00000000     0        0 0 2 0 20 0 0 10 -1
   6: 0100007F:E5BA 0100007F:D925 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   7: 0100007F:E5BB
";

    #[cfg(target_endian = "little")]
    #[test]
    fn only_this_users_sockets_and_roots_are_ours() {
        let to: SocketAddr = "127.0.0.1:55589".parse().unwrap();
        let look = |port: u16, own: u32| find(TABLE, SocketAddr::from(([127, 0, 0, 1], port)), to, own);
        // another user; closed and left behind; waiting to be gone; half a line; nowhere; ours as seen by another user
        for (port, own) in [(58_808, 1000), (58_809, 1000), (58_810, 1000), (58_811, 1000), (58_812, 1000), (58_806, 7)]
        {
            assert_eq!(look(port, own), Peer::Another, "{port} for {own}");
        }
        assert_eq!(find(TABLE, "[::1]:58806".parse().unwrap(), to, 1000), Peer::Another);
        assert_eq!(find("", to, to, 0), Peer::Another);
        assert_eq!(look(58_806, 1000), Peer::Ours);
        assert_eq!(look(58_807, 1000), Peer::Ours, "root could do it anyway");
    }
}
