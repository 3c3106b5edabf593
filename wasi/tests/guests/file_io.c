// fd_read, fd_write, fd_seek, fd_tell, fd_pread, fd_pwrite: vectors, positions, holes, append.
// RUN: --dir=rw:/
// RUN: --dir=rw:/ --arg=unknown
// DIFFERS: wasmtime traps for a whence that it does not know
#include "wasi.h"

static Fd dir;
static bool unknown;

static void vectors(void) {
  Fd fd = open_with(dir, "vectors", O_CREAT_ | O_EXCL_, RIGHTS_ALL, 0);
  uint32_t n = 77;
  Slice parts[] = {{"one", 3}, {"", 0}, {" two", 4}, {NULL, 0}, {" three", 6}};
  /* Hosts may take a part of the vectors; what they say that they took is what they took. */
  OK(wasi_fd_write(fd, parts, 5, &n));
  CHECK(n == 13 || n == 3);
  if (n == 3) {
    OK(wasi_fd_write(fd, parts + 2, 1, &n));
    CHECK_EQ(n, 4);
    OK(wasi_fd_write(fd, parts + 4, 1, &n));
    CHECK_EQ(n, 6);
  }
  OK(wasi_fd_write(fd, parts, 0, &n));
  CHECK_EQ(n, 0);
  uint64_t at = 0;
  OK(wasi_fd_tell(fd, &at));
  CHECK_EQ(at, 13);
  OK(wasi_fd_seek(fd, 0, FROM_START, &at));
  CHECK_EQ(at, 0);
  char a[4] = {0}, b[1], c[64];
  memset(c, 0x55, sizeof c);
  SliceMut into[] = {{a, 4}, {b, 0}, {c, sizeof c}};
  uint32_t total = 0;
  /* A short read is allowed, but it fills the vector in order and ends with 0. */
  OK(wasi_fd_read(fd, into, 3, &total));
  CHECK(total >= 4 && total <= 13);
  CHECK(memcmp(a, "one ", 4) == 0);
  while (total < 13) {
    SliceMut rest = {c + total - 4, 13 - total};
    OK(wasi_fd_read(fd, &rest, 1, &n));
    CHECK(n > 0);
    total += n;
  }
  CHECK_EQ(total, 13);
  CHECK(memcmp(c, "two three", 9) == 0);
  CHECK_EQ(c[9], 0x55);
  SliceMut more = {c, sizeof c};
  OK(wasi_fd_read(fd, &more, 1, &n));
  CHECK_EQ(n, 0);
  OK(wasi_fd_read(fd, into, 0, &n));
  CHECK_EQ(n, 0);
  OK(wasi_fd_close(fd));
  ERR(wasi_fd_read(fd, &more, 1, &n), EBADF_);
  ERR(wasi_fd_close(fd), EBADF_);
}

static void positions(void) {
  Fd fd = open_with(dir, "positions", O_CREAT_ | O_TRUNC_, RIGHTS_ALL, 0);
  uint32_t n;
  uint64_t at = 0;
  char buffer[32];
  SliceMut into = {buffer, sizeof buffer};
  Slice text = {"0123456789", 10};
  OK(wasi_fd_write(fd, &text, 1, &n));
  OK(wasi_fd_seek(fd, -3, FROM_END, &at));
  CHECK_EQ(at, 7);
  OK(wasi_fd_seek(fd, -2, FROM_HERE, &at));
  CHECK_EQ(at, 5);
  OK(wasi_fd_read(fd, &into, 1, &n));
  CHECK(n == 5 && memcmp(buffer, "56789", 5) == 0);
  ERR(wasi_fd_seek(fd, -11, FROM_END, &at), EINVAL_);
  ERR(wasi_fd_seek(fd, -1, FROM_START, &at), EINVAL_);
  if (unknown)
    ERR(wasi_fd_seek(fd, 0, 3, &at), EINVAL_);
  OK(wasi_fd_tell(fd, &at));
  CHECK_EQ(at, 10);

  /* Positioned access leaves the position alone. */
  OK(wasi_fd_seek(fd, 2, FROM_START, &at));
  Slice parts[] = {{"AB", 2}, {"CD", 2}};
  OK(wasi_fd_pwrite(fd, parts, 2, 4, &n));
  CHECK(n == 4 || n == 2);
  if (n == 2)
    OK(wasi_fd_pwrite(fd, parts + 1, 1, 6, &n));
  char x[3], y[3];
  SliceMut halves[] = {{x, 3}, {y, 3}};
  OK(wasi_fd_pread(fd, halves, 2, 3, &n));
  CHECK(n >= 3 && n <= 6 && memcmp(x, "3AB", 3) == 0);
  if (n == 6)
    CHECK(memcmp(y, "CD8", 3) == 0);
  OK(wasi_fd_pread(fd, &into, 1, 9, &n));
  CHECK(n == 1 && buffer[0] == '9');
  OK(wasi_fd_pread(fd, &into, 1, 1000, &n));
  CHECK_EQ(n, 0);
  OK(wasi_fd_tell(fd, &at));
  CHECK_EQ(at, 2);

  /* Writing beyond the end leaves a hole of zeros. */
  OK(wasi_fd_pwrite(fd, &(Slice){"!", 1}, 1, 15, &n));
  memset(buffer, 0x55, sizeof buffer);
  OK(wasi_fd_pread(fd, &into, 1, 0, &n));
  CHECK_EQ(n, 16);
  CHECK(memcmp(buffer, "0123ABCD89\0\0\0\0\0!", 16) == 0);

  /* A position beyond the end is no error; an offset that no file has is one. */
  OK(wasi_fd_seek(fd, 1 << 20, FROM_START, &at));
  CHECK_EQ(at, 1 << 20);
  OK(wasi_fd_read(fd, &into, 1, &n));
  CHECK_EQ(n, 0);
  ERR(wasi_fd_pread(fd, &into, 1, 1ull << 63, &n), EINVAL_, EOVERFLOW_);
  ERR(wasi_fd_pwrite(fd, &text, 1, ~0ull, &n), EINVAL_, EOVERFLOW_, EFBIG_);
  OK(wasi_fd_close(fd));
}

static void appending(void) {
  write_file(dir, "log", "first\n");
  Fd fd = open_with(dir, "log", 0, RIGHTS_ALL, FD_APPEND);
  uint32_t n;
  uint64_t at;
  OK(wasi_fd_write(fd, &(Slice){"second\n", 7}, 1, &n));
  OK(wasi_fd_seek(fd, 0, FROM_START, &at));
  OK(wasi_fd_write(fd, &(Slice){"third\n", 6}, 1, &n));
  OK(wasi_fd_close(fd));
  expect_file(dir, "log", "first\nsecond\nthird\n");
}

/* Two descriptors of one file have two positions; what one writes the other reads. */
static void sharing(void) {
  Fd a = open_with(dir, "shared", O_CREAT_, RIGHTS_ALL, 0), b = open_with(dir, "shared", 0, RIGHTS_ALL, 0);
  CHECK(a != b);
  uint32_t n;
  char buffer[8];
  OK(wasi_fd_write(a, &(Slice){"xyz", 3}, 1, &n));
  OK(wasi_fd_read(b, &(SliceMut){buffer, 8}, 1, &n));
  CHECK(n == 3 && memcmp(buffer, "xyz", 3) == 0);
  OK(wasi_fd_close(a));
  CHECK(is_open(b));
  OK(wasi_fd_close(b));
}

static void rights(void) {
  uint32_t n;
  char c;
  Fd fd = open_with(dir, "log", 0, RIGHT_FD_READ, 0);
  OK(wasi_fd_read(fd, &(SliceMut){&c, 1}, 1, &n));
  ERR(wasi_fd_write(fd, &(Slice){"x", 1}, 1, &n), EBADF_, ENOTCAPABLE_);
  ERR(wasi_fd_pwrite(fd, &(Slice){"x", 1}, 1, 0, &n), EBADF_, ENOTCAPABLE_);
  OK(wasi_fd_close(fd));
  fd = open_with(dir, "log", 0, RIGHT_FD_WRITE, 0);
  ERR(wasi_fd_read(fd, &(SliceMut){&c, 1}, 1, &n), EBADF_, ENOTCAPABLE_);
  OK(wasi_fd_close(fd));
  /* A directory is not a file. */
  ERR(wasi_fd_read(dir, &(SliceMut){&c, 1}, 1, &n), EISDIR_, EBADF_, ENOTCAPABLE_);
  ERR(wasi_fd_write(dir, &(Slice){"x", 1}, 1, &n), EISDIR_, EBADF_, ENOTCAPABLE_);
  uint64_t at;
  ERR(wasi_fd_seek(dir, 0, FROM_START, &at), EISDIR_, EBADF_, ENOTCAPABLE_, EINVAL_);
}

/* A megabyte in pieces of many sizes. */
static void larger(void) {
  enum { SIZE = 1 << 20 };
  uint8_t *data = malloc(SIZE), *back = malloc(SIZE);
  CHECK(data && back);
  for (uint32_t i = 0; i < SIZE; i++)
    data[i] = (uint8_t)(i * 2654435761u >> 24);
  Fd fd = open_with(dir, "large", O_CREAT_, RIGHTS_ALL, 0);
  uint32_t n;
  for (uint32_t at = 0, piece = 1; at < SIZE; piece = piece * 3 + 1) {
    uint32_t take = piece < SIZE - at ? piece : SIZE - at;
    OK(wasi_fd_write(fd, &(Slice){data + at, take}, 1, &n));
    CHECK(n > 0 && n <= take);
    at += n;
  }
  for (uint32_t at = 0; at < SIZE; at += n) {
    SliceMut into[] = {{back + at, (SIZE - at) / 3}, {back + at + (SIZE - at) / 3, SIZE - at - (SIZE - at) / 3}};
    OK(wasi_fd_pread(fd, into, 2, at, &n));
    CHECK(n > 0);
  }
  CHECK(memcmp(data, back, SIZE) == 0);
  OK(wasi_fd_close(fd));
}

int main(int argc, char **argv) {
  (void)argv;
  unknown = argc > 1;
  dir = preopen("/");
  vectors();
  positions();
  appending();
  sharing();
  rights();
  larger();
  return 0;
}
