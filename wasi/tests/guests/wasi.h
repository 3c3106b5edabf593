/* WASI preview 1 by its raw imports, and the checks that guests are written with. wasi-libc stands
 * between a program and the interface: it caches, retries and translates. Tests that ask what the
 * interface itself does must not go through it. */
#ifndef WASI_H
#define WASI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name)                                                                               \
  __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) extern

typedef uint16_t Errno;
typedef int32_t Fd;

typedef struct { const void *data; uint32_t length; } Slice;
typedef struct { void *data; uint32_t length; } SliceMut;
typedef struct { uint8_t filetype; uint16_t flags; uint64_t rights, inheriting; } Fdstat;
typedef struct { uint64_t dev, ino; uint8_t filetype; uint64_t nlink, size, atim, mtim, ctim; } Filestat;
typedef struct { uint64_t next, ino; uint32_t namlen; uint8_t type; } Dirent;
typedef struct { uint8_t tag; uint32_t name_length; } Prestat;
typedef struct {
  uint64_t userdata;
  uint8_t tag;
  union {
    struct { uint32_t id; uint64_t timeout, precision; uint16_t flags; } clock;
    struct { Fd fd; } file;
  };
} Subscription;
typedef struct {
  uint64_t userdata;
  Errno error;
  uint8_t type;
  struct { uint64_t nbytes; uint16_t flags; } file;
} Event;

_Static_assert(sizeof(Fdstat) == 24, "fdstat");
_Static_assert(sizeof(Filestat) == 64, "filestat");
_Static_assert(sizeof(Dirent) == 24, "dirent");
_Static_assert(sizeof(Subscription) == 48, "subscription");
_Static_assert(sizeof(Event) == 32, "event");

enum {
  ESUCCESS = 0, E2BIG_ = 1, EACCES_ = 2, EAGAIN_ = 6, EBADF_ = 8, EEXIST_ = 20, EFAULT_ = 21, EFBIG_ = 22,
  EILSEQ_ = 25, EINVAL_ = 28, EIO_ = 29, EISDIR_ = 31, ELOOP_ = 32, EMFILE_ = 33, EMLINK_ = 34,
  ENAMETOOLONG_ = 37, ENOENT_ = 44, ENOMEM_ = 48, ENOSPC_ = 51, ENOSYS_ = 52, ENOTCONN_ = 53, ENOTDIR_ = 54,
  ENOTEMPTY_ = 55, ENOTSOCK_ = 57, ENOTSUP_ = 58, EOVERFLOW_ = 61, EPERM_ = 63, EPIPE_ = 64, EROFS_ = 69,
  ESPIPE_ = 70, EXDEV_ = 75, ENOTCAPABLE_ = 76,
};
enum { RIGHT_FD_DATASYNC = 1, RIGHT_FD_READ = 1 << 1, RIGHT_FD_SEEK = 1 << 2, RIGHT_FD_WRITE = 1 << 6,
       RIGHT_FD_READDIR = 1 << 14 };
/* All that is about files: some hosts refuse the rights of sockets here. */
#define RIGHTS_ALL ((uint64_t)0x0fffffff)
#define RIGHTS_RO (RIGHTS_ALL & ~(uint64_t)(RIGHT_FD_WRITE))
enum { O_CREAT_ = 1, O_DIRECTORY_ = 2, O_EXCL_ = 4, O_TRUNC_ = 8 };
enum { FD_APPEND = 1, FD_DSYNC = 2, FD_NONBLOCK = 4, FD_RSYNC = 8, FD_SYNC = 16 };
enum { TYPE_UNKNOWN, TYPE_BLOCK, TYPE_CHAR, TYPE_DIR, TYPE_FILE, TYPE_DGRAM, TYPE_STREAM, TYPE_LINK };
enum { FOLLOW = 1 };
enum { SET_ATIM = 1, SET_ATIM_NOW = 2, SET_MTIM = 4, SET_MTIM_NOW = 8 };
enum { FROM_START, FROM_HERE, FROM_END };
enum { EVENT_CLOCK, EVENT_READ, EVENT_WRITE };
enum { CLOCK_REAL, CLOCK_MONO, CLOCK_PROCESS_CPU, CLOCK_THREAD_CPU };

IMPORT(args_get) Errno wasi_args_get(uint8_t **, uint8_t *);
IMPORT(args_sizes_get) Errno wasi_args_sizes_get(uint32_t *, uint32_t *);
IMPORT(environ_get) Errno wasi_environ_get(uint8_t **, uint8_t *);
IMPORT(environ_sizes_get) Errno wasi_environ_sizes_get(uint32_t *, uint32_t *);
IMPORT(clock_res_get) Errno wasi_clock_res_get(uint32_t, uint64_t *);
IMPORT(clock_time_get) Errno wasi_clock_time_get(uint32_t, uint64_t, uint64_t *);
IMPORT(fd_advise) Errno wasi_fd_advise(Fd, uint64_t, uint64_t, uint8_t);
IMPORT(fd_allocate) Errno wasi_fd_allocate(Fd, uint64_t, uint64_t);
IMPORT(fd_close) Errno wasi_fd_close(Fd);
IMPORT(fd_datasync) Errno wasi_fd_datasync(Fd);
IMPORT(fd_fdstat_get) Errno wasi_fd_fdstat_get(Fd, Fdstat *);
IMPORT(fd_fdstat_set_flags) Errno wasi_fd_fdstat_set_flags(Fd, uint16_t);
IMPORT(fd_fdstat_set_rights) Errno wasi_fd_fdstat_set_rights(Fd, uint64_t, uint64_t);
IMPORT(fd_filestat_get) Errno wasi_fd_filestat_get(Fd, Filestat *);
IMPORT(fd_filestat_set_size) Errno wasi_fd_filestat_set_size(Fd, uint64_t);
IMPORT(fd_filestat_set_times) Errno wasi_fd_filestat_set_times(Fd, uint64_t, uint64_t, uint16_t);
IMPORT(fd_pread) Errno wasi_fd_pread(Fd, const SliceMut *, uint32_t, uint64_t, uint32_t *);
IMPORT(fd_prestat_get) Errno wasi_fd_prestat_get(Fd, Prestat *);
IMPORT(fd_prestat_dir_name) Errno wasi_fd_prestat_dir_name(Fd, char *, uint32_t);
IMPORT(fd_pwrite) Errno wasi_fd_pwrite(Fd, const Slice *, uint32_t, uint64_t, uint32_t *);
IMPORT(fd_read) Errno wasi_fd_read(Fd, const SliceMut *, uint32_t, uint32_t *);
IMPORT(fd_readdir) Errno wasi_fd_readdir(Fd, void *, uint32_t, uint64_t, uint32_t *);
IMPORT(fd_renumber) Errno wasi_fd_renumber(Fd, Fd);
IMPORT(fd_seek) Errno wasi_fd_seek(Fd, int64_t, uint8_t, uint64_t *);
IMPORT(fd_sync) Errno wasi_fd_sync(Fd);
IMPORT(fd_tell) Errno wasi_fd_tell(Fd, uint64_t *);
IMPORT(fd_write) Errno wasi_fd_write(Fd, const Slice *, uint32_t, uint32_t *);
IMPORT(path_create_directory) Errno wasi_path_create_directory(Fd, const char *, uint32_t);
IMPORT(path_filestat_get) Errno wasi_path_filestat_get(Fd, uint32_t, const char *, uint32_t, Filestat *);
IMPORT(path_filestat_set_times)
Errno wasi_path_filestat_set_times(Fd, uint32_t, const char *, uint32_t, uint64_t, uint64_t, uint16_t);
IMPORT(path_link) Errno wasi_path_link(Fd, uint32_t, const char *, uint32_t, Fd, const char *, uint32_t);
IMPORT(path_open)
Errno wasi_path_open(Fd, uint32_t, const char *, uint32_t, uint16_t, uint64_t, uint64_t, uint16_t, Fd *);
IMPORT(path_readlink) Errno wasi_path_readlink(Fd, const char *, uint32_t, void *, uint32_t, uint32_t *);
IMPORT(path_remove_directory) Errno wasi_path_remove_directory(Fd, const char *, uint32_t);
IMPORT(path_rename) Errno wasi_path_rename(Fd, const char *, uint32_t, Fd, const char *, uint32_t);
IMPORT(path_symlink) Errno wasi_path_symlink(const char *, uint32_t, Fd, const char *, uint32_t);
IMPORT(path_unlink_file) Errno wasi_path_unlink_file(Fd, const char *, uint32_t);
IMPORT(poll_oneoff) Errno wasi_poll_oneoff(const Subscription *, Event *, uint32_t, uint32_t *);
IMPORT(proc_exit) _Noreturn void wasi_proc_exit(uint32_t);
IMPORT(proc_raise) Errno wasi_proc_raise(uint8_t);
IMPORT(random_get) Errno wasi_random_get(void *, uint32_t);
IMPORT(sched_yield) Errno wasi_sched_yield(void);
IMPORT(sock_accept) Errno wasi_sock_accept(Fd, uint16_t, Fd *);
IMPORT(sock_recv) Errno wasi_sock_recv(Fd, const SliceMut *, uint32_t, uint16_t, uint32_t *, uint16_t *);
IMPORT(sock_send) Errno wasi_sock_send(Fd, const Slice *, uint32_t, uint16_t, uint32_t *);
IMPORT(sock_shutdown) Errno wasi_sock_shutdown(Fd, uint8_t);

/* Ends the program with code 1 and a message unless the condition holds. */
#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE_NAME__, __LINE__, #condition);          \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#define CHECK_EQ(left, right)                                                                      \
  do {                                                                                             \
    long long left_value = (long long)(left), right_value = (long long)(right);                    \
    if (left_value != right_value) {                                                               \
      fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE_NAME__, __LINE__, #left, left_value, \
              right_value);                                                                        \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#define COUNT_(...) (sizeof((int[]){__VA_ARGS__}) / sizeof(int))

/* The call's errno must be one of those listed. Where the specification leaves a choice, or hosts
 * differ, all answers that wasi-libc can live with are listed. */
#define ERR(call, ...)                                                                             \
  expect_errno(__FILE_NAME__, __LINE__, #call, (call), (const int[]){__VA_ARGS__}, COUNT_(__VA_ARGS__))
#define OK(call) ERR(call, ESUCCESS)

static inline Errno expect_errno(const char *file, int line, const char *what, Errno got, const int *wanted,
                                 size_t count) {
  for (size_t i = 0; i < count; i++)
    if (wanted[i] == got)
      return got;
  fprintf(stderr, "%s:%d: %s: errno %d, expected", file, line, what, got);
  for (size_t i = 0; i < count; i++)
    fprintf(stderr, " %d", wanted[i]);
  fprintf(stderr, "\n");
  exit(1);
}

/* A path as the pair that the interface takes. */
#define P(text) (text), (uint32_t)strlen(text)

/* The preopened directory of that name; every guest that is given directories finds them so. */
static inline Fd preopen(const char *name) {
  for (Fd fd = 3; fd < 64; fd++) {
    Prestat prestat;
    Errno e = wasi_fd_prestat_get(fd, &prestat);
    char buffer[256];
    if (e != ESUCCESS || prestat.name_length > sizeof buffer)
      continue;
    OK(wasi_fd_prestat_dir_name(fd, buffer, prestat.name_length));
    if (prestat.name_length == strlen(name) && memcmp(buffer, name, prestat.name_length) == 0)
      return fd;
  }
  fprintf(stderr, "no preopened directory is called %s\n", name);
  exit(1);
}

static inline Fd open_with(Fd dir, const char *path, uint16_t oflags, uint64_t rights, uint16_t fdflags) {
  Fd fd = -1;
  /* No directory can be opened for writing; wasi-libc does not ask for it either. */
  if (oflags & O_DIRECTORY_)
    rights &= ~(uint64_t)RIGHT_FD_WRITE;
  Errno e = wasi_path_open(dir, FOLLOW, P(path), oflags, rights, rights, fdflags, &fd);
  if (e != ESUCCESS) {
    fprintf(stderr, "path_open %s: errno %d\n", path, e);
    exit(1);
  }
  CHECK(fd > 2);
  return fd;
}

static inline void write_file(Fd dir, const char *path, const char *text) {
  Fd fd = open_with(dir, path, O_CREAT_ | O_TRUNC_, RIGHTS_ALL, 0);
  uint32_t n = 0;
  Slice slice = {text, (uint32_t)strlen(text)};
  OK(wasi_fd_write(fd, &slice, 1, &n));
  CHECK_EQ(n, strlen(text));
  OK(wasi_fd_close(fd));
}

/* The file has exactly this text. */
static inline void expect_file(Fd dir, const char *path, const char *text) {
  Fd fd = open_with(dir, path, 0, RIGHTS_RO, 0);
  char buffer[4096];
  uint32_t n = 0;
  SliceMut slice = {buffer, sizeof buffer};
  OK(wasi_fd_read(fd, &slice, 1, &n));
  if (n != strlen(text) || memcmp(buffer, text, n) != 0) {
    fprintf(stderr, "%s holds `%.*s`, not `%s`\n", path, (int)n, buffer, text);
    exit(1);
  }
  OK(wasi_fd_close(fd));
}

static inline bool exists(Fd dir, const char *path) {
  Filestat stat;
  return wasi_path_filestat_get(dir, 0, P(path), &stat) == ESUCCESS;
}

/* Is this number an open descriptor? */
static inline bool is_open(Fd fd) {
  Fdstat stat;
  return wasi_fd_fdstat_get(fd, &stat) == ESUCCESS;
}

#endif
