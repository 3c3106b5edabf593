/* Allocation: binary trees that are built, walked and freed through malloc, and a treap with
 * insertions and deletions. Pointer chasing and an allocator compiled to wasm. */
#include "bench.h"

typedef struct Tree Tree;
struct Tree {
  Tree *left, *right;
};

static Tree *build(int depth) {
  Tree *t = malloc(sizeof *t);
  if (!t)
    exit(1);
  t->left = depth ? build(depth - 1) : NULL;
  t->right = depth ? build(depth - 1) : NULL;
  return t;
}
static uint64_t count(const Tree *t) { return t->left ? 1 + count(t->left) + count(t->right) : 1; }
static void release(Tree *t) {
  if (t->left) {
    release(t->left);
    release(t->right);
  }
  free(t);
}

typedef struct Treap Treap;
struct Treap {
  uint32_t key, priority, size;
  Treap *left, *right;
};

static uint32_t size_of(const Treap *t) { return t ? t->size : 0; }
static void update(Treap *t) { t->size = 1 + size_of(t->left) + size_of(t->right); }

static void split(Treap *t, uint32_t key, Treap **low, Treap **high) {
  if (!t) {
    *low = *high = NULL;
  } else if (t->key < key) {
    split(t->right, key, &t->right, high);
    *low = t;
    update(t);
  } else {
    split(t->left, key, low, &t->left);
    *high = t;
    update(t);
  }
}

static Treap *merge(Treap *a, Treap *b) {
  if (!a || !b)
    return a ? a : b;
  if (a->priority > b->priority) {
    a->right = merge(a->right, b);
    update(a);
    return a;
  }
  b->left = merge(a, b->left);
  update(b);
  return b;
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 56);
  uint64_t sum = 0, rng = 31;
  for (long round = 0; round < rounds; round++) {
    for (int depth = 4; depth <= 16; depth += 4)
      for (int i = 0; i < 1 << (16 - depth); i++) {
        Tree *t = build(depth);
        uint64_t nodes = count(t);
        bench_check(nodes == (2ull << depth) - 1, "a full tree has 2^(d+1) - 1 nodes");
        sum += nodes;
        release(t);
      }
    Treap *root = NULL;
    for (int i = 0; i < 40000; i++) {
      uint32_t key = rng_u32(&rng) % 30000;
      Treap *low, *middle, *high;
      split(root, key, &low, &high);
      split(high, key + 1, &middle, &high);
      if (middle && i % 3 == 0) {
        free(middle);
        middle = NULL;
      } else if (!middle) {
        middle = malloc(sizeof *middle);
        if (!middle)
          exit(1);
        *middle = (Treap){key, rng_u32(&rng), 1, NULL, NULL};
      }
      root = merge(merge(low, middle), high);
      sum = mix(sum, size_of(root));
    }
    while (root) {
      Treap *rest = merge(root->left, root->right);
      sum = mix(sum, root->key);
      free(root);
      root = rest;
    }
  }
  return bench_done("trees", rounds, sum);
}
