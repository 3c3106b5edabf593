// path_link, path_symlink, path_readlink.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/");
  Filestat one, two;
  write_file(dir, "file", "text");

  OK(wasi_path_link(dir, 0, P("file"), dir, P("hard")));
  OK(wasi_path_filestat_get(dir, 0, P("file"), &one));
  OK(wasi_path_filestat_get(dir, 0, P("hard"), &two));
  CHECK(one.ino == two.ino && one.dev == two.dev);
  CHECK_EQ(one.nlink, 2);
  ERR(wasi_path_link(dir, 0, P("file"), dir, P("hard")), EEXIST_);
  ERR(wasi_path_link(dir, 0, P("absent"), dir, P("x")), ENOENT_);
  ERR(wasi_path_link(dir, 0, P("file"), dir, P("absent/x")), ENOENT_);
  OK(wasi_path_create_directory(dir, P("d")));
  ERR(wasi_path_link(dir, 0, P("d"), dir, P("d2")), EPERM_, EACCES_, EISDIR_);
  OK(wasi_path_link(dir, 0, P("file"), dir, P("d/hard")));
  OK(wasi_path_unlink_file(dir, P("file")));
  expect_file(dir, "d/hard", "text");
  ERR(wasi_path_link(99, 0, P("hard"), dir, P("x")), EBADF_);
  ERR(wasi_path_link(dir, 0, P("hard"), 99, P("x")), EBADF_);

  OK(wasi_path_symlink(P("hard"), dir, P("soft")));
  ERR(wasi_path_symlink(P("hard"), dir, P("soft")), EEXIST_);
  ERR(wasi_path_symlink(P("hard"), dir, P("hard")), EEXIST_);
  ERR(wasi_path_symlink(P("hard"), dir, P("absent/soft")), ENOENT_);
  ERR(wasi_path_symlink(P("hard"), dir, P("")), ENOENT_);
  ERR(wasi_path_symlink(P(""), dir, P("nothing")), ENOENT_, EINVAL_);
  expect_file(dir, "soft", "text");
  OK(wasi_path_symlink(P("../soft"), dir, P("d/up")));
  expect_file(dir, "d/up", "text");

  char buffer[64];
  uint32_t used = 77;
  memset(buffer, 0x55, sizeof buffer);
  OK(wasi_path_readlink(dir, P("d/up"), buffer, sizeof buffer, &used));
  CHECK_EQ(used, 7);
  CHECK(memcmp(buffer, "../soft", 7) == 0 && buffer[7] == 0x55);
  /* A short buffer gets the beginning. */
  memset(buffer, 0x55, sizeof buffer);
  if (ERR(wasi_path_readlink(dir, P("d/up"), buffer, 3, &used), ESUCCESS) == ESUCCESS) {
    CHECK_EQ(used, 3);
    CHECK(memcmp(buffer, "../", 3) == 0 && buffer[3] == 0x55);
  }
  OK(wasi_path_readlink(dir, P("d/up"), buffer, 0, &used));
  CHECK_EQ(used, 0);
  ERR(wasi_path_readlink(dir, P("hard"), buffer, 64, &used), EINVAL_);
  ERR(wasi_path_readlink(dir, P("d"), buffer, 64, &used), EINVAL_);
  ERR(wasi_path_readlink(dir, P("absent"), buffer, 64, &used), ENOENT_);
  ERR(wasi_path_readlink(99, P("soft"), buffer, 64, &used), EBADF_);

  /* stat of a link and through it. */
  OK(wasi_path_filestat_get(dir, 0, P("soft"), &one));
  CHECK_EQ(one.filetype, TYPE_LINK);
  CHECK_EQ(one.size, 4);
  OK(wasi_path_filestat_get(dir, FOLLOW, P("soft"), &two));
  CHECK_EQ(two.filetype, TYPE_FILE);
  CHECK_EQ(two.size, 4);
  CHECK(one.ino != two.ino);

  /* A chain is followed up to a limit, a cycle is refused. */
  OK(wasi_path_symlink(P("cycle2"), dir, P("cycle1")));
  OK(wasi_path_symlink(P("cycle1"), dir, P("cycle2")));
  ERR(wasi_path_filestat_get(dir, FOLLOW, P("cycle1"), &one), ELOOP_);
  OK(wasi_path_filestat_get(dir, 0, P("cycle1"), &one));
  char name[16], target[16] = "hard";
  for (int i = 0; i < 20; i++) {
    snprintf(name, sizeof name, "chain%d", i);
    OK(wasi_path_symlink(P(target), dir, P(name)));
    memcpy(target, name, sizeof name);
  }
  expect_file(dir, target, "text");
  return 0;
}
