use crate::support::*;
use bimetal_wasi::p1::{self, Errno, Rights};
use bimetal_wasi::{Input, MemoryInputPipe, MemoryOutputPipe, Output, WasiCtxBuilder};
use std::io::{Read, Write};

#[test]
fn memory() {
    let (out, err) = (MemoryOutputPipe::new(10), MemoryOutputPipe::new(10));
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(MemoryInputPipe::new("input"))
        .stdout(out.clone())
        .stderr(err.clone());
    let mut g = Guest::new(builder.build());
    assert_eq!(g.read(0, 3), Ok(b"inp".to_vec()));
    assert_eq!(g.read(0, 30), Ok(b"ut".to_vec()));
    assert_eq!(g.read(0, 30), Ok(vec![]));
    assert_eq!(g.write(1, b"hello"), Ok(5));
    assert_eq!(g.write(2, b"error"), Ok(5));
    assert_eq!(g.write(1, b" world"), Ok(5));
    // Full: as a full disk, not as the end of the host's memory.
    assert_eq!(g.write(1, b"!"), Err(Errno::Nospc));
    assert_eq!(
        (out.contents(), err.contents()),
        (b"hello worl".to_vec(), b"error".to_vec())
    );
    assert_eq!(out.take(), b"hello worl");
    assert_eq!(g.write(1, b"!"), Ok(1));
}

#[test]
fn null() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    assert_eq!(g.read(0, 10), Ok(vec![]));
    assert_eq!(g.write(1, b"gone"), Ok(4));
    assert_eq!(g.write(2, b"gone"), Ok(4));
    assert_eq!(g.seek(1, 5, 0), Ok(0));
    assert_eq!(g.pwrite(1, b"gone", 7), Ok(4));
    assert_eq!(g.pread(0, 1, 7), Ok(vec![]));
    g.call(|c, m| p1::fd_sync(c, m, 1)).unwrap();
}

#[test]
fn programmed() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(Input::reader(&b"abc"[..]))
        .stdout(Output::writer(writer));
    let mut g = Guest::new(builder.build());
    assert_eq!(g.read(0, 2), Ok(b"ab".to_vec()));
    g.write(1, b"xyz").unwrap();
    drop(g);
    let mut all = String::new();
    reader.read_to_string(&mut all).unwrap();
    assert_eq!(all, "xyz");
}

#[test]
fn streams_go_one_way_and_have_no_position() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(reader)
        .stdout(writer)
        .stderr(MemoryOutputPipe::new(1));
    let mut g = Guest::new(builder.build());
    assert_eq!(g.write(0, b"x"), Err(Errno::Badf));
    assert_eq!(g.read(1, 1), Err(Errno::Badf));
    for fd in 0..3 {
        assert_eq!(g.seek(fd, 0, 0), Err(Errno::Spipe));
        assert_eq!(g.tell(fd), Err(Errno::Spipe));
        assert_eq!(
            g.call(|c, m| p1::fd_advise(c, m, fd, 0, 0, 0)),
            Err(Errno::Spipe)
        );
        assert_eq!(
            g.call(|c, m| p1::fd_filestat_set_size(c, m, fd, 0)),
            Err(Errno::Inval)
        );
        assert_eq!(
            g.call(|c, m| p1::fd_filestat_set_times(c, m, fd, 0, 0, 5)),
            Err(Errno::Badf)
        );
        assert_eq!(g.readdir(fd, 100, 0), Err(Errno::Notdir));
        assert_eq!(g.open_full(fd, 0, "x", 0, READ, 0), Err(Errno::Notdir));
        g.fd_stat(fd).unwrap();
    }
    assert_eq!(g.pread(0, 1, 0), Err(Errno::Spipe));
    assert_eq!(g.pwrite(1, b"x", 0), Err(Errno::Spipe));
}

#[test]
fn pipes() {
    let (reader, mut feed) = std::io::pipe().unwrap();
    let (mut drain, writer) = std::io::pipe().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(reader).stdout(writer);
    let mut g = Guest::new(builder.build());
    feed.write_all(b"in").unwrap();
    assert_eq!(g.read(0, 10), Ok(b"in".to_vec()));
    g.write(1, b"out").unwrap();
    let mut buf = [0; 3];
    drain.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"out");
    drop(feed);
    assert_eq!(g.read(0, 10), Ok(vec![]));
    // Nobody reads any more: an error number, not a signal.
    drop(drain);
    assert_eq!(g.write(1, b"x"), Err(Errno::Pipe));
}

#[test]
fn non_blocking_is_the_guests_own_business() {
    let (reader, mut feed) = std::io::pipe().unwrap();
    let (mut drain, writer) = std::io::pipe().unwrap();
    let shared = reader.try_clone().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(reader).stdout(writer);
    let mut g = Guest::new(builder.build());
    const NONBLOCK: u32 = 4;
    for fd in [0, 1] {
        g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, NONBLOCK))
            .unwrap();
        assert_eq!(g.fdstat(fd).unwrap().flags, NONBLOCK as u16);
        assert_eq!(
            g.call(|c, m| p1::fd_fdstat_set_flags(c, m, fd, 2)),
            Err(Errno::Inval)
        );
    }
    assert_eq!(g.read(0, 1), Err(Errno::Again));
    feed.write_all(b"x").unwrap();
    assert_eq!(g.read(0, 1), Ok(b"x".to_vec()));
    // The open file itself, which others share, still blocks.
    let flags = rustix::fs::fcntl_getfl(&shared).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    let chunk = vec![7; 100_000];
    let mut written = 0;
    loop {
        match g.write(1, &chunk) {
            Ok(n) => written += n as usize,
            Err(e) => {
                assert_eq!(e, Errno::Again);
                break;
            }
        }
    }
    let mut back = vec![0; written];
    drain.read_exact(&mut back).unwrap();
    assert!(back.iter().all(|b| *b == 7));
}

#[test]
fn a_hundred_megabytes_through_a_pipe() {
    let (mut drain, writer) = std::io::pipe().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut buf, mut total) = (vec![0; 1 << 16], 0);
        loop {
            match drain.read(&mut buf).unwrap() {
                0 => return total,
                n => total += n,
            }
        }
    });
    let mut g = Guest::new(WasiCtxBuilder::new().stdout(writer).build());
    let (mut left, chunk) = (100usize << 20, vec![1; 128 << 10]);
    while left > 0 {
        left -= g.write(1, &chunk[..chunk.len().min(left)]).unwrap() as usize;
    }
    drop(g);
    assert_eq!(reader.join().unwrap(), 100 << 20);
}

#[test]
fn a_file_as_a_stream_has_a_position() {
    let scratch = Scratch::new();
    let path = scratch.root().join("f");
    std::fs::write(&path, "abcdef").unwrap();
    let out = std::fs::File::create(scratch.root().join("out")).unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(std::fs::File::open(&path).unwrap())
        .stdout(out);
    let mut g = Guest::new(builder.build());
    assert_eq!(g.fdstat(0).unwrap().filetype, FILE);
    assert_eq!(g.fd_stat(0).unwrap().size, 6);
    assert_eq!(g.read(0, 2), Ok(b"ab".to_vec()));
    assert_eq!(g.tell(0), Ok(2));
    assert_eq!(g.seek(0, -1, 2), Ok(5));
    assert_eq!(g.pread(0, 2, 0), Ok(b"ab".to_vec()));
    assert_eq!(g.read(0, 9), Ok(b"f".to_vec()));
    g.write(1, b"12345").unwrap();
    g.pwrite(1, b"X", 0).unwrap();
    assert_eq!(std::fs::read(scratch.root().join("out")).unwrap(), b"X2345");
}

#[test]
fn what_a_c_library_takes_for_a_terminal() {
    // A character device without the rights of a position: null streams are devices, and are not
    // asked to have a terminal's manners any more than /dev/null is.
    let dev_null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdin(dev_null)
        .stdout(MemoryOutputPipe::new(1))
        .stderr(Output::null());
    let mut g = Guest::new(builder.build());
    for fd in 0..3 {
        let stat = g.fdstat(fd).unwrap();
        let position = stat.base.intersects(Rights::FD_SEEK | Rights::FD_TELL);
        assert!(
            stat.filetype != 2 || position,
            "descriptor {fd} looks like a terminal"
        );
    }
}

#[test]
fn closing_a_standard_stream_frees_its_number() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.close(0).unwrap();
    assert_eq!(g.read(0, 1), Err(Errno::Badf));
    assert_eq!(g.open("f", CREATE, READ), Ok(0));
    assert_eq!(g.read(0, 1), Ok(vec![]));
}

#[test]
fn closing_a_stream_is_seen_at_its_other_end() {
    let scratch = Scratch::new();
    for renumber in [false, true] {
        let (mut drain, writer) = std::io::pipe().unwrap();
        let (reader, mut feed) = std::io::pipe().unwrap();
        let mut builder = WasiCtxBuilder::new();
        builder.stdin(reader).stdout(writer);
        let all = (
            bimetal_wasi::DirPerms::all(),
            bimetal_wasi::FilePerms::all(),
        );
        builder
            .preopened_dir(scratch.root(), "/", all.0, all.1)
            .unwrap();
        let mut g = Guest::new(builder.build());
        g.write(1, b"last").unwrap();
        if renumber {
            let fd = g.open("f", CREATE, WRITE).unwrap();
            g.call(|c, m| p1::fd_renumber(c, m, fd, 1)).unwrap();
        } else {
            g.close(1).unwrap();
        }
        g.close(0).unwrap();
        let mut all = String::new();
        drain.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last");
        assert_eq!(
            feed.write_all(b"x").unwrap_err().kind(),
            std::io::ErrorKind::BrokenPipe
        );
    }
}
