/* Threads until there may be no more, and many one after the other. */
#include "threads.h"

static _Atomic int32_t go, count;

static void wait_to_go(void *argument) {
  (void)argument;
  while (!go)
    wait_at(&go, 0);
  count++;
}

static void add(void *argument) { count += (int32_t)(intptr_t)argument; }

int main(int argc, char **argv) {
  CHECK(argc == 3);
  int most = atoi(argv[1]), turns = atoi(argv[2]);
  Thread *threads = calloc(most + 1, sizeof(Thread));
  CHECK(threads);
  int started = 0;
  while (started <= most && thread_start(&threads[started], wait_to_go, NULL) > 0)
    started++;
  CHECK(started == most);
  go = 1;
  notify_at(&go, ~0u);
  for (int i = 0; i < started; i++)
    thread_join(&threads[i]);
  CHECK(count == most);

  count = 0;
  int32_t last = 0;
  for (int i = 0; i < turns; i++) {
    /* The one before may still be on its way out. */
    int32_t number;
    do
      number = thread_start(&threads[0], add, (void *)2);
    while (number < 0);
    CHECK(number != last);
    last = number;
    thread_join(&threads[0]);
  }
  CHECK(count == 2 * turns);
  printf("%d at a time, %d in turn\n", most, turns);
  return 0;
}
