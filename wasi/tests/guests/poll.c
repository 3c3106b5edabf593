// poll_oneoff: relative and absolute clocks, readiness of files, several at once, errors per event.
// RUN: --dir=rw:/ --stdin="x"
#include "wasi.h"

#define MS 1000000ull

static uint64_t now(uint32_t clock) {
  uint64_t time;
  OK(wasi_clock_time_get(clock, 0, &time));
  return time;
}

static Subscription timer(uint64_t userdata, uint32_t clock, uint64_t timeout, bool absolute) {
  Subscription s;
  memset(&s, 0, sizeof s);
  s.userdata = userdata;
  s.tag = EVENT_CLOCK;
  s.clock.id = clock;
  s.clock.timeout = timeout;
  s.clock.flags = absolute;
  return s;
}

static Subscription ready(uint64_t userdata, uint8_t tag, Fd fd) {
  Subscription s;
  memset(&s, 0, sizeof s);
  s.userdata = userdata;
  s.tag = tag;
  s.file.fd = fd;
  return s;
}

int main(void) {
  Event events[4];
  uint32_t n = 77;
  memset(events, 0x55, sizeof events);

  /* Sleeping takes at least its time, and not for ever. */
  for (int absolute = 0; absolute < 2; absolute++)
    for (uint32_t clock = CLOCK_REAL; clock <= CLOCK_MONO; clock++) {
      uint64_t start = now(CLOCK_MONO);
      Subscription s = timer(42, clock, absolute ? now(clock) + 20 * MS : 20 * MS, absolute);
      OK(wasi_poll_oneoff(&s, events, 1, &n));
      uint64_t slept = now(CLOCK_MONO) - start;
      CHECK_EQ(n, 1);
      CHECK_EQ(events[0].userdata, 42);
      CHECK_EQ(events[0].error, 0);
      CHECK_EQ(events[0].type, EVENT_CLOCK);
      CHECK(slept >= 18 * MS);
      CHECK(slept < 10000 * MS);
    }
  /* No time, and a time in the past. */
  Subscription s = timer(1, CLOCK_MONO, 0, false);
  OK(wasi_poll_oneoff(&s, events, 1, &n));
  CHECK_EQ(n, 1);
  s = timer(2, CLOCK_REAL, 1, true);
  OK(wasi_poll_oneoff(&s, events, 1, &n));
  CHECK(n == 1 && events[0].userdata == 2);

  /* The shorter of two. */
  Subscription two[4] = {timer(10, CLOCK_MONO, 60000 * MS, false), timer(11, CLOCK_MONO, 5 * MS, false)};
  OK(wasi_poll_oneoff(two, events, 2, &n));
  CHECK(n == 1 && events[0].userdata == 11);

  /* A file is always ready, for both, and a long timer does not hold it up. */
  Fd fd = open_with(preopen("/"), "file", O_CREAT_, RIGHTS_ALL, 0);
  uint32_t written;
  OK(wasi_fd_write(fd, &(Slice){"abcdef", 6}, 1, &written));
  two[0] = timer(20, CLOCK_MONO, 60000 * MS, false);
  two[1] = ready(21, EVENT_READ, fd);
  two[2] = ready(22, EVENT_WRITE, fd);
  OK(wasi_poll_oneoff(two, events, 3, &n));
  CHECK(n >= 1 && n <= 2);
  for (uint32_t i = 0; i < n; i++) {
    CHECK(events[i].userdata == 21 || events[i].userdata == 22);
    CHECK_EQ(events[i].error, 0);
    CHECK_EQ(events[i].type, events[i].userdata == 21 ? EVENT_READ : EVENT_WRITE);
  }

  /* The standard streams: input is waiting, output takes more. */
  two[0] = ready(30, EVENT_READ, 0);
  two[1] = ready(31, EVENT_WRITE, 1);
  bool input = false, output = false;
  for (int turn = 0; turn < 100 && !(input && output); turn++) {
    OK(wasi_poll_oneoff(two, events, 2, &n));
    CHECK(n >= 1 && n <= 2);
    for (uint32_t i = 0; i < n; i++) {
      input |= events[i].userdata == 30 && events[i].error == 0;
      output |= events[i].userdata == 31 && events[i].error == 0;
    }
    if (output && !input)
      two[1] = timer(32, CLOCK_MONO, 2000 * MS, false);
  }
  CHECK(input && output);

  /* A bad descriptor or clock is that event's error, or the whole call's. */
  s = ready(40, EVENT_READ, 99);
  if (ERR(wasi_poll_oneoff(&s, events, 1, &n), ESUCCESS, EBADF_) == ESUCCESS) {
    CHECK(n == 1 && events[0].userdata == 40);
    CHECK_EQ(events[0].error, EBADF_);
  }
  s = timer(41, 77, 1, false);
  if (ERR(wasi_poll_oneoff(&s, events, 1, &n), ESUCCESS, EINVAL_, ENOTSUP_) == ESUCCESS)
    CHECK(n == 1 && events[0].error != 0);
  s = ready(42, 3, 0);
  ERR(wasi_poll_oneoff(&s, events, 1, &n), EINVAL_);
  ERR(wasi_poll_oneoff(&s, events, 0, &n), EINVAL_);
  return 0;
}
