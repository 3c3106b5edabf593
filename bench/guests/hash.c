/* Hashing: XXH64 and SHA-256 over a buffer, then an open-addressing hash map with insertions,
 * look-ups and deletions. Rotates, 64-bit multiplies and random memory access. */
#include "bench.h"

static inline uint64_t rotl64(uint64_t x, int r) { return (x << r) | (x >> (64 - r)); }
static inline uint32_t rotr32(uint32_t x, int r) { return (x >> r) | (x << (32 - r)); }

#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull

static inline uint64_t read64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}
static inline uint32_t read32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}
static inline uint64_t xxh_round(uint64_t acc, uint64_t input) {
  return rotl64(acc + input * P2, 31) * P1;
}
static inline uint64_t xxh_merge(uint64_t h, uint64_t v) {
  return (h ^ xxh_round(0, v)) * P1 + P4;
}

static NOINLINE uint64_t xxh64(const uint8_t *p, size_t length, uint64_t seed) {
  const uint8_t *end = p + length;
  uint64_t h;
  if (length >= 32) {
    uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
    do {
      a = xxh_round(a, read64(p));
      b = xxh_round(b, read64(p + 8));
      c = xxh_round(c, read64(p + 16));
      d = xxh_round(d, read64(p + 24));
      p += 32;
    } while (p <= end - 32);
    h = rotl64(a, 1) + rotl64(b, 7) + rotl64(c, 12) + rotl64(d, 18);
    h = xxh_merge(xxh_merge(xxh_merge(xxh_merge(h, a), b), c), d);
  } else {
    h = seed + P5;
  }
  h += length;
  for (; p + 8 <= end; p += 8)
    h = rotl64(h ^ xxh_round(0, read64(p)), 27) * P1 + P4;
  for (; p + 4 <= end; p += 4)
    h = rotl64(h ^ (read32(p) * P1), 23) * P2 + P3;
  for (; p < end; p++)
    h = rotl64(h ^ (*p * P5), 11) * P1;
  h = (h ^ (h >> 33)) * P2;
  h = (h ^ (h >> 29)) * P3;
  return h ^ (h >> 32);
}

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha256_block(uint32_t state[8], const uint8_t *p) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 |
           p[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotr32(w[i - 15], 7) ^ rotr32(w[i - 15], 18) ^ (w[i - 15] >> 3);
    uint32_t s1 = rotr32(w[i - 2], 17) ^ rotr32(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = h + (rotr32(e, 6) ^ rotr32(e, 11) ^ rotr32(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
    uint32_t t2 = (rotr32(a, 2) ^ rotr32(a, 13) ^ rotr32(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

static NOINLINE void sha256(const uint8_t *data, size_t length, uint32_t state[8]) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(state, start, sizeof start);
  size_t i = 0;
  for (; i + 64 <= length; i += 64)
    sha256_block(state, data + i);
  uint8_t tail[128] = {0};
  size_t rest = length - i, padded = rest < 56 ? 64 : 128;
  memcpy(tail, data + i, rest);
  tail[rest] = 0x80;
  for (int b = 0; b < 8; b++)
    tail[padded - 1 - b] = (uint8_t)((uint64_t)length * 8 >> (8 * b));
  for (size_t b = 0; b < padded; b += 64)
    sha256_block(state, tail + b);
}

/* Linear probing; a key of 0 is a free cell. Deletion shifts the rest of the run back. */
typedef struct {
  uint64_t key, value;
} Cell;
enum { CELLS = 1 << 17 };

static inline uint32_t home(uint64_t key) {
  return (uint32_t)((key * P1) >> 40) & (CELLS - 1);
}

static Cell *map_cell(Cell *map, uint64_t key) {
  uint32_t i = home(key);
  while (map[i].key && map[i].key != key)
    i = (i + 1) & (CELLS - 1);
  return &map[i];
}

static bool map_remove(Cell *map, uint64_t key) {
  uint32_t i = (uint32_t)(map_cell(map, key) - map);
  if (!map[i].key)
    return false;
  for (uint32_t j = (i + 1) & (CELLS - 1); map[j].key; j = (j + 1) & (CELLS - 1)) {
    uint32_t h = home(map[j].key);
    bool movable = i <= j ? (h <= i || h > j) : (h <= i && h > j);
    if (movable) {
      map[i] = map[j];
      i = j;
    }
  }
  map[i].key = 0;
  return true;
}

static NOINLINE uint64_t map_work(Cell *map, uint64_t *rng, uint64_t sum) {
  memset(map, 0, CELLS * sizeof *map);
  long live = 0;
  for (int i = 0; i < 300000; i++) {
    uint64_t r = rng_next(rng), key = (r & 0xffff) + 1;
    if (r >> 62 == 0) {
      live -= map_remove(map, key);
    } else {
      Cell *cell = map_cell(map, key);
      live += cell->key == 0;
      cell->key = key;
      cell->value += r >> 32;
      sum += cell->value;
    }
  }
  return mix(sum, (uint64_t)live);
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 200);
  enum { LENGTH = 1 << 20 };
  uint8_t *buffer = bench_alloc(LENGTH);
  Cell *map = bench_alloc(CELLS * sizeof *map);
  uint64_t rng = 7, sum = 0;
  uint32_t digest[8];
  sha256((const uint8_t *)"abc", 3, digest);
  bench_check(digest[0] == 0xba7816bf && digest[7] == 0xf20015ad, "SHA-256 of abc");
  bench_check(xxh64((const uint8_t *)"", 0, 0) == 0xef46db3751d8e999ull, "XXH64 of nothing");
  for (size_t i = 0; i < LENGTH; i++)
    buffer[i] = (uint8_t)rng_next(&rng);
  for (long round = 0; round < rounds; round++) {
    for (int i = 0; i < 8; i++)
      sum = mix(sum, xxh64(buffer + i, LENGTH - 13 * (size_t)i - 8, sum));
    sha256(buffer, LENGTH, digest);
    for (int i = 0; i < 8; i++)
      sum = mix(sum, digest[i]);
    sum = map_work(map, &rng, sum);
    memcpy(buffer + (sum & 0xffff), &sum, sizeof sum);
  }
  return bench_done("hash", rounds, sum);
}
