/* Sorting: introsort through an inlined comparison, a stable merge sort of records, heap sort and
 * radix sort, each on fresh random data. Branchy integer code and memory traffic. */
#include "bench.h"

enum { COUNT = 200000 };

typedef struct {
  uint32_t key;
  uint32_t tag;
  double weight;
} Record;

static void insertion(uint32_t *a, long lo, long hi) {
  for (long i = lo + 1; i <= hi; i++) {
    uint32_t value = a[i];
    long j = i - 1;
    while (j >= lo && a[j] > value) {
      a[j + 1] = a[j];
      j--;
    }
    a[j + 1] = value;
  }
}

static void sift(uint32_t *a, long root, long end) {
  uint32_t value = a[root];
  for (;;) {
    long child = 2 * root + 1;
    if (child > end)
      break;
    if (child < end && a[child] < a[child + 1])
      child++;
    if (a[child] <= value)
      break;
    a[root] = a[child];
    root = child;
  }
  a[root] = value;
}

static void heap_sort(uint32_t *a, long n) {
  for (long i = n / 2 - 1; i >= 0; i--)
    sift(a, i, n - 1);
  for (long end = n - 1; end > 0; end--) {
    uint32_t t = a[0];
    a[0] = a[end];
    a[end] = t;
    sift(a, 0, end - 1);
  }
}

static void intro(uint32_t *a, long lo, long hi, int depth) {
  while (hi - lo > 24) {
    if (depth-- == 0) {
      heap_sort(a + lo, hi - lo + 1);
      return;
    }
    uint32_t x = a[lo], y = a[lo + (hi - lo) / 2], z = a[hi];
    uint32_t pivot = x < y ? (y < z ? y : (x < z ? z : x)) : (x < z ? x : (y < z ? z : y));
    long i = lo, j = hi;
    while (i <= j) {
      while (a[i] < pivot)
        i++;
      while (a[j] > pivot)
        j--;
      if (i <= j) {
        uint32_t t = a[i];
        a[i++] = a[j];
        a[j--] = t;
      }
    }
    intro(a, lo, j, depth);
    lo = i;
  }
  insertion(a, lo, hi);
}

static void merge_sort(Record *a, Record *spare, long n) {
  for (long width = 1; width < n; width *= 2) {
    for (long lo = 0; lo < n; lo += 2 * width) {
      long mid = lo + width < n ? lo + width : n;
      long hi = lo + 2 * width < n ? lo + 2 * width : n;
      long i = lo, j = mid;
      for (long k = lo; k < hi; k++) {
        if (i < mid && (j >= hi || a[i].key <= a[j].key))
          spare[k] = a[i++];
        else
          spare[k] = a[j++];
      }
    }
    memcpy(a, spare, (size_t)n * sizeof *a);
  }
}

static void radix_sort(uint32_t *a, uint32_t *spare, long n) {
  for (int shift = 0; shift < 32; shift += 8) {
    long starts[257] = {0};
    for (long i = 0; i < n; i++)
      starts[((a[i] >> shift) & 255) + 1]++;
    for (int d = 0; d < 256; d++)
      starts[d + 1] += starts[d];
    for (long i = 0; i < n; i++)
      spare[starts[(a[i] >> shift) & 255]++] = a[i];
    memcpy(a, spare, (size_t)n * sizeof *a);
  }
}

int main(int argc, char **argv) {
  long rounds = bench_size(argc, argv, 36);
  uint32_t *quick = bench_alloc(COUNT * sizeof *quick);
  uint32_t *heap = bench_alloc(COUNT * sizeof *heap);
  uint32_t *radix = bench_alloc(COUNT * sizeof *radix);
  uint32_t *spare = bench_alloc(COUNT * sizeof *spare);
  Record *records = bench_alloc(COUNT * sizeof *records);
  Record *spare_records = bench_alloc(COUNT * sizeof *spare_records);
  uint64_t rng = 1, sum = 0;
  for (long round = 0; round < rounds; round++) {
    for (long i = 0; i < COUNT; i++) {
      uint32_t value = rng_u32(&rng);
      quick[i] = heap[i] = radix[i] = value;
      records[i] = (Record){value & 0xffff, (uint32_t)i, (double)value};
    }
    intro(quick, 0, COUNT - 1, 40);
    heap_sort(heap, COUNT);
    radix_sort(radix, spare, COUNT);
    merge_sort(records, spare_records, COUNT);
    for (long i = 0; i < COUNT; i++) {
      bench_check(quick[i] == heap[i] && heap[i] == radix[i], "the sorts agree");
      bench_check(i == 0 || quick[i - 1] <= quick[i], "numbers are in order");
      bench_check(i == 0 || records[i - 1].key < records[i].key ||
                      (records[i - 1].key == records[i].key && records[i - 1].tag < records[i].tag),
                  "records are in order, and the order is stable");
    }
    for (long i = 0; i < COUNT; i += 97)
      sum = mix(mix(sum, quick[i]), records[i].tag);
  }
  return bench_done("sort", rounds, sum);
}
