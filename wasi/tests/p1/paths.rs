use crate::support::*;
use bimetal_wasi::p1::{self, Errno};

#[test]
fn directories_are_made_and_removed() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("a").unwrap();
    g.mkdir("a/b/").unwrap();
    assert_eq!(g.mkdir("a"), Err(Errno::Exist));
    assert_eq!(g.mkdir("none/x"), Err(Errno::Noent));
    assert_eq!(g.rmdir("a"), Err(Errno::Notempty));
    g.rmdir("a/b/").unwrap();
    assert_eq!(g.rmdir("a/b"), Err(Errno::Noent));
    g.open("f", CREATE, WRITE).unwrap();
    assert_eq!(g.rmdir("f"), Err(Errno::Notdir));
    assert_eq!(g.rmdir("f/"), Err(Errno::Notdir));
    assert_eq!(g.mkdir("f/x"), Err(Errno::Notdir));
    g.rmdir("a").unwrap();
}

#[test]
fn files_are_unlinked() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.open("f", CREATE, WRITE).unwrap();
    g.mkdir("d").unwrap();
    g.symlink("d", "l").unwrap();
    assert_eq!(g.unlink("d"), Err(Errno::Isdir));
    assert_eq!(g.unlink("d/"), Err(Errno::Isdir));
    assert_eq!(g.unlink("f/"), Err(Errno::Notdir));
    assert_eq!(g.unlink("none"), Err(Errno::Noent));
    g.unlink("l").unwrap();
    g.unlink("f").unwrap();
    assert_eq!(g.stat("f", 0), Err(Errno::Noent));
    assert_eq!(g.stat("d", 0).unwrap().filetype, DIR);
}

#[test]
fn an_unlinked_file_lives_while_it_is_open() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.write(fd, b"x").unwrap();
    g.unlink("f").unwrap();
    assert_eq!(g.pread(fd, 9, 0), Ok(b"x".to_vec()));
    assert_eq!(g.fd_stat(fd).unwrap().nlink, 0);
}

#[test]
fn renaming() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("a", CREATE, WRITE).unwrap();
    g.write(fd, b"a").unwrap();
    g.open("b", CREATE, WRITE).unwrap();
    g.mkdir("d").unwrap();
    g.mkdir("full").unwrap();
    g.open("full/x", CREATE, WRITE).unwrap();
    g.rename("a", "b").unwrap();
    assert_eq!(g.stat("a", 0), Err(Errno::Noent));
    assert_eq!(g.stat("b", 0).unwrap().size, 1);
    g.rename("b", "d/b").unwrap();
    assert_eq!(g.rename("d/b", "full"), Err(Errno::Isdir));
    assert_eq!(g.rename("d/b", "d"), Err(Errno::Notempty));
    assert_eq!(g.rename("d", "d/b"), Err(Errno::Inval));
    assert_eq!(g.rename("full", "d/b"), Err(Errno::Notdir));
    assert_eq!(g.rename("d", "full"), Err(Errno::Notempty));
    assert_eq!(g.rename("none", "x"), Err(Errno::Noent));
    assert_eq!(g.rename("d/b/", "x"), Err(Errno::Notdir));
    assert_eq!(g.rename("d/b", "x/"), Err(Errno::Notdir));
    g.rename("full/", "full2/").unwrap();
    // Between two directories that the guest has open.
    let to = g.open("full2", DIRECTORY, READ).unwrap();
    g.rename_to("d/b", to, "moved").unwrap();
    assert_eq!(g.stat("full2/moved", 0).unwrap().size, 1);
}

#[test]
fn hard_links() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.open("f", CREATE, WRITE).unwrap();
    g.mkdir("d").unwrap();
    g.link("f", "d/g").unwrap();
    assert_eq!(g.stat("f", 0).unwrap().nlink, 2);
    assert_eq!(g.stat("f", 0).unwrap().ino, g.stat("d/g", 0).unwrap().ino);
    assert_eq!(g.link("f", "d/g"), Err(Errno::Exist));
    assert_eq!(g.link("d", "e"), Err(Errno::Perm));
    assert_eq!(g.link("none", "e"), Err(Errno::Noent));
    assert_eq!(g.link("f/", "e"), Err(Errno::Notdir));
    assert_eq!(g.link("f", "e/"), Err(Errno::Noent));
    // A symbolic link is linked itself; following it first is not offered.
    g.symlink("f", "l").unwrap();
    g.link("l", "l2").unwrap();
    assert_eq!(g.stat("l2", NOFOLLOW).unwrap().filetype, SYMLINK);
    assert_eq!(g.link_to(FOLLOW, "l", ROOT, "l3"), Err(Errno::Inval));
}

#[test]
fn symbolic_links() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let fd = g.open("f", CREATE, WRITE).unwrap();
    g.write(fd, b"1234").unwrap();
    g.mkdir("d").unwrap();
    g.symlink("../f", "d/l").unwrap();
    assert_eq!(g.readlink("d/l", 100), Ok(b"../f".to_vec()));
    assert_eq!(g.readlink("d/l", 2), Ok(b"..".to_vec()));
    assert_eq!(g.readlink("d/l", 0), Ok(vec![]));
    assert_eq!(g.readlink("f", 100), Err(Errno::Inval));
    assert_eq!(g.readlink("none", 100), Err(Errno::Noent));
    assert_eq!(g.stat("d/l", FOLLOW).unwrap().size, 4);
    let link = g.stat("d/l", NOFOLLOW).unwrap();
    assert_eq!((link.filetype, link.size), (SYMLINK, 4));
    assert_eq!(
        g.open_full(ROOT, NOFOLLOW, "d/l", 0, READ, 0),
        Err(Errno::Loop)
    );
    g.open_full(ROOT, FOLLOW, "d/l", 0, READ, 0).unwrap();
    assert_eq!(g.symlink("x", "d/l"), Err(Errno::Exist));
    assert_eq!(g.symlink("x", "none/l"), Err(Errno::Noent));
    // Dangling, then not: creating through a link makes its target.
    g.symlink("target", "dangling").unwrap();
    assert_eq!(g.open("dangling", 0, READ), Err(Errno::Noent));
    g.open("dangling", CREATE, WRITE).unwrap();
    assert_eq!(g.stat("target", NOFOLLOW).unwrap().filetype, FILE);
    g.symlink("circle", "circle").unwrap();
    assert_eq!(g.open("circle", 0, READ), Err(Errno::Loop));
    assert_eq!(g.stat("circle", FOLLOW), Err(Errno::Loop));
    g.symlink("d", "to-dir").unwrap();
    assert_eq!(g.stat("to-dir/", FOLLOW).unwrap().filetype, DIR);
    assert_eq!(g.stat("to-dir/l", FOLLOW).unwrap().size, 4);
}

#[test]
fn spellings_of_a_path() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("d").unwrap();
    g.mkdir("d/e").unwrap();
    g.open("d/e/f", CREATE, WRITE).unwrap();
    for path in [
        "d/e/f",
        "./d//e/./f",
        "d/e/../e/f",
        "d/../d/e/f",
        "d/e/../../d/e/f",
    ] {
        g.open(path, 0, READ)
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    for path in [".", "./", "d/..", "d/e/../../", "d/./.."] {
        let fd = g
            .open(path, DIRECTORY, READ)
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(
            g.fd_stat(fd).unwrap().ino,
            g.fd_stat(ROOT).unwrap().ino,
            "{path}"
        );
    }
    assert_eq!(g.open("d/e/f/", 0, READ), Err(Errno::Notdir));
    for lookup in [NOFOLLOW, FOLLOW] {
        assert_eq!(g.stat("d/e/f/", lookup), Err(Errno::Notdir));
    }
    assert_eq!(g.open("d/e/f/.", 0, READ), Err(Errno::Notdir));
    assert_eq!(g.open("d/e/f/..", 0, READ), Err(Errno::Notdir));
    assert_eq!(g.open("new/", CREATE, WRITE), Err(Errno::Isdir));
    assert_eq!(g.open("", 0, READ), Err(Errno::Noent));
    assert_eq!(g.stat("", 0), Err(Errno::Noent));
    assert_eq!(g.mkdir(""), Err(Errno::Noent));
    assert_eq!(g.open("d/e/f\0", 0, READ), Err(Errno::Inval));
    assert_eq!(g.mkdir("a\0b"), Err(Errno::Inval));
    assert_eq!(
        g.open(&"x".repeat(256), CREATE, WRITE),
        Err(Errno::Nametoolong)
    );
    assert_eq!(
        g.open(&"d/../".repeat(1000), 0, READ),
        Err(Errno::Nametoolong)
    );
}

#[test]
fn paths_are_utf8() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let (p, l) = g.put(b"\xff\xfe");
    let open = g.call(|c, m| p1::path_open(c, m, ROOT, 0, p, l, CREATE, WRITE, 0, 0, OUT));
    assert_eq!(open, Err(Errno::Ilseq));
    g.open("naïve ☃", CREATE, WRITE).unwrap();
    let outside = g.call(|c, m| p1::path_create_directory(c, m, ROOT, MEMORY as u32 - 1, 2));
    assert_eq!(outside, Err(Errno::Fault));
}

#[test]
fn a_fifo_and_a_device_have_their_types() {
    let scratch = Scratch::new();
    let fifo = scratch.root().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|s| s.success()));
    let mut g = scratch.guest();
    assert_eq!(g.stat("fifo", 0).unwrap().filetype, 0);
    let nonblock = 4;
    let fd = g.open_full(ROOT, 0, "fifo", 0, READ, nonblock).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().filetype, 0);
    assert_eq!(g.seek(fd, 0, 0), Err(Errno::Spipe));
    assert_eq!(g.pread(fd, 1, 0), Err(Errno::Spipe));
    assert_eq!(g.read(fd, 1), Ok(vec![])); // No writer: the end.
    let mut g = Guest::with_dir("/dev".as_ref());
    let fd = g.open("null", 0, READ | WRITE).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().filetype, 2);
    assert_eq!(g.write(fd, b"gone"), Ok(4));
    assert_eq!(g.read(fd, 4), Ok(vec![]));
}
