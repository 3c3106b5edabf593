;; An exception that nobody catches ends a program as a trap does, and says what it was.
;; RUN: bimetal run %s
;; EXIT: 134
;; STDERR: error: uncaught exception `oops` (42, 1.5)
;; STDERR: wasm backtrace:
;; STDERR: !inner
;; STDERR: !_start
(module
  (tag $oops (param i32 f64))
  (func $inner (param i32) (throw $oops (local.get 0) (f64.const 1.5)))
  (func (export "_start") (call $inner (i32.const 42))))
