use crate::support::*;
use bimetal_wasi::p1::{self, Errno};
use bimetal_wasi::{Clock, LogicalClock, MemoryInputPipe, WasiCtxBuilder};
use std::io::Write;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
enum Sub {
    After(u32, u64),
    At(u32, u64),
    ClockFlags(u16),
    Read(u32),
    Write(u32),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    userdata: u64,
    errno: u16,
    tag: u8,
    nbytes: u64,
    flags: u16,
}

const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
const MILLISECOND: u64 = 1_000_000;

/// Polls; the user data are 100, 101, … in the order of the subscriptions.
fn poll(g: &mut Guest, subs: &[Sub]) -> Result<Vec<Event>> {
    let mut bytes = vec![0u8; subs.len() * 48];
    for (i, sub) in subs.iter().enumerate() {
        let s = &mut bytes[i * 48..][..48];
        s[..8].copy_from_slice(&(100 + i as u64).to_le_bytes());
        let mut clock = |id: u32, timeout: u64, flags: u16| {
            s[16..20].copy_from_slice(&id.to_le_bytes());
            s[24..32].copy_from_slice(&timeout.to_le_bytes());
            s[40..42].copy_from_slice(&flags.to_le_bytes());
        };
        match *sub {
            Sub::After(id, timeout) => clock(id, timeout, 0),
            Sub::At(id, timeout) => clock(id, timeout, 1),
            Sub::ClockFlags(flags) => clock(MONOTONIC, 0, flags),
            Sub::Read(fd) => {
                s[8] = 1;
                s[16..20].copy_from_slice(&fd.to_le_bytes());
            }
            Sub::Write(fd) => {
                s[8] = 2;
                s[16..20].copy_from_slice(&fd.to_le_bytes());
            }
            Sub::Unknown => s[8] = 3,
        }
    }
    let (input, _) = g.put(&bytes);
    let (output, _) = g.put(&vec![0xaa; subs.len() * 32]);
    g.call(|c, m| p1::poll_oneoff(c, m, input, output, subs.len() as u32, OUT))?;
    let event = |i| {
        let at = output + 32 * i;
        Event {
            userdata: g.u64(at),
            errno: g.u16(at + 8),
            tag: g.mem[at as usize + 10],
            nbytes: g.u64(at + 16),
            flags: g.u16(at + 24),
        }
    };
    Ok((0..g.u32(OUT)).map(event).collect())
}

fn clock_event(userdata: u64) -> Event {
    Event {
        userdata,
        errno: 0,
        tag: 0,
        nbytes: 0,
        flags: 0,
    }
}

fn now(g: &mut Guest, id: u32) -> u64 {
    g.call(|c, m| p1::clock_time_get(c, m, id, 0, OUT)).unwrap();
    g.u64(OUT)
}

#[test]
fn clocks() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    for id in [REALTIME, MONOTONIC] {
        let start = Instant::now();
        let events = poll(&mut g, &[Sub::After(id, 20 * MILLISECOND)]).unwrap();
        assert_eq!(events, [clock_event(100)]);
        assert!(start.elapsed() >= Duration::from_millis(20));

        let deadline = now(&mut g, id) + 20 * MILLISECOND;
        assert_eq!(
            poll(&mut g, &[Sub::At(id, deadline)]).unwrap(),
            [clock_event(100)]
        );
        assert!(now(&mut g, id) >= deadline);
        // What has been is at once.
        assert_eq!(poll(&mut g, &[Sub::At(id, 5)]).unwrap(), [clock_event(100)]);
    }
    let events = poll(
        &mut g,
        &[Sub::After(1, u64::MAX), Sub::After(1, 1), Sub::After(0, 0)],
    );
    assert_eq!(events.unwrap().last(), Some(&clock_event(102)));
}

#[test]
fn streams_and_files() {
    let scratch = Scratch::new();
    let (reader, mut feed) = std::io::pipe().unwrap();
    let (drain, writer) = std::io::pipe().unwrap();
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

    // Nothing to read: the clock wins.
    let wait = Sub::After(MONOTONIC, 5 * MILLISECOND);
    assert_eq!(
        poll(&mut g, &[Sub::Read(0), wait]).unwrap(),
        [clock_event(101)]
    );
    feed.write_all(b"12345").unwrap();
    let long = Sub::After(MONOTONIC, 60_000 * MILLISECOND);
    let readable = Event {
        userdata: 101,
        errno: 0,
        tag: 1,
        nbytes: 5,
        flags: 0,
    };
    assert_eq!(poll(&mut g, &[long, Sub::Read(0)]).unwrap(), [readable]);
    let events = poll(&mut g, &[Sub::Write(1), long, Sub::Read(0)]).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (events[0].userdata, events[0].tag, events[0].errno),
        (100, 2, 0)
    );
    assert!(events[0].nbytes > 0);

    // Files are always ready, with what is left of them.
    let fd = g.open("f", CREATE, READ | WRITE).unwrap();
    g.write(fd, b"0123456789").unwrap();
    g.seek(fd, 4, 0).unwrap();
    let events = poll(&mut g, &[long, Sub::Read(fd), Sub::Write(fd)]).unwrap();
    assert_eq!(
        events
            .iter()
            .map(|e| (e.userdata, e.nbytes > 0))
            .collect::<Vec<_>>(),
        [(101, true), (102, true)]
    );
    assert_eq!(events[0].nbytes, 6);

    // The other side closes.
    drop(feed);
    let events = poll(&mut g, &[long, Sub::Read(0)]).unwrap();
    assert_eq!((events[0].nbytes, events[0].flags), (5, 1));
    drop(drain);
    let events = poll(&mut g, &[long, Sub::Write(1)]).unwrap();
    assert_eq!((events[0].errno, events[0].flags), (0, 1));
    assert_eq!(g.write(1, b"x"), Err(Errno::Pipe));
}

#[test]
fn something_comes_while_waiting() {
    let (reader, mut feed) = std::io::pipe().unwrap();
    let mut g = Guest::new(WasiCtxBuilder::new().stdin(reader).build());
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        feed.write_all(b"x").unwrap();
        feed
    });
    let events = poll(
        &mut g,
        &[Sub::After(MONOTONIC, 60_000 * MILLISECOND), Sub::Read(0)],
    );
    assert_eq!(events.unwrap()[0].userdata, 101);
    drop(writer.join().unwrap());
}

#[test]
fn what_lives_in_memory_is_ready() {
    let mut builder = WasiCtxBuilder::new();
    let mut g = Guest::new(builder.stdin(MemoryInputPipe::new("x")).build());
    let long = Sub::After(MONOTONIC, 60_000 * MILLISECOND);
    let events = poll(&mut g, &[long, Sub::Read(0), Sub::Write(1)]).unwrap();
    assert_eq!(
        events.iter().map(|e| e.userdata).collect::<Vec<_>>(),
        [101, 102]
    );
}

#[test]
fn a_bad_subscription_is_an_event() {
    let scratch = Scratch::new();
    let mut g = scratch.guest();
    let r = g.open("f", CREATE, READ).unwrap();
    let subs = [
        Sub::Read(99),
        Sub::After(MONOTONIC, 60_000 * MILLISECOND),
        Sub::Write(r),
        Sub::After(77, 0),
        Sub::Read(ROOT),
        Sub::ClockFlags(2),
        Sub::Read(1),
    ];
    let events = poll(&mut g, &subs).unwrap();
    let found: Vec<_> = events
        .iter()
        .map(|e| (e.userdata, e.tag, e.errno))
        .collect();
    let (badf, inval) = (Errno::Badf.number(), Errno::Inval.number());
    assert_eq!(
        found,
        [
            (100, 1, badf),
            (102, 2, badf),
            (103, 0, inval),
            (104, 1, badf),
            (105, 0, inval),
            (106, 1, badf)
        ]
    );
}

#[test]
fn bad_calls() {
    let mut g = Guest::new(WasiCtxBuilder::new().build());
    assert_eq!(poll(&mut g, &[]), Err(Errno::Inval));
    assert_eq!(poll(&mut g, &[Sub::Unknown]), Err(Errno::Inval));
    let end = MEMORY as u32;
    for (input, output, n, nevents) in [
        (end - 47, 0, 1, OUT),
        (0, end - 31, 1, OUT),
        (0, 1000, 1, end - 3),
        (0, 0, 60_000, OUT),
    ] {
        let result = g.call(|c, m| p1::poll_oneoff(c, m, input, output, n, nevents));
        assert_eq!(result, Err(Errno::Fault));
    }
    assert_eq!(
        g.call(|c, m| p1::poll_oneoff(c, m, 0, 0, u32::MAX, OUT)),
        Err(Errno::Inval)
    );
}

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[test]
fn a_clock_that_stands_still_does_not_hang_the_guest() {
    let mut builder = WasiCtxBuilder::new();
    let mut g = Guest::new(builder.monotonic_clock(Stopped).wall_clock(Stopped).build());
    let deadline = 10_000_000_000 + 5 * MILLISECOND;
    assert_eq!(
        poll(&mut g, &[Sub::At(MONOTONIC, deadline)]).unwrap(),
        [clock_event(100)]
    );
    assert_eq!(
        poll(&mut g, &[Sub::At(REALTIME, deadline)]).unwrap(),
        [clock_event(100)]
    );
}

#[test]
fn logical_clocks_do_not_wait() {
    const HOUR: u64 = 3_600_000 * MILLISECOND;
    let times = || {
        let (reader, mut feed) = std::io::pipe().unwrap();
        let clock = LogicalClock::new();
        let mut builder = WasiCtxBuilder::new();
        builder
            .wall_clock(clock.clone())
            .monotonic_clock(clock)
            .stdin(reader);
        let mut g = Guest::new(builder.build());
        let mut times = vec![now(&mut g, REALTIME)];
        let longer = [Sub::After(MONOTONIC, 2 * HOUR), Sub::After(REALTIME, HOUR)];
        assert_eq!(poll(&mut g, &longer).unwrap(), [clock_event(101)]);
        times.push(now(&mut g, MONOTONIC));
        // Nothing to read, so the time passes; then there is, and it does not.
        let either = [Sub::Read(0), Sub::At(MONOTONIC, 2 * HOUR)];
        assert_eq!(poll(&mut g, &either).unwrap(), [clock_event(101)]);
        times.push(now(&mut g, MONOTONIC));
        feed.write_all(b"x").unwrap();
        let events = poll(&mut g, &[Sub::Read(0), Sub::After(MONOTONIC, HOUR)]).unwrap();
        assert_eq!((events.len(), events[0].userdata), (1, 100));
        // What is over is over, and the clocks of the processor are the same one.
        assert_eq!(
            poll(&mut g, &[Sub::At(REALTIME, HOUR)]).unwrap(),
            [clock_event(100)]
        );
        times.extend([2, 3, REALTIME].map(|id| now(&mut g, id)));
        times
    };
    let first = times();
    assert!(first[1] > HOUR && first[2] > 2 * HOUR && first[5] < 2 * HOUR + MILLISECOND);
    assert!(first.is_sorted());
    assert_eq!(first, times());
}
