/* Threads without a C library that has them: a thread is started by `wasi.thread-spawn` with a stack of
 * its own; mutexes, condition variables and joining are made of wait and notify. */
#ifndef THREADS_H
#define THREADS_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK (64 << 10)

/* The entry below reads the first field. */
typedef struct {
  char *stack_top;
  void (*body)(void *);
  void *argument;
  _Atomic int32_t number; /* 0 before it runs */
  _Atomic int32_t done;
  char *stack;
} Thread;

__attribute__((import_module("wasi"), import_name("thread-spawn"))) int32_t thread_spawn_raw(void *);

static void wait_at(_Atomic int32_t *at, int32_t expected) {
  __builtin_wasm_memory_atomic_wait32((int *)at, expected, -1);
}

static void notify_at(_Atomic int32_t *at, uint32_t count) {
  __builtin_wasm_memory_atomic_notify((int *)at, count);
}

/* Called with the thread's own stack. */
__attribute__((used)) void thread_entry(int32_t number, Thread *thread) {
  thread->number = number;
  thread->body(thread->argument);
  thread->done = 1;
  notify_at(&thread->done, 1);
}

__asm__(".globaltype __stack_pointer, i32\n"
        ".functype thread_entry (i32, i32) -> ()\n"
        ".globl wasi_thread_start\n"
        ".export_name wasi_thread_start, wasi_thread_start\n"
        "wasi_thread_start:\n"
        "  .functype wasi_thread_start (i32, i32) -> ()\n"
        "  local.get 1\n"
        "  i32.load 0\n"
        "  global.set __stack_pointer\n"
        "  local.get 0\n"
        "  local.get 1\n"
        "  call thread_entry\n"
        "  end_function\n");

/* The thread's number, or less than 0. */
static inline int32_t thread_start(Thread *thread, void (*body)(void *), void *argument) {
  memset(thread, 0, sizeof *thread);
  thread->stack = malloc(STACK);
  if (!thread->stack)
    return -1;
  thread->stack_top = (char *)((uintptr_t)(thread->stack + STACK) & ~(uintptr_t)15);
  thread->body = body;
  thread->argument = argument;
  int32_t number = thread_spawn_raw(thread);
  if (number < 0)
    free(thread->stack);
  return number;
}

static inline void thread_join(Thread *thread) {
  while (!thread->done)
    wait_at(&thread->done, 0);
  free(thread->stack);
}

/* 0 is free, 1 locked, 2 locked and waited for. */
typedef _Atomic int32_t Mutex;

static inline void lock(Mutex *mutex) {
  int32_t free = 0;
  if (__c11_atomic_compare_exchange_strong(mutex, &free, 1, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    return;
  while (__c11_atomic_exchange(mutex, 2, __ATOMIC_SEQ_CST))
    wait_at(mutex, 2);
}

static inline void unlock(Mutex *mutex) {
  if (__c11_atomic_exchange(mutex, 0, __ATOMIC_SEQ_CST) == 2)
    notify_at(mutex, 1);
}

typedef _Atomic int32_t Condition;

static inline void condition_wait(Condition *condition, Mutex *mutex) {
  int32_t now = *condition;
  unlock(mutex);
  wait_at(condition, now);
  lock(mutex);
}

static inline void condition_signal(Condition *condition, uint32_t count) {
  ++*condition;
  notify_at(condition, count);
}

#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) {                                                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                   \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)
#endif
