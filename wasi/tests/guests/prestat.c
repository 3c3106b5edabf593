// fd_prestat_get, fd_prestat_dir_name: every preopen in order, short buffers, other descriptors.
// RUN: --dir=rw:/ --dir=rw:/data --dir=rw:relative/name
#include "wasi.h"

int main(void) {
  static const char *const names[] = {"/", "/data", "relative/name"};
  Prestat prestat;
  char buffer[64];
  for (Fd fd = 3; fd < 6; fd++) {
    const char *name = names[fd - 3];
    uint32_t length = (uint32_t)strlen(name);
    memset(&prestat, 0x55, sizeof prestat);
    OK(wasi_fd_prestat_get(fd, &prestat));
    CHECK_EQ(prestat.tag, 0);
    CHECK_EQ(prestat.name_length, length);
    memset(buffer, 0x55, sizeof buffer);
    OK(wasi_fd_prestat_dir_name(fd, buffer, length));
    CHECK(memcmp(buffer, name, length) == 0 && buffer[length] == 0x55);
    if (length > 1)
      ERR(wasi_fd_prestat_dir_name(fd, buffer, length - 1), ENAMETOOLONG_);
    OK(wasi_fd_prestat_dir_name(fd, buffer, length));
  }
  ERR(wasi_fd_prestat_get(6, &prestat), EBADF_);
  ERR(wasi_fd_prestat_dir_name(6, buffer, 64), EBADF_);
  /* An opened directory is not a preopened one. */
  Fd opened = open_with(3, ".", O_DIRECTORY_, RIGHTS_ALL, 0);
  ERR(wasi_fd_prestat_get(opened, &prestat), EBADF_, ENOTDIR_, EINVAL_);
  ERR(wasi_fd_prestat_dir_name(opened, buffer, 64), EBADF_, ENOTDIR_, EINVAL_);
  /* A preopen can be closed, and is then gone. */
  OK(wasi_fd_close(4));
  ERR(wasi_fd_prestat_get(4, &prestat), EBADF_);
  OK(wasi_fd_prestat_get(5, &prestat));
  return 0;
}
