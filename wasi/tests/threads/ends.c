/* Ways to end while other threads compute, wait, sleep, read and poll. The first argument is what ends
 * it: `trap`, `exit`, `abort` in a thread, `return`, `main-exit`, `main-trap`. */
#include "threads.h"
#include <poll.h>
#include <unistd.h>

static _Atomic int32_t ready, said, never;

static void is_ready(void) {
  ready++;
  notify_at(&ready, 1);
}

static void compute(void *argument) {
  (void)argument;
  is_ready();
  for (volatile long i = 0;; i++)
    ;
}

static void wait_for_ever(void *argument) {
  (void)argument;
  is_ready();
  wait_at(&never, 0);
}

static void sleep_long(void *argument) {
  (void)argument;
  is_ready();
  sleep(1000);
}

static void read_input(void *argument) {
  (void)argument;
  char byte;
  is_ready();
  read(0, &byte, 1);
}

static void poll_input(void *argument) {
  (void)argument;
  struct pollfd input = {.fd = 0, .events = POLLIN};
  is_ready();
  poll(&input, 1, -1);
}

static void await(int count) {
  for (int now; (now = ready) < count;)
    wait_at(&ready, now);
}

static void end(void *how) {
  while (!said)
    wait_at(&said, 0);
  if (!strcmp(how, "trap"))
    __builtin_trap();
  if (!strcmp(how, "exit"))
    _Exit(42);
  wait_at(&never, 0);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  char *how = argv[1];
  static Thread threads[6];
  void (*bodies[6])(void *) = {compute, wait_for_ever, sleep_long, read_input, poll_input, end};
  for (int i = 0; i < 6; i++)
    CHECK(thread_start(&threads[i], bodies[i], how) > 0);
  await(5);
  printf("all are busy\n");
  fflush(stdout);
  said = 1;
  notify_at(&said, 1);
  if (!strcmp(how, "return"))
    return 0;
  if (!strcmp(how, "main-exit"))
    _Exit(43);
  if (!strcmp(how, "main-trap"))
    __builtin_trap();
  wait_at(&never, 0);
  return 1;
}
