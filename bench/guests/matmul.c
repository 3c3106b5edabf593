/* Dense matrix multiplication in double and single precision: the naive order with a stride, and
 * the blocked order whose inner loop a vectoriser can take. */
#include "bench.h"

enum { N = 256, BLOCK = 64 };

static double A[N][N], B[N][N], C[N][N];
static float FA[N][N], FB[N][N], FC[N][N];

static NOINLINE void naive(void) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int k = 0; k < N; k++)
        sum += A[i][k] * B[k][j];
      C[i][j] = sum;
    }
}

static NOINLINE void blocked(void) {
  memset(C, 0, sizeof C);
  for (int kk = 0; kk < N; kk += BLOCK)
    for (int jj = 0; jj < N; jj += BLOCK)
      for (int i = 0; i < N; i++)
        for (int k = kk; k < kk + BLOCK; k++) {
          double a = A[i][k];
          for (int j = jj; j < jj + BLOCK; j++)
            C[i][j] += a * B[k][j];
        }
}

static NOINLINE void blocked_f32(void) {
  memset(FC, 0, sizeof FC);
  for (int kk = 0; kk < N; kk += BLOCK)
    for (int i = 0; i < N; i++)
      for (int k = kk; k < kk + BLOCK; k++) {
        float a = FA[i][k];
        for (int j = 0; j < N; j++)
          FC[i][j] += a * FB[k][j];
      }
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 40);
  uint64_t rng = 3, sum = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      A[i][j] = rng_f64(&rng) - 0.5;
      B[i][j] = rng_f64(&rng) - 0.5;
      FA[i][j] = (float)A[i][j];
      FB[i][j] = (float)B[i][j];
    }
  for (long round = 0; round < rounds; round++) {
    naive();
    for (int i = 0; i < N; i++)
      sum = mix_f64(sum, C[i][(i * 7) % N]);
    blocked();
    blocked_f32();
    for (int i = 0; i < N; i++) {
      sum = mix_f64(sum, C[(i * 3) % N][i]);
      sum = mix_f64(sum, (double)FC[i][(i * 5) % N]);
    }
    /* The next round's input depends on this one's result, and stays bounded. */
    for (int i = 0; i < N; i++) {
      A[i][round % N] = C[i][i] * 0.01;
      FA[i][round % N] = FC[i][i] * 0.01f;
    }
  }
  return bench_done("matmul", rounds, sum);
}
