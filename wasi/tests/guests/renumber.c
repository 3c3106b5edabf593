// fd_renumber, fd_close: numbers are reused, renumbering closes the target and keeps the position.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/");
  write_file(dir, "a", "aaaa");
  write_file(dir, "b", "bbbb");
  Fd a = open_with(dir, "a", 0, RIGHTS_RO, 0), b = open_with(dir, "b", 0, RIGHTS_RO, 0);
  char c;
  uint32_t n;
  uint64_t at;
  OK(wasi_fd_read(a, &(SliceMut){&c, 1}, 1, &n));
  OK(wasi_fd_renumber(a, b));
  CHECK(!is_open(a));
  CHECK(is_open(b));
  OK(wasi_fd_tell(b, &at));
  CHECK_EQ(at, 1);
  OK(wasi_fd_read(b, &(SliceMut){&c, 1}, 1, &n));
  CHECK_EQ(c, 'a');
  ERR(wasi_fd_renumber(a, b), EBADF_);
  ERR(wasi_fd_renumber(b, 4000), EBADF_);
  ERR(wasi_fd_renumber(-1, b), EBADF_);
  CHECK(is_open(b));
  OK(wasi_fd_renumber(b, b));
  CHECK(is_open(b));
  /* The freed number serves the next file. */
  Fd again = open_with(dir, "b", 0, RIGHTS_RO, 0);
  CHECK_EQ(again, a);
  /* Standard output can be redirected so. */
  Fd out = open_with(dir, "out", O_CREAT_, RIGHTS_ALL, 0);
  OK(wasi_fd_renumber(out, 1));
  OK(wasi_fd_write(1, &(Slice){"redirected", 10}, 1, &n));
  expect_file(dir, "out", "redirected");
  OK(wasi_fd_close(1));
  OK(wasi_fd_close(b));
  OK(wasi_fd_close(again));
  ERR(wasi_fd_close(again), EBADF_);
  ERR(wasi_fd_close(-1), EBADF_);
  ERR(wasi_fd_close(12345678), EBADF_);
  return 0;
}
