// Writes as many MiB as argv[1] says to standard output: throughput, and what happens when nobody
// reads any more (a closed pipe is EPIPE, which this program reports by code 3).
// RUN: --arg=4
// STDOUT-BYTES: 4194304
#include "wasi.h"

int main(int argc, char **argv) {
  static char block[1 << 16];
  memset(block, 'x', sizeof block);
  for (long left = argc > 1 ? atol(argv[1]) << 20 : 1 << 20; left > 0;) {
    uint32_t n = 0;
    Slice slice = {block, sizeof block < (size_t)left ? sizeof block : (uint32_t)left};
    Errno e = wasi_fd_write(1, &slice, 1, &n);
    if (e == EPIPE_)
      return 3;
    OK(e);
    left -= n;
  }
  return 0;
}
