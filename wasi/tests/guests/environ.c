// environ_get, environ_sizes_get: the given variables and no others, as NAME=VALUE.
// RUN: --env=A=1 --env=EMPTY= --env="NAME=a value = with signs" --env=UNI=ü
#include "wasi.h"

int main(void) {
  static const char *const wanted[] = {"A=1", "EMPTY=", "NAME=a value = with signs", "UNI=ü"};
  uint32_t count = 0, size = 0, total = 0;
  OK(wasi_environ_sizes_get(&count, &size));
  CHECK_EQ(count, 4);
  uint8_t *env[4], buffer[256];
  CHECK(size < sizeof buffer);
  memset(buffer, 0x55, sizeof buffer);
  OK(wasi_environ_get(env, buffer));
  for (int i = 0; i < 4; i++) {
    bool found = false;
    for (int j = 0; j < 4; j++)
      found |= strcmp((char *)env[j], wanted[i]) == 0;
    if (!found)
      fprintf(stderr, "missing: %s\n", wanted[i]);
    CHECK(found);
    total += (uint32_t)strlen(wanted[i]) + 1;
  }
  CHECK_EQ(size, total);
  CHECK_EQ(buffer[size], 0x55);
  return 0;
}
