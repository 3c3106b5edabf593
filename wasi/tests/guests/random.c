// random_get, sched_yield, proc_raise.
// RUN:
#include "wasi.h"

int main(void) {
  enum { SIZE = 100000 };
  static uint8_t a[SIZE + 1], b[SIZE + 1];
  long counts[256] = {0};
  OK(wasi_random_get(a, SIZE));
  OK(wasi_random_get(b, SIZE));
  CHECK_EQ(a[SIZE], 0);
  CHECK(memcmp(a, b, SIZE) != 0);
  for (int i = 0; i < SIZE; i++)
    counts[a[i]]++;
  for (int i = 0; i < 256; i++)
    CHECK(counts[i] > 200 && counts[i] < 600);
  OK(wasi_random_get(a, 0));
  for (int i = 0; i < 100; i++)
    OK(wasi_sched_yield());
  return 0;
}
