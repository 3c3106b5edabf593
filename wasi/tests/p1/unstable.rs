//! The differences of snapshot 0.

use crate::support::*;
use bimetal_wasi::p1::{self, Errno, unstable};

#[test]
fn whence_has_another_order() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.write(fd, b"0123456789").unwrap();
    let mut seek = |offset, whence| {
        g.call(|c, m| unstable::fd_seek(c, m, fd, offset, whence, OUT))?;
        Ok(g.u64(OUT))
    };
    assert_eq!(seek(4, 2), Ok(4));
    assert_eq!(seek(1, 0), Ok(5));
    assert_eq!(seek(-1, 1), Ok(9));
    assert_eq!(seek(0, 3), Err(Errno::Inval));
}

#[test]
fn filestat_is_shorter() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.write(fd, b"12345").unwrap();
    g.link("f", "g").unwrap();
    g.call(|c, m| p1::fd_filestat_set_times(c, m, fd, 7, 8, 5))
        .unwrap();
    g.mem[OUT as usize..][..64].fill(0xaa);
    let (p, l) = g.put(b"f");
    for by_path in [false, true] {
        g.call(|c, m| match by_path {
            false => unstable::fd_filestat_get(c, m, fd, OUT),
            true => unstable::path_filestat_get(c, m, ROOT, 0, p, l, OUT),
        })
        .unwrap();
        assert_eq!(g.mem[OUT as usize + 16], FILE);
        assert_eq!(g.u32(OUT + 20), 2);
        assert_eq!(
            (g.u64(OUT + 24), g.u64(OUT + 32), g.u64(OUT + 40)),
            (5, 7, 8)
        );
        assert_eq!(g.u64(OUT + 56), 0xaaaa_aaaa_aaaa_aaaa);
    }
}

#[test]
fn subscriptions_are_longer() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    let mut subs = [0u8; 112];
    subs[0] = 1;
    subs[16] = 99; // The identifier, which nobody needs.
    subs[24] = 1; // The monotonic clock.
    subs[32..40].copy_from_slice(&1u64.to_le_bytes());
    let second = &mut subs[56..];
    second[0] = 2;
    second[8] = 2;
    second[16] = fd as u8;
    let (input, _) = g.put(&subs);
    let (output, _) = g.put(&[0; 64]);
    g.call(|c, m| unstable::poll_oneoff(c, m, input, output, 1, OUT))
        .unwrap();
    assert_eq!((g.u32(OUT), g.u64(output), g.u16(output + 8)), (1, 1, 0));
    g.call(|c, m| unstable::poll_oneoff(c, m, input + 56, output, 1, OUT))
        .unwrap();
    assert_eq!(
        (g.u32(OUT), g.u64(output), g.mem[output as usize + 10]),
        (1, 2, 2)
    );
}
