;; Recursing for ever is a trap, whatever the frames look like.
;;
;; RUN: bimetal run %s
;; EXIT: 134
;; STDERR: error: wasm trap: call stack exhausted
;; STDERR: wasm backtrace:
;; STDERR: recursion!forever
;;
;; RUN: bimetal run --eager -O0 %s
;; EXIT: 134
;; STDERR: error: wasm trap: call stack exhausted
;;
;; RUN: bimetal run --invoke indirect %s
;; EXIT: 134
;; STDERR: error: wasm trap: call stack exhausted
;;
;; RUN: bimetal run --invoke large_frames %s 1
;; EXIT: 134
;; STDERR: error: wasm trap: call stack exhausted
;;
;; RUN: bimetal run --invoke depth %s 5000
;; STDOUT: 5000
(module $recursion
  (table 1 funcref)
  (elem (i32.const 0) $indirect)
  (func $forever (export "_start") (call $forever) (call $forever))
  (func $indirect (export "indirect")
    (call_indirect (i32.const 0)) (call_indirect (i32.const 0)))
  (func $depth (export "depth") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1)
        (call $depth (i32.sub (local.get 0) (i32.const 1)))))
      (else (i32.const 0))))
  ;; More live values than there are registers.
  (func $large_frames (export "large_frames") (param v128) (result v128)
    (local v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128)
    (local.set 1 (i8x16.add (local.get 0) (local.get 0)))
    (local.set 2 (i8x16.add (local.get 1) (local.get 0)))
    (local.set 3 (i8x16.add (local.get 2) (local.get 1)))
    (local.set 4 (i8x16.add (local.get 3) (local.get 2)))
    (local.set 5 (i8x16.add (local.get 4) (local.get 3)))
    (local.set 6 (i8x16.add (local.get 5) (local.get 4)))
    (local.set 7 (i8x16.add (local.get 6) (local.get 5)))
    (local.set 8 (i8x16.add (local.get 7) (local.get 6)))
    (call $large_frames (local.get 8))
    (i8x16.add (local.get 1)) (i8x16.add (local.get 2)) (i8x16.add (local.get 3))
    (i8x16.add (local.get 4)) (i8x16.add (local.get 5)) (i8x16.add (local.get 6))
    (i8x16.add (local.get 7)) (i8x16.add (local.get 8))))
