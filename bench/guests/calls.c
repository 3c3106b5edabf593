/* Calls: Fibonacci, Ackermann, Takeuchi and n-queens by recursion. What a call, its prologue and
 * its stack check cost. */
#include "bench.h"

static NOINLINE uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static NOINLINE uint32_t ackermann(uint32_t m, uint32_t n) {
  if (m == 0)
    return n + 1;
  if (n == 0)
    return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

static NOINLINE int tak(int x, int y, int z) {
  if (y >= x)
    return z;
  return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static NOINLINE uint64_t queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right) {
  if (columns == all)
    return 1;
  uint64_t found = 0;
  for (uint32_t free = all & ~(columns | left | right); free; free &= free - 1) {
    uint32_t bit = free & (0 - free);
    found += queens(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
  }
  return found;
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 180);
  uint64_t sum = 0;
  bench_check(fib(20) == 6765 && ackermann(2, 3) == 9 && tak(18, 12, 6) == 7 && queens(255, 0, 0, 0) == 92,
              "the known small values");
  for (long round = 0; round < rounds; round++) {
    sum = mix(sum, fib(32 + (round & 1)));
    sum = mix(sum, ackermann(3, 7 + (round & 1)));
    sum = mix(sum, (uint64_t)tak(18 + (int)(round & 1), 12, 6));
    sum = mix(sum, queens((1u << 11) - 1, 0, 0, 0));
  }
  return bench_done("calls", rounds, sum);
}
