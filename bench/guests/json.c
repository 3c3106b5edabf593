/* JSON: a generated document is parsed into a tree, queried, printed and parsed again; the two
 * prints must be equal. Recursion, allocation, byte scanning and number formatting. */
#include "bench.h"

typedef enum { J_NULL, J_FALSE, J_TRUE, J_NUMBER, J_STRING, J_ARRAY, J_OBJECT } Kind;

typedef struct Value Value;
struct Value {
  Kind kind;
  double number;
  char *text;    /* a string's bytes, or NULL */
  char *key;     /* its name, when it is a member */
  size_t length; /* of `text` */
  Value *first, *next;
};

typedef struct {
  const char *at, *end;
} Parser;

static Value *new_value(Kind kind) {
  Value *v = malloc(sizeof *v);
  if (!v)
    exit(1);
  memset(v, 0, sizeof *v);
  v->kind = kind;
  return v;
}

static void free_value(Value *v) {
  while (v) {
    Value *next = v->next;
    free_value(v->first);
    free(v->text);
    free(v->key);
    free(v);
    v = next;
  }
}

static void skip(Parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
    p->at++;
}

static int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c - 'A' + 10;
}

static char *parse_text(Parser *p, size_t *length) {
  p->at++;
  const char *scan = p->at;
  while (*scan != '"')
    scan += *scan == '\\' ? 2 : 1;
  char *text = malloc((size_t)(scan - p->at) * 2 + 1), *to = text;
  if (!text)
    exit(1);
  while (*p->at != '"') {
    char c = *p->at++;
    if (c != '\\') {
      *to++ = c;
      continue;
    }
    c = *p->at++;
    switch (c) {
    case 'n':
      *to++ = '\n';
      break;
    case 't':
      *to++ = '\t';
      break;
    case 'u': {
      int code = 0;
      for (int i = 0; i < 4; i++)
        code = code * 16 + hex_digit(*p->at++);
      if (code < 0x80) {
        *to++ = (char)code;
      } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
      } else {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
      }
      break;
    }
    default:
      *to++ = c;
    }
  }
  p->at++;
  *to = 0;
  *length = (size_t)(to - text);
  return text;
}

/* Numbers with up to 15 digits and small exponents are exact this way. */
static double parse_number(Parser *p) {
  bool negative = *p->at == '-';
  if (negative)
    p->at++;
  uint64_t digits = 0;
  int scale = 0;
  for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
    digits = digits * 10 + (uint64_t)(*p->at - '0');
  if (p->at < p->end && *p->at == '.')
    for (p->at++; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++, scale++)
      digits = digits * 10 + (uint64_t)(*p->at - '0');
  double value = (double)digits, power = 1;
  while (scale-- > 0)
    power *= 10;
  value /= power;
  return negative ? -value : value;
}

static Value *parse(Parser *p) {
  skip(p);
  switch (*p->at) {
  case '{':
  case '[': {
    bool object = *p->at == '{';
    Value *v = new_value(object ? J_OBJECT : J_ARRAY), **tail = &v->first;
    p->at++;
    skip(p);
    while (*p->at != '}' && *p->at != ']') {
      char *key = NULL;
      if (object) {
        size_t length;
        key = parse_text(p, &length);
        skip(p);
        bench_check(*p->at == ':', "a colon after a key");
        p->at++;
      }
      *tail = parse(p);
      (*tail)->key = key;
      tail = &(*tail)->next;
      skip(p);
      if (*p->at == ',') {
        p->at++;
        skip(p);
      }
    }
    p->at++;
    return v;
  }
  case '"': {
    Value *v = new_value(J_STRING);
    v->text = parse_text(p, &v->length);
    return v;
  }
  case 't':
    p->at += 4;
    return new_value(J_TRUE);
  case 'f':
    p->at += 5;
    return new_value(J_FALSE);
  case 'n':
    p->at += 4;
    return new_value(J_NULL);
  default: {
    Value *v = new_value(J_NUMBER);
    v->number = parse_number(p);
    return v;
  }
  }
}

typedef struct {
  char *data;
  size_t length, capacity;
} Buffer;

static inline void put(Buffer *b, char c) {
  if (b->length == b->capacity) {
    b->capacity = b->capacity ? b->capacity * 2 : 4096;
    b->data = realloc(b->data, b->capacity);
    if (!b->data)
      exit(1);
  }
  b->data[b->length++] = c;
}

static void put_all(Buffer *b, const char *s) {
  while (*s)
    put(b, *s++);
}

static void put_text(Buffer *b, const char *s) {
  put(b, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      put(b, '\\');
      put(b, (char)c);
    } else if (c == '\n') {
      put_all(b, "\\n");
    } else if (c == '\t') {
      put_all(b, "\\t");
    } else {
      put(b, (char)c);
    }
  }
  put(b, '"');
}

/* Fixed notation with three decimals: all that the generated document needs. */
static void put_number(Buffer *b, double value) {
  if (value < 0) {
    put(b, '-');
    value = -value;
  }
  uint64_t thousandths = (uint64_t)(value * 1000 + 0.5);
  char digits[32];
  int n = 0;
  uint64_t whole = thousandths / 1000, part = thousandths % 1000;
  do {
    digits[n++] = (char)('0' + whole % 10);
    whole /= 10;
  } while (whole);
  while (n)
    put(b, digits[--n]);
  if (part) {
    put(b, '.');
    put(b, (char)('0' + part / 100));
    put(b, (char)('0' + part / 10 % 10));
    put(b, (char)('0' + part % 10));
  }
}

static void print(Buffer *b, const Value *v) {
  switch (v->kind) {
  case J_NULL:
    put_all(b, "null");
    break;
  case J_FALSE:
    put_all(b, "false");
    break;
  case J_TRUE:
    put_all(b, "true");
    break;
  case J_NUMBER:
    put_number(b, v->number);
    break;
  case J_STRING:
    put_text(b, v->text);
    break;
  case J_ARRAY:
  case J_OBJECT:
    put(b, v->kind == J_ARRAY ? '[' : '{');
    for (const Value *e = v->first; e; e = e->next) {
      if (e->key) {
        put_text(b, e->key);
        put(b, ':');
      }
      print(b, e);
      if (e->next)
        put(b, ',');
    }
    put(b, v->kind == J_ARRAY ? ']' : '}');
  }
}

static double total(const Value *v, const char *key) {
  double sum = v->kind == J_NUMBER && v->key && strcmp(v->key, key) == 0 ? v->number : 0;
  for (const Value *e = v->first; e; e = e->next)
    sum += total(e, key);
  return sum;
}

static void generate(Buffer *b, uint64_t *rng, int depth) {
  static const char *const words[] = {"alpha", "beta\\n", "gam\\\"ma", "d\\u00e9lta", "\\u20ac42", "x", "price", "count", "a longer piece of text, as documents have"};
  uint64_t kind = depth == 0 ? 5 : depth > 6 ? rng_next(rng) % 4 : rng_next(rng) % 6;
  switch (kind) {
  case 0:
    put_all(b, (rng_next(rng) & 1) ? "true" : "null");
    break;
  case 1:
  case 2:
    put_number(b, (double)(int64_t)(rng_next(rng) % 2000001 - 1000000) / 8);
    break;
  case 3:
    put(b, '"');
    for (uint64_t n = rng_next(rng) % 4; n; n--)
      put_all(b, words[rng_next(rng) % 9]);
    put(b, '"');
    break;
  default: {
    bool object = kind == 5;
    put_all(b, object ? "{ " : "[ ");
    uint64_t n = depth < 2 ? 24 : 1 + rng_next(rng) % 6;
    for (uint64_t i = 0; i < n; i++) {
      if (i)
        put_all(b, ", \n");
      if (object) {
        put(b, '"');
        put_all(b, words[5 + rng_next(rng) % 3]);
        put_all(b, "\" : ");
      }
      generate(b, rng, depth + 1);
    }
    put(b, object ? '}' : ']');
  }
  }
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 180);
  uint64_t rng = 99, sum = 0;
  Buffer document = {0}, one = {0}, two = {0};
  generate(&document, &rng, 0);
  while (document.length < 400000) {
    document.length--;
    put(&document, ',');
    put_all(&document, "\"more\":");
    generate(&document, &rng, 0);
    put(&document, '}');
  }
  for (long round = 0; round < rounds; round++) {
    Parser p = {document.data, document.data + document.length};
    Value *tree = parse(&p);
    one.length = two.length = 0;
    print(&one, tree);
    Parser again = {one.data, one.data + one.length};
    Value *copy = parse(&again);
    print(&two, copy);
    bench_check(one.length == two.length && memcmp(one.data, two.data, one.length) == 0,
                "print, parse, print gives the same text");
    sum = mix_f64(sum, total(tree, "price") + (double)round);
    sum = mix_bytes(sum, two.data, two.length);
    free_value(tree);
    free_value(copy);
  }
  return bench_done("json", rounds, sum);
}
