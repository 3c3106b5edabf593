/* Indirect calls: objects with method tables (shapes), an expression tree of nodes that evaluate
 * each other, and a pipeline of callbacks chosen by data. Nearly every call is a call_indirect. */
#include "bench.h"

typedef struct Shape Shape;
typedef struct {
  double (*area)(const Shape *);
  void (*grow)(Shape *, double);
  int (*sides)(const Shape *);
} ShapeMethods;
struct Shape {
  const ShapeMethods *methods;
  double a, b, c;
};

static double circle_area(const Shape *s) { return 3.0 * s->a * s->a; }
static double box_area(const Shape *s) { return s->a * s->b; }
static double prism_area(const Shape *s) { return 2 * (s->a * s->b + s->b * s->c + s->a * s->c); }
static double wedge_area(const Shape *s) { return 0.5 * s->a * s->b; }
static void grow_one(Shape *s, double by) { s->a += by; }
static void grow_two(Shape *s, double by) { s->a += by, s->b -= by * 0.5; }
static void grow_wrap(Shape *s, double by) { s->c = s->c > 8 ? 1 : s->c + by; }
static int no_sides(const Shape *s) { return s->a > 3 ? 1 : 0; }
static int four_sides(const Shape *s) { return s->a == s->b ? 5 : 4; }
static int six_sides(const Shape *s) { return 6 + (s->c > 2); }
static int three_sides(const Shape *s) { return s->b > 1 ? 3 : 2; }

static const ShapeMethods methods[] = {
    {circle_area, grow_one, no_sides},
    {box_area, grow_two, four_sides},
    {prism_area, grow_wrap, six_sides},
    {wedge_area, grow_two, three_sides},
};

typedef struct Node Node;
struct Node {
  int64_t (*eval)(const Node *, int64_t);
  const Node *left, *right;
  int64_t value;
};

static int64_t eval_const(const Node *n, int64_t x) { (void)x; return n->value; }
static int64_t eval_arg(const Node *n, int64_t x) { return x + n->value; }
static int64_t eval_add(const Node *n, int64_t x) { return n->left->eval(n->left, x) + n->right->eval(n->right, x); }
static int64_t eval_xor(const Node *n, int64_t x) { return n->left->eval(n->left, x) ^ n->right->eval(n->right, x); }
static int64_t eval_mul(const Node *n, int64_t x) {
  return (int64_t)((uint64_t)n->left->eval(n->left, x) * (uint64_t)n->right->eval(n->right, x + 1));
}
static int64_t eval_pick(const Node *n, int64_t x) {
  return x & 1 ? n->left->eval(n->left, x >> 1) : n->right->eval(n->right, x >> 1);
}

static Node pool[4096];
static int used;

static const Node *build(uint64_t *rng, int depth) {
  static int64_t (*const inner[])(const Node *, int64_t) = {eval_add, eval_xor, eval_mul, eval_pick};
  Node *n = &pool[used++];
  n->value = (int64_t)(rng_next(rng) % 1000);
  if (depth == 0) {
    n->eval = rng_next(rng) & 1 ? eval_const : eval_arg;
    return n;
  }
  n->eval = inner[rng_next(rng) % 4];
  n->left = build(rng, depth - 1);
  n->right = build(rng, depth - 1);
  return n;
}

typedef uint32_t (*Stage)(uint32_t, uint32_t);
static uint32_t stage_add(uint32_t x, uint32_t k) { return x + k; }
static uint32_t stage_rot(uint32_t x, uint32_t k) { return x << (k & 31) | x >> (-k & 31); }
static uint32_t stage_mul(uint32_t x, uint32_t k) { return x * (k | 1); }
static uint32_t stage_xor(uint32_t x, uint32_t k) { return x ^ k >> 3; }
static uint32_t stage_not(uint32_t x, uint32_t k) { return ~x - k; }
static const Stage stages[8] = {stage_add, stage_rot, stage_mul, stage_xor, stage_not, stage_add, stage_mul, stage_rot};

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 850);
  enum { SHAPES = 20000 };
  Shape *shapes = bench_alloc(SHAPES * sizeof *shapes);
  uint64_t rng = 21, sum = 0;
  for (int i = 0; i < SHAPES; i++)
    shapes[i] = (Shape){&methods[rng_next(&rng) % 4], 1 + rng_f64(&rng), 1 + rng_f64(&rng), 1 + rng_f64(&rng)};
  const Node *tree = build(&rng, 10);
  uint32_t x = 1;
  for (long round = 0; round < rounds; round++) {
    double area = 0;
    int64_t sides = 0;
    for (int i = 0; i < SHAPES; i++) {
      Shape *s = &shapes[i];
      area += s->methods->area(s);
      s->methods->grow(s, 0.001);
      sides += s->methods->sides(s);
    }
    sum = mix_f64(mix(sum, (uint64_t)sides), area);
    for (int i = 0; i < 200; i++)
      sum = mix(sum, (uint64_t)tree->eval(tree, (int64_t)(round * 200 + i)));
    for (uint32_t i = 0; i < 100000; i++)
      x = stages[(x ^ i) & 7](x, i);
    sum = mix(sum, x);
  }
  return bench_done("vcall", rounds, sum);
}
