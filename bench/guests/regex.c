/* String matching: a Thompson NFA compiled from patterns and run as a lazily built DFA, the same
 * patterns by backtracking, and Boyer-Moore-Horspool search for words. Byte loads, small tables. */
#include "bench.h"

typedef enum { CHAR, ANY, CLASS, SPLIT, JUMP, MATCH } Kind;
typedef struct {
  Kind kind;
  int x, y;
  uint8_t set[32];
} Insn;

enum { MAX_INSNS = 128, MAX_STATES = 256 };

typedef struct {
  Insn code[MAX_INSNS];
  int length;
  const char *at;
} Program;

static int emit(Program *p, Kind kind, int x, int y) {
  bench_check(p->length < MAX_INSNS, "the pattern is small");
  p->code[p->length] = (Insn){kind, x, y, {0}};
  return p->length++;
}

static void alternatives(Program *p);

static void atom(Program *p) {
  char c = *p->at++;
  if (c == '(') {
    alternatives(p);
    bench_check(*p->at++ == ')', "parentheses are closed");
  } else if (c == '.') {
    emit(p, ANY, 0, 0);
  } else if (c == '[') {
    Insn *i = &p->code[emit(p, CLASS, 0, 0)];
    bool negated = *p->at == '^';
    p->at += negated;
    while (*p->at != ']') {
      int lo = (uint8_t)*p->at++, hi = lo;
      if (*p->at == '-') {
        hi = (uint8_t)p->at[1];
        p->at += 2;
      }
      for (int b = lo; b <= hi; b++)
        i->set[b / 8] |= (uint8_t)(1 << (b & 7));
    }
    p->at++;
    if (negated)
      for (int b = 0; b < 32; b++)
        i->set[b] = (uint8_t)~i->set[b];
  } else {
    emit(p, CHAR, (uint8_t)c, 0);
  }
}

static void insert_before(Program *p, int at) {
  emit(p, JUMP, 0, 0);
  memmove(&p->code[at + 1], &p->code[at], (size_t)(p->length - 1 - at) * sizeof(Insn));
  for (int i = at + 1; i < p->length; i++)
    if (p->code[i].kind == SPLIT || p->code[i].kind == JUMP) {
      p->code[i].x += p->code[i].x >= at;
      p->code[i].y += p->code[i].y >= at;
    }
}

static void sequence(Program *p) {
  while (*p->at && *p->at != '|' && *p->at != ')') {
    int start = p->length;
    atom(p);
    char c = *p->at;
    if (c == '*' || c == '+' || c == '?') {
      p->at++;
      if (c == '+') {
        emit(p, SPLIT, start, p->length + 1);
      } else {
        insert_before(p, start);
        if (c == '*')
          emit(p, JUMP, start, 0);
        p->code[start] = (Insn){SPLIT, start + 1, p->length, {0}};
      }
    }
  }
}

static void alternatives(Program *p) {
  int start = p->length;
  sequence(p);
  while (*p->at == '|') {
    p->at++;
    insert_before(p, start);
    int jump = emit(p, JUMP, 0, 0);
    p->code[start] = (Insn){SPLIT, start + 1, p->length, {0}};
    sequence(p);
    p->code[jump].x = p->length;
  }
}

static inline bool accepts(const Insn *i, uint8_t b) {
  switch (i->kind) {
  case CHAR: return i->x == b;
  case ANY: return b != '\n';
  case CLASS: return i->set[b / 8] >> (b & 7) & 1;
  default: return false;
  }
}

/* A DFA state is a set of NFA instructions. */
typedef struct {
  uint64_t set[MAX_INSNS / 64];
  bool match;
  int16_t next[256];
} State;

typedef struct {
  Program *program;
  State *states;
  int count;
} Dfa;

static void close_over(Program *p, uint64_t *set, int i) {
  if (set[i / 64] >> (i & 63) & 1)
    return;
  set[i / 64] |= 1ull << (i & 63);
  if (p->code[i].kind == JUMP || p->code[i].kind == SPLIT)
    close_over(p, set, p->code[i].x);
  if (p->code[i].kind == SPLIT)
    close_over(p, set, p->code[i].y);
}

static int state_of(Dfa *d, const uint64_t *set) {
  for (int i = 0; i < d->count; i++)
    if (memcmp(d->states[i].set, set, sizeof d->states[i].set) == 0)
      return i;
  bench_check(d->count < MAX_STATES, "the automaton is small");
  State *s = &d->states[d->count];
  memcpy(s->set, set, sizeof s->set);
  memset(s->next, 0xff, sizeof s->next);
  s->match = false;
  for (int i = 0; i < d->program->length; i++)
    if ((set[i / 64] >> (i & 63) & 1) && d->program->code[i].kind == MATCH)
      s->match = true;
  return d->count++;
}

static NOINLINE int step_slow(Dfa *d, int state, uint8_t b) {
  uint64_t set[MAX_INSNS / 64] = {0};
  const State *s = &d->states[state];
  for (int i = 0; i < d->program->length; i++)
    if ((s->set[i / 64] >> (i & 63) & 1) && accepts(&d->program->code[i], b))
      close_over(d->program, set, i + 1);
  close_over(d->program, set, 0); /* a match may begin anywhere */
  int to = state_of(d, set);
  d->states[state].next[b] = (int16_t)to;
  return to;
}

/* The number of positions at which a match ends. */
static NOINLINE long scan(Dfa *d, const uint8_t *text, size_t n) {
  uint64_t set[MAX_INSNS / 64] = {0};
  close_over(d->program, set, 0);
  int state = state_of(d, set);
  long ends = 0;
  for (size_t i = 0; i < n; i++) {
    int to = d->states[state].next[text[i]];
    state = to >= 0 ? to : step_slow(d, state, text[i]);
    ends += d->states[state].match;
  }
  return ends;
}

/* Does a match begin at `text`? The shortest that the priorities find; length, or -1. */
static long backtrack(const Program *p, int pc, const uint8_t *text, const uint8_t *end, const uint8_t *start) {
  for (;;) {
    const Insn *i = &p->code[pc];
    switch (i->kind) {
    case MATCH:
      return text - start;
    case JUMP:
      pc = i->x;
      break;
    case SPLIT: {
      long found = backtrack(p, i->x, text, end, start);
      if (found >= 0)
        return found;
      pc = i->y;
      break;
    }
    default:
      if (text == end || !accepts(i, *text))
        return -1;
      text++;
      pc++;
    }
  }
}

static NOINLINE long horspool(const uint8_t *text, size_t n, const char *word) {
  size_t m = strlen(word), shift[256];
  long found = 0;
  for (int i = 0; i < 256; i++)
    shift[i] = m;
  for (size_t i = 0; i + 1 < m; i++)
    shift[(uint8_t)word[i]] = m - 1 - i;
  for (size_t i = 0; i + m <= n; i += shift[text[i + m - 1]])
    found += memcmp(text + i, word, m) == 0;
  return found;
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 24);
  enum { LENGTH = 400000 };
  static const char *const patterns[] = {
      "[a-z]+@[a-z]+\\.?(com|org|net)",
      "(ab|cd)*ef",
      "[0-9]+-[0-9][0-9]-[0-9][0-9]",
      "(foo|bar|baz)+[^ ]* [aeiou][a-z]*",
      "h(e|a)l+o? (w|W)orld",
  };
  static const char *const words[] = {"hello", "world", "foo", "bar", "user@example", "com", "2026-11-22", "abcdabef", "the", "of", "helo", "zzz", "bazfoo"};
  static Program programs[5];
  static Dfa automata[5];
  uint8_t *text = bench_alloc(LENGTH + 1);
  uint64_t rng = 17, sum = 0;
  for (int i = 0; i < 5; i++) {
    programs[i].at = patterns[i];
    alternatives(&programs[i]);
    emit(&programs[i], MATCH, 0, 0);
    automata[i].program = &programs[i];
    automata[i].states = bench_alloc(MAX_STATES * sizeof(State));
  }
  for (long round = 0; round < rounds; round++) {
    for (size_t i = 0; i < LENGTH;) {
      for (const char *w = words[rng_next(&rng) % 13]; *w && i < LENGTH; w++)
        text[i++] = (uint8_t)*w;
      if (i < LENGTH)
        text[i++] = (uint8_t)" .\n- "[rng_next(&rng) % 5];
    }
    for (int i = 0; i < 5; i++) {
      for (int pass = 0; pass < 8; pass++)
        sum = mix(sum, (uint64_t)scan(&automata[i], text, LENGTH - (size_t)pass));
      long matches = 0;
      for (size_t at = 0; at < LENGTH;) {
        long length = backtrack(&programs[i], 0, text + at, text + LENGTH, text + at);
        matches += length > 0;
        at += length > 0 ? (size_t)length : 1;
      }
      sum = mix(sum, (uint64_t)matches);
    }
    for (int i = 0; i < 13; i++)
      sum = mix(sum, (uint64_t)horspool(text, LENGTH, words[i]));
  }
  return bench_done("regex", rounds, sum);
}
