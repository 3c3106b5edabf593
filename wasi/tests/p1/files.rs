use crate::support::*;
use bimetal_wasi::p1::{self, Errno, FdFlags};

const APPEND: u32 = FdFlags::APPEND.bits() as u32;

#[test]
fn write_seek_read() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    assert_eq!(fd, 4);
    assert_eq!(g.write(fd, b"hello world"), Ok(11));
    assert_eq!(g.tell(fd), Ok(11));
    assert_eq!(g.read(fd, 10), Ok(vec![]));
    assert_eq!(g.seek(fd, 6, 0), Ok(6));
    assert_eq!(g.read(fd, 3), Ok(b"wor".to_vec()));
    assert_eq!(g.seek(fd, -2, 1), Ok(7));
    assert_eq!(g.seek(fd, -1, 2), Ok(10));
    assert_eq!(g.read(fd, 100), Ok(b"d".to_vec()));
    assert_eq!(g.pread(fd, 5, 0), Ok(b"hello".to_vec()));
    assert_eq!(g.pwrite(fd, b"W", 6), Ok(1));
    assert_eq!(g.pread(fd, 5, 1 << 63), Err(Errno::Inval));
    assert_eq!(g.pwrite(fd, b"W", u64::MAX), Err(Errno::Inval));
    assert_eq!(g.tell(fd), Ok(11));
    assert_eq!(g.close(fd), Ok(()));
    assert_eq!(g.close(fd), Err(Errno::Badf));
    assert_eq!(
        std::fs::read(scratch.root().join("f")).unwrap(),
        b"hello World"
    );
}

#[test]
fn seek_errors() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    assert_eq!(g.seek(fd, -1, 0), Err(Errno::Inval));
    assert_eq!(g.seek(fd, -1, 1), Err(Errno::Inval));
    assert_eq!(g.seek(fd, 0, 3), Err(Errno::Inval));
    assert_eq!(g.seek(99, 0, 0), Err(Errno::Badf));
}

#[test]
fn scatter_and_gather() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    // Three pieces, the middle one empty, the last before the first in memory.
    g.mem[1000..1003].copy_from_slice(b"abc");
    g.mem[900..902].copy_from_slice(b"de");
    for (i, word) in [1000u32, 3, 5000, 0, 900, 2].into_iter().enumerate() {
        g.mem[200 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    g.call(|c, m| p1::fd_write(c, m, fd, 200, 3, OUT)).unwrap();
    assert_eq!(g.u32(OUT), 5);
    g.seek(fd, 0, 0).unwrap();
    g.mem[900..1003].fill(0);
    g.call(|c, m| p1::fd_read(c, m, fd, 200, 3, OUT)).unwrap();
    assert_eq!(g.u32(OUT), 5);
    assert_eq!(
        (&g.mem[1000..1003], &g.mem[900..902]),
        (&b"abc"[..], &b"de"[..])
    );
}

#[test]
fn a_list_names_no_more_than_there_is() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    for i in 0..512 {
        g.mem[1000 + 8 * i..][..8].copy_from_slice(&[0, 0, 0, 0, 0, 0, 1, 0]);
    }
    g.call(|c, m| p1::fd_write(c, m, fd, 1000, 512, OUT))
        .unwrap();
    assert_eq!(g.u32(OUT) as usize, MEMORY);
    assert_eq!(g.fd_stat(fd).unwrap().size as usize, MEMORY);
}

#[test]
fn overlapping_buffers_read_short() {
    let scratch = Scratch::new();
    std::fs::write(scratch.root().join("f"), "abcdefgh").unwrap();
    let mut g = scratch.guest();
    let fd = g.open("f", 0, READ).unwrap();
    for (i, word) in [1000u32, 4, 1002, 4].into_iter().enumerate() {
        g.mem[200 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    g.call(|c, m| p1::fd_read(c, m, fd, 200, 2, OUT)).unwrap();
    assert_eq!(g.u32(OUT), 4);
    g.call(|c, m| p1::fd_read(c, m, fd, 208, 1, OUT)).unwrap();
    assert_eq!(&g.mem[1000..1006], b"abefgh");
}

#[test]
fn append_goes_to_the_end_but_pwrite_does_not() {
    let scratch = Scratch::new();
    std::fs::write(scratch.root().join("f"), "12345").unwrap();
    let mut g = scratch.guest();
    let fd = g.open_full(ROOT, 0, "f", 0, READ | WRITE, APPEND).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().flags, APPEND as u16);
    g.write(fd, b"6").unwrap();
    g.pwrite(fd, b"X", 0).unwrap();
    g.write(fd, b"7").unwrap();
    assert_eq!(std::fs::read(scratch.root().join("f")).unwrap(), b"X234567");
    // The mode can be taken away and set again.
    g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, 0)).unwrap();
    g.seek(fd, 1, 0).unwrap();
    g.write(fd, b"Y").unwrap();
    g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, APPEND))
        .unwrap();
    g.write(fd, b"8").unwrap();
    assert_eq!(
        std::fs::read(scratch.root().join("f")).unwrap(),
        b"XY345678"
    );
}

#[test]
fn synchronised_modes_are_fixed_at_opening() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    for mode in [
        FdFlags::DSYNC,
        FdFlags::SYNC,
        FdFlags::RSYNC | FdFlags::SYNC,
    ] {
        let mode = mode.bits() as u32;
        let fd = g
            .open_full(ROOT, 0, "f", CREATE, READ | WRITE, mode)
            .unwrap();
        assert_eq!(g.fdstat(fd).unwrap().flags, mode as u16);
        g.write(fd, b"x").unwrap();
        assert_eq!(
            g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, 0)),
            Err(Errno::Inval)
        );
        g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, mode | APPEND))
            .unwrap();
    }
    let fd = g.open("f", 0, READ | WRITE).unwrap();
    let unknown = g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, 1 << 5));
    assert_eq!(unknown, Err(Errno::Inval));
    assert_eq!(
        g.open_full(ROOT, 0, "f", 0, READ, 1 << 16),
        Err(Errno::Inval)
    );
}

#[test]
fn creation_flags() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    assert_eq!(g.open("f", 0, READ), Err(Errno::Noent));
    let fd = g.open("f", CREATE | EXCL, WRITE).unwrap();
    g.write(fd, b"content").unwrap();
    assert_eq!(g.open("f", CREATE | EXCL, WRITE), Err(Errno::Exist));
    g.open("f", CREATE, READ).unwrap();
    assert_eq!(g.stat("f", 0).unwrap().size, 7);
    g.open("f", TRUNC, WRITE).unwrap();
    assert_eq!(g.stat("f", 0).unwrap().size, 0);
    assert_eq!(g.open("f", DIRECTORY, READ), Err(Errno::Notdir));
    assert_eq!(g.open("d", DIRECTORY | CREATE, READ), Err(Errno::Inval));
    assert_eq!(g.open("f", 1 << 4, READ), Err(Errno::Inval));
    g.mkdir("d").unwrap();
    assert_eq!(g.open("d", 0, READ | WRITE), Err(Errno::Isdir));
    assert_eq!(g.open("d", CREATE, WRITE), Err(Errno::Isdir));
    g.open("d", DIRECTORY, !0).unwrap();
    let d = g.open("d", 0, READ).unwrap();
    assert_eq!(g.fdstat(d).unwrap().filetype, DIR);
}

#[test]
fn create_for_reading_opens_what_may_only_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let file = scratch.root().join("f");
    std::fs::write(&file, "x").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o444)).unwrap();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ).unwrap();
    assert_eq!(g.read(fd, 9), Ok(b"x".to_vec()));
}

#[test]
fn access_mode_is_what_was_asked_for() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let w = g.open("f", CREATE, WRITE).unwrap();
    assert_eq!(g.read(w, 1), Err(Errno::Badf));
    assert_eq!(g.pread(w, 1, 0), Err(Errno::Badf));
    // Creating needs write access on the host, the guest has none all the same.
    for oflags in [0, CREATE, TRUNC] {
        let r = g.open("f", oflags, READ).unwrap();
        assert_eq!(g.write(r, b"x"), Err(Errno::Badf));
        assert_eq!(g.pwrite(r, b"x", 0), Err(Errno::Badf));
        assert_eq!(
            g.call(|c, m| p1::fd_filestat_set_size(c, m, r, 1)),
            Err(Errno::Inval)
        );
        assert_eq!(
            g.call(|c, m| p1::fd_allocate(c, m, r, 0, 1)),
            Err(Errno::Badf)
        );
    }
    let none = g.open("f", 0, 0).unwrap();
    assert_eq!(g.read(none, 1), Err(Errno::Badf));
    assert_eq!(g.fd_stat(none).unwrap().filetype, FILE);
}

#[test]
fn sizes() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.call(|c, m| p1::fd_filestat_set_size(c, m, fd, 100))
        .unwrap();
    assert_eq!(g.fd_stat(fd).unwrap().size, 100);
    assert_eq!(
        g.call(|c, m| p1::fd_filestat_set_size(c, m, fd, u64::MAX)),
        Err(Errno::Inval)
    );
    match g.call(|c, m| p1::fd_allocate(c, m, fd, 50, 100)) {
        Ok(()) => assert_eq!(g.fd_stat(fd).unwrap().size, 150),
        Err(e) => assert_eq!(e, Errno::Notsup), // Not every file system can.
    }
    assert_eq!(
        g.call(|c, m| p1::fd_allocate(c, m, fd, 0, 0)),
        Err(Errno::Inval)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_allocate(c, m, fd, u64::MAX, 1)),
        Err(Errno::Inval)
    );
}

#[test]
fn advice_and_durability() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    for advice in 0..6 {
        g.call(|c, m| p1::fd_advise(c, m, fd, 0, 10, advice))
            .unwrap();
    }
    assert_eq!(
        g.call(|c, m| p1::fd_advise(c, m, fd, 0, 0, 6)),
        Err(Errno::Inval)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_advise(c, m, fd, u64::MAX, 0, 0)),
        Err(Errno::Inval)
    );
    for fd in [fd, ROOT] {
        g.call(|c, m| p1::fd_sync(c, m, fd)).unwrap();
        g.call(|c, m| p1::fd_datasync(c, m, fd)).unwrap();
    }
    assert_eq!(g.call(|c, m| p1::fd_sync(c, m, 99)), Err(Errno::Badf));
}

#[test]
fn times() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.symlink("f", "l").unwrap();
    const ATIM: u32 = 1;
    const ATIM_NOW: u32 = 2;
    const MTIM: u32 = 4;
    const MTIM_NOW: u32 = 8;
    g.call(|c, m| p1::fd_filestat_set_times(c, m, fd, 1_000_000_007, 2_000_000_009, ATIM | MTIM))
        .unwrap();
    let stat = g.fd_stat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim), (1_000_000_007, 2_000_000_009));
    g.set_times("l", FOLLOW, 0, 5, MTIM).unwrap();
    let stat = g.stat("f", 0).unwrap();
    assert_eq!((stat.atim, stat.mtim), (1_000_000_007, 5));
    g.set_times("l", NOFOLLOW, 9, 9, ATIM | MTIM).unwrap();
    assert_eq!(g.stat("l", NOFOLLOW).unwrap().mtim, 9);
    assert_eq!(g.stat("l", FOLLOW).unwrap().mtim, 5);
    g.set_times("f", NOFOLLOW, 0, 0, ATIM_NOW | MTIM_NOW)
        .unwrap();
    let year_2020 = 1_577_836_800_000_000_000;
    assert!(g.stat("f", 0).unwrap().mtim > year_2020);
    assert_eq!(
        g.set_times("f", 0, 0, 0, ATIM | ATIM_NOW),
        Err(Errno::Inval)
    );
    assert_eq!(g.set_times("f", 0, 0, 0, 1 << 4), Err(Errno::Inval));
    assert_eq!(g.set_times("f", 2, 0, 0, 0), Err(Errno::Inval));
    assert_eq!(g.set_times("none", 0, 0, 0, ATIM), Err(Errno::Noent));
}

#[test]
fn renumber() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let a = g.open("a", CREATE, WRITE).unwrap();
    let b = g.open("b", CREATE, WRITE).unwrap();
    g.call(|c, m| p1::fd_renumber(c, m, a, b)).unwrap();
    g.write(b, b"into a").unwrap();
    assert_eq!(g.write(a, b"x"), Err(Errno::Badf));
    assert_eq!(std::fs::read(scratch.root().join("a")).unwrap(), b"into a");
    assert_eq!(g.call(|c, m| p1::fd_renumber(c, m, b, a)), Err(Errno::Badf));
    assert_eq!(
        g.call(|c, m| p1::fd_renumber(c, m, 77, b)),
        Err(Errno::Badf)
    );
    g.call(|c, m| p1::fd_renumber(c, m, b, b)).unwrap();
    g.write(b, b"!").unwrap();
    // The lowest free number comes first.
    assert_eq!(g.open("c", CREATE, WRITE), Ok(a));
    // Over a preopened directory and over standard output.
    g.call(|c, m| p1::fd_renumber(c, m, b, 1)).unwrap();
    g.write(1, b"!").unwrap();
    assert_eq!(
        std::fs::read(scratch.root().join("a")).unwrap(),
        b"into a!!"
    );
    g.call(|c, m| p1::fd_renumber(c, m, a, ROOT)).unwrap();
    assert_eq!(g.open("c", 0, READ), Err(Errno::Notdir));
}

#[test]
fn what_a_directory_cannot_do() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    assert_eq!(g.read(ROOT, 1), Err(Errno::Badf));
    assert_eq!(g.write(ROOT, b"x"), Err(Errno::Badf));
    assert_eq!(g.pread(ROOT, 1, 0), Err(Errno::Badf));
    assert_eq!(g.pwrite(ROOT, b"x", 0), Err(Errno::Badf));
    assert_eq!(g.seek(ROOT, 0, 1), Err(Errno::Badf));
    assert_eq!(g.tell(ROOT), Err(Errno::Badf));
    assert_eq!(
        g.call(|c, m| p1::fd_advise(c, m, ROOT, 0, 0, 0)),
        Err(Errno::Badf)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_allocate(c, m, ROOT, 0, 1)),
        Err(Errno::Badf)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_filestat_set_size(c, m, ROOT, 0)),
        Err(Errno::Badf)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_fdstat_set_flags(c, m, ROOT, 4)),
        Err(Errno::Badf)
    );
    assert_eq!(g.fd_stat(ROOT).unwrap().filetype, DIR);
    g.call(|c, m| p1::fd_filestat_set_times(c, m, ROOT, 0, 5, 4))
        .unwrap();
    assert_eq!(g.stat(".", 0).unwrap().mtim, 5);
}

#[test]
fn what_a_file_cannot_do() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    assert_eq!(g.readdir(fd, 100, 0), Err(Errno::Notdir));
    assert_eq!(g.open_full(fd, 0, "x", 0, READ, 0), Err(Errno::Notdir));
    assert_eq!(
        g.call(|c, m| p1::fd_prestat_get(c, m, fd, OUT)),
        Err(Errno::Badf)
    );
    assert_eq!(
        g.call(|c, m| p1::sock_shutdown(c, m, fd, 3)),
        Err(Errno::Notsock)
    );
    assert_eq!(
        g.call(|c, m| p1::sock_accept(c, m, fd, 0, OUT)),
        Err(Errno::Notsock)
    );
}

#[test]
fn a_bad_result_pointer_loses_no_data() {
    let scratch = Scratch::new();
    std::fs::write(scratch.root().join("f"), "data").unwrap();
    let mut g = scratch.guest();
    let fd = g.open("f", 0, READ).unwrap();
    let end = MEMORY as u32;
    g.mem[200..208].copy_from_slice(&[0, 16, 0, 0, 4, 0, 0, 0]);
    assert_eq!(
        g.call(|c, m| p1::fd_read(c, m, fd, 200, 1, end - 3)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_read(c, m, fd, end - 7, 1, OUT)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::fd_read(c, m, fd, u32::MAX, u32::MAX, OUT)),
        Err(Errno::Fault)
    );
    assert_eq!(g.tell(fd), Ok(0));
    let (p, l) = g.put(b"new");
    let open = g.call(|c, m| p1::path_open(c, m, ROOT, 0, p, l, CREATE, WRITE, 0, 0, end));
    assert_eq!(open, Err(Errno::Fault));
    assert_eq!(g.stat("new", 0), Err(Errno::Noent));
}

#[test]
fn a_large_file_comes_in_one_read() {
    let scratch = Scratch::new();
    let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
    std::fs::write(scratch.root().join("f"), &data).unwrap();
    let mut g = scratch.guest();
    let fd = g.open("f", 0, READ).unwrap();
    assert_eq!(g.read(fd, 200_000).unwrap(), data);
}
