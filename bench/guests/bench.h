/* What every benchmark guest shares: the work size, a random source, a checksum and its printing.
 *
 * A guest takes its work size as argv[1], does work that is proportional to it, and prints one line
 * `NAME SIZE CHECKSUM`. The checksum depends on everything that was computed, so no compiler can
 * drop the work, and it is the same for every correct compiler: guests use no libm function whose
 * last bit is free, and native builds are made with -ffp-contract=off.
 */
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static inline long bench_size(int argc, char **argv, long otherwise) {
  if (argc < 2)
    return otherwise;
  char *end;
  long size = strtol(argv[1], &end, 10);
  if (*end != 0 || size <= 0) {
    fprintf(stderr, "usage: %s [SIZE]   (a positive number, default %ld)\n", argv[0], otherwise);
    exit(2);
  }
  return size;
}

/* xorshift64*: fast, and good enough for inputs. */
static inline uint64_t rng_next(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 2685821657736338717ull;
}

static inline uint32_t rng_u32(uint64_t *state) { return (uint32_t)(rng_next(state) >> 32); }

/* A double in [0, 1). */
static inline double rng_f64(uint64_t *state) {
  return (double)(rng_next(state) >> 11) * (1.0 / 9007199254740992.0);
}

static inline uint64_t mix(uint64_t sum, uint64_t value) {
  sum ^= value;
  sum *= 0x9e3779b97f4a7c15ull;
  return sum ^ (sum >> 29);
}

static inline uint64_t mix_f64(uint64_t sum, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return mix(sum, bits);
}

static inline uint64_t mix_bytes(uint64_t sum, const void *data, size_t length) {
  const unsigned char *bytes = data;
  for (size_t i = 0; i < length; i++)
    sum = (sum ^ bytes[i]) * 0x100000001b3ull;
  return mix(sum, length);
}

static inline void *bench_alloc(size_t bytes) {
  void *memory = calloc(1, bytes);
  if (!memory) {
    fprintf(stderr, "out of memory: %zu bytes\n", bytes);
    exit(1);
  }
  return memory;
}

static inline void bench_check(bool holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "wrong result: %s\n", what);
    exit(1);
  }
}

static inline int bench_done(const char *name, long size, uint64_t sum) {
  printf("%s %ld %016" PRIx64 "\n", name, size, sum);
  return 0;
}

#endif
