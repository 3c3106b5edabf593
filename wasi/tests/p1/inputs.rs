//! Arguments, environment, clocks, randomness, ending.

use crate::support::*;
use bimetal_wasi::p1::{self, Errno, ProcExit};
use bimetal_wasi::{Clock, DeterministicRandom, WasiCtxBuilder};
use std::time::Duration;

fn strings(g: &Guest, pointers: u32, count: u32) -> Vec<String> {
    let string = |i| {
        let at = g.u32(pointers + 4 * i) as usize;
        let bytes = g.mem[at..].split(|b| *b == 0).next().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    (0..count).map(string).collect()
}

#[test]
fn arguments_and_environment() {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["prog", "", "two words"]).arg(b"cut\0here");
    builder.env("A", "1").envs(&[("B", "x=y"), ("A", "2")]);
    let mut g = Guest::new(builder.build());
    g.call(|c, m| p1::args_sizes_get(c, m, OUT, OUT + 4))
        .unwrap();
    assert_eq!((g.u32(OUT), g.u32(OUT + 4)), (4, 5 + 1 + 10 + 4));
    g.call(|c, m| p1::args_get(c, m, 1000, 2000)).unwrap();
    assert_eq!(strings(&g, 1000, 4), ["prog", "", "two words", "cut"]);
    g.call(|c, m| p1::environ_sizes_get(c, m, OUT, OUT + 4))
        .unwrap();
    assert_eq!((g.u32(OUT), g.u32(OUT + 4)), (2, 4 + 6));
    g.call(|c, m| p1::environ_get(c, m, 1000, 2000)).unwrap();
    assert_eq!(strings(&g, 1000, 2), ["A=2", "B=x=y"]);

    let end = MEMORY as u32;
    assert_eq!(
        g.call(|c, m| p1::args_get(c, m, end - 8, 0)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::args_get(c, m, 0, end - 8)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::environ_get(c, m, u32::MAX, u32::MAX)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::args_sizes_get(c, m, OUT, end - 3)),
        Err(Errno::Fault)
    );
}

#[test]
fn nothing_is_inherited_unasked() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    g.call(|c, m| p1::args_sizes_get(c, m, OUT, OUT + 4))
        .unwrap();
    assert_eq!((g.u32(OUT), g.u32(OUT + 4)), (0, 0));
    g.call(|c, m| p1::environ_sizes_get(c, m, OUT, OUT + 4))
        .unwrap();
    assert_eq!((g.u32(OUT), g.u32(OUT + 4)), (0, 0));
    assert_eq!(
        g.call(|c, m| p1::fd_prestat_get(c, m, 3, OUT)),
        Err(Errno::Badf)
    );
    let mut builder = WasiCtxBuilder::new();
    let mut g = Guest::new(builder.inherit_env().inherit_args().build());
    g.call(|c, m| p1::environ_sizes_get(c, m, OUT, OUT + 4))
        .unwrap();
    assert_eq!(g.u32(OUT) as usize, std::env::vars_os().count());
}

#[test]
fn clocks() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    for id in 0..4 {
        g.call(|c, m| p1::clock_res_get(c, m, id, OUT)).unwrap();
        assert!((1..=1_000_000_000).contains(&g.u64(OUT)));
        g.call(|c, m| p1::clock_time_get(c, m, id, 0, OUT)).unwrap();
        let first = g.u64(OUT);
        g.call(|c, m| p1::clock_time_get(c, m, id, 1000, OUT))
            .unwrap();
        assert!(g.u64(OUT) >= first);
    }
    g.call(|c, m| p1::clock_time_get(c, m, 0, 0, OUT)).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    assert!(now.abs_diff(g.u64(OUT)) < 60_000_000_000);
    assert_eq!(
        g.call(|c, m| p1::clock_time_get(c, m, 4, 0, OUT)),
        Err(Errno::Inval)
    );
    assert_eq!(
        g.call(|c, m| p1::clock_res_get(c, m, u32::MAX, OUT)),
        Err(Errno::Inval)
    );
    let end = MEMORY as u32;
    assert_eq!(
        g.call(|c, m| p1::clock_time_get(c, m, 0, 0, end - 7)),
        Err(Errno::Fault)
    );
}

#[derive(Debug)]
struct Fixed(u64);

impl Clock for Fixed {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0)
    }

    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn a_run_can_be_made_repeatable() {
    let scratch = Scratch::new();
    let run = |seed| {
        let mut builder = WasiCtxBuilder::new();
        builder
            .wall_clock(Fixed(1_000))
            .monotonic_clock(Fixed(7))
            .random(DeterministicRandom::new(seed));
        let all = (
            bimetal_wasi::DirPerms::all(),
            bimetal_wasi::FilePerms::all(),
        );
        builder
            .preopened_dir(scratch.root(), "/", all.0, all.1)
            .unwrap();
        let mut g = Guest::new(builder.build());
        g.call(|c, m| p1::clock_time_get(c, m, 0, 0, OUT)).unwrap();
        assert_eq!(g.u64(OUT), 1_000_000_000_000);
        g.call(|c, m| p1::clock_time_get(c, m, 1, 0, OUT)).unwrap();
        assert_eq!(g.u64(OUT), 7_000_000_000);
        g.call(|c, m| p1::clock_res_get(c, m, 1, OUT)).unwrap();
        assert_eq!(g.u64(OUT), 1_000_000_000);
        // "Now" is the guest's own now.
        g.open("f", CREATE, WRITE).unwrap();
        g.set_times("f", 0, 0, 0, 8).unwrap();
        assert_eq!(g.stat("f", 0).unwrap().mtim, 1_000_000_000_000);
        g.call(|c, m| p1::random_get(c, m, 1000, 21)).unwrap();
        g.mem[1000..1024].to_vec()
    };
    let bytes = run(1);
    assert_eq!(bytes, run(1));
    assert_ne!(bytes, run(2));
    assert_eq!(bytes[21..], [0, 0, 0]);
}

#[test]
fn randomness() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    g.call(|c, m| p1::random_get(c, m, 0, 100_000)).unwrap();
    let zeros = g.mem[..100_000].iter().filter(|b| **b == 0).count();
    assert!(
        (200..800).contains(&zeros),
        "{zeros} zeros in 100,000 random bytes"
    );
    g.call(|c, m| p1::random_get(c, m, MEMORY as u32, 0))
        .unwrap();
    assert_eq!(
        g.call(|c, m| p1::random_get(c, m, MEMORY as u32, 1)),
        Err(Errno::Fault)
    );
    assert_eq!(
        g.call(|c, m| p1::random_get(c, m, 1, u32::MAX)),
        Err(Errno::Fault)
    );
}

#[test]
fn ending_and_signals() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    let exit = g.call(|c, m| p1::proc_exit(c, m, 42));
    assert_eq!(exit.err(), Some(ProcExit(42)));
    let boxed: Box<dyn std::error::Error> = Box::new(ProcExit(3));
    assert_eq!(boxed.downcast_ref::<ProcExit>(), Some(&ProcExit(3)));
    assert_eq!(boxed.to_string(), "the program exited with code 3");
    assert_eq!(g.call(|c, m| p1::proc_raise(c, m, 6)), Err(Errno::Notsup));
    assert_eq!(g.call(|c, m| p1::proc_raise(c, m, 31)), Err(Errno::Inval));
    assert_eq!(g.call(p1::sched_yield), Ok(()));
}
