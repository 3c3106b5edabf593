// fd_advise, fd_allocate, fd_datasync, fd_sync.
// RUN: --dir=rw:/
// RUN: --dir=rw:/ --arg=unknown
// DIFFERS: wasmtime traps for an advice that it does not know
#include "wasi.h"

int main(int argc, char **argv) {
  (void)argv;
  Fd dir = preopen("/");
  Fd fd = open_with(dir, "file", O_CREAT_, RIGHTS_ALL, 0);
  uint32_t n;
  OK(wasi_fd_write(fd, &(Slice){"abc", 3}, 1, &n));
  for (uint8_t advice = 0; advice < 6; advice++)
    OK(wasi_fd_advise(fd, 0, 3, advice));
  OK(wasi_fd_advise(fd, 10, 0, 0));
  if (argc > 1)
    ERR(wasi_fd_advise(fd, 0, 3, 6), EINVAL_);
  OK(wasi_fd_datasync(fd));
  OK(wasi_fd_sync(fd));
  expect_file(dir, "file", "abc");

  /* Allocation grows a file with zeros, or is refused; it never shrinks one or changes bytes. */
  Filestat stat;
  if (ERR(wasi_fd_allocate(fd, 0, 100), ESUCCESS, ENOTSUP_) == ESUCCESS) {
    OK(wasi_fd_filestat_get(fd, &stat));
    CHECK_EQ(stat.size, 100);
    OK(wasi_fd_allocate(fd, 10, 20));
    OK(wasi_fd_filestat_get(fd, &stat));
    CHECK_EQ(stat.size, 100);
    char buffer[8];
    OK(wasi_fd_pread(fd, &(SliceMut){buffer, 5}, 1, 0, &n));
    CHECK(n == 5 && memcmp(buffer, "abc\0\0", 5) == 0);
    ERR(wasi_fd_allocate(fd, 0, 0), EINVAL_, ESUCCESS);
    ERR(wasi_fd_allocate(fd, ~0ull, 10), EINVAL_, EFBIG_, EOVERFLOW_);
  }
  OK(wasi_fd_close(fd));

  ERR(wasi_fd_advise(fd, 0, 0, 0), EBADF_);
  ERR(wasi_fd_allocate(fd, 0, 1), EBADF_, ENOTSUP_);
  ERR(wasi_fd_datasync(fd), EBADF_);
  ERR(wasi_fd_sync(fd), EBADF_);
  ERR(wasi_fd_allocate(dir, 0, 1), EBADF_, EISDIR_, ENOTCAPABLE_, ENOTSUP_, EINVAL_);
  ERR(wasi_fd_sync(dir), ESUCCESS, EBADF_);
  ERR(wasi_fd_datasync(dir), ESUCCESS, EBADF_);
  return 0;
}
