// sock_accept, sock_recv, sock_send, sock_shutdown on a preopened listener: upper-cases what one
// client sends until it stops sending.
// RUN: --listen --client="hello, socket\n"
// CLIENT: HELLO, SOCKET
#include "wasi.h"

int main(void) {
  Fd listener = -1, peer = -1;
  Fdstat stat;
  for (Fd fd = 3; fd < 16 && listener < 0; fd++)
    if (wasi_fd_fdstat_get(fd, &stat) == ESUCCESS && stat.filetype == TYPE_STREAM)
      listener = fd;
  CHECK(listener > 2);
  /* The client comes in its own time: a non-blocking listener says so. */
  for (;;) {
    Errno e = ERR(wasi_sock_accept(listener, 0, &peer), ESUCCESS, EAGAIN_);
    if (e == ESUCCESS)
      break;
    Subscription s;
    Event event;
    uint32_t n;
    memset(&s, 0, sizeof s);
    s.tag = EVENT_READ;
    s.file.fd = listener;
    OK(wasi_poll_oneoff(&s, &event, 1, &n));
  }
  CHECK(peer > 2 && peer != listener);
  OK(wasi_fd_fdstat_get(peer, &stat));
  CHECK_EQ(stat.filetype, TYPE_STREAM);
  char buffer[64];
  uint32_t total = 0;
  for (;;) {
    uint32_t n = 77;
    uint16_t flags = 77;
    SliceMut into[] = {{buffer + total, 2}, {buffer + total + 2, 3}};
    if (ERR(wasi_sock_recv(peer, into, 2, 0, &n, &flags), ESUCCESS, EAGAIN_) == EAGAIN_) {
      wasi_sched_yield();
      continue;
    }
    CHECK_EQ(flags, 0);
    if (n == 0)
      break;
    total += n;
    CHECK(total < 56);
  }
  for (uint32_t i = 0; i < total; i++)
    if (buffer[i] >= 'a' && buffer[i] <= 'z')
      buffer[i] -= 32;
  for (uint32_t sent = 0; sent < total;) {
    uint32_t n = 0;
    uint32_t half = (total - sent + 1) / 2;
    Slice from[] = {{buffer + sent, half}, {buffer + sent + half, total - sent - half}};
    OK(wasi_sock_send(peer, from, 2, 0, &n));
    sent += n;
  }
  ERR(wasi_sock_shutdown(peer, 0), EINVAL_);
  OK(wasi_sock_shutdown(peer, 2));
  uint32_t n;
  ERR(wasi_sock_send(peer, &(Slice){"x", 1}, 1, 0, &n), EPIPE_);
  uint64_t at;
  ERR(wasi_fd_seek(peer, 0, FROM_START, &at), ESPIPE_, EBADF_, ENOTCAPABLE_);
  OK(wasi_fd_close(peer));
  return 0;
}
