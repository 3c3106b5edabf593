// environ_*: the host's own environment must not leak into the guest.
// RUN:
#include "wasi.h"

int main(void) {
  uint32_t count = 77, size = 77;
  OK(wasi_environ_sizes_get(&count, &size));
  CHECK_EQ(count, 0);
  CHECK_EQ(size, 0);
  uint8_t *env[1], buffer[1];
  OK(wasi_environ_get(env, buffer));
  return 0;
}
