/* The Mandelbrot set, one point at a time: a tight floating-point loop with an exit that is hard to
 * predict, and little memory traffic. */
#include "bench.h"

static NOINLINE int escape(double cr, double ci, int limit) {
  double zr = 0, zi = 0, rr = 0, ii = 0;
  int n = 0;
  while (n < limit && rr + ii <= 4.0) {
    zi = 2 * zr * zi + ci;
    zr = rr - ii + cr;
    rr = zr * zr;
    ii = zi * zi;
    n++;
  }
  return n;
}

int main(int argc, char **argv) {
  long size = bench_size(argc, argv, 2000);
  uint64_t sum = 0;
  for (long y = 0; y < size; y++) {
    double ci = 2.0 * (double)y / (double)size - 1.0;
    uint64_t row = 0;
    for (long x = 0; x < size; x++) {
      double cr = 2.0 * (double)x / (double)size - 1.5;
      row = row * 31 + (uint64_t)escape(cr, ci, 500);
    }
    sum = mix(sum, row);
  }
  return bench_done("mandelbrot", size, sum);
}
