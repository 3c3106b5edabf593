// path_open: every flag and their conflicts, paths that are odd, errors that libc relies on.
// RUN: --dir=rw:/
#include "wasi.h"

static Fd dir;

static Errno try(const char *path, uint32_t lookup, uint16_t oflags, uint64_t rights, uint16_t fdflags) {
  Fd fd = -1;
  Errno e = wasi_path_open(dir, lookup, P(path), oflags, rights, rights, fdflags, &fd);
  if (e == ESUCCESS) {
    CHECK(fd > 2);
    OK(wasi_fd_close(fd));
  }
  return e;
}

int main(void) {
  dir = preopen("/");
  ERR(try("new", FOLLOW, 0, RIGHTS_ALL, 0), ENOENT_);
  OK(try("new", FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  OK(try("new", FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  ERR(try("new", FOLLOW, O_CREAT_ | O_EXCL_, RIGHTS_ALL, 0), EEXIST_);
  ERR(try("new", FOLLOW, O_DIRECTORY_, RIGHTS_RO, 0), ENOTDIR_);
  write_file(dir, "new", "some text");
  OK(try("new", FOLLOW, 0, RIGHTS_ALL, 0));
  expect_file(dir, "new", "some text");
  OK(try("new", FOLLOW, O_TRUNC_, RIGHTS_ALL, 0));
  expect_file(dir, "new", "");

  /* Directories. */
  OK(wasi_path_create_directory(dir, P("sub")));
  OK(try("sub", FOLLOW, O_DIRECTORY_, RIGHTS_RO, 0));
  OK(try("sub", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try(".", FOLLOW, O_DIRECTORY_, RIGHTS_RO, 0));
  ERR(try("sub", FOLLOW, O_CREAT_ | O_DIRECTORY_, RIGHTS_ALL, 0), EINVAL_, ENOTDIR_, EISDIR_, EEXIST_, ESUCCESS);
  ERR(try("sub", FOLLOW, 0, RIGHT_FD_READ | RIGHT_FD_WRITE, 0), EISDIR_, ESUCCESS);
  ERR(try("sub", FOLLOW, O_TRUNC_, RIGHT_FD_WRITE, 0), EISDIR_, EINVAL_);
  ERR(try("sub", FOLLOW, O_CREAT_ | O_EXCL_, RIGHTS_ALL, 0), EEXIST_);

  /* Paths inside. */
  OK(try("sub/inner", FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  OK(try("./sub/./inner", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try("sub/../new", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try("sub//inner", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try("sub/", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try("sub/.", FOLLOW, 0, RIGHTS_RO, 0));
  ERR(try("new/", FOLLOW, 0, RIGHTS_RO, 0), ENOTDIR_);
  ERR(try("new/x", FOLLOW, 0, RIGHTS_RO, 0), ENOTDIR_);
  ERR(try("new/..", FOLLOW, 0, RIGHTS_RO, 0), ENOTDIR_);
  ERR(try("absent/x", FOLLOW, O_CREAT_, RIGHTS_ALL, 0), ENOENT_);
  ERR(try("absent/", FOLLOW, O_CREAT_, RIGHTS_ALL, 0), EISDIR_, ENOENT_, ENOTDIR_, EINVAL_);
  ERR(try("", FOLLOW, 0, RIGHTS_RO, 0), ENOENT_);
  ERR(try("", FOLLOW, O_CREAT_, RIGHTS_ALL, 0), ENOENT_);

  /* Names. */
  char long_name[300];
  memset(long_name, 'n', sizeof long_name - 1);
  long_name[299] = 0;
  ERR(try(long_name, FOLLOW, O_CREAT_, RIGHTS_ALL, 0), ENAMETOOLONG_);
  long_name[255] = 0;
  OK(try(long_name, FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  OK(try("name with spaces ü € \xf0\x9f\xa6\x80", FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  OK(try("back\\slash", FOLLOW, O_CREAT_, RIGHTS_ALL, 0));
  Fd fd = -1;
  ERR(wasi_path_open(dir, 0, "new\0tail", 8, 0, RIGHTS_RO, 0, 0, &fd), EINVAL_, EILSEQ_, ENOENT_);
  ERR(try("bad\xff\xfeutf8", FOLLOW, O_CREAT_, RIGHTS_ALL, 0), EILSEQ_, EINVAL_);

  /* Links. */
  OK(wasi_path_symlink(P("new"), dir, P("link")));
  OK(wasi_path_symlink(P("absent"), dir, P("dangling")));
  OK(wasi_path_symlink(P("loop"), dir, P("loop")));
  OK(wasi_path_symlink(P("sub"), dir, P("sublink")));
  OK(try("link", FOLLOW, 0, RIGHTS_RO, 0));
  ERR(try("link", 0, 0, RIGHTS_RO, 0), ELOOP_);
  ERR(try("dangling", FOLLOW, 0, RIGHTS_RO, 0), ENOENT_);
  ERR(try("loop", FOLLOW, 0, RIGHTS_RO, 0), ELOOP_);
  ERR(try("dangling", FOLLOW, O_CREAT_ | O_EXCL_, RIGHTS_ALL, 0), EEXIST_);
  OK(try("sublink/inner", FOLLOW, 0, RIGHTS_RO, 0));
  OK(try("sublink/inner", 0, 0, RIGHTS_RO, 0));
  ERR(try("sublink", 0, O_DIRECTORY_, RIGHTS_RO, 0), ELOOP_, ENOTDIR_);

  /* Flags of the descriptor. */
  OK(try("new", FOLLOW, 0, RIGHTS_ALL, FD_APPEND));
  OK(try("new", FOLLOW, 0, RIGHTS_ALL, FD_NONBLOCK));
  ERR(try("new", FOLLOW, 0, RIGHTS_ALL, FD_DSYNC), ESUCCESS, ENOTSUP_);
  ERR(try("new", FOLLOW, 0, RIGHTS_ALL, FD_SYNC), ESUCCESS, ENOTSUP_);
  ERR(try("new", FOLLOW, 0, RIGHTS_ALL, FD_RSYNC), ESUCCESS, ENOTSUP_);

  /* Descriptors that are no directory. */
  Fd file = open_with(dir, "new", 0, RIGHTS_RO, 0);
  ERR(wasi_path_open(file, 0, P("x"), 0, RIGHTS_RO, 0, 0, &fd), ENOTDIR_, EBADF_, ENOTCAPABLE_);
  ERR(wasi_path_open(0, 0, P("x"), 0, RIGHTS_RO, 0, 0, &fd), ENOTDIR_, EBADF_, ENOTCAPABLE_);
  ERR(wasi_path_open(99, 0, P("x"), 0, RIGHTS_RO, 0, 0, &fd), EBADF_);

  /* Opening relative to an opened directory. */
  Fd sub = open_with(dir, "sub", O_DIRECTORY_, RIGHTS_ALL, 0);
  OK(wasi_path_open(sub, 0, P("inner"), 0, RIGHTS_RO, 0, 0, &fd));
  OK(wasi_fd_close(fd));

  /* Many descriptors at once. */
  Fd many[200];
  for (int i = 0; i < 200; i++)
    many[i] = open_with(dir, "new", 0, RIGHTS_RO, 0);
  for (int i = 0; i < 200; i++)
    OK(wasi_fd_close(many[i]));
  return 0;
}
