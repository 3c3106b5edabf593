// path_filestat_get, path_filestat_set_times: through links and not, and errors.
// RUN: --dir=rw:/
#include "wasi.h"

#define SECOND 1000000000ull

int main(void) {
  Fd dir = preopen("/");
  Filestat file, link;
  write_file(dir, "file", "12345");
  OK(wasi_path_symlink(P("file"), dir, P("link")));
  OK(wasi_path_filestat_get(dir, FOLLOW, P("file"), &file));
  CHECK_EQ(file.filetype, TYPE_FILE);
  CHECK_EQ(file.size, 5);
  OK(wasi_path_filestat_get(dir, FOLLOW, P("."), &file));
  CHECK_EQ(file.filetype, TYPE_DIR);

  OK(wasi_path_filestat_set_times(dir, FOLLOW, P("link"), 1000 * SECOND + 1, 2000 * SECOND + 2, SET_ATIM | SET_MTIM));
  OK(wasi_path_filestat_get(dir, 0, P("file"), &file));
  CHECK_EQ(file.atim, 1000 * SECOND + 1);
  CHECK_EQ(file.mtim, 2000 * SECOND + 2);
  OK(wasi_path_filestat_get(dir, 0, P("link"), &link));
  CHECK(link.mtim > 1600000000 * SECOND);

  OK(wasi_path_filestat_set_times(dir, 0, P("link"), 3000 * SECOND, 4000 * SECOND, SET_ATIM | SET_MTIM));
  OK(wasi_path_filestat_get(dir, 0, P("link"), &link));
  CHECK_EQ(link.mtim, 4000 * SECOND);
  OK(wasi_path_filestat_get(dir, 0, P("file"), &file));
  CHECK_EQ(file.mtim, 2000 * SECOND + 2);

  OK(wasi_path_filestat_set_times(dir, 0, P("file"), 7, 7, SET_MTIM_NOW));
  OK(wasi_path_filestat_get(dir, 0, P("file"), &file));
  CHECK(file.mtim > 1600000000 * SECOND);
  CHECK_EQ(file.atim, 1000 * SECOND + 1);

  ERR(wasi_path_filestat_set_times(dir, 0, P("file"), 1, 1, SET_ATIM | SET_ATIM_NOW), EINVAL_);
  ERR(wasi_path_filestat_set_times(dir, 0, P("absent"), 1, 1, SET_ATIM), ENOENT_);
  ERR(wasi_path_filestat_set_times(99, 0, P("file"), 1, 1, SET_ATIM), EBADF_);
  ERR(wasi_path_filestat_get(dir, 0, P("absent"), &file), ENOENT_);
  ERR(wasi_path_filestat_get(dir, 0, P("file/x"), &file), ENOTDIR_);
  ERR(wasi_path_filestat_get(dir, 0, P("file/"), &file), ENOTDIR_, ESUCCESS);
  ERR(wasi_path_filestat_get(dir, 0, P(""), &file), ENOENT_);
  ERR(wasi_path_filestat_get(99, 0, P("file"), &file), EBADF_);
  return 0;
}
