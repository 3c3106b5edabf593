// fd_readdir: 1,200 entries through buffers of every awkward size, cookies that resume, types and
// inode numbers, entries that do not fit, and what changes while it is read.
// RUN: --dir=rw:/
#include "wasi.h"

enum { FILES = 1200, FEW = 60 };

static Fd dir;
static int files;
static uint8_t seen[FILES];
static int dots, others;

static void note(const char *name, uint32_t length, uint8_t type) {
  char text[64];
  CHECK(length < sizeof text);
  memcpy(text, name, length);
  text[length] = 0;
  if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
    CHECK_EQ(type, TYPE_DIR);
    dots++;
    return;
  }
  int number = -1;
  if (sscanf(text, "file-%d", &number) == 1 && number >= 0 && number < files) {
    CHECK_EQ(type, TYPE_FILE);
    CHECK_EQ(seen[number], 0);
    seen[number] = 1;
    return;
  }
  others++;
}

/* Lists the directory through a buffer of `size` bytes. A filled buffer may end inside an entry,
 * which is then asked for again. `size` must have room for one whole entry. */
static void list(Fd fd, uint32_t size) {
  uint8_t *buffer = malloc(size + 8);
  uint64_t cookie = 0;
  memset(seen, 0, sizeof seen);
  dots = others = 0;
  for (;;) {
    uint32_t used = 0, at = 0;
    memset(buffer, 0x55, size + 8);
    OK(wasi_fd_readdir(fd, buffer, size, cookie, &used));
    CHECK(used <= size);
    CHECK_EQ(buffer[size], 0x55);
    bool advanced = false;
    while (at + sizeof(Dirent) <= used) {
      Dirent entry;
      memcpy(&entry, buffer + at, sizeof entry);
      CHECK(entry.namlen > 0 && entry.namlen < 256);
      if (at + sizeof entry + entry.namlen > used)
        break;
      note((char *)buffer + at + sizeof entry, entry.namlen, entry.type);
      CHECK(entry.next != cookie);
      cookie = entry.next;
      at += sizeof entry + entry.namlen;
      advanced = true;
    }
    if (used < size)
      break;
    CHECK(advanced);
  }
  free(buffer);
  for (int i = 0; i < files; i++)
    CHECK_EQ(seen[i], 1);
  CHECK_EQ(others, 0);
  CHECK(dots == 0 || dots == 2);
}

static void make_files(int count) {
  for (; files < count; files++) {
    char name[32];
    snprintf(name, sizeof name, "file-%04d", files);
    OK(wasi_fd_close(open_with(dir, name, O_CREAT_ | O_EXCL_, RIGHTS_ALL, 0)));
  }
}

int main(void) {
  Fd root = preopen("/");
  OK(wasi_path_create_directory(root, P("many")));
  dir = open_with(root, "many", O_DIRECTORY_, RIGHTS_ALL, 0);
  /* Hosts that list from the start at every call get a small directory for the small buffers. */
  static const uint32_t small[] = {34, 35, 57, 64, 100, 333, 4096}, large[] = {333, 4096, 1 << 20};
  make_files(FEW);
  for (size_t i = 0; i < sizeof small / sizeof *small; i++)
    list(dir, small[i]);
  make_files(FILES);
  for (size_t i = 0; i < sizeof large / sizeof *large; i++)
    list(dir, large[i]);

  /* Too small for any entry: the buffer is filled with a part of one, so the caller sees that it
   * must grow. */
  uint8_t tiny[32];
  uint32_t used = 77;
  for (uint32_t size = 0; size < 24; size += 7) {
    OK(wasi_fd_readdir(dir, tiny, size, 0, &used));
    CHECK_EQ(used, size);
  }
  OK(wasi_fd_readdir(dir, tiny, 24, 0, &used));
  CHECK_EQ(used, 24);
  Dirent first;
  memcpy(&first, tiny, 24);
  CHECK(first.namlen > 0);

  /* A cookie resumes after its entry, also after going back and on another descriptor. */
  uint8_t buffer[4096];
  OK(wasi_fd_readdir(dir, buffer, sizeof buffer, 0, &used));
  CHECK_EQ(used, sizeof buffer);
  Dirent entry;
  uint32_t at = 0;
  uint64_t cookies[32];
  char names[32][16];
  int count = 0;
  while (count < 32) {
    memcpy(&entry, buffer + at, sizeof entry);
    CHECK(entry.namlen < 16);
    cookies[count] = entry.next;
    memcpy(names[count], buffer + at + 24, entry.namlen);
    names[count++][entry.namlen] = 0;
    at += 24 + entry.namlen;
  }
  for (int i = 30; i >= 0; i -= 5) {
    OK(wasi_fd_readdir(dir, buffer, 64, cookies[i], &used));
    memcpy(&entry, buffer, sizeof entry);
    CHECK(entry.namlen == strlen(names[i + 1]) && memcmp(buffer + 24, names[i + 1], entry.namlen) == 0);
    CHECK(entry.next == cookies[i + 1]);
  }

  /* New entries are seen by a listing that starts again; inode numbers are those of stat. */
  OK(wasi_path_unlink_file(dir, P("file-0007")));
  OK(wasi_path_symlink(P("file-0001"), dir, P("link")));
  OK(wasi_path_create_directory(dir, P("sub")));
  bool link = false, sub = false, gone = true;
  uint64_t cookie = 0;
  do {
    OK(wasi_fd_readdir(dir, buffer, sizeof buffer, cookie, &used));
    for (at = 0; at + 24 <= used; at += 24 + entry.namlen) {
      memcpy(&entry, buffer + at, 24);
      if (at + 24 + entry.namlen > used)
        break;
      const char *name = (char *)buffer + at + 24;
      link |= entry.namlen == 4 && memcmp(name, "link", 4) == 0 && entry.type == TYPE_LINK;
      sub |= entry.namlen == 3 && memcmp(name, "sub", 3) == 0 && entry.type == TYPE_DIR;
      gone &= !(entry.namlen == 9 && memcmp(name, "file-0007", 9) == 0);
      if (entry.namlen == 9 && entry.ino) {
        Filestat stat;
        OK(wasi_path_filestat_get(dir, 0, name, 9, &stat));
        CHECK(stat.ino == entry.ino);
      }
      cookie = entry.next;
    }
  } while (used == sizeof buffer);
  CHECK(link && sub && gone);

  /* The end is an empty answer, again and again. */
  OK(wasi_fd_readdir(dir, buffer, sizeof buffer, cookie, &used));
  CHECK_EQ(used, 0);
  OK(wasi_fd_close(dir));
  ERR(wasi_fd_readdir(dir, buffer, sizeof buffer, 0, &used), EBADF_);
  Fd file = open_with(root, "plain", O_CREAT_, RIGHTS_ALL, 0);
  ERR(wasi_fd_readdir(file, buffer, sizeof buffer, 0, &used), ENOTDIR_, EBADF_, ENOTCAPABLE_);
  ERR(wasi_fd_readdir(1, buffer, sizeof buffer, 0, &used), ENOTDIR_, EBADF_, ENOTCAPABLE_);
  return 0;
}
