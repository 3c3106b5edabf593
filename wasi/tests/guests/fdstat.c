// fd_fdstat_get, fd_fdstat_set_flags, fd_fdstat_set_rights.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/");
  Fdstat stat;
  OK(wasi_fd_fdstat_get(dir, &stat));
  CHECK_EQ(stat.filetype, TYPE_DIR);
  CHECK_EQ(stat.flags, 0);
  Fd fd = open_with(dir, "file", O_CREAT_, RIGHTS_ALL, 0);
  OK(wasi_fd_fdstat_get(fd, &stat));
  CHECK_EQ(stat.filetype, TYPE_FILE);
  CHECK_EQ(stat.flags & FD_APPEND, 0);
  /* wasi-libc's open(O_RDWR) asks these two before it writes. */
  CHECK(stat.rights & RIGHT_FD_READ);
  CHECK(stat.rights & RIGHT_FD_WRITE);

  uint32_t n;
  uint64_t at;
  OK(wasi_fd_write(fd, &(Slice){"abc", 3}, 1, &n));
  OK(wasi_fd_fdstat_set_flags(fd, FD_APPEND));
  OK(wasi_fd_fdstat_get(fd, &stat));
  CHECK_EQ(stat.flags & FD_APPEND, FD_APPEND);
  OK(wasi_fd_seek(fd, 0, FROM_START, &at));
  OK(wasi_fd_write(fd, &(Slice){"def", 3}, 1, &n));
  expect_file(dir, "file", "abcdef");
  OK(wasi_fd_fdstat_set_flags(fd, 0));
  OK(wasi_fd_fdstat_get(fd, &stat));
  CHECK_EQ(stat.flags & FD_APPEND, 0);
  OK(wasi_fd_seek(fd, 0, FROM_START, &at));
  OK(wasi_fd_write(fd, &(Slice){"XY", 2}, 1, &n));
  expect_file(dir, "file", "XYcdef");
  OK(wasi_fd_close(fd));

  fd = open_with(dir, "file", 0, RIGHTS_ALL, FD_APPEND);
  OK(wasi_fd_fdstat_get(fd, &stat));
  CHECK_EQ(stat.flags & FD_APPEND, FD_APPEND);
  /* Rights may only shrink; hosts that have given rights up refuse the call altogether. */
  if (ERR(wasi_fd_fdstat_set_rights(fd, RIGHT_FD_READ, 0), ESUCCESS, ENOTSUP_, EBADF_, EINVAL_) == ESUCCESS)
    ERR(wasi_fd_fdstat_set_rights(fd, RIGHTS_ALL, RIGHTS_ALL), ESUCCESS, ENOTCAPABLE_);
  OK(wasi_fd_close(fd));

  ERR(wasi_fd_fdstat_get(fd, &stat), EBADF_);
  ERR(wasi_fd_fdstat_get(-1, &stat), EBADF_);
  ERR(wasi_fd_fdstat_get(0x7fffffff, &stat), EBADF_);
  ERR(wasi_fd_fdstat_set_flags(fd, 0), EBADF_);
  ERR(wasi_fd_fdstat_set_rights(fd, 0, 0), EBADF_, ENOTSUP_);
  return 0;
}
