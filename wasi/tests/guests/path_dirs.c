// path_create_directory, path_remove_directory, path_unlink_file.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/");
  OK(wasi_path_create_directory(dir, P("d")));
  ERR(wasi_path_create_directory(dir, P("d")), EEXIST_);
  OK(wasi_path_create_directory(dir, P("d/e")));
  OK(wasi_path_create_directory(dir, P("d/e/f/")));
  ERR(wasi_path_create_directory(dir, P("absent/x")), ENOENT_);
  ERR(wasi_path_create_directory(dir, P("")), ENOENT_);
  ERR(wasi_path_create_directory(dir, P(".")), EEXIST_);
  write_file(dir, "file", "x");
  ERR(wasi_path_create_directory(dir, P("file")), EEXIST_);
  ERR(wasi_path_create_directory(dir, P("file/x")), ENOTDIR_);

  ERR(wasi_path_remove_directory(dir, P("d")), ENOTEMPTY_);
  ERR(wasi_path_remove_directory(dir, P("file")), ENOTDIR_);
  ERR(wasi_path_remove_directory(dir, P("absent")), ENOENT_);
  ERR(wasi_path_remove_directory(dir, P("")), ENOENT_);
  OK(wasi_path_remove_directory(dir, P("d/e/f")));
  if (ERR(wasi_path_remove_directory(dir, P("d/e/")), ESUCCESS, EINVAL_) != ESUCCESS)
    OK(wasi_path_remove_directory(dir, P("d/e")));
  OK(wasi_path_remove_directory(dir, P("d")));
  CHECK(!exists(dir, "d"));

  OK(wasi_path_create_directory(dir, P("d")));
  ERR(wasi_path_unlink_file(dir, P("d")), EISDIR_, EPERM_);
  ERR(wasi_path_unlink_file(dir, P("d/")), EISDIR_, EPERM_, ENOTDIR_);
  ERR(wasi_path_unlink_file(dir, P("file/")), ENOTDIR_);
  ERR(wasi_path_unlink_file(dir, P("absent")), ENOENT_);
  ERR(wasi_path_unlink_file(dir, P("")), ENOENT_);
  OK(wasi_path_symlink(P("d"), dir, P("link")));
  ERR(wasi_path_remove_directory(dir, P("link")), ENOTDIR_);
  OK(wasi_path_unlink_file(dir, P("link")));
  CHECK(exists(dir, "d"));

  /* An unlinked file lives on for those that have it open. */
  Fd fd = open_with(dir, "file", 0, RIGHTS_ALL, 0);
  OK(wasi_path_unlink_file(dir, P("file")));
  CHECK(!exists(dir, "file"));
  char c;
  uint32_t n;
  OK(wasi_fd_read(fd, &(SliceMut){&c, 1}, 1, &n));
  CHECK(n == 1 && c == 'x');
  Filestat stat;
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.nlink, 0);
  OK(wasi_fd_close(fd));

  /* A removed directory that is still open takes no new files. */
  fd = open_with(dir, "d", O_DIRECTORY_, RIGHTS_ALL, 0);
  OK(wasi_path_remove_directory(dir, P("d")));
  Fd inner;
  ERR(wasi_path_open(fd, 0, P("x"), O_CREAT_, RIGHTS_ALL, 0, 0, &inner), ENOENT_);
  OK(wasi_fd_close(fd));

  ERR(wasi_path_create_directory(99, P("x")), EBADF_);
  ERR(wasi_path_remove_directory(99, P("x")), EBADF_);
  ERR(wasi_path_unlink_file(99, P("x")), EBADF_);
  ERR(wasi_path_create_directory(1, P("x")), EBADF_, ENOTDIR_, ENOTCAPABLE_);
  return 0;
}
