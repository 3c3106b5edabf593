// Traps end the program with code 134 and a message that names the function.
// RUN: --arg=unreachable
// EXIT: 134
// STDERR-HAS: unreachable
// STDERR-HAS: raise_trap
// RUN: --arg=division
// EXIT: 134
// STDERR-HAS: divide by zero
// STDERR-HAS: raise_trap
// RUN: --arg=bounds
// EXIT: 134
// STDERR-HAS: out of bounds
// STDERR-HAS: raise_trap
// RUN: --arg=recursion
// EXIT: 134
// STDERR-HAS: stack
// STDERR-HAS: recurse
// RUN: --arg=indirect
// EXIT: 134
// STDERR-HAS: indirect call
// STDERR-HAS: raise_trap
#include "wasi.h"

/* A frame without memory: the host's stack overflows, not the guest's shadow stack. */
static volatile int bottom = -1;
int recurse(int n);
/* The compiler must not see that the signature is another. */
static int (*volatile hidden)(int) = recurse;

__attribute__((noinline)) int recurse(int n) {
  if (n == bottom)
    return 0;
  int below = recurse(n + 1);
  __asm__ volatile("" : "+r"(below));
  return below ^ n;
}

__attribute__((noinline)) int raise_trap(const char *kind) {
  volatile int zero = 0;
  if (strcmp(kind, "division") == 0)
    return 1234 / zero;
  if (strcmp(kind, "bounds") == 0)
    return *(volatile int *)0xfffffff0u;
  if (strcmp(kind, "recursion") == 0)
    return recurse(zero);
  if (strcmp(kind, "indirect") == 0)
    return ((int (*)(double, double))(void *)hidden)(1, 2);
  __builtin_trap();
}

int main(int argc, char **argv) { return argc == 2 ? raise_trap(argv[1]) : 0; }
