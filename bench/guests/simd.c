/* 128-bit SIMD by hand: luma and box blur of an image, a convolution in f32x4, byte counting with
 * comparisons and masks, and a table look-up by swizzle. wasm_simd128.h on wasm; elsewhere the
 * compiler's vector extensions say the same. */
#include "bench.h"

#ifdef __wasm_simd128__
#include <wasm_simd128.h>
typedef v128_t V;
#define LOAD(p) wasm_v128_load(p)
#define STORE(p, v) wasm_v128_store(p, v)
#define U8_ADD_SAT(a, b) wasm_u8x16_add_sat(a, b)
#define U8_AVGR(a, b) wasm_u8x16_avgr(a, b)
#define U8_EQ(a, b) wasm_i8x16_eq(a, b)
#define U8_SPLAT(x) wasm_u8x16_splat(x)
#define BITMASK(v) wasm_i8x16_bitmask(v)
#define SWIZZLE(t, i) wasm_i8x16_swizzle(t, i)
#define AND(a, b) wasm_v128_and(a, b)
#define SHR8(a, n) wasm_u8x16_shr(a, n)
#define DOT(a, b) wasm_i32x4_dot_i16x8(a, b)
#define I32_ADD(a, b) wasm_i32x4_add(a, b)
#define I32_SPLAT(x) wasm_i32x4_splat(x)
#define F_ADD(a, b) wasm_f32x4_add(a, b)
#define F_MUL(a, b) wasm_f32x4_mul(a, b)
#define F_MAX(a, b) wasm_f32x4_pmax(a, b)
#define F_SPLAT(x) wasm_f32x4_splat(x)
#else
typedef uint8_t V __attribute__((vector_size(16)));
typedef int8_t I8 __attribute__((vector_size(16)));
typedef uint16_t U16x16 __attribute__((vector_size(32)));
typedef int16_t I16 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));
typedef float F32 __attribute__((vector_size(16)));
static inline V LOAD(const void *p) { V v; memcpy(&v, p, 16); return v; }
static inline void STORE(void *p, V v) { memcpy(p, &v, 16); }
static inline V U8_ADD_SAT(V a, V b) { V s = a + b; return s | (V)(s < a); }
/* The rounding average without a wider type. */
static inline V U8_AVGR(V a, V b) { return (a | b) - ((a ^ b) >> 1); }
static inline V U8_EQ(V a, V b) { return (V)(a == b); }
static inline V U8_SPLAT(uint8_t x) { return (V){0} + x; }
static inline V AND(V a, V b) { return a & b; }
static inline V SHR8(V a, int n) { return a >> n; }
static inline V I32_ADD(V a, V b) { return (V)((I32)a + (I32)b); }
static inline V I32_SPLAT(int32_t x) { return (V)((I32){0} + x); }
static inline V F_ADD(V a, V b) { return (V)((F32)a + (F32)b); }
static inline V F_MUL(V a, V b) { return (V)((F32)a * (F32)b); }
static inline V F_SPLAT(float x) { return (V)(F32){x, x, x, x}; }
static inline V F_MAX(V a, V b) { I32 m = (F32)a < (F32)b; return (V)(((I32)a & ~m) | ((I32)b & m)); }
#ifdef __SSE2__
#include <immintrin.h>
static inline unsigned BITMASK(V v) { return (unsigned)_mm_movemask_epi8((__m128i)v); }
static inline V DOT(V a, V b) { return (V)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#else
static inline unsigned BITMASK(V v) {
  unsigned m = 0;
  for (int i = 0; i < 16; i++)
    m |= (unsigned)(v[i] >> 7) << i;
  return m;
}
static inline V DOT(V a, V b) {
  I16 x = (I16)a, y = (I16)b;
  I32 r;
  for (int i = 0; i < 4; i++)
    r[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  return (V)r;
}
#endif
#ifdef __SSSE3__
static inline V SWIZZLE(V t, V i) { return (V)_mm_shuffle_epi8((__m128i)t, (__m128i)i); }
#else
static inline V SWIZZLE(V t, V i) {
  V r;
  for (int k = 0; k < 16; k++)
    r[k] = i[k] < 16 ? t[i[k]] : 0;
  return r;
}
#endif
#endif

enum { WIDTH = 1024, HEIGHT = 256, PIXELS = WIDTH * HEIGHT, TAPS = 16 };

static uint8_t image[PIXELS + 16], blurred[PIXELS + 16];
static int16_t rgbx[PIXELS * 4];
static int32_t luma[PIXELS];
static float signal[PIXELS + TAPS], filtered[PIXELS];

static NOINLINE void blur(void) {
  for (int y = 1; y < HEIGHT - 1; y++)
    for (int x = 0; x < WIDTH; x += 16) {
      const uint8_t *p = image + y * WIDTH + x;
      V v = U8_AVGR(U8_AVGR(LOAD(p - WIDTH), LOAD(p + WIDTH)), U8_AVGR(LOAD(p), LOAD(p + 1)));
      STORE(blurred + y * WIDTH + x, U8_ADD_SAT(v, U8_SPLAT(3)));
    }
}

static NOINLINE void to_luma(void) {
  static const int16_t weights[8] = {77, 150, 29, 0, 77, 150, 29, 0};
  V w = LOAD(weights);
  V total = I32_SPLAT(0);
  for (int i = 0; i < PIXELS; i += 4) {
    V a = DOT(LOAD(rgbx + 4 * i), w), b = DOT(LOAD(rgbx + 4 * i + 8), w);
    STORE(luma + i, I32_ADD(a, b));
    total = I32_ADD(total, a);
  }
  STORE(luma, total);
}

static NOINLINE void convolve(const float *taps) {
  for (int i = 0; i < PIXELS; i += 4) {
    V sum = F_SPLAT(0);
    for (int t = 0; t < TAPS; t++)
      sum = F_ADD(sum, F_MUL(LOAD(signal + i + t), F_SPLAT(taps[t])));
    STORE(filtered + i, F_MAX(sum, F_SPLAT(-1.0f)));
  }
}

static NOINLINE long count_bytes(uint8_t byte) {
  long n = 0;
  V wanted = U8_SPLAT(byte);
  for (int i = 0; i < PIXELS; i += 16)
    n += __builtin_popcount(BITMASK(U8_EQ(LOAD(blurred + i), wanted)));
  return n;
}

/* The number of set bits, by a look-up of each nibble. */
static NOINLINE uint64_t bits(void) {
  static const uint8_t nibbles[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
  V table = LOAD(nibbles), low = U8_SPLAT(15);
  uint64_t total = 0;
  for (int i = 0; i < PIXELS; i += 16 * 16) {
    V sum = U8_SPLAT(0);
    for (int k = 0; k < 16; k++) {
      V v = LOAD(image + i + 16 * k);
      sum = U8_ADD_SAT(sum, SWIZZLE(table, AND(v, low)));
      sum = U8_ADD_SAT(sum, SWIZZLE(table, SHR8(v, 4)));
    }
    uint8_t lanes[16];
    STORE(lanes, sum);
    for (int k = 0; k < 16; k++)
      total += lanes[k];
  }
  return total;
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 3000);
  uint64_t rng = 77, sum = 0;
  float taps[TAPS];
  for (int i = 0; i < TAPS; i++)
    taps[i] = (float)(i - 7) / 64;
  for (int i = 0; i < PIXELS; i++) {
    image[i] = (uint8_t)rng_next(&rng);
    signal[i] = (float)rng_f64(&rng) - 0.5f;
    for (int c = 0; c < 4; c++)
      rgbx[4 * i + c] = (int16_t)(rng_next(&rng) & 255);
  }
  for (long round = 0; round < rounds; round++) {
    blur();
    to_luma();
    convolve(taps);
    sum = mix(sum, (uint64_t)count_bytes((uint8_t)round) + bits());
    int at = (int)(round * 4099 % PIXELS);
    sum = mix_f64(mix(sum, (uint64_t)luma[at] + (uint64_t)luma[0]), (double)filtered[at]);
    image[at] = blurred[at];
    signal[at] = filtered[at];
  }
  return bench_done("simd", rounds, sum);
}
