// args_get, args_sizes_get: counts, sizes with the NULs, order, empty and non-ASCII arguments.
// RUN: --arg=one --arg= --arg="two words" --arg=ü€ --arg=--flag
// RUN: --arg=one --arg= --arg="two words" --arg=ü€ --arg=--flag --env=IGNORED=1
#include "wasi.h"

int main(void) {
  static const char *const wanted[] = {"one", "", "two words", "ü€", "--flag"};
  uint32_t count = 0, size = 0;
  OK(wasi_args_sizes_get(&count, &size));
  CHECK_EQ(count, 6);
  uint8_t *argv[6], buffer[4096];
  CHECK(size < sizeof buffer - 8);
  memset(buffer, 0x55, sizeof buffer);
  OK(wasi_args_get(argv, buffer));
  CHECK(argv[0] == buffer);
  CHECK(strlen((char *)argv[0]) > 0);
  uint32_t at = (uint32_t)strlen((char *)argv[0]) + 1;
  for (int i = 0; i < 5; i++) {
    CHECK(argv[i + 1] == buffer + at);
    CHECK(strcmp((char *)argv[i + 1], wanted[i]) == 0);
    at += (uint32_t)strlen(wanted[i]) + 1;
  }
  CHECK_EQ(at, size);
  CHECK_EQ(buffer[size], 0x55);
  return 0;
}
