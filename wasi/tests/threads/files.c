/* Threads that use the same descriptors: one's file is the others', and calls of several at the same
 * time do not get into each other's way, even if one of them waits. */
#include "threads.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 8, LINES = 200 };

static int file;

static void append(void *argument) {
  char line[16];
  for (int i = 0; i < LINES; i++) {
    int n = snprintf(line, sizeof line, "%d %03d\n", (int)(intptr_t)argument, i);
    CHECK(n == 6 && write(file, line, n) == n);
  }
}

static void open_and_close(void *argument) {
  char name[8] = {'f', (char)('a' + (intptr_t)argument), 0};
  for (int i = 0; i < LINES / 4; i++) {
    int own = open(name, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(own > 2);
    CHECK(write(own, name, 2) == 2);
    char back[3] = {0};
    CHECK(pread(own, back, 2, 0) == 2 && !strcmp(back, name));
    CHECK(!close(own));
  }
}

static _Atomic int32_t got;

static void read_line(void *argument) {
  (void)argument;
  char byte = 0;
  CHECK(read(0, &byte, 1) == 1);
  got = byte;
  notify_at(&got, 1);
}

int main(void) {
  static Thread threads[2 * THREADS];
  file = open("log", O_CREAT | O_RDWR | O_APPEND, 0600);
  CHECK(file > 2);
  for (int i = 0; i < 2 * THREADS; i++)
    CHECK(thread_start(&threads[i], i < THREADS ? append : open_and_close, (void *)(intptr_t)(i % THREADS)) > 0);
  for (int i = 0; i < 2 * THREADS; i++)
    thread_join(&threads[i]);
  struct stat stat;
  CHECK(!fstat(file, &stat) && stat.st_size == 6 * THREADS * LINES);
  int next[THREADS] = {0};
  char line[7] = {0};
  for (int at = 0; at < stat.st_size; at += 6) {
    CHECK(pread(file, line, 6, at) == 6 && line[5] == '\n');
    CHECK(atoi(line + 2) == next[line[0] - '0']++);
  }

  /* While one waits for input, the others go on. */
  static Thread reader;
  CHECK(thread_start(&reader, read_line, NULL) > 0);
  for (int i = 0; i < 100; i++)
    CHECK(!fstat(file, &stat));
  printf("go on\n");
  fflush(stdout);
  while (!got)
    wait_at(&got, 0);
  thread_join(&reader);
  printf("got %c\n", got);
  return 0;
}
