// proc_exit: the code reaches the host, nothing after it runs, output before it is there.
// RUN: --arg=0
// EXIT: 0
// STDOUT: before
// RUN: --arg=7
// EXIT: 7
// STDOUT: before
// RUN: --arg=125
// EXIT: 125
// STDOUT: before
// RUN: --arg=main
// EXIT: 33
// STDOUT: before
// RUN: --arg=nested
// EXIT: 5
// STDOUT: before
#include "wasi.h"

static int compare(const void *a, const void *b) {
  (void)a;
  (void)b;
  wasi_proc_exit(5);
}

int main(int argc, char **argv) {
  uint32_t n;
  CHECK(argc == 2);
  OK(wasi_fd_write(1, &(Slice){"before\n", 7}, 1, &n));
  if (strcmp(argv[1], "main") == 0)
    return 33;
  if (strcmp(argv[1], "nested") == 0) {
    /* From a call-back, a few frames down. */
    int values[4] = {3, 1, 2, 0};
    qsort(values, 4, sizeof *values, compare);
  }
  wasi_proc_exit((uint32_t)atoi(argv[1]));
}
