/* Threads that count under a lock, and that hand numbers on through a queue. */
#include "threads.h"

enum { THREADS = 32, EACH = 500, ROOM = 4 };

static Mutex mutex;
static long counter;
static _Atomic long atomic_counter;

static void count(void *argument) {
  long step = (long)argument;
  for (int i = 0; i < EACH; i++) {
    lock(&mutex);
    counter += step;
    unlock(&mutex);
    atomic_counter += step;
  }
}

static Mutex queue_mutex;
static Condition not_empty, not_full;
static int queue[ROOM], used, producers;
static long sum;

static void produce(void *argument) {
  (void)argument;
  for (int i = 1; i <= EACH; i++) {
    lock(&queue_mutex);
    while (used == ROOM)
      condition_wait(&not_full, &queue_mutex);
    queue[used++] = i;
    unlock(&queue_mutex);
    condition_signal(&not_empty, 1);
  }
  lock(&queue_mutex);
  producers--;
  unlock(&queue_mutex);
  condition_signal(&not_empty, ~0u);
}

static void consume(void *argument) {
  (void)argument;
  lock(&queue_mutex);
  for (;;) {
    while (!used && producers)
      condition_wait(&not_empty, &queue_mutex);
    if (!used)
      break;
    sum += queue[--used];
    condition_signal(&not_full, 1);
  }
  unlock(&queue_mutex);
}

int main(void) {
  static Thread threads[THREADS];
  for (long i = 0; i < THREADS; i++)
    CHECK(thread_start(&threads[i], count, (void *)i) > 0);
  long expected = 0;
  for (int i = 0; i < THREADS; i++) {
    thread_join(&threads[i]);
    expected += (long)i * EACH;
  }
  CHECK(counter == expected && atomic_counter == expected);
  printf("counted %ld\n", counter);

  producers = 4;
  for (int i = 0; i < 8; i++)
    CHECK(thread_start(&threads[i], i < 4 ? produce : consume, NULL) > 0);
  for (int i = 0; i < 8; i++)
    thread_join(&threads[i]);
  CHECK(sum == 4L * EACH * (EACH + 1) / 2);
  printf("handed on %ld\n", sum);
  return 0;
}
