/* Dynamic programming: edit distance, a scored global alignment and a knapsack. Integer minima
 * over rows, with a dependency from cell to cell that defeats vectorisers. */
#include "bench.h"

enum { N = 2000, CAPACITY = 20000 };

static int min2(int a, int b) { return a < b ? a : b; }
static int max2(int a, int b) { return a > b ? a : b; }

static NOINLINE int edit_distance(const uint8_t *a, const uint8_t *b) {
  static int row[N + 1];
  for (int j = 0; j <= N; j++)
    row[j] = j;
  for (int i = 1; i <= N; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= N; j++) {
      int above = row[j];
      row[j] = min2(min2(above + 1, row[j - 1] + 1), diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[N];
}

static NOINLINE int alignment(const uint8_t *a, const uint8_t *b, int8_t score[4][4]) {
  /* Affine gaps: the three states of Gotoh. */
  static int match[N + 1], gap[N + 1];
  for (int j = 0; j <= N; j++)
    match[j] = -4 - j, gap[j] = -1000000;
  match[0] = 0;
  for (int i = 1; i <= N; i++) {
    int diagonal = match[0], across = -1000000;
    match[0] = -4 - i;
    for (int j = 1; j <= N; j++) {
      gap[j] = max2(gap[j] - 1, match[j] - 5);
      across = max2(across - 1, match[j - 1] - 5);
      int best = max2(diagonal + score[a[i - 1]][b[j - 1]], max2(gap[j], across));
      diagonal = match[j];
      match[j] = best;
    }
  }
  return match[N];
}

static NOINLINE int knapsack(const int *weight, const int *value, int items) {
  static int best[CAPACITY + 1];
  memset(best, 0, sizeof best);
  for (int i = 0; i < items; i++)
    for (int w = CAPACITY; w >= weight[i]; w--)
      best[w] = max2(best[w], best[w - weight[i]] + value[i]);
  return best[CAPACITY];
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 100);
  static uint8_t a[N], b[N];
  int8_t score[4][4];
  int weight[100], value[100];
  uint64_t rng = 13, sum = 0;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++)
      score[i][j] = (int8_t)(i == j ? 5 : -3 - (i + j) % 2);
  for (long round = 0; round < rounds; round++) {
    for (int i = 0; i < N; i++) {
      a[i] = (uint8_t)(rng_next(&rng) >> 62);
      b[i] = rng_next(&rng) % 5 ? a[i] : (uint8_t)(rng_next(&rng) >> 62);
    }
    for (int i = 0; i < 100; i++) {
      weight[i] = 50 + (int)(rng_next(&rng) % 900);
      value[i] = 10 + (int)(rng_next(&rng) % 500);
    }
    int distance = edit_distance(a, b);
    bench_check(distance <= N && edit_distance(a, a) == 0, "distances are distances");
    sum = mix(sum, (uint64_t)distance);
    sum = mix(sum, (uint64_t)(int64_t)alignment(a, b, score));
    sum = mix(sum, (uint64_t)knapsack(weight, value, 100));
  }
  return bench_done("align", rounds, sum);
}
