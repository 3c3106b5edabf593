//! Attempts to get out of a preopened directory. Each must fail, and leave the secret as it was.

use crate::support::*;
use bimetal_wasi::p1::{self, Errno};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every call that takes a path, on `path`; none may reach what is there.
fn assert_unreachable(g: &mut Guest, scratch: &Scratch, path: &str, expected: &[Errno]) {
    let check = |what: &str, result: Result<()>| match result {
        Err(e) => assert!(expected.contains(&e), "{what} {path:?}: {e}"),
        Ok(()) => panic!("{what} {path:?} succeeded"),
    };
    for lookup in [NOFOLLOW, FOLLOW] {
        for (oflags, rights) in [
            (0, READ),
            (0, READ | WRITE),
            (CREATE, READ | WRITE),
            (CREATE | TRUNC, WRITE),
            (CREATE | EXCL, WRITE),
            (DIRECTORY, READ),
        ] {
            let open = g.open_full(ROOT, lookup, path, oflags, rights, 0).map(drop);
            check(&format!("open {lookup} {oflags}"), open);
        }
        check("stat", g.stat(path, lookup).map(drop));
        check("set_times", g.set_times(path, lookup, 1, 1, 5));
    }
    check("readlink", g.readlink(path, 100).map(drop));
    check("mkdir", g.mkdir(path));
    check("rmdir", g.rmdir(path));
    check("unlink", g.unlink(path));
    check("link from", g.link(path, "stolen"));
    check("rename from", g.rename(path, "stolen"));
    g.open("mine", CREATE, WRITE).unwrap();
    check("link to", g.link("mine", path));
    check("rename to", g.rename("mine", path));
    check("symlink at", g.symlink("mine", path));
    assert_intact(scratch);
}

fn assert_intact(scratch: &Scratch) {
    assert_eq!(
        std::fs::read(scratch.base.path().join("secret")).unwrap(),
        b"secret"
    );
    let mut names: Vec<_> = std::fs::read_dir(scratch.base.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["root", "secret"]);
}

#[test]
fn parent_components() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("d").unwrap();
    for path in [
        "../secret",
        "d/../../secret",
        "./../secret",
        "../root/../secret",
        "d/../..//secret",
    ] {
        assert_unreachable(&mut g, &scratch, path, &[Errno::Perm]);
    }
    // Not even to come back in.
    for path in ["../root/d", "..", "../", "d/../..", "../root"] {
        assert_eq!(g.open(path, DIRECTORY, READ), Err(Errno::Perm), "{path}");
        assert_eq!(g.stat(path, FOLLOW), Err(Errno::Perm), "{path}");
    }
}

#[test]
fn a_deeper_descriptor_does_not_reach_its_own_parent() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("d").unwrap();
    g.open("f", CREATE, WRITE).unwrap();
    let d = g.open("d", DIRECTORY, READ).unwrap();
    assert_eq!(g.open_full(d, FOLLOW, "../f", 0, READ, 0), Err(Errno::Perm));
    assert_eq!(
        g.open_full(d, FOLLOW, "..", DIRECTORY, READ, 0),
        Err(Errno::Perm)
    );
}

#[test]
fn absolute_paths() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let secret = scratch.base.path().join("secret").display().to_string();
    assert_unreachable(&mut g, &scratch, &secret, &[Errno::Perm]);
    for path in [
        "/",
        "//",
        "/etc/passwd",
        "/./etc",
        &scratch.root().display().to_string(),
    ] {
        assert_eq!(g.open(path, 0, READ), Err(Errno::Perm), "{path}");
        assert_eq!(g.stat(path, FOLLOW), Err(Errno::Perm), "{path}");
    }
}

#[test]
fn symbolic_links_of_the_host() {
    let scratch = Scratch::new();
    let base = scratch.base.path().to_owned();
    let root = scratch.root();
    symlink("../secret", root.join("relative")).unwrap();
    symlink(base.join("secret"), root.join("absolute")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    symlink("parent", root.join("chain")).unwrap();
    let mut g = scratch.guest();
    for path in [
        "parent/secret",
        "chain/secret",
        "chain/../secret",
        "parent/root/../secret",
    ] {
        assert_unreachable(&mut g, &scratch, path, &[Errno::Perm]);
    }
    let through_slash = format!("slash{}", base.join("secret").display());
    assert_unreachable(&mut g, &scratch, &through_slash, &[Errno::Perm]);
    for path in ["relative", "absolute", "parent", "slash", "chain"] {
        for (oflags, rights) in [
            (0, READ),
            (0, WRITE),
            (CREATE, WRITE),
            (CREATE | TRUNC, WRITE),
        ] {
            assert_eq!(g.open(path, oflags, rights), Err(Errno::Perm), "{path}");
        }
        assert_eq!(g.stat(path, FOLLOW), Err(Errno::Perm), "{path}");
        assert_eq!(
            g.set_times(path, FOLLOW, 1, 1, 5),
            Err(Errno::Perm),
            "{path}"
        );
        let plain = g.open_full(ROOT, NOFOLLOW, path, 0, READ, 0);
        assert!(matches!(plain, Err(Errno::Loop)), "{path}: {plain:?}");
        // The link itself is the guest's, and may be looked at and removed.
        assert_eq!(g.stat(path, NOFOLLOW).unwrap().filetype, SYMLINK);
    }
    // Where the host's directories are is not told.
    assert_eq!(g.readlink("absolute", 100), Err(Errno::Perm));
    assert_eq!(g.readlink("relative", 100), Ok(b"../secret".to_vec()));
    g.unlink("absolute").unwrap();
    assert_intact(&scratch);
}

#[test]
fn symbolic_links_of_the_guest() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    assert_eq!(g.symlink("/etc/passwd", "l"), Err(Errno::Perm));
    assert_eq!(g.symlink("/", "l"), Err(Errno::Perm));
    g.mkdir("d").unwrap();
    g.symlink("../..", "d/up").unwrap();
    g.symlink("d/up/secret", "far").unwrap();
    g.symlink("..", "up").unwrap();
    for path in ["d/up/secret", "up/secret"] {
        assert_unreachable(&mut g, &scratch, path, &[Errno::Perm]);
    }
    assert_eq!(g.open("far", CREATE, WRITE), Err(Errno::Perm));
    // Moving a link that was harmless makes it lead out; it leads nowhere then.
    g.mkdir("d/e").unwrap();
    g.symlink("../../f", "d/e/l").unwrap();
    g.open("f", CREATE, WRITE).unwrap();
    g.open("d/e/l", 0, READ).unwrap();
    g.rename("d/e/l", "d/l").unwrap();
    assert_eq!(g.open("d/l", 0, READ), Err(Errno::Perm));
    assert_intact(&scratch);
}

#[test]
fn a_directory_moved_away_under_an_open_descriptor() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.mkdir("a").unwrap();
    g.mkdir("a/b").unwrap();
    let b = g.open("a/b", DIRECTORY, READ).unwrap();
    g.rename("a/b", "b").unwrap();
    // Two levels up from where it was is one level outside of where it is.
    assert_eq!(
        g.open_full(b, FOLLOW, "../../secret", 0, READ, 0),
        Err(Errno::Perm)
    );
    // The host moves it out of the preopen: still no way to its new neighbours.
    std::fs::rename(scratch.root().join("b"), scratch.base.path().join("b")).unwrap();
    assert_eq!(
        g.open_full(b, FOLLOW, "../secret", 0, READ, 0),
        Err(Errno::Perm)
    );
    std::fs::remove_dir(scratch.base.path().join("b")).unwrap();
    assert_intact(&scratch);
}

#[test]
fn magic_links_of_proc() {
    let mut g = Guest::with_dir("/proc".as_ref());
    for path in [
        "self/root/etc",
        "self/cwd",
        "self/exe",
        "self/fd/0",
        "thread-self/root",
    ] {
        for result in [
            g.open(path, 0, READ).map(drop),
            g.stat(path, FOLLOW).map(drop),
        ] {
            assert!(
                matches!(result, Err(Errno::Loop | Errno::Perm)),
                "{path}: {result:?}"
            );
        }
    }
    assert_eq!(g.readlink("self/exe", 100), Err(Errno::Perm));
}

#[test]
fn hard_links_and_renames_between_preopens_lift_no_permission() {
    use bimetal_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
    let scratch = Scratch::new();
    let root = scratch.root();
    for dir in ["full", "ro", "ro-files"] {
        std::fs::create_dir(root.join(dir)).unwrap();
        std::fs::write(root.join(dir).join("f"), dir).unwrap();
    }
    let (all, read) = (DirPerms::all(), DirPerms::READ);
    let mut builder = WasiCtxBuilder::new();
    let mut add = |name: &str, dir, file| {
        builder
            .preopened_dir(root.join(name), name, dir, file)
            .unwrap();
    };
    add("ro", read, FilePerms::READ); // 3
    add("full", all, FilePerms::all()); // 4
    let mut g = Guest::new(builder.build());
    assert_eq!(g.link_to(0, "f", 4, "stolen"), Err(Errno::Rofs));
    assert_eq!(g.rename_to("f", 4, "stolen"), Err(Errno::Rofs));

    let mut builder = WasiCtxBuilder::new();
    let mut add = |name: &str, dir, file| {
        builder
            .preopened_dir(root.join(name), name, dir, file)
            .unwrap();
    };
    add("ro-files", all, FilePerms::READ); // 3
    add("full", all, FilePerms::all()); // 4
    let mut g = Guest::new(builder.build());
    assert_eq!(g.link_to(0, "f", 4, "stolen"), Err(Errno::Xdev));
    assert_eq!(g.rename_to("f", 4, "stolen"), Err(Errno::Xdev));
    g.rename("f", "renamed").unwrap();
    assert_eq!(std::fs::read_dir(root.join("full")).unwrap().count(), 1);
}

/// While the host swaps a directory of the preopen with a link to the outside, the guest tries to
/// get at the secret through it. Whatever it sees must be from inside.
#[test]
fn racing_a_swap() {
    let scratch = Scratch::new();
    let root = scratch.root();
    std::fs::create_dir(root.join("dir")).unwrap();
    std::fs::write(root.join("dir/secret"), "inside").unwrap();
    symlink("..", root.join("link")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let at = |name: &str| root.join(name);
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [
                    ("dir", "parked"),
                    ("link", "dir"),
                    ("dir", "link"),
                    ("parked", "dir"),
                ] {
                    std::fs::rename(at(from), at(to)).unwrap();
                }
            }
        });
        let mut g = scratch.guest();
        for _ in 0..3000 {
            match g.open("dir/secret", 0, READ) {
                Ok(fd) => {
                    assert_eq!(g.read(fd, 100).unwrap(), b"inside");
                    g.close(fd).unwrap();
                    inside += 1;
                }
                Err(e) => {
                    assert!(
                        matches!(e, Errno::Perm | Errno::Noent | Errno::Again),
                        "{e}"
                    );
                    refused += 1;
                }
            }
            let _ = g.open("dir/created", CREATE, WRITE).map(|fd| g.close(fd));
            let _ = g.unlink("dir/secret-not-there");
            let _ = g.mkdir("dir/made").and_then(|()| g.rmdir("dir/made"));
            let _ = g.set_times("dir/secret", FOLLOW, 1, 1, 5);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(inside + refused == 3000);
    assert!(!Path::new(&scratch.base.path().join("created")).exists());
    assert!(!Path::new(&scratch.base.path().join("made")).exists());
    let secret = std::fs::metadata(scratch.base.path().join("secret")).unwrap();
    assert!(secret.modified().unwrap() > std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
    assert_intact(&scratch);
}

#[test]
fn closed_means_gone() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    g.close(ROOT).unwrap();
    assert_eq!(g.open("f", CREATE, WRITE), Err(Errno::Badf));
    assert_eq!(g.stat(".", 0), Err(Errno::Badf));
    // The number goes to something else, which does not become a directory by that.
    assert_eq!(
        g.call(|c, m| p1::fd_renumber(c, m, 0, ROOT)),
        Err(Errno::Badf)
    );
}
