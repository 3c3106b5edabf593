/* The planets of the Computer Language Benchmarks Game: scalar double arithmetic with divisions
 * and square roots, all in one small loop nest. */
#include "bench.h"

#if defined(__wasm__)
#define SQRT __builtin_sqrt
#else
#include <math.h>
#define SQRT sqrt
#endif

#define PI 3.141592653589793
#define SOLAR_MASS (4 * PI * PI)
#define DAYS 365.24
enum { BODIES = 5 };

typedef struct {
  double x[3], v[3], mass;
} Body;

static Body bodies[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, SOLAR_MASS},
    {{4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01},
     {1.66007664274403694e-03 * DAYS, 7.69901118419740425e-03 * DAYS, -6.90460016972063023e-05 * DAYS},
     9.54791938424326609e-04 * SOLAR_MASS},
    {{8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01},
     {-2.76742510726411530e-03 * DAYS, 4.99852801234917238e-03 * DAYS, 2.30417297573763929e-05 * DAYS},
     2.85885980666130812e-04 * SOLAR_MASS},
    {{1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01},
     {2.96460137564761618e-03 * DAYS, 2.37847173959480950e-03 * DAYS, -2.96589568540237556e-05 * DAYS},
     4.36624404335156298e-05 * SOLAR_MASS},
    {{1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01},
     {2.68067772490389322e-03 * DAYS, 1.62824170038242295e-03 * DAYS, -9.51592254519715870e-05 * DAYS},
     5.15138902046611451e-05 * SOLAR_MASS},
};

static NOINLINE void advance(double dt) {
  for (int i = 0; i < BODIES; i++) {
    Body *a = &bodies[i];
    for (int j = i + 1; j < BODIES; j++) {
      Body *b = &bodies[j];
      double dx = a->x[0] - b->x[0], dy = a->x[1] - b->x[1], dz = a->x[2] - b->x[2];
      double squared = dx * dx + dy * dy + dz * dz;
      double magnitude = dt / (squared * SQRT(squared));
      double ma = a->mass * magnitude, mb = b->mass * magnitude;
      a->v[0] -= dx * mb;
      a->v[1] -= dy * mb;
      a->v[2] -= dz * mb;
      b->v[0] += dx * ma;
      b->v[1] += dy * ma;
      b->v[2] += dz * ma;
    }
  }
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++)
      bodies[i].x[k] += dt * bodies[i].v[k];
}

static double energy(void) {
  double e = 0;
  for (int i = 0; i < BODIES; i++) {
    Body *a = &bodies[i];
    e += 0.5 * a->mass * (a->v[0] * a->v[0] + a->v[1] * a->v[1] + a->v[2] * a->v[2]);
    for (int j = i + 1; j < BODIES; j++) {
      Body *b = &bodies[j];
      double dx = a->x[0] - b->x[0], dy = a->x[1] - b->x[1], dz = a->x[2] - b->x[2];
      e -= a->mass * b->mass / SQRT(dx * dx + dy * dy + dz * dz);
    }
  }
  return e;
}

int main(int argc, char **argv) {
  long thousands = bench_size(argc, argv, 30000);
  for (int k = 0; k < 3; k++) {
    double momentum = 0;
    for (int i = 0; i < BODIES; i++)
      momentum += bodies[i].v[k] * bodies[i].mass;
    bodies[0].v[k] = -momentum / SOLAR_MASS;
  }
  double before = energy();
  bench_check(before > -0.169075164 && before < -0.169075163, "the known energy at the start");
  for (long i = 0; i < thousands * 1000; i++)
    advance(0.01);
  double after = energy();
  bench_check(after > -0.1691 && after < -0.1690, "energy is conserved");
  uint64_t sum = mix_f64(0, after);
  for (int i = 0; i < BODIES; i++)
    sum = mix_f64(sum, bodies[i].x[i % 3]);
  return bench_done("nbody", thousands, sum);
}
