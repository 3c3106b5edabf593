/* Cryptography: ChaCha20 and Poly1305 over a message (32-bit adds and rotates, 64-bit products),
 * and X25519 key agreement (64x64 -> 128-bit products, as Ed25519 has). */
#include "bench.h"

static inline uint32_t rotl(uint32_t x, int r) { return x << r | x >> (32 - r); }
static inline uint32_t load32(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#define QUARTER(a, b, c, d)                                                                        \
  a += b, d = rotl(d ^ a, 16), c += d, b = rotl(b ^ c, 12), a += b, d = rotl(d ^ a, 8), c += d,    \
                                                                    b = rotl(b ^ c, 7)

static NOINLINE void chacha20(uint8_t *data, size_t n, const uint8_t key[32], uint32_t counter,
                              const uint8_t nonce[12]) {
  uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (int i = 0; i < 8; i++)
    s[4 + i] = load32(key + 4 * i);
  s[12] = counter;
  for (int i = 0; i < 3; i++)
    s[13 + i] = load32(nonce + 4 * i);
  for (size_t at = 0; at < n; at += 64) {
    uint32_t x[16];
    memcpy(x, s, sizeof x);
    for (int i = 0; i < 10; i++) {
      QUARTER(x[0], x[4], x[8], x[12]);
      QUARTER(x[1], x[5], x[9], x[13]);
      QUARTER(x[2], x[6], x[10], x[14]);
      QUARTER(x[3], x[7], x[11], x[15]);
      QUARTER(x[0], x[5], x[10], x[15]);
      QUARTER(x[1], x[6], x[11], x[12]);
      QUARTER(x[2], x[7], x[8], x[13]);
      QUARTER(x[3], x[4], x[9], x[14]);
    }
    for (size_t i = 0; i < 64 && at + i < n; i++)
      data[at + i] ^= (uint8_t)((x[i / 4] + s[i / 4]) >> (8 * (i & 3)));
    s[12]++;
  }
}

/* Poly1305 with five limbs of 26 bits. */
static NOINLINE void poly1305(const uint8_t *m, size_t n, const uint8_t key[32], uint8_t tag[16]) {
  uint32_t r0 = load32(key) & 0x3ffffff, r1 = load32(key + 3) >> 2 & 0x3ffff03,
           r2 = load32(key + 6) >> 4 & 0x3ffc0ff, r3 = load32(key + 9) >> 6 & 0x3f03fff,
           r4 = load32(key + 12) >> 8 & 0x00fffff;
  uint32_t s1 = r1 * 5, s2 = r2 * 5, s3 = r3 * 5, s4 = r4 * 5;
  uint32_t h0 = 0, h1 = 0, h2 = 0, h3 = 0, h4 = 0;
  while (n) {
    uint8_t block[17] = {0};
    size_t take = n < 16 ? n : 16;
    memcpy(block, m, take);
    block[take] = 1;
    m += take;
    n -= take;
    h0 += load32(block) & 0x3ffffff;
    h1 += load32(block + 3) >> 2 & 0x3ffffff;
    h2 += load32(block + 6) >> 4 & 0x3ffffff;
    h3 += load32(block + 9) >> 6;
    h4 += load32(block + 12) >> 8 | (uint32_t)block[16] << 24;
    uint64_t d0 = (uint64_t)h0 * r0 + (uint64_t)h1 * s4 + (uint64_t)h2 * s3 + (uint64_t)h3 * s2 + (uint64_t)h4 * s1;
    uint64_t d1 = (uint64_t)h0 * r1 + (uint64_t)h1 * r0 + (uint64_t)h2 * s4 + (uint64_t)h3 * s3 + (uint64_t)h4 * s2;
    uint64_t d2 = (uint64_t)h0 * r2 + (uint64_t)h1 * r1 + (uint64_t)h2 * r0 + (uint64_t)h3 * s4 + (uint64_t)h4 * s3;
    uint64_t d3 = (uint64_t)h0 * r3 + (uint64_t)h1 * r2 + (uint64_t)h2 * r1 + (uint64_t)h3 * r0 + (uint64_t)h4 * s4;
    uint64_t d4 = (uint64_t)h0 * r4 + (uint64_t)h1 * r3 + (uint64_t)h2 * r2 + (uint64_t)h3 * r1 + (uint64_t)h4 * r0;
    d1 += d0 >> 26, h0 = d0 & 0x3ffffff;
    d2 += d1 >> 26, h1 = d1 & 0x3ffffff;
    d3 += d2 >> 26, h2 = d2 & 0x3ffffff;
    d4 += d3 >> 26, h3 = d3 & 0x3ffffff;
    uint64_t carry = (d4 >> 26) * 5 + h0;
    h4 = d4 & 0x3ffffff;
    h0 = carry & 0x3ffffff;
    h1 += (uint32_t)(carry >> 26);
  }
  h2 += h1 >> 26, h1 &= 0x3ffffff;
  h3 += h2 >> 26, h2 &= 0x3ffffff;
  h4 += h3 >> 26, h3 &= 0x3ffffff;
  h0 += (h4 >> 26) * 5, h4 &= 0x3ffffff;
  h1 += h0 >> 26, h0 &= 0x3ffffff;
  uint32_t g0 = h0 + 5, g1 = h1 + (g0 >> 26), g2 = h2 + (g1 >> 26), g3 = h3 + (g2 >> 26), g4 = h4 + (g3 >> 26) - (1u << 26);
  if (!(g4 >> 31))
    h0 = g0 & 0x3ffffff, h1 = g1 & 0x3ffffff, h2 = g2 & 0x3ffffff, h3 = g3 & 0x3ffffff, h4 = g4;
  uint32_t w[4] = {h0 | h1 << 26, h1 >> 6 | h2 << 20, h2 >> 12 | h3 << 14, h3 >> 18 | h4 << 8};
  uint64_t carry = 0;
  for (int i = 0; i < 4; i++) {
    carry += (uint64_t)w[i] + load32(key + 16 + 4 * i);
    for (int b = 0; b < 4; b++)
      tag[4 * i + b] = (uint8_t)(carry >> (8 * b));
    carry >>= 32;
  }
}

/* Field elements modulo 2^255 - 19: five limbs of 51 bits. */
typedef uint64_t Field[5];
typedef unsigned __int128 u128;
#define MASK51 0x7ffffffffffffull

static void field_add(Field o, const Field a, const Field b) {
  for (int i = 0; i < 5; i++)
    o[i] = a[i] + b[i];
}

static void field_sub(Field o, const Field a, const Field b) {
  /* Four times the modulus keeps every limb positive. */
  o[0] = a[0] + 0x1fffffffffffb4ull - b[0];
  for (int i = 1; i < 5; i++)
    o[i] = a[i] + 0x1ffffffffffffcull - b[i];
}

static void field_reduce(Field o, u128 t[5]) {
  for (int i = 0; i < 4; i++) {
    t[i + 1] += (uint64_t)(t[i] >> 51);
    o[i] = (uint64_t)t[i] & MASK51;
  }
  uint64_t carry = (uint64_t)(t[4] >> 51) * 19;
  o[4] = (uint64_t)t[4] & MASK51;
  o[0] += carry;
  o[1] += o[0] >> 51;
  o[0] &= MASK51;
}

static void field_mul(Field o, const Field a, const Field b) {
  uint64_t b1 = b[1] * 19, b2 = b[2] * 19, b3 = b[3] * 19, b4 = b[4] * 19;
  u128 t[5];
  t[0] = (u128)a[0] * b[0] + (u128)a[1] * b4 + (u128)a[2] * b3 + (u128)a[3] * b2 + (u128)a[4] * b1;
  t[1] = (u128)a[0] * b[1] + (u128)a[1] * b[0] + (u128)a[2] * b4 + (u128)a[3] * b3 + (u128)a[4] * b2;
  t[2] = (u128)a[0] * b[2] + (u128)a[1] * b[1] + (u128)a[2] * b[0] + (u128)a[3] * b4 + (u128)a[4] * b3;
  t[3] = (u128)a[0] * b[3] + (u128)a[1] * b[2] + (u128)a[2] * b[1] + (u128)a[3] * b[0] + (u128)a[4] * b4;
  t[4] = (u128)a[0] * b[4] + (u128)a[1] * b[3] + (u128)a[2] * b[2] + (u128)a[3] * b[1] + (u128)a[4] * b[0];
  field_reduce(o, t);
}

static void field_small(Field o, const Field a, uint64_t k) {
  u128 t[5];
  for (int i = 0; i < 5; i++)
    t[i] = (u128)a[i] * k;
  field_reduce(o, t);
}

static void field_invert(Field o, const Field a) {
  /* a^(p-2): the exponent is all ones but bits 2 and 4. */
  Field c;
  memcpy(c, a, sizeof c);
  for (int bit = 253; bit >= 0; bit--) {
    field_mul(c, c, c);
    if (bit != 2 && bit != 4)
      field_mul(c, c, a);
  }
  memcpy(o, c, sizeof c);
}

static void field_swap(Field a, Field b, uint64_t flag) {
  for (int i = 0; i < 5; i++) {
    uint64_t t = (a[i] ^ b[i]) & (0 - flag);
    a[i] ^= t;
    b[i] ^= t;
  }
}

static void field_load(Field o, const uint8_t p[32]) {
  uint64_t w[4];
  for (int i = 0; i < 4; i++)
    w[i] = load32(p + 8 * i) | (uint64_t)load32(p + 8 * i + 4) << 32;
  o[0] = w[0] & MASK51;
  o[1] = (w[0] >> 51 | w[1] << 13) & MASK51;
  o[2] = (w[1] >> 38 | w[2] << 26) & MASK51;
  o[3] = (w[2] >> 25 | w[3] << 39) & MASK51;
  o[4] = w[3] >> 12 & MASK51;
}

static void field_store(uint8_t p[32], const Field a) {
  Field h;
  memcpy(h, a, sizeof h);
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < 4; i++)
      h[i + 1] += h[i] >> 51, h[i] &= MASK51;
    h[0] += 19 * (h[4] >> 51), h[4] &= MASK51;
  }
  uint64_t q = (h[0] + 19) >> 51;
  for (int i = 1; i < 5; i++)
    q = (h[i] + q) >> 51;
  h[0] += 19 * q;
  for (int i = 0; i < 4; i++)
    h[i + 1] += h[i] >> 51, h[i] &= MASK51;
  h[4] &= MASK51;
  uint64_t w[4] = {h[0] | h[1] << 51, h[1] >> 13 | h[2] << 38, h[2] >> 26 | h[3] << 25, h[3] >> 39 | h[4] << 12};
  for (int i = 0; i < 32; i++)
    p[i] = (uint8_t)(w[i / 8] >> (8 * (i & 7)));
}

static NOINLINE void x25519(uint8_t out[32], const uint8_t scalar[32], const uint8_t point[32]) {
  uint8_t k[32];
  memcpy(k, scalar, 32);
  k[0] &= 248;
  k[31] = (k[31] & 127) | 64;
  Field x1, x2 = {1}, z2 = {0}, x3, z3 = {1}, a, b, c, d, e, aa, bb;
  field_load(x1, point);
  memcpy(x3, x1, sizeof x3);
  uint64_t swap = 0;
  for (int t = 254; t >= 0; t--) {
    uint64_t bit = k[t / 8] >> (t & 7) & 1;
    swap ^= bit;
    field_swap(x2, x3, swap);
    field_swap(z2, z3, swap);
    swap = bit;
    field_add(a, x2, z2);
    field_sub(b, x2, z2);
    field_mul(aa, a, a);
    field_mul(bb, b, b);
    field_sub(e, aa, bb);
    field_add(c, x3, z3);
    field_sub(d, x3, z3);
    field_mul(d, d, a);
    field_mul(c, c, b);
    field_add(x3, d, c);
    field_mul(x3, x3, x3);
    field_sub(z3, d, c);
    field_mul(z3, z3, z3);
    field_mul(z3, z3, x1);
    field_mul(x2, aa, bb);
    field_small(z2, e, 121665);
    field_add(z2, z2, aa);
    field_mul(z2, z2, e);
  }
  field_swap(x2, x3, swap);
  field_swap(z2, z3, swap);
  field_invert(z2, z2);
  field_mul(x2, x2, z2);
  field_store(out, x2);
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 45);
  enum { LENGTH = 1 << 20 };
  static const uint8_t vector[32] = {0x42, 0x2c, 0x8e, 0x7a, 0x62, 0x27, 0xd7, 0xbc, 0xa1, 0x35, 0x0b, 0x3e, 0x2b, 0xb7, 0x27, 0x9f,
                                     0x78, 0x97, 0xb8, 0x7b, 0xb6, 0x85, 0x4b, 0x78, 0x3c, 0x60, 0xe8, 0x03, 0x11, 0xae, 0x30, 0x79};
  uint8_t k[32] = {9}, u[32] = {9}, out[32], nonce[12] = {0, 0, 0, 0, 0, 0, 0, 0x4a}, key[32], tag[16];
  x25519(out, k, u);
  bench_check(memcmp(out, vector, 32) == 0, "RFC 7748: one iteration");
  for (int i = 0; i < 32; i++)
    key[i] = (uint8_t)i;
  uint8_t head[4] = {0};
  chacha20(head, 4, key, 1, nonce);
  bench_check(head[0] == 0x22 && head[1] == 0x4f && head[2] == 0x51 && head[3] == 0xf3, "RFC 8439: the key stream");
  uint8_t *data = bench_alloc(LENGTH);
  uint64_t sum = 0;
  for (long round = 0; round < rounds; round++) {
    for (int i = 0; i < 100; i++) {
      x25519(out, k, u);
      memcpy(u, k, 32);
      memcpy(k, out, 32);
    }
    for (int i = 0; i < 4; i++) {
      chacha20(data, LENGTH, k, (uint32_t)round, nonce);
      poly1305(data, LENGTH, u, tag);
      sum = mix_bytes(sum, tag, 16);
    }
    sum = mix_bytes(sum, k, 32);
  }
  return bench_done("crypto", rounds, sum);
}
