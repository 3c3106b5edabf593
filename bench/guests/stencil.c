/* Two-dimensional stencils: a five-point Jacobi iteration, a nine-point Gauss-Seidel sweep whose
 * cells depend on each other, and the Game of Life on bytes. */
#include "bench.h"

enum { N = 512 };

static double grid[N][N], next[N][N], seidel[N][N];
static uint8_t life[N][N], life_next[N][N];

static NOINLINE void jacobi(double (*restrict to)[N], double (*restrict from)[N]) {
  for (int i = 1; i < N - 1; i++)
    for (int j = 1; j < N - 1; j++)
      to[i][j] = 0.2 * (from[i][j] + from[i][j - 1] + from[i][j + 1] + from[i - 1][j] + from[i + 1][j]);
}

static NOINLINE void gauss_seidel(void) {
  for (int i = 1; i < N - 1; i++)
    for (int j = 1; j < N - 1; j++)
      seidel[i][j] = (seidel[i - 1][j - 1] + seidel[i - 1][j] + seidel[i - 1][j + 1] +
                      seidel[i][j - 1] + seidel[i][j] + seidel[i][j + 1] + seidel[i + 1][j - 1] +
                      seidel[i + 1][j] + seidel[i + 1][j + 1]) *
                     (1.0 / 9.0);
}

static NOINLINE void life_step(uint8_t (*restrict to)[N], uint8_t (*restrict from)[N]) {
  for (int i = 1; i < N - 1; i++)
    for (int j = 1; j < N - 1; j++) {
      int n = from[i - 1][j - 1] + from[i - 1][j] + from[i - 1][j + 1] + from[i][j - 1] +
              from[i][j + 1] + from[i + 1][j - 1] + from[i + 1][j] + from[i + 1][j + 1];
      to[i][j] = n == 3 || (n == 2 && from[i][j]);
    }
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 520);
  uint64_t rng = 11, sum = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      grid[i][j] = next[i][j] = seidel[i][j] = rng_f64(&rng);
      life[i][j] = (rng_next(&rng) >> 60) < 5;
    }
  for (long round = 0; round < rounds; round++) {
    jacobi(next, grid);
    jacobi(grid, next);
    gauss_seidel();
    life_step(life_next, life);
    life_step(life, life_next);
    int row = 1 + (int)(round * 37 % (N - 2));
    sum = mix_f64(mix_f64(sum, grid[row][N / 2]), seidel[N / 2][row]);
    sum = mix_bytes(sum, life[row], N);
  }
  return bench_done("stencil", rounds, sum);
}
