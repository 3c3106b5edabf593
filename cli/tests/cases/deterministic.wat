;; Repeatable runs: canonical NaNs, clocks that go on as they are read or waited on, and random
;; numbers that are always the same.
;;
;; RUN: bimetal run --nan-canonicalization --invoke nan %s
;; STDOUT: 2143289344
;;
;; RUN: bimetal run --deterministic --invoke nan %s
;; STDOUT: 2143289344
;;
;; RUN: bimetal run --deterministic --invoke random %s
;; STDOUT: -2152535657050944081
;;
;; RUN: bimetal run --deterministic --invoke time %s 0
;; STDOUT: 1000
;;
;; RUN: bimetal run --deterministic --invoke time %s 2
;; STDOUT: 1000
;;
;; RUN: bimetal run --deterministic --invoke after_an_hour %s
;; STDOUT: 3600000001000
;;
;; RUN: bimetal run --deterministic --timeout 1s --invoke nan %s
;; EXIT: 1
;; STDERR: error: the argument '--deterministic' cannot be used with '--timeout <DURATION>'
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "nan") (result i32)
    (i32.reinterpret_f32 (f32.add (f32.reinterpret_i32 (i32.const 0xffa12345)) (f32.const 1))))
  (func (export "random") (result i64)
    (drop (call $random (i32.const 0) (i32.const 8)))
    (i64.load (i32.const 0)))
  (func $time (export "time") (param i32) (result i64)
    (drop (call $clock (local.get 0) (i64.const 0) (i32.const 0)))
    (i64.load (i32.const 0)))
  (func (export "after_an_hour") (result i64)
    ;; A subscription to the monotonic clock, relative.
    (i32.store (i32.const 116) (i32.const 1))
    (i64.store (i32.const 124) (i64.const 3600000000000))
    (drop (call $poll (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 300)))
    (call $time (i32.const 1))))
