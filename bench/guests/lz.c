/* LZ77 with hash chains and an adaptive binary range coder: text-like data is compressed,
 * decompressed and compared. Bit twiddling, dependent branches, match copying. */
#include "bench.h"

enum { LENGTH = 1 << 20, WINDOW = 1 << 16, HASHES = 1 << 15, MIN_MATCH = 4, MAX_MATCH = 259, CHAIN = 16 };

/* An 11-bit probability that moves by a 32nd of its distance, as LZMA's do. */
typedef uint16_t Probability;

typedef struct {
  Probability is_match[256], literal[256][256], length[256], distance[17][2][16], extra[17];
} Model;

static void model_reset(Model *m) {
  Probability *p = (Probability *)m;
  for (size_t i = 0; i < sizeof *m / sizeof *p; i++)
    p[i] = 1024;
}

typedef struct {
  uint64_t low;
  uint32_t range;
  uint8_t cache;
  uint32_t pending;
  uint8_t *out;
} Encoder;

static void shift_low(Encoder *e) {
  if ((uint32_t)e->low < 0xff000000u || e->low >> 32) {
    uint8_t carry = (uint8_t)(e->low >> 32), byte = e->cache;
    do {
      *e->out++ = (uint8_t)(byte + carry);
      byte = 0xff;
    } while (--e->pending);
    e->cache = (uint8_t)(e->low >> 24);
  }
  e->pending++;
  e->low = (e->low & 0x00ffffff) << 8;
}

static inline void encode(Encoder *e, Probability *p, int bit) {
  uint32_t bound = (e->range >> 11) * *p;
  if (bit) {
    e->low += bound;
    e->range -= bound;
    *p -= *p >> 5;
  } else {
    e->range = bound;
    *p += (2048 - *p) >> 5;
  }
  while (e->range < 1u << 24) {
    e->range <<= 8;
    shift_low(e);
  }
}

static inline void encode_tree(Encoder *e, Probability *tree, int bits, uint32_t value) {
  uint32_t node = 1;
  while (bits-- > 0) {
    int bit = value >> bits & 1;
    encode(e, &tree[node], bit);
    node = node * 2 + (uint32_t)bit;
  }
}

typedef struct {
  uint32_t range, code;
  const uint8_t *in;
} Decoder;

static inline int decode(Decoder *d, Probability *p) {
  uint32_t bound = (d->range >> 11) * *p;
  int bit;
  if (d->code < bound) {
    d->range = bound;
    *p += (2048 - *p) >> 5;
    bit = 0;
  } else {
    d->code -= bound;
    d->range -= bound;
    *p -= *p >> 5;
    bit = 1;
  }
  while (d->range < 1u << 24) {
    d->range <<= 8;
    d->code = d->code << 8 | *d->in++;
  }
  return bit;
}

static inline uint32_t decode_tree(Decoder *d, Probability *tree, int bits) {
  uint32_t node = 1;
  for (int i = 0; i < bits; i++)
    node = node * 2 + (uint32_t)decode(d, &tree[node]);
  return node - (1u << bits);
}

/* A distance is its number of bits, coded by a tree, and the bits below the highest one: the upper
 * four of them modelled, the rest nearly raw. */
static int bit_length(uint32_t x) { return 32 - __builtin_clz(x); }

static uint32_t hash4(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v * 2654435761u >> 17;
}

static NOINLINE size_t compress(const uint8_t *in, size_t n, uint8_t *out, Model *m) {
  static int32_t head[HASHES], chain[WINDOW];
  memset(head, 0xff, sizeof head);
  model_reset(m);
  Encoder e = {0, 0xffffffffu, 0, 1, out};
  for (size_t i = 0; i < n;) {
    uint32_t best = 0, distance = 0;
    if (i + MIN_MATCH <= n) {
      int32_t at = head[hash4(in + i)];
      for (int tries = CHAIN; at >= 0 && (size_t)at + WINDOW > i && tries; tries--) {
        uint32_t length = 0, limit = n - i < MAX_MATCH ? (uint32_t)(n - i) : MAX_MATCH;
        if (in[at + best] == in[i + best < n ? i + best : i])
          while (length < limit && in[at + length] == in[i + length])
            length++;
        if (length > best) {
          best = length;
          distance = (uint32_t)(i - (size_t)at);
          if (best == limit)
            break;
        }
        at = chain[at & (WINDOW - 1)];
      }
    }
    uint8_t before = i ? in[i - 1] : 0;
    uint32_t step = 1;
    if (best >= MIN_MATCH) {
      encode(&e, &m->is_match[before], 1);
      encode_tree(&e, m->length, 8, best - MIN_MATCH);
      int bits = bit_length(distance);
      encode_tree(&e, m->extra - 0, 4, (uint32_t)(bits - 1));
      for (int b = bits - 2, k = 0; b >= 0; b--, k++)
        encode(&e, &m->distance[bits][k == 0][k & 15], (int)(distance >> b & 1));
      step = best;
    } else {
      encode(&e, &m->is_match[before], 0);
      encode_tree(&e, m->literal[before], 8, in[i]);
    }
    for (uint32_t k = 0; k < step; k++, i++)
      if (i + MIN_MATCH <= n) {
        uint32_t h = hash4(in + i);
        chain[i & (WINDOW - 1)] = head[h];
        head[h] = (int32_t)i;
      }
  }
  for (int i = 0; i < 5; i++)
    shift_low(&e);
  return (size_t)(e.out - out);
}

static NOINLINE void decompress(const uint8_t *in, uint8_t *out, size_t n, Model *m) {
  model_reset(m);
  Decoder d = {0xffffffffu, 0, in + 1};
  for (int i = 0; i < 4; i++)
    d.code = d.code << 8 | *d.in++;
  for (size_t i = 0; i < n;) {
    uint8_t before = i ? out[i - 1] : 0;
    if (!decode(&d, &m->is_match[before])) {
      out[i++] = (uint8_t)decode_tree(&d, m->literal[before], 8);
      continue;
    }
    uint32_t length = decode_tree(&d, m->length, 8) + MIN_MATCH;
    int bits = (int)decode_tree(&d, m->extra, 4) + 1;
    uint32_t distance = 1;
    for (int b = bits - 2, k = 0; b >= 0; b--, k++)
      distance = distance << 1 | (uint32_t)decode(&d, &m->distance[bits][k == 0][k & 15]);
    bench_check(distance <= i && i + length <= n, "a match lies inside the output");
    for (uint32_t k = 0; k < length; k++, i++)
      out[i] = out[i - distance];
  }
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 34);
  uint8_t *in = bench_alloc(LENGTH), *packed = bench_alloc(2 * LENGTH), *back = bench_alloc(LENGTH);
  Model *model = bench_alloc(sizeof *model);
  uint64_t rng = 5, sum = 0;
  char words[512][12];
  for (int i = 0; i < 512; i++) {
    int length = 2 + (int)(rng_next(&rng) % 9);
    for (int j = 0; j < length; j++)
      words[i][j] = (char)('a' + rng_next(&rng) % (j & 1 ? 5 : 26));
    words[i][length] = 0;
  }
  for (long round = 0; round < rounds; round++) {
    for (size_t i = 0; i < LENGTH;) {
      /* Frequent words are frequent: the smaller of three draws. */
      uint32_t pick = 511;
      for (int k = 0; k < 3; k++) {
        uint32_t draw = rng_u32(&rng) % 512;
        pick = draw < pick ? draw : pick;
      }
      for (const char *w = words[pick]; *w && i < LENGTH; w++)
        in[i++] = (uint8_t)*w;
      if (i < LENGTH)
        in[i++] = rng_u32(&rng) % 10 ? ' ' : '\n';
    }
    size_t size = compress(in, LENGTH, packed, model);
    memset(back, 0, LENGTH);
    decompress(packed, back, LENGTH, model);
    bench_check(memcmp(in, back, LENGTH) == 0, "what was packed comes back");
    bench_check(size < LENGTH / 2, "text packs to less than half");
    sum = mix_bytes(mix(sum, size), packed, size);
  }
  return bench_done("lz", rounds, sum);
}
