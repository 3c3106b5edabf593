// Every way out of a preopened directory that we can think of. The fixture puts `outside/` with
// `secret.txt` (it holds `secret`) beside the directory that is preopened as `/`, and these links
// inside: `abs` -> {root}/outside, `rel` -> ../outside, `absfile` -> {root}/outside/secret.txt,
// `relfile` -> ../outside/secret.txt, `up` -> .., `rooted` -> /, `sub/upup` -> ../.., `self` -> .
// argv[1] is {root}, the host's absolute path of the directory that holds all this.
// RUN: --dir=rw:/ --arg={root} --outside --mkdir=/sub --file=/inside:inside --symlink=/abs:{root}/outside --symlink=/rel:../outside --symlink=/absfile:{root}/outside/secret.txt --symlink=/relfile:../outside/secret.txt --symlink=/up:.. --symlink=/rooted:/ --symlink=/sub/upup:../.. --symlink=/self:.
// RUN: --dir=ro:/ --arg={root} --outside --mkdir=/sub --file=/inside:inside --symlink=/abs:{root}/outside --symlink=/rel:../outside --symlink=/absfile:{root}/outside/secret.txt --symlink=/relfile:../outside/secret.txt --symlink=/up:.. --symlink=/rooted:/ --symlink=/sub/upup:../.. --symlink=/self:.
#include "wasi.h"

static Fd dir, sub;
static int escapes;

static void escaped(const char *how, const char *path) {
  fprintf(stderr, "ESCAPED by %s: %s\n", how, path);
  escapes++;
}

/* `path` names the secret file, or would if the sandbox had a hole. */
static void try_file(Fd base, const char *path) {
  static const uint16_t oflags[] = {0, O_CREAT_, O_TRUNC_, O_CREAT_ | O_EXCL_};
  static const uint64_t rights[] = {RIGHT_FD_READ, RIGHT_FD_WRITE, RIGHTS_ALL};
  Fd fd;
  Filestat stat;
  char buffer[64];
  uint32_t n;
  for (uint32_t lookup = 0; lookup < 2; lookup++) {
    for (int o = 0; o < 4; o++)
      for (int r = 0; r < 3; r++)
        if (wasi_path_open(base, lookup, P(path), oflags[o], rights[r], RIGHTS_ALL, 0, &fd) == ESUCCESS)
          escaped("path_open", path);
    if (wasi_path_filestat_get(base, lookup, P(path), &stat) == ESUCCESS && stat.filetype != TYPE_LINK)
      escaped("path_filestat_get", path);
    if (wasi_path_link(base, lookup, P(path), dir, P("stolen")) == ESUCCESS) {
      if (wasi_path_filestat_get(dir, 0, P("stolen"), &stat) == ESUCCESS && stat.filetype != TYPE_LINK)
        escaped("path_link", path);
      wasi_path_unlink_file(dir, P("stolen"));
    }
    if (wasi_path_filestat_set_times(base, lookup, P(path), 1, 1, SET_MTIM) == ESUCCESS && lookup == FOLLOW)
      escaped("path_filestat_set_times", path);
  }
  (void)buffer;
  (void)n;
}

/* `path` is a directory outside, with a separator: what can be done below it? */
static void try_dir(Fd base, const char *path) {
  char name[512];
  Fd fd;
  Filestat stat;
  if (wasi_path_open(base, FOLLOW, P(path), O_DIRECTORY_, RIGHTS_ALL, RIGHTS_ALL, 0, &fd) == ESUCCESS)
    escaped("path_open of a directory", path);
  if (wasi_path_open(base, FOLLOW, P(path), 0, RIGHT_FD_READDIR, RIGHTS_ALL, 0, &fd) == ESUCCESS)
    escaped("path_open for reading a directory", path);
  snprintf(name, sizeof name, "%s/planted", path);
  if (wasi_path_create_directory(base, P(name)) == ESUCCESS)
    escaped("path_create_directory", name);
  if (wasi_path_remove_directory(base, P(name)) == ESUCCESS)
    escaped("path_remove_directory", name);
  if (wasi_path_symlink(P("x"), base, P(name)) == ESUCCESS)
    escaped("path_symlink", name);
  if (wasi_path_link(dir, 0, P("inside"), base, P(name)) == ESUCCESS)
    escaped("path_link to the outside", name);
  if (wasi_path_rename(dir, P("inside"), base, P(name)) == ESUCCESS)
    escaped("path_rename to the outside", name);
  snprintf(name, sizeof name, "%s/secret.txt", path);
  if (wasi_path_rename(base, P(name), dir, P("stolen")) == ESUCCESS)
    escaped("path_rename from the outside", name);
  if (wasi_path_unlink_file(base, P(name)) == ESUCCESS)
    escaped("path_unlink_file", name);
  uint32_t n;
  char buffer[64];
  if (wasi_path_readlink(base, P(name), buffer, sizeof buffer, &n) == ESUCCESS)
    escaped("path_readlink", name);
  if (wasi_path_filestat_get(base, FOLLOW, P(path), &stat) == ESUCCESS)
    escaped("path_filestat_get of a directory", path);
  try_file(base, name);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  const char *root = argv[1];
  char path[512];
  dir = preopen("/");
  sub = open_with(dir, "sub", O_DIRECTORY_, RIGHTS_RO, 0);
  /* The sandbox is not simply broken: what is inside can be reached, also by a detour. */
  expect_file(dir, "inside", "inside");
  expect_file(dir, "sub/../inside", "inside");
  expect_file(dir, "self/self/inside", "inside");

  static const char *const dirs[] = {
      "../outside", "./../outside", "sub/../../outside", "sub/./.././../outside", "self/../outside",
      "rel", "abs", "up/outside", "sub/upup/outside", "sub/../up/outside", "self/self/up/outside", "rel/",
      "rel/.", "abs/../outside", "rel/../outside", "../../../../../../../../../../etc", "/etc", "//etc", "rooted/etc", "rooted",
      "/", "//", "..", "../", "../.", "sub/../..", "sub/upup", "up", "up/..", "up/.", "./..", "/..", "/.", "/../outside",
      "absent/../../outside", "inside/../../outside",
  };
  for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
    try_dir(dir, dirs[i]);
    if (dirs[i][0] == '.' && dirs[i][1] == '.') {
      snprintf(path, sizeof path, "../%s", dirs[i]);
      try_dir(sub, path);
    }
  }
  static const char *const files[] = {"relfile", "absfile", "relfile/", "self/relfile", "../outside/secret.txt",
                                      "/etc/passwd", "../../../../../../../../etc/passwd", "rooted/etc/passwd"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    try_file(dir, files[i]);
  snprintf(path, sizeof path, "%s/outside", root);
  try_dir(dir, path);
  try_dir(sub, path);
  snprintf(path, sizeof path, "/%s/outside", root);
  try_dir(dir, path);
  snprintf(path, sizeof path, "%s/outside/secret.txt", root);
  try_file(dir, path);
  try_dir(sub, "../..");
  try_dir(sub, "../../outside");
  try_dir(sub, "upup/outside");

  /* NULs and other things that a host might cut off or translate. */
  Fd fd;
  if (wasi_path_open(dir, FOLLOW, "..\0x", 4, 0, RIGHT_FD_READDIR, 0, 0, &fd) == ESUCCESS)
    escaped("a NUL", "..\\0x");
  if (wasi_path_open(dir, FOLLOW, P("..\\outside\\secret.txt"), 0, RIGHT_FD_READ, 0, 0, &fd) == ESUCCESS)
    escaped("backslashes", "..");

  /* Links made by the guest itself: absolute ones are refused or harmless, `..` ones are harmless. */
  snprintf(path, sizeof path, "%s/outside", root);
  static const char *const made[] = {"made1", "made2", "made3", "sub/made4"};
  const char *const targets[] = {path, "../outside", "/", "../../outside"};
  for (int i = 0; i < 4; i++)
    if (wasi_path_symlink(P(targets[i]), dir, P(made[i])) == ESUCCESS) {
      try_dir(dir, made[i]);
      OK(wasi_path_unlink_file(dir, P(made[i])));
    }
  /* A link moved to where its `..` would lead out. */
  if (wasi_path_create_directory(dir, P("deep")) == ESUCCESS && wasi_path_symlink(P("../../outside"), dir, P("deep/moving")) == ESUCCESS) {
    OK(wasi_path_rename(dir, P("deep/moving"), dir, P("moving")));
    try_dir(dir, "moving");
    try_dir(dir, "deep/../moving");
  }
  /* A directory moved up while it is open: its `..` must not follow the file system out. */
  if (wasi_path_create_directory(dir, P("deep/er")) == ESUCCESS) {
    Fd er = open_with(dir, "deep/er", O_DIRECTORY_, RIGHTS_ALL, 0);
    OK(wasi_path_rename(dir, P("deep/er"), dir, P("er")));
    try_dir(er, "../../outside");
    try_dir(er, "../outside");
    try_dir(er, "..");
  }
  /* A file does not become a way up. */
  fd = open_with(dir, "inside", 0, RIGHT_FD_READ, 0);
  Fd got;
  if (wasi_path_open(fd, 0, P("../outside"), 0, RIGHT_FD_READ, 0, 0, &got) == ESUCCESS)
    escaped("a file as a directory", "../outside");
  CHECK_EQ(escapes, 0);
  return 0;
}
