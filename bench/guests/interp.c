/* A bytecode interpreter with one big switch: a register machine that runs a prime sieve, Collatz
 * chains and a bubble sort. A jump table taken at every step, as in every interpreter. */
#include "bench.h"

enum {
  OP_HALT, OP_LI, OP_MOV, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_REM, OP_AND, OP_XOR, OP_SHL, OP_SHR,
  OP_ADDI, OP_LOAD, OP_STORE, OP_JMP, OP_JLT, OP_JGE, OP_JEQ, OP_JNE, OP_CALL, OP_RET, OP_OUT,
};

typedef struct {
  uint8_t op, a, b, c;
  int32_t imm;
} Insn;

enum { MEMORY = 1 << 16 };

typedef struct {
  int64_t r[16];
  int32_t stack[64];
  int depth;
  int32_t memory[MEMORY];
  uint64_t out, steps;
} Machine;

static NOINLINE void run(Machine *m, const Insn *code) {
  const Insn *pc = code;
  int64_t *r = m->r;
  uint64_t steps = 0;
  for (;;) {
    Insn i = *pc++;
    steps++;
    switch (i.op) {
    case OP_HALT: m->steps += steps; return;
    case OP_LI: r[i.a] = i.imm; break;
    case OP_MOV: r[i.a] = r[i.b]; break;
    case OP_ADD: r[i.a] = r[i.b] + r[i.c]; break;
    case OP_SUB: r[i.a] = r[i.b] - r[i.c]; break;
    case OP_MUL: r[i.a] = (int64_t)((uint64_t)r[i.b] * (uint64_t)r[i.c]); break;
    case OP_DIV: r[i.a] = r[i.c] ? r[i.b] / r[i.c] : 0; break;
    case OP_REM: r[i.a] = r[i.c] ? r[i.b] % r[i.c] : 0; break;
    case OP_AND: r[i.a] = r[i.b] & r[i.c]; break;
    case OP_XOR: r[i.a] = r[i.b] ^ r[i.c]; break;
    case OP_SHL: r[i.a] = (int64_t)((uint64_t)r[i.b] << (i.imm & 63)); break;
    case OP_SHR: r[i.a] = r[i.b] >> (i.imm & 63); break;
    case OP_ADDI: r[i.a] = r[i.b] + i.imm; break;
    case OP_LOAD: r[i.a] = m->memory[(r[i.b] + i.imm) & (MEMORY - 1)]; break;
    case OP_STORE: m->memory[(r[i.b] + i.imm) & (MEMORY - 1)] = (int32_t)r[i.a]; break;
    case OP_JMP: pc = code + i.imm; break;
    case OP_JLT: if (r[i.a] < r[i.b]) pc = code + i.imm; break;
    case OP_JGE: if (r[i.a] >= r[i.b]) pc = code + i.imm; break;
    case OP_JEQ: if (r[i.a] == r[i.b]) pc = code + i.imm; break;
    case OP_JNE: if (r[i.a] != r[i.b]) pc = code + i.imm; break;
    case OP_CALL: m->stack[m->depth++ & 63] = (int32_t)(pc - code); pc = code + i.imm; break;
    case OP_RET: pc = code + m->stack[--m->depth & 63]; break;
    case OP_OUT: m->out = mix(m->out, (uint64_t)r[i.a]); break;
    }
  }
}

/* r15 stays 0. */
static const Insn program[] = {
    /* 0 */ {OP_CALL, 0, 0, 0, 5}, /* sieve */
    /* 1 */ {OP_CALL, 0, 0, 0, 24}, /* collatz */
    /* 2 */ {OP_CALL, 0, 0, 0, 42}, /* sort */
    /* 3 */ {OP_HALT, 0, 0, 0, 0},
    /* 4 */ {OP_HALT, 0, 0, 0, 0},
    /* sieve: count the primes below r1 = 20000 */
    /* 5 */ {OP_LI, 1, 0, 0, 20000},
    /* 6 */ {OP_LI, 2, 0, 0, 0},
    /* 7 */ {OP_STORE, 15, 2, 0, 0},
    /* 8 */ {OP_ADDI, 2, 2, 0, 1},
    /* 9 */ {OP_JLT, 2, 1, 0, 7},
    /* 10 */ {OP_LI, 2, 0, 0, 2},
    /* 11 */ {OP_LI, 3, 0, 0, 0},
    /* 12 */ {OP_LI, 5, 0, 0, 1},
    /* 13 */ {OP_LOAD, 4, 2, 0, 0},
    /* 14 */ {OP_JNE, 4, 15, 0, 20},
    /* 15 */ {OP_ADDI, 3, 3, 0, 1},
    /* 16 */ {OP_ADD, 6, 2, 2, 0},
    /* 17 */ {OP_JGE, 6, 1, 0, 20},
    /* 18 */ {OP_STORE, 5, 6, 0, 0},
    /* 19 */ {OP_JMP, 0, 0, 0, 66},
    /* 20 */ {OP_ADDI, 2, 2, 0, 1},
    /* 21 */ {OP_JLT, 2, 1, 0, 13},
    /* 22 */ {OP_OUT, 3, 0, 0, 0},
    /* 23 */ {OP_RET, 0, 0, 0, 0},
    /* collatz: the sum of the chain lengths of 1..3000 */
    /* 24 */ {OP_LI, 1, 0, 0, 3000},
    /* 25 */ {OP_LI, 2, 0, 0, 1},
    /* 26 */ {OP_LI, 7, 0, 0, 0},
    /* 27 */ {OP_LI, 8, 0, 0, 1},
    /* 28 */ {OP_LI, 9, 0, 0, 3},
    /* 29 */ {OP_MOV, 3, 2, 0, 0},
    /* 30 */ {OP_JEQ, 3, 8, 0, 38},
    /* 31 */ {OP_AND, 4, 3, 8, 0},
    /* 32 */ {OP_ADDI, 7, 7, 0, 1},
    /* 33 */ {OP_JEQ, 4, 15, 0, 36},
    /* 34 */ {OP_MUL, 3, 3, 9, 0},
    /* 35 */ {OP_ADDI, 3, 3, 0, 1}, /* then halve: 3n+1 is even, the next turn sees it */
    /* 36 */ {OP_JNE, 4, 15, 0, 30},
    /* 37 */ {OP_JMP, 0, 0, 0, 68},
    /* 38 */ {OP_ADDI, 2, 2, 0, 1},
    /* 39 */ {OP_JLT, 2, 1, 0, 29},
    /* 40 */ {OP_OUT, 7, 0, 0, 0},
    /* 41 */ {OP_RET, 0, 0, 0, 0},
    /* sort: fill r1 = 300 cells with a generator, bubble sort, sum with positions */
    /* 42 */ {OP_LI, 1, 0, 0, 300},
    /* 43 */ {OP_LI, 2, 0, 0, 0},
    /* 44 */ {OP_LI, 9, 0, 0, 1103515245},
    /* 45 */ {OP_MUL, 10, 10, 9, 0},
    /* 46 */ {OP_ADDI, 10, 10, 0, 12345},
    /* 47 */ {OP_SHR, 3, 10, 0, 16},
    /* 48 */ {OP_LI, 4, 0, 0, 32767},
    /* 49 */ {OP_AND, 3, 3, 4, 0},
    /* 50 */ {OP_STORE, 3, 2, 0, 30000},
    /* 51 */ {OP_ADDI, 2, 2, 0, 1},
    /* 52 */ {OP_JLT, 2, 1, 0, 45},
    /* 53 */ {OP_ADDI, 1, 1, 0, -1},
    /* 54 */ {OP_LI, 2, 0, 0, 0},
    /* 55 */ {OP_LOAD, 3, 2, 0, 30000},
    /* 56 */ {OP_LOAD, 4, 2, 0, 30001},
    /* 57 */ {OP_JGE, 4, 3, 0, 60},
    /* 58 */ {OP_STORE, 4, 2, 0, 30000},
    /* 59 */ {OP_STORE, 3, 2, 0, 30001},
    /* 60 */ {OP_ADDI, 2, 2, 0, 1},
    /* 61 */ {OP_JLT, 2, 1, 0, 55},
    /* 62 */ {OP_LOAD, 3, 1, 0, 30000},
    /* 63 */ {OP_OUT, 3, 0, 0, 0},
    /* 64 */ {OP_JNE, 1, 8, 0, 53},
    /* 65 */ {OP_RET, 0, 0, 0, 0},
    /* 66 */ {OP_ADD, 6, 6, 2, 0},
    /* 67 */ {OP_JMP, 0, 0, 0, 17},
    /* 68 */ {OP_SHR, 3, 3, 0, 1},
    /* 69 */ {OP_JMP, 0, 0, 0, 30},
};

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 250);
  Machine *m = bench_alloc(sizeof *m);
  for (long round = 0; round < rounds; round++) {
    m->r[10] += round;
    run(m, program);
    if (round == 0) {
      uint64_t primes = mix(0, 2262);
      Machine *only = bench_alloc(sizeof *only);
      static const Insn sieve_only = {OP_RET, 0, 0, 0, 0};
      Insn copy[sizeof program / sizeof *program];
      memcpy(copy, program, sizeof program);
      copy[24] = copy[42] = sieve_only;
      run(only, copy);
      bench_check(only->out == primes, "2262 primes below 20000");
      free(only);
    }
  }
  return bench_done("interp", rounds, mix(m->out, m->steps));
}
