// path_rename: files, directories, over existing names, between preopens, onto itself.
// RUN: --dir=rw:/a --dir=rw:/b
#include "wasi.h"

int main(void) {
  Fd a = preopen("/a"), b = preopen("/b");
  write_file(a, "one", "1");
  OK(wasi_path_rename(a, P("one"), a, P("two")));
  CHECK(!exists(a, "one"));
  expect_file(a, "two", "1");
  OK(wasi_path_rename(a, P("two"), a, P("two")));
  expect_file(a, "two", "1");
  write_file(a, "three", "3");
  OK(wasi_path_rename(a, P("two"), a, P("three")));
  expect_file(a, "three", "1");

  OK(wasi_path_create_directory(a, P("d")));
  OK(wasi_path_create_directory(a, P("empty")));
  write_file(a, "d/inner", "i");
  ERR(wasi_path_rename(a, P("three"), a, P("d")), EISDIR_, EEXIST_, ENOTEMPTY_);
  ERR(wasi_path_rename(a, P("d"), a, P("three")), ENOTDIR_);
  ERR(wasi_path_rename(a, P("empty"), a, P("d")), ENOTEMPTY_, EEXIST_);
  OK(wasi_path_rename(a, P("d"), a, P("empty")));
  expect_file(a, "empty/inner", "i");
  ERR(wasi_path_rename(a, P("empty"), a, P("empty/below")), EINVAL_);
  OK(wasi_path_rename(a, P("three"), a, P("empty/three")));
  OK(wasi_path_rename(a, P("empty/three"), b, P("three")));
  expect_file(b, "three", "1");
  OK(wasi_path_rename(a, P("empty/"), b, P("moved/")));
  expect_file(b, "moved/inner", "i");

  /* A link itself moves, not what it points to. */
  OK(wasi_path_symlink(P("three"), b, P("link")));
  OK(wasi_path_rename(b, P("link"), b, P("other")));
  CHECK(!exists(b, "link"));
  Filestat stat;
  OK(wasi_path_filestat_get(b, 0, P("other"), &stat));
  CHECK_EQ(stat.filetype, TYPE_LINK);

  ERR(wasi_path_rename(a, P("absent"), a, P("x")), ENOENT_);
  ERR(wasi_path_rename(b, P("three"), b, P("absent/x")), ENOENT_);
  ERR(wasi_path_rename(b, P("three/"), b, P("x")), ENOTDIR_);
  ERR(wasi_path_rename(b, P(""), b, P("x")), ENOENT_);
  ERR(wasi_path_rename(b, P("three"), b, P("")), ENOENT_);
  ERR(wasi_path_rename(99, P("three"), b, P("x")), EBADF_);
  ERR(wasi_path_rename(b, P("three"), 99, P("x")), EBADF_);
  expect_file(b, "three", "1");
  return 0;
}
