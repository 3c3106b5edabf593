;; A trap says what and where, and ends with 134.
;;
;; RUN: bimetal run %s
;; EXIT: 134
;; STDERR: error: wasm trap: unreachable
;; STDERR: wasm backtrace:
;; STDERR: 0:
;; STDERR: 0x
;; STDERR: demo!inner
;; STDERR: 1:
;; STDERR: demo!std::process::abort
;; STDERR: 2:
;; STDERR: demo!_start
;;
;; RUN: bimetal run --eager -O0 %s
;; EXIT: 134
;; STDERR: error: wasm trap: unreachable
;; STDERR: demo!inner
;; STDERR: demo!std::process::abort
;; STDERR: demo!_start
;;
;; RUN: bimetal run --invoke load %s 65536
;; EXIT: 134
;; STDERR: error: wasm trap: out of bounds memory access
;; STDERR: demo!load
;;
;; RUN: bimetal run --invoke load %s -1
;; EXIT: 134
;; STDERR: error: wasm trap: out of bounds memory access
;;
;; RUN: bimetal run --invoke load %s 65532
;; STDOUT: 0
;;
;; RUN: bimetal run --invoke div %s 1 0
;; EXIT: 134
;; STDERR: error: wasm trap: integer divide by zero
;;
;; RUN: bimetal run --invoke div %s -2147483648 -1
;; EXIT: 134
;; STDERR: error: wasm trap: integer overflow
;;
;; RUN: bimetal run --invoke trunc %s nan
;; EXIT: 134
;; STDERR: error: wasm trap: invalid conversion to integer
;;
;; RUN: bimetal run --invoke indirect %s 0
;; STDOUT: 5
;;
;; RUN: bimetal run --invoke indirect %s 1
;; EXIT: 134
;; STDERR: error: wasm trap: indirect call type mismatch
;;
;; RUN: bimetal run --invoke indirect %s 2
;; EXIT: 134
;; STDERR: error: wasm trap: uninitialized element
;;
;; RUN: bimetal run --invoke indirect %s 3
;; EXIT: 134
;; STDERR: error: wasm trap: undefined element
(module $demo
  (memory 1)
  (table 3 funcref)
  (elem (i32.const 0) $five $inner)
  (func $five (result i32) (i32.const 5))
  (func $inner unreachable)
  (func $_ZN3std7process5abort17h0123456789abcdefE (call $inner))
  (func $_start (export "_start") (call $_ZN3std7process5abort17h0123456789abcdefE))
  (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "div") (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))
  (func (export "trunc") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func (export "indirect") (param i32) (result i32)
    (call_indirect (result i32) (local.get 0))))
