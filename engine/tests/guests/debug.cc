// The guest of `backtrace.rs`: traps in a function that was inlined into another.
//
// Built in this folder by
//   python3 -m ziglang c++ -target wasm32-freestanding -g -O1 -nostdlib -fno-exceptions \
//     -fno-sanitize=all -fdebug-prefix-map="$PWD"=/guests -Wl,--no-entry -Wl,--export-dynamic \
//     -o debug.wasm debug.cc
// The tests name lines and columns of this file, so rebuild it after each change.

namespace shapes {

struct Square {
    int side;
    __attribute__((always_inline)) int divide(int by) const {
        return side / by;
    }
};

__attribute__((noinline)) int area(const Square &square, int scale) {
    int part = square.divide(scale);
    return part * part;
}

}  // namespace shapes

extern "C" __attribute__((visibility("default"))) int compute(int side, int scale) {
    shapes::Square square{side};
    return shapes::area(square, scale) + 1;
}
