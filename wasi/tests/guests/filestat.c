// fd_filestat_get, fd_filestat_set_size, fd_filestat_set_times.
// RUN: --dir=rw:/
#include "wasi.h"

#define SECOND 1000000000ull

int main(void) {
  Fd dir = preopen("/");
  Filestat stat, again;
  OK(wasi_fd_filestat_get(dir, &stat));
  CHECK_EQ(stat.filetype, TYPE_DIR);
  Fd fd = open_with(dir, "file", O_CREAT_, RIGHTS_ALL, 0);
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.filetype, TYPE_FILE);
  CHECK_EQ(stat.size, 0);
  CHECK_EQ(stat.nlink, 1);
  CHECK(stat.mtim > 1600000000 * SECOND);

  uint32_t n;
  OK(wasi_fd_write(fd, &(Slice){"0123456789", 10}, 1, &n));
  OK(wasi_fd_filestat_get(fd, &again));
  CHECK_EQ(again.size, 10);
  CHECK(again.ino == stat.ino && again.dev == stat.dev);
  CHECK(again.mtim >= stat.mtim);

  OK(wasi_fd_filestat_set_size(fd, 4));
  expect_file(dir, "file", "0123");
  OK(wasi_fd_filestat_set_size(fd, 6));
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.size, 6);
  char buffer[8];
  OK(wasi_fd_pread(fd, &(SliceMut){buffer, 8}, 1, 0, &n));
  CHECK(n == 6 && memcmp(buffer, "0123\0\0", 6) == 0);
  ERR(wasi_fd_filestat_set_size(fd, 1ull << 63), EINVAL_, EFBIG_, EOVERFLOW_);

  OK(wasi_fd_filestat_set_times(fd, 100 * SECOND + 5, 200 * SECOND + 7, SET_ATIM | SET_MTIM));
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.atim, 100 * SECOND + 5);
  CHECK_EQ(stat.mtim, 200 * SECOND + 7);
  OK(wasi_fd_filestat_set_times(fd, 300 * SECOND, 0, SET_ATIM));
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.atim, 300 * SECOND);
  CHECK_EQ(stat.mtim, 200 * SECOND + 7);
  OK(wasi_fd_filestat_set_times(fd, 0, 0, SET_MTIM_NOW));
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.atim, 300 * SECOND);
  CHECK(stat.mtim > 1600000000 * SECOND);
  OK(wasi_fd_filestat_set_times(fd, 1, 1, 0));
  OK(wasi_fd_filestat_get(fd, &again));
  CHECK(again.atim == stat.atim && again.mtim == stat.mtim);
  ERR(wasi_fd_filestat_set_times(fd, 1, 1, SET_ATIM | SET_ATIM_NOW), EINVAL_);
  ERR(wasi_fd_filestat_set_times(fd, 1, 1, SET_MTIM | SET_MTIM_NOW), EINVAL_);
  OK(wasi_fd_close(fd));

  fd = open_with(dir, "file", 0, RIGHT_FD_READ, 0);
  ERR(wasi_fd_filestat_set_size(fd, 0), EINVAL_, EBADF_, ENOTCAPABLE_, EPERM_);
  OK(wasi_fd_close(fd));
  ERR(wasi_fd_filestat_get(fd, &stat), EBADF_);
  ERR(wasi_fd_filestat_set_size(fd, 0), EBADF_);
  ERR(wasi_fd_filestat_set_times(fd, 0, 0, SET_ATIM), EBADF_);
  ERR(wasi_fd_filestat_set_size(dir, 0), EISDIR_, EBADF_, EINVAL_, ENOTCAPABLE_);
  for (Fd standard = 0; standard < 3; standard++)
    OK(wasi_fd_filestat_get(standard, &stat));
  return 0;
}
