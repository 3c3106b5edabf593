use crate::support::*;
use bimetal_wasi::WasiCtxBuilder;
use bimetal_wasi::p1::{self, Errno, Rights};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const LISTENER: u32 = 3;
const NONBLOCK: u32 = 4;

fn guest() -> (Guest, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ctx = WasiCtxBuilder::new().preopened_listener(listener).build();
    assert_eq!(ctx.listener_fds(), [LISTENER]);
    (Guest::new(ctx), address)
}

fn accept(g: &mut Guest, flags: u32) -> Result<u32> {
    g.call(|c, m| p1::sock_accept(c, m, LISTENER, flags, OUT))?;
    Ok(g.u32(OUT))
}

/// Receives into two buffers, the first of three bytes.
fn recv(g: &mut Guest, fd: u32, len: u32, flags: u32) -> Result<Vec<u8>> {
    for (i, word) in [1000u32, 3, 1003, len - 3].into_iter().enumerate() {
        g.mem[200 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    g.call(|c, m| p1::sock_recv(c, m, fd, 200, 2, flags, OUT, OUT + 4))?;
    assert_eq!(g.u16(OUT + 4), 0);
    Ok(g.mem[1000..][..g.u32(OUT) as usize].to_vec())
}

fn send(g: &mut Guest, fd: u32, bytes: &[u8], flags: u32) -> Result<u32> {
    g.mem[1000..][..bytes.len()].copy_from_slice(bytes);
    for (i, word) in [1000u32, bytes.len() as u32].into_iter().enumerate() {
        g.mem[200 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    g.call(|c, m| p1::sock_send(c, m, fd, 200, 1, flags, OUT))?;
    Ok(g.u32(OUT))
}

#[test]
fn a_conversation() {
    let (mut g, address) = guest();
    let mut client = TcpStream::connect(address).unwrap();
    let fd = accept(&mut g, 0).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().filetype, 6);
    client.write_all(b"hello").unwrap();
    const PEEK: u32 = 1;
    const WAITALL: u32 = 2;
    assert_eq!(recv(&mut g, fd, 5, PEEK | WAITALL), Ok(b"hello".to_vec()));
    assert_eq!(recv(&mut g, fd, 10, 0), Ok(b"hello".to_vec()));
    assert_eq!(recv(&mut g, fd, 10, 4), Err(Errno::Inval));
    assert_eq!(send(&mut g, fd, b"answer", 0), Ok(6));
    assert_eq!(send(&mut g, fd, b"answer", 1), Err(Errno::Inval));
    // Reading and writing as from a file, too.
    g.write(fd, b"!").unwrap();
    client.write_all(b"more").unwrap();
    assert_eq!(g.read(fd, 10), Ok(b"more".to_vec()));
    assert_eq!(g.seek(fd, 0, 0), Err(Errno::Spipe));
    for how in [0, 4, 1 << 8] {
        assert_eq!(
            g.call(|c, m| p1::sock_shutdown(c, m, fd, how)),
            Err(Errno::Inval)
        );
    }
    g.call(|c, m| p1::sock_shutdown(c, m, fd, 2)).unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "answer!");
    assert_eq!(g.write(fd, b"x"), Err(Errno::Pipe));
    drop(client);
    assert_eq!(recv(&mut g, fd, 10, 0), Ok(vec![]));
    g.close(fd).unwrap();
}

#[test]
fn without_waiting() {
    let (mut g, address) = guest();
    g.call(|c, m| p1::fd_fdstat_set_flags(c, m, LISTENER, NONBLOCK))
        .unwrap();
    assert_eq!(g.fdstat(LISTENER).unwrap().flags, NONBLOCK as u16);
    assert_eq!(accept(&mut g, NONBLOCK), Err(Errno::Again));
    let _client = TcpStream::connect(address).unwrap();
    let fd = accept(&mut g, NONBLOCK).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().flags, NONBLOCK as u16);
    assert_eq!(recv(&mut g, fd, 10, 0), Err(Errno::Again));
    assert_eq!(g.read(fd, 1), Err(Errno::Again));
    assert_eq!(accept(&mut g, 1), Err(Errno::Inval));
    assert_eq!(
        g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, 1)),
        Err(Errno::Inval)
    );
}

#[test]
fn what_is_no_socket_and_what_is_the_wrong_one() {
    let (mut g, address) = guest();
    let _client = TcpStream::connect(address).unwrap();
    let fd = accept(&mut g, 0).unwrap();
    assert_eq!(
        g.call(|c, m| p1::sock_accept(c, m, fd, 0, OUT)),
        Err(Errno::Inval)
    );
    assert_eq!(recv(&mut g, LISTENER, 10, 0), Err(Errno::Notconn));
    assert_eq!(send(&mut g, LISTENER, b"x", 0), Err(Errno::Notconn));
    assert_eq!(g.read(LISTENER, 1), Err(Errno::Notconn));
    assert_eq!(recv(&mut g, 0, 10, 0), Err(Errno::Notsock));
    assert_eq!(recv(&mut g, 99, 10, 0), Err(Errno::Badf));
    let end = MEMORY as u32;
    assert_eq!(
        g.call(|c, m| p1::sock_accept(c, m, LISTENER, 0, end - 3)),
        Err(Errno::Fault)
    );
}

#[test]
fn a_listener_can_keep_rights_from_its_connections() {
    let (mut g, address) = guest();
    let base = g.fdstat(LISTENER).unwrap().base;
    g.set_rights(LISTENER, base, Rights::FD_READ | Rights::SOCK_SHUTDOWN)
        .unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let fd = accept(&mut g, 0).unwrap();
    assert_eq!(send(&mut g, fd, b"x", 0), Err(Errno::Notcapable));
    g.call(|c, m| p1::sock_shutdown(c, m, fd, 3)).unwrap();
    g.set_rights(LISTENER, base - Rights::SOCK_ACCEPT, Rights::empty())
        .unwrap();
    assert_eq!(accept(&mut g, 0), Err(Errno::Notcapable));
}
