// Vectors of absurd counts and lengths: an error or a short transfer, promptly, and without the host
// allocating what the guest claims.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/");
  Fd fd = open_with(dir, "file", O_CREAT_, RIGHTS_ALL, 0);
  uint32_t n = 0;
  char byte = 'x';
  Slice one = {&byte, 1};
  SliceMut into = {&byte, 1};

  /* The array of vectors itself does not fit. */
  ERR(wasi_fd_write(fd, &one, 0xffffffff, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  ERR(wasi_fd_write(fd, &one, 0x20000000, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  ERR(wasi_fd_read(fd, &into, 0xffffffff, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  ERR(wasi_fd_pread(fd, &into, 0x20000000, 0, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  ERR(wasi_fd_pwrite(fd, &one, 0x20000000, 0, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);

  /* One element is longer than the memory. */
  Slice huge = {&byte, 0xffffffff};
  SliceMut huge_into = {&byte, 0xffffffff};
  ERR(wasi_fd_write(fd, &huge, 1, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  Filestat stat;
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.size, 0);

  /* More elements than the system takes at once (IOV_MAX is 1,024 on Linux). */
  enum { MANY = 5000 };
  static Slice many[MANY];
  static SliceMut many_into[MANY];
  static char text[MANY], back[MANY];
  for (int i = 0; i < MANY; i++) {
    text[i] = (char)('a' + i % 26);
    many[i] = (Slice){&text[i], 1};
    many_into[i] = (SliceMut){&back[i], 1};
  }
  uint32_t sent = 0;
  while (sent < MANY) {
    OK(wasi_fd_write(fd, many + sent, MANY - sent, &n));
    CHECK(n > 0 && n <= MANY - sent);
    sent += n;
  }
  uint32_t got = 0;
  while (got < MANY) {
    OK(wasi_fd_pread(fd, many_into + got, MANY - got, got, &n));
    CHECK(n > 0 && n <= MANY - got);
    got += n;
  }
  CHECK(memcmp(text, back, MANY) == 0);

  /* An element beyond the memory: nothing of it may be read. */
  OK(wasi_fd_filestat_get(fd, &stat));
  CHECK_EQ(stat.size, MANY);
  ERR(wasi_fd_pread(fd, &huge_into, 1, 0, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);

  /* Overlapping elements whose sum exceeds 32 bits, all inside the memory. */
  enum { BIG = 1 << 20 };
  char *area = calloc(1, BIG);
  CHECK(area);
  static Slice wrap[4097];
  for (int i = 0; i < 4097; i++)
    wrap[i] = (Slice){area, BIG};
  Errno e = ERR(wasi_fd_pwrite(fd, wrap, 4097, 0, &n), ESUCCESS, EINVAL_, EOVERFLOW_, EFAULT_);
  if (e == ESUCCESS) {
    /* A short write: what it claims is what is there. */
    OK(wasi_fd_filestat_get(fd, &stat));
    CHECK(stat.size >= n);
    CHECK(stat.size <= (uint64_t)MANY + n);
  }
  OK(wasi_fd_filestat_set_size(fd, 0));

  /* Huge paths and names. */
  ERR(wasi_path_create_directory(dir, area, 0xffffffff), EFAULT_, EINVAL_, EOVERFLOW_, ENAMETOOLONG_, ENOMEM_);
  memset(area, 'x', BIG);
  ERR(wasi_path_create_directory(dir, area, BIG), ENAMETOOLONG_);
  for (int i = 1; i < BIG; i += 2)
    area[i] = '/';
  ERR(wasi_path_create_directory(dir, area, BIG), ENAMETOOLONG_, ENOENT_);
  ERR(wasi_path_symlink(area, BIG, dir, P("long")), ENAMETOOLONG_);

  /* Subscriptions without end. */
  Subscription s;
  Event event;
  memset(&s, 0, sizeof s);
  ERR(wasi_poll_oneoff(&s, &event, 0xffffffff, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  ERR(wasi_poll_oneoff(&s, &event, 0x10000000, &n), EFAULT_, EINVAL_, EOVERFLOW_, ENOMEM_);
  return 0;
}
