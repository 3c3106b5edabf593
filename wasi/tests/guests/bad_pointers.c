// Every function that takes a pointer, given ones outside the memory, at its end, and lengths that
// wrap: EFAULT or the call's own complaint, never a
// crash of the host, and nothing is written.
// RUN: --dir=rw:/ --arg=x --env=A=B
// DIFFERS: wasmtime traps for a pointer outside of the memory
#include "wasi.h"

#define BAD(call) ERR(call, EFAULT_, EINVAL_, EOVERFLOW_, ENAMETOOLONG_)

/* The compiler must not know what these point to. */
static void *volatile hidden;
static void *at(uint32_t address) {
  hidden = (void *)(uintptr_t)address;
  return hidden;
}

int main(void) {
  Fd dir = preopen("/");
  uint32_t memory = (uint32_t)__builtin_wasm_memory_size(0) << 16;
  const uint32_t places[] = {memory, memory - 1, memory + 4, 0xffffffff, 0xfffffff8, 0x80000000};
  write_file(dir, "file", "0123456789");
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    void *bad = at(places[i]);
    uint32_t n = 0;
    uint64_t wide = 0;
    char buffer[64];
    uint8_t *list[64];
    BAD(wasi_args_sizes_get(bad, &n));
    BAD(wasi_args_sizes_get(&n, bad));
    BAD(wasi_args_get(bad, (uint8_t *)buffer));
    BAD(wasi_args_get(list, bad));
    BAD(wasi_environ_sizes_get(bad, &n));
    BAD(wasi_environ_get(bad, (uint8_t *)buffer));
    BAD(wasi_environ_get(list, bad));
    BAD(wasi_clock_res_get(CLOCK_MONO, bad));
    BAD(wasi_clock_time_get(CLOCK_MONO, 0, bad));
    BAD(wasi_random_get(bad, 16));
    BAD(wasi_random_get(buffer, 0xfffffff0));

    Fd fd = open_with(dir, "file", 0, RIGHTS_ALL, 0);
    BAD(wasi_fd_fdstat_get(fd, bad));
    BAD(wasi_fd_filestat_get(fd, bad));
    BAD(wasi_fd_prestat_get(dir, bad));
    BAD(wasi_fd_prestat_dir_name(dir, bad, 1 + (places[i] == memory - 1)));
    BAD(wasi_fd_tell(fd, bad));
    BAD(wasi_fd_seek(fd, 0, FROM_HERE, bad));
    SliceMut into = {bad, 8}, good = {buffer, 8};
    Slice from = {bad, 8}, fine = {"x", 1};
    BAD(wasi_fd_read(fd, &into, 1, &n));
    BAD(wasi_fd_read(fd, bad, 1, &n));
    BAD(wasi_fd_pread(fd, &into, 1, 0, &n));
    BAD(wasi_fd_pread(fd, bad, 1, 0, &n));
    BAD(wasi_fd_write(fd, &from, 1, &n));
    BAD(wasi_fd_write(fd, bad, 1, &n));
    BAD(wasi_fd_pwrite(fd, &from, 1, 0, &n));
    BAD(wasi_fd_pwrite(fd, bad, 1, 0, &n));
    OK(wasi_fd_close(fd));
    expect_file(dir, "file", "0123456789");
    BAD(wasi_fd_readdir(dir, bad, 100, 0, &n));
    BAD(wasi_fd_readdir(dir, buffer, 8, 0, bad));

    Filestat stat;
    Fd got;
    BAD(wasi_path_open(dir, 0, bad, 4, 0, RIGHTS_RO, 0, 0, &got));
    BAD(wasi_path_open(dir, 0, P("file"), 0, RIGHTS_RO, 0, 0, bad));
    BAD(wasi_path_filestat_get(dir, 0, bad, 4, &stat));
    BAD(wasi_path_filestat_get(dir, 0, P("file"), bad));
    BAD(wasi_path_filestat_set_times(dir, 0, bad, 4, 0, 0, SET_ATIM));
    BAD(wasi_path_create_directory(dir, bad, 4));
    BAD(wasi_path_remove_directory(dir, bad, 4));
    BAD(wasi_path_unlink_file(dir, bad, 4));
    BAD(wasi_path_rename(dir, bad, 4, dir, P("x")));
    BAD(wasi_path_rename(dir, P("file"), dir, bad, 4));
    BAD(wasi_path_link(dir, 0, bad, 4, dir, P("x")));
    BAD(wasi_path_link(dir, 0, P("file"), dir, bad, 4));
    BAD(wasi_path_symlink(bad, 4, dir, P("x")));
    BAD(wasi_path_symlink(P("file"), dir, bad, 4));
    BAD(wasi_path_readlink(dir, bad, 4, buffer, 64, &n));

    Subscription s;
    Event event;
    memset(&s, 0, sizeof s);
    s.clock.id = CLOCK_MONO;
    BAD(wasi_poll_oneoff(bad, &event, 1, &n));
    BAD(wasi_poll_oneoff(&s, bad, 1, &n));
    CHECK(exists(dir, "file") && !exists(dir, "x"));
    (void)good;
    (void)fine;
    (void)wide;
  }
  return 0;
}
