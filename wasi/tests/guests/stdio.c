// The standard streams: reading to the end, writing in vectors, what seeking and stat say.
// RUN: --stdin="hello\nthere\n"
// STDOUT: <hello
// STDOUT: there
// STDOUT: >
// STDERR: on stderr
#include "wasi.h"

int main(void) {
  char buffer[64];
  uint32_t total = 0, n = 0;
  do {
    SliceMut into[] = {{buffer + total, 3}, {buffer + total + 3, 2}};
    OK(wasi_fd_read(0, into, 2, &n));
    total += n;
    CHECK(total < 60);
  } while (n);
  CHECK_EQ(total, 12);
  OK(wasi_fd_read(0, &(SliceMut){buffer + 20, 1}, 1, &n));
  CHECK_EQ(n, 0);
  Slice parts[] = {{"<", 1}, {buffer, total}, {"", 0}, {">\n", 2}};
  for (int i = 0; i < 4; i++) {
    OK(wasi_fd_write(1, &parts[i], 1, &n));
    CHECK_EQ(n, parts[i].length);
  }
  OK(wasi_fd_write(2, &(Slice){"on stderr\n", 10}, 1, &n));
  CHECK_EQ(n, 10);
  Fdstat stat;
  for (Fd fd = 0; fd < 3; fd++) {
    OK(wasi_fd_fdstat_get(fd, &stat));
    CHECK(stat.filetype != TYPE_DIR);
    Prestat prestat;
    ERR(wasi_fd_prestat_get(fd, &prestat), EBADF_, EINVAL_, ENOTSUP_);
  }
  /* What one cannot do with a pipe. */
  uint64_t at;
  ERR(wasi_fd_seek(0, 0, FROM_START, &at), ESPIPE_, EBADF_, ENOTCAPABLE_, ESUCCESS);
  ERR(wasi_fd_write(0, &(Slice){"x", 1}, 1, &n), EBADF_, ENOTCAPABLE_);
  ERR(wasi_fd_read(1, &(SliceMut){buffer, 1}, 1, &n), EBADF_, ENOTCAPABLE_);
  OK(wasi_fd_close(0));
  ERR(wasi_fd_read(0, &(SliceMut){buffer, 1}, 1, &n), EBADF_);
  return 0;
}
