// A read-only preopen: everything can be read and nothing changed, by any of the functions.
// RUN: --dir=ro:/ro --dir=rw:/rw --file=/ro/file:text --mkdir=/ro/sub --file=/ro/sub/inner:deep --symlink=/ro/link:file
// NEEDS: read-only
#include "wasi.h"

#define REFUSED EROFS_, EPERM_, EACCES_, ENOTCAPABLE_, EBADF_

int main(void) {
  Fd ro = preopen("/ro"), rw = preopen("/rw"), fd = -1;
  Filestat before, after;
  expect_file(ro, "file", "text");
  expect_file(ro, "sub/inner", "deep");
  expect_file(ro, "link", "text");
  OK(wasi_path_filestat_get(ro, 0, P("file"), &before));
  CHECK_EQ(before.size, 4);

  static const uint16_t oflags[] = {O_CREAT_, O_CREAT_ | O_EXCL_, O_CREAT_ | O_TRUNC_};
  for (int i = 0; i < 3; i++) {
    ERR(wasi_path_open(ro, FOLLOW, P("new"), oflags[i], RIGHTS_ALL, RIGHTS_ALL, 0, &fd), REFUSED);
    ERR(wasi_path_open(ro, FOLLOW, P("new"), oflags[i], RIGHT_FD_READ, 0, 0, &fd), REFUSED, EINVAL_);
    ERR(wasi_path_open(ro, FOLLOW, P("sub/new"), oflags[i], RIGHTS_ALL, RIGHTS_ALL, 0, &fd), REFUSED);
  }
  ERR(wasi_path_open(ro, FOLLOW, P("file"), O_TRUNC_, RIGHTS_ALL, RIGHTS_ALL, 0, &fd), REFUSED);
  ERR(wasi_path_open(ro, FOLLOW, P("file"), O_TRUNC_, RIGHT_FD_READ, 0, 0, &fd), REFUSED, EINVAL_);
  ERR(wasi_path_open(ro, FOLLOW, P("file"), 0, RIGHT_FD_WRITE, 0, 0, &fd), REFUSED);
  ERR(wasi_path_open(ro, FOLLOW, P("file"), 0, RIGHT_FD_WRITE, 0, FD_APPEND, &fd), REFUSED);
  ERR(wasi_path_open(ro, FOLLOW, P("link"), 0, RIGHT_FD_READ | RIGHT_FD_WRITE, 0, 0, &fd), REFUSED);
  CHECK(!exists(ro, "new") && !exists(ro, "sub/new"));

  /* A descriptor opened for reading, and directories below, are read-only as well. */
  uint32_t n;
  fd = open_with(ro, "file", 0, RIGHTS_RO, 0);
  ERR(wasi_fd_write(fd, &(Slice){"x", 1}, 1, &n), REFUSED);
  ERR(wasi_fd_pwrite(fd, &(Slice){"x", 1}, 1, 0, &n), REFUSED);
  ERR(wasi_fd_filestat_set_size(fd, 0), REFUSED, EINVAL_);
  ERR(wasi_fd_filestat_set_times(fd, 1, 1, SET_ATIM | SET_MTIM), REFUSED);
  ERR(wasi_fd_allocate(fd, 0, 100), REFUSED, ENOTSUP_);
  OK(wasi_fd_close(fd));
  Fd sub = open_with(ro, "sub", O_DIRECTORY_, RIGHTS_RO, 0);
  ERR(wasi_path_open(sub, 0, P("new"), O_CREAT_, RIGHTS_ALL, RIGHTS_ALL, 0, &fd), REFUSED);
  ERR(wasi_path_open(sub, 0, P("inner"), 0, RIGHT_FD_WRITE, 0, 0, &fd), REFUSED);
  ERR(wasi_path_create_directory(sub, P("new")), REFUSED);
  ERR(wasi_path_unlink_file(sub, P("inner")), REFUSED);
  ERR(wasi_path_open(sub, 0, P("../file"), 0, RIGHT_FD_WRITE, 0, 0, &fd), REFUSED);

  ERR(wasi_path_create_directory(ro, P("new")), REFUSED);
  ERR(wasi_path_remove_directory(ro, P("sub")), REFUSED);
  ERR(wasi_path_unlink_file(ro, P("file")), REFUSED);
  ERR(wasi_path_unlink_file(ro, P("link")), REFUSED);
  ERR(wasi_path_symlink(P("file"), ro, P("new")), REFUSED);
  ERR(wasi_path_filestat_set_times(ro, 0, P("file"), 1, 1, SET_ATIM | SET_MTIM), REFUSED);
  ERR(wasi_path_filestat_set_times(ro, FOLLOW, P("link"), 0, 0, SET_MTIM_NOW), REFUSED);
  ERR(wasi_fd_filestat_set_times(ro, 1, 1, SET_ATIM | SET_MTIM), REFUSED);

  /* Two preopens: neither out of the read-only one by moving, nor a writable name of its files. */
  write_file(rw, "mine", "mine");
  ERR(wasi_path_rename(ro, P("file"), ro, P("new")), REFUSED);
  ERR(wasi_path_rename(ro, P("file"), rw, P("taken")), REFUSED);
  ERR(wasi_path_rename(rw, P("mine"), ro, P("file")), REFUSED);
  ERR(wasi_path_link(ro, 0, P("file"), rw, P("taken")), REFUSED);
  ERR(wasi_path_link(rw, 0, P("mine"), ro, P("new")), REFUSED);
  ERR(wasi_path_link(ro, 0, P("file"), ro, P("new")), REFUSED);
  CHECK(!exists(rw, "taken") && !exists(ro, "new"));
  expect_file(rw, "mine", "mine");
  expect_file(ro, "file", "text");
  OK(wasi_path_filestat_get(ro, 0, P("file"), &after));
  CHECK(after.size == before.size && after.mtim == before.mtim && after.nlink == 1);
  return 0;
}
