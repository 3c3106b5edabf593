use crate::support::*;
use bimetal_wasi::p1::{self, Errno, Rights};
use bimetal_wasi::{DirPerms, FilePerms, WasiCtxBuilder};

fn read_only(scratch: &Scratch) -> Guest {
    let root = scratch.root();
    std::fs::write(root.join("f"), "data").unwrap();
    std::fs::create_dir(root.join("d")).unwrap();
    std::fs::write(root.join("d/g"), "data").unwrap();
    std::os::unix::fs::symlink("f", root.join("l")).unwrap();
    Guest::with_perms(&root, DirPerms::READ, FilePerms::READ)
}

#[test]
fn a_read_only_directory_can_be_read() {
    let scratch = Scratch::new();
    let mut g = read_only(&scratch);
    let fd = g.open("f", 0, READ).unwrap();
    assert_eq!(g.read(fd, 10), Ok(b"data".to_vec()));
    assert_eq!(g.list(ROOT, 1000).unwrap().len(), 5);
    assert_eq!(g.stat("l", FOLLOW).unwrap().size, 4);
    assert_eq!(g.readlink("l", 9), Ok(b"f".to_vec()));
    // "Create if there is nothing" opens what is there, as on a read-only file system.
    let fd = g.open("f", CREATE, READ).unwrap();
    assert_eq!(g.read(fd, 10), Ok(b"data".to_vec()));
}

#[test]
fn a_read_only_directory_cannot_be_changed() {
    let scratch = Scratch::new();
    let mut g = read_only(&scratch);
    for path in ["f", "d/g", "l"] {
        assert_eq!(g.open(path, 0, WRITE), Err(Errno::Rofs), "{path}");
        assert_eq!(g.open(path, 0, READ | WRITE), Err(Errno::Rofs), "{path}");
        assert_eq!(g.open(path, TRUNC, READ), Err(Errno::Rofs), "{path}");
        assert_eq!(
            g.open(path, CREATE | EXCL, WRITE),
            Err(Errno::Exist),
            "{path}"
        );
    }
    // The rights that only a writer can use do not make a reader one.
    let set_size = Rights::FD_FILESTAT_SET_SIZE.bits();
    let fd = g.open("f", 0, READ | set_size).unwrap();
    assert_eq!(
        g.call(|c, m| p1::fd_filestat_set_size(c, m, fd, 0)),
        Err(Errno::Rofs)
    );
    assert_eq!(g.open("new", CREATE, WRITE), Err(Errno::Rofs));
    assert_eq!(g.open("new", CREATE, READ), Err(Errno::Rofs));
    assert_eq!(g.open("new", CREATE | EXCL, READ), Err(Errno::Rofs));
    assert_eq!(g.open("new", 0, WRITE), Err(Errno::Noent));
    assert_eq!(g.open("d", 0, WRITE), Err(Errno::Isdir));
    g.open("d", DIRECTORY, READ | WRITE).unwrap();
    assert_eq!(g.mkdir("new"), Err(Errno::Rofs));
    assert_eq!(g.mkdir("d"), Err(Errno::Exist));
    assert_eq!(g.rmdir("d"), Err(Errno::Rofs));
    assert_eq!(g.unlink("f"), Err(Errno::Rofs));
    assert_eq!(g.rename("f", "new"), Err(Errno::Rofs));
    assert_eq!(g.link("f", "new"), Err(Errno::Rofs));
    assert_eq!(g.symlink("f", "new"), Err(Errno::Rofs));
    assert_eq!(g.set_times("f", 0, 1, 1, 5), Err(Errno::Rofs));
    let fd = g.open("f", 0, READ).unwrap();
    assert_eq!(g.write(fd, b"x"), Err(Errno::Badf));
    let times = |g: &mut Guest, fd| g.call(|c, m| p1::fd_filestat_set_times(c, m, fd, 1, 1, 5));
    assert_eq!(times(&mut g, fd), Err(Errno::Rofs));
    assert_eq!(times(&mut g, ROOT), Err(Errno::Rofs));
    // What is opened below is no freer.
    let d = g.open("d", DIRECTORY, READ).unwrap();
    assert_eq!(g.open_full(d, 0, "g", 0, WRITE, 0), Err(Errno::Rofs));
    assert_eq!(g.open_full(d, 0, "new", CREATE, WRITE, 0), Err(Errno::Rofs));
    assert_eq!(std::fs::read(scratch.root().join("f")).unwrap(), b"data");
    assert_eq!(std::fs::read_dir(scratch.root()).unwrap().count(), 3);
}

#[test]
fn reported_rights_fit_the_kind() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let dir = g.fdstat(ROOT).unwrap();
    assert_eq!((dir.filetype, dir.flags), (DIR, 0));
    assert!(
        dir.base
            .contains(Rights::PATH_OPEN | Rights::FD_READDIR | Rights::PATH_CREATE_FILE)
    );
    assert!(
        !dir.base
            .intersects(Rights::FD_SEEK | Rights::FD_READ | Rights::FD_WRITE)
    );
    // What a C library asks for is cut to what is inherited, so all must be.
    assert_eq!(dir.inheriting, Rights::all());

    let rw = g.open("f", CREATE, READ | WRITE).unwrap();
    let rw = g.fdstat(rw).unwrap();
    assert_eq!(rw.filetype, FILE);
    assert!(
        rw.base
            .contains(Rights::FD_READ | Rights::FD_WRITE | Rights::FD_SEEK | Rights::FD_TELL)
    );
    assert!(!rw.base.intersects(Rights::PATH_OPEN | Rights::FD_READDIR));
    let r = g.open("f", 0, READ).unwrap();
    assert!(
        !g.fdstat(r)
            .unwrap()
            .base
            .intersects(Rights::FD_WRITE | Rights::FD_ALLOCATE)
    );
    let w = g.open("f", 0, WRITE).unwrap();
    assert!(!g.fdstat(w).unwrap().base.contains(Rights::FD_READ));

    let mut ro = Guest::with_perms(&scratch.root(), DirPerms::READ, FilePerms::READ);
    let dir = ro.fdstat(ROOT).unwrap();
    assert!(dir.base.contains(Rights::PATH_OPEN | Rights::FD_READDIR));
    assert!(
        !dir.base
            .intersects(Rights::PATH_CREATE_FILE | Rights::PATH_UNLINK_FILE)
    );
}

#[test]
fn rights_only_shrink() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    let all = g.fdstat(fd).unwrap().base;
    let less = all - Rights::FD_WRITE;
    g.set_rights(fd, less, Rights::empty()).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().base, less);
    assert_eq!(
        g.set_rights(fd, all, Rights::empty()),
        Err(Errno::Notcapable)
    );
    assert_eq!(
        g.set_rights(fd, less, Rights::FD_READ),
        Err(Errno::Notcapable)
    );
    assert_eq!(g.write(fd, b"x"), Err(Errno::Notcapable));
    g.set_rights(fd, Rights::FD_TELL, Rights::empty()).unwrap();
    assert_eq!(g.read(fd, 1), Err(Errno::Notcapable));
    assert_eq!(g.seek(fd, 0, 1), Ok(0));
    assert_eq!(g.seek(fd, 0, 0), Err(Errno::Notcapable));
    assert_eq!(g.fd_stat(fd), Err(Errno::Notcapable));
    assert_eq!(g.call(|c, m| p1::fd_sync(c, m, fd)), Err(Errno::Notcapable));
    assert_eq!(
        g.call(|c, m| p1::fd_filestat_set_size(c, m, fd, 1)),
        Err(Errno::Notcapable)
    );
    let beyond = g.call(|c, m| p1::fd_fdstat_set_rights(c, m, fd, 1 << 40, 0));
    assert_eq!(beyond, Err(Errno::Notcapable));
}

#[test]
fn a_directory_passes_on_what_it_kept() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("d").unwrap();
    g.open("d/f", CREATE, WRITE).unwrap();
    let d = g.open("d", DIRECTORY, READ).unwrap();
    let keep = Rights::PATH_OPEN | Rights::PATH_FILESTAT_GET;
    g.set_rights(d, keep, Rights::FD_READ | Rights::FD_TELL)
        .unwrap();
    assert_eq!(
        g.open_full(d, 0, "f", 0, READ | WRITE, 0),
        Err(Errno::Notcapable)
    );
    assert_eq!(
        g.open_full(d, 0, "new", CREATE, READ, 0),
        Err(Errno::Notcapable)
    );
    assert_eq!(
        g.open_full(d, 0, "f", TRUNC, READ, 0),
        Err(Errno::Notcapable)
    );
    assert_eq!(g.list(d, 100), Err(Errno::Notcapable));
    let f = g.open_full(d, 0, "f", 0, READ, 0).unwrap();
    assert_eq!(g.fdstat(f).unwrap().base, Rights::FD_READ | Rights::FD_TELL);
    // Bits that mean nothing are not missed.
    g.open_full(ROOT, 0, "d/f", 0, !0, 0).unwrap();
}

#[test]
fn perms_can_forbid_reading() {
    let scratch = Scratch::new();
    std::fs::write(scratch.root().join("f"), "x").unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder
        .preopened_dir(scratch.root(), "/", DirPerms::empty(), FilePerms::all())
        .unwrap();
    let mut g = Guest::new(builder.build());
    assert_eq!(g.open("f", 0, READ), Err(Errno::Perm));
    assert_eq!(g.stat("f", 0), Err(Errno::Perm));
    assert_eq!(g.list(ROOT, 100), Err(Errno::Perm));
    let mut g = Guest::with_perms(&scratch.root(), DirPerms::all(), FilePerms::WRITE);
    assert_eq!(g.open("f", 0, READ), Err(Errno::Perm));
    let fd = g.open("f", 0, WRITE).unwrap();
    g.write(fd, b"y").unwrap();
}
