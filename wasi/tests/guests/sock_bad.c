// sock_accept, sock_recv, sock_send, sock_shutdown on what is no socket.
// RUN: --dir=rw:/
#include "wasi.h"

int main(void) {
  Fd dir = preopen("/"), got = -1;
  Fd file = open_with(dir, "file", O_CREAT_, RIGHTS_ALL, 0);
  char buffer[4];
  uint32_t n;
  uint16_t flags;
  SliceMut into = {buffer, 4};
  Slice from = {"abcd", 4};
  const Fd fds[] = {dir, file, 0, 1};
  for (int i = 0; i < 4; i++) {
    ERR(wasi_sock_accept(fds[i], 0, &got), ENOTSOCK_, EBADF_, ENOTCAPABLE_);
    ERR(wasi_sock_recv(fds[i], &into, 1, 0, &n, &flags), ENOTSOCK_, EBADF_, ENOTCAPABLE_);
    ERR(wasi_sock_send(fds[i], &from, 1, 0, &n), ENOTSOCK_, EBADF_, ENOTCAPABLE_);
    ERR(wasi_sock_shutdown(fds[i], 3), ENOTSOCK_, EBADF_, ENOTCAPABLE_);
  }
  ERR(wasi_sock_accept(99, 0, &got), EBADF_);
  ERR(wasi_sock_recv(99, &into, 1, 0, &n, &flags), EBADF_);
  ERR(wasi_sock_send(-1, &from, 1, 0, &n), EBADF_);
  ERR(wasi_sock_shutdown(99, 1), EBADF_);
  return 0;
}
