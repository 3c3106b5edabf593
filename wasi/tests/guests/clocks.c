// clock_res_get, clock_time_get: plausible times, a monotonic clock that is monotonic, unknown ids.
// RUN:
// RUN: --arg=unknown
// DIFFERS: wasmtime traps for a clock that it does not know
#include "wasi.h"

int main(int argc, char **argv) {
  (void)argv;
  uint64_t resolution = 0, now = 0, before = 0, after = 0;
  for (uint32_t id = CLOCK_REAL; id <= CLOCK_MONO; id++) {
    OK(wasi_clock_res_get(id, &resolution));
    CHECK(resolution > 0 && resolution <= 1000000000);
  }
  OK(wasi_clock_time_get(CLOCK_REAL, 0, &now));
  CHECK(now > 1600000000ull * 1000000000);
  CHECK(now < 5000000000ull * 1000000000);
  OK(wasi_clock_time_get(CLOCK_MONO, 0, &before));
  for (int i = 0; i < 1000; i++) {
    OK(wasi_clock_time_get(CLOCK_MONO, 1000, &after));
    CHECK(after >= before);
    before = after;
  }
  /* The CPU clocks may be absent, but must not answer nonsense. */
  for (uint32_t id = CLOCK_PROCESS_CPU; id <= CLOCK_THREAD_CPU; id++) {
    uint64_t cpu = ~0ull;
    if (ERR(wasi_clock_time_get(id, 0, &cpu), ESUCCESS, ENOTSUP_, EINVAL_, EBADF_) == ESUCCESS)
      CHECK(cpu < 3600ull * 1000000000);
  }
  if (argc > 1) {
    ERR(wasi_clock_time_get(99, 0, &now), EINVAL_, ENOTSUP_, EBADF_);
    ERR(wasi_clock_res_get(99, &now), EINVAL_, ENOTSUP_, EBADF_);
  }
  return 0;
}
