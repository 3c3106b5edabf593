;; A reactor is initialized before its exports are called.
;;
;; RUN: bimetal run --invoke get %s
;; STDOUT: 7
;;
;; RUN: bimetal run -v --invoke get %s
;; STDOUT: 7
;; STDERR: environment: WASI preview 1 reactor
;;
;; RUN: bimetal run %s
;; EXIT: 1
;; STDERR: error: there is nothing to run: this WASI preview 1 reactor has no `_start`; choose a function with `--invoke NAME`:
;; STDERR: get: () -> (i32)
;;
;; RUN: bimetal run --preload r=%s --invoke f %t/user.wat
;; WRITE: user.wat (module (import "r" "get" (func $get (result i32))) (func (export "f") (result i32) (i32.mul (call $get) (i32.const 3))))
;; STDOUT: 21
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
  (memory (export "memory") 1)
  (global $state (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $state (i32.const 7)))
  (func (export "get") (result i32) (global.get $state)))
