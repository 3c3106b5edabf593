// The same things as programs do them, through wasi-libc: stdio, directories, stat, environment.
// RUN: --dir=rw:/ --dir=rw:/data --env=HOME=/data --arg=x --stdin="17 25\nrest of it\n"
// STDOUT: sum 42
// STDOUT: line rest of it
// STDOUT: entries a b c
// STDOUT: done
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "line %d: does not hold: %s (errno %d)\n", __LINE__, #condition, errno);     \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(int argc, char **argv) {
  CHECK(argc == 2 && strcmp(argv[1], "x") == 0);
  CHECK(strcmp(getenv("HOME"), "/data") == 0 && !getenv("PATH"));
  int a, b;
  char line[64];
  CHECK(scanf("%d %d ", &a, &b) == 2);
  printf("sum %d\n", a + b);
  CHECK(fgets(line, sizeof line, stdin));
  printf("line %s", line);
  CHECK(!fgets(line, sizeof line, stdin) && feof(stdin));

  FILE *file = fopen("/data/a", "w+");
  CHECK(file);
  for (int i = 0; i < 10000; i++)
    fprintf(file, "line %d\n", i);
  CHECK(fseek(file, 0, SEEK_SET) == 0);
  for (int i = 0, n; i < 10000; i++)
    CHECK(fscanf(file, "line %d\n", &n) == 1 && n == i);
  CHECK(fclose(file) == 0);
  struct stat stat_a;
  CHECK(stat("/data/a", &stat_a) == 0 && S_ISREG(stat_a.st_mode) && stat_a.st_size == 98890);
  CHECK(truncate("/data/a", 10) == 0 && stat("/data/a", &stat_a) == 0 && stat_a.st_size == 10);

  CHECK(fopen("/data/absent", "r") == NULL && errno == ENOENT);
  CHECK(open("/data", O_WRONLY) == -1 && errno == EISDIR);
  CHECK(open("/data/a", O_CREAT | O_EXCL | O_RDWR, 0666) == -1 && errno == EEXIST);
  CHECK(open("/data/a/b", O_RDONLY) == -1 && errno == ENOTDIR);
  CHECK(mkdir("/data/b", 0777) == 0 && mkdir("/data/b", 0777) == -1 && errno == EEXIST);
  CHECK(symlink("a", "/data/c") == 0 && readlink("/data/c", line, sizeof line) == 1 && line[0] == 'a');
  DIR *list = opendir("/data");
  CHECK(list);
  char *names[8];
  int count = 0;
  for (struct dirent *entry; (entry = readdir(list));)
    if (entry->d_name[0] != '.') {
      CHECK(count < 8);
      names[count++] = strdup(entry->d_name);
    }
  CHECK(closedir(list) == 0);
  qsort(names, (size_t)count, sizeof *names, by_name);
  printf("entries");
  for (int i = 0; i < count; i++)
    printf(" %s", names[i]);
  printf("\n");
  CHECK(rmdir("/data") == -1);
  CHECK(unlink("/data/b") == -1 && rmdir("/data/b") == 0);
  CHECK(rename("/data/a", "/moved") == 0 && access("/moved", R_OK) == 0 && access("/data/a", F_OK) == -1);

  /* A relative path is relative to the root preopen. */
  CHECK(chdir("/data") == 0);
  file = fopen("here", "w");
  CHECK(file && fputs("x", file) >= 0 && fclose(file) == 0);
  CHECK(access("/data/here", F_OK) == 0);
  char where[64];
  CHECK(getcwd(where, sizeof where) && strcmp(where, "/data") == 0);

  struct timespec before, after, pause = {0, 5000000};
  CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
  CHECK(nanosleep(&pause, NULL) == 0);
  CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
  CHECK((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec >= 4900000);
  CHECK(time(NULL) > 1600000000);
  CHECK(!isatty(0) && !isatty(1));
  struct pollfd polled = {1, POLLOUT, 0};
  CHECK(poll(&polled, 1, 1000) == 1 && (polled.revents & POLLOUT));
  unsigned char random[32] = {0};
  CHECK(getentropy(random, sizeof random) == 0);
  printf("done\n");
  return 0;
}
