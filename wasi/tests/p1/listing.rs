use crate::support::*;
use bimetal_wasi::p1::{self, Errno};
use bimetal_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
use std::collections::BTreeSet;
use std::time::Instant;

fn names(entries: &[Dirent]) -> BTreeSet<String> {
    entries
        .iter()
        .map(|e| String::from_utf8(e.name.clone()).unwrap())
        .collect()
}

#[test]
fn entries_with_their_types() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.open("file", CREATE, WRITE).unwrap();
    g.mkdir("dir").unwrap();
    g.symlink("file", "link").unwrap();
    let entries = g.list(ROOT, 4096).unwrap();
    assert_eq!(
        names(&entries),
        [".", "..", "dir", "file", "link"].map(String::from).into()
    );
    let own = g.fd_stat(ROOT).unwrap().ino;
    for e in &entries {
        let expected = match &e.name[..] {
            b"file" => (FILE, g.stat("file", 0).unwrap().ino),
            b"link" => (SYMLINK, g.stat("link", 0).unwrap().ino),
            b"dir" => (DIR, g.stat("dir", 0).unwrap().ino),
            // The parent of what the guest was given is not shown.
            _ => (DIR, own),
        };
        assert_eq!((e.filetype, e.ino), expected, "{e:?}");
        assert_ne!(e.next, 0);
    }
}

#[test]
fn any_buffer_size_gives_all_entries() {
    let scratch = Scratch::new();
    for i in 0..100 {
        std::fs::write(scratch.root().join(format!("file-{i:03}")), "").unwrap();
    }
    let mut g = scratch.guest();
    for len in [32, 33, 50, 64, 100, 1000, 100_000] {
        let entries = g.list(ROOT, len).unwrap();
        assert_eq!(
            (entries.len(), names(&entries).len()),
            (102, 102),
            "buffer of {len}"
        );
    }
    // A buffer too small for one entry holds the beginning of it.
    assert_eq!(g.readdir(ROOT, 10, 0).unwrap().len(), 10);
    assert_eq!(g.readdir(ROOT, 0, 0).unwrap().len(), 0);
}

#[test]
fn any_cookie_can_be_returned_to() {
    let scratch = Scratch::new();
    for i in 0..50 {
        std::fs::write(scratch.root().join(format!("f{i}")), "").unwrap();
    }
    let mut g = scratch.guest();
    let all = g.list(ROOT, 8192).unwrap();
    for i in [40, 3, 49, 0, 20] {
        let rest = parse_dirents(&g.readdir(ROOT, 8192, all[i].next).unwrap());
        assert_eq!(rest, all[i + 1..], "from entry {i}");
    }
    let end = all.last().unwrap().next;
    assert_eq!(g.readdir(ROOT, 8192, end), Ok(vec![]));
    // Cookies count entries: past the end there is nothing.
    assert_eq!(g.readdir(ROOT, 8192, u64::MAX), Ok(vec![]));
}

#[test]
fn rewinding_sees_what_is_new() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    assert_eq!(g.list(ROOT, 4096).unwrap().len(), 2);
    g.open("new", CREATE, WRITE).unwrap();
    assert_eq!(g.list(ROOT, 4096).unwrap().len(), 3);
}

#[test]
fn removing_while_listing_leaves_nothing() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("d").unwrap();
    for i in 0..500 {
        std::fs::write(scratch.root().join(format!("d/f{i}")), "").unwrap();
    }
    let fd = g.open("d", DIRECTORY, READ).unwrap();
    let mut cookie = 0;
    loop {
        let entries = parse_dirents(&g.readdir(fd, 200, cookie).unwrap());
        let Some(last) = entries.last() else { break };
        cookie = last.next;
        for e in entries.iter().filter(|e| !e.name.starts_with(b".")) {
            g.unlink(&format!("d/{}", std::str::from_utf8(&e.name).unwrap()))
                .unwrap();
        }
    }
    g.rmdir("d").unwrap();
}

#[test]
fn listing_costs_what_the_system_calls_cost() {
    const ENTRIES: usize = 10_000;
    let scratch = Scratch::new();
    let dir = scratch.root();
    // Names of one file, because making ten thousand files takes long on a busy disk.
    std::fs::write(dir.join("entry"), "").unwrap();
    for i in 1..ENTRIES {
        std::fs::hard_link(dir.join("entry"), dir.join(format!("entry-{i}"))).unwrap();
    }
    // The best of a few: other tests run at the same time.
    let best = |mut list: Box<dyn FnMut() -> usize>| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(list(), ENTRIES);
            start.elapsed()
        });
        times.min().unwrap()
    };
    let mut g = scratch.guest();
    let guest = best(Box::new(move || g.list(ROOT, 512).unwrap().len() - 2));
    let host = best(Box::new(move || std::fs::read_dir(&dir).unwrap().count()));
    // A buffer holds about ten entries: beginning anew for each would take 500 times as long.
    assert!(
        guest < host * 20,
        "the guest takes {guest:?}, the host {host:?}"
    );
}

#[test]
fn preopens_are_found_as_a_c_library_looks_for_them() {
    let scratch = Scratch::new();
    let mut builder = WasiCtxBuilder::new();
    for name in ["/", "/data", ""] {
        builder
            .preopened_dir(scratch.root(), name, DirPerms::READ, FilePerms::READ)
            .unwrap();
    }
    builder.preopened_listener(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ctx = builder.build();
    assert_eq!(ctx.listener_fds(), [6]);
    let mut g = Guest::new(ctx);
    let mut found = Vec::new();
    for fd in 3.. {
        match g.call(|c, m| p1::fd_prestat_get(c, m, fd, OUT)) {
            Ok(()) => {}
            Err(e) => {
                assert_eq!(e, Errno::Badf);
                break;
            }
        }
        assert_eq!(g.mem[OUT as usize], 0);
        let len = g.u32(OUT + 4);
        g.call(|c, m| p1::fd_prestat_dir_name(c, m, fd, 1000, len))
            .unwrap();
        found.push(String::from_utf8(g.mem[1000..][..len as usize].to_vec()).unwrap());
        if len > 0 {
            let short = g.call(|c, m| p1::fd_prestat_dir_name(c, m, fd, 1000, len - 1));
            assert_eq!(short, Err(Errno::Nametoolong));
        }
    }
    assert_eq!(found, ["/", "/data", ""]);
    assert_eq!(
        g.call(|c, m| p1::fd_prestat_get(c, m, 0, OUT)),
        Err(Errno::Badf)
    );
    // A directory that the guest opened itself is not one of them; a closed one is gone.
    let fd = g.open(".", DIRECTORY, READ).unwrap();
    assert_eq!(
        g.call(|c, m| p1::fd_prestat_get(c, m, fd, OUT)),
        Err(Errno::Badf)
    );
    g.close(ROOT).unwrap();
    assert_eq!(
        g.call(|c, m| p1::fd_prestat_get(c, m, ROOT, OUT)),
        Err(Errno::Badf)
    );
}
