;; Imports that are not there are named, with their types; `--preload` provides them.
;;
;; RUN: bimetal run %s
;; EXIT: 1
;; STDERR: error: `%s` cannot be linked: the module imports what nothing provides:
;; STDERR: `math` `double`: func (i32) -> (i32)
;; STDERR: `math` `base`: global i32
;; STDERR: `other` `table`: table 1 funcref
;; STDERR: `--preload math=FILE`
;;
;; RUN: bimetal run --preload math=%t/math.wat --preload other=%t/other.wat --invoke f %s 21
;; WRITE: math.wat (module (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))) (global (export "base") i32 (i32.const 100)))
;; WRITE: other.wat (module (table (export "table") 1 funcref))
;; STDOUT: 142
;;
;; RUN: bimetal run -v --preload math=%t/math.wat --preload other=%t/other.wat --invoke f %s 21
;; WRITE: math.wat (module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (memory (export "memory") 1) (func (export "double") (param i32) (result i32) (global.get 0)) (global (export "base") (mut i32) (i32.const 100)) (func (export "_initialize")))
;; WRITE: other.wat (module (table (export "table") 1 funcref))
;; EXIT: 1
;; STDERR: preloading `math` from %t/math.wat, environment: WASI preview 1 reactor
;; STDERR: preloading `other` from %t/other.wat, environment: bare module
;; STDERR: error: `%s` cannot be linked: incompatible import type for `math::base`: expected global i32, found global (mut i32)
;;
;; RUN: bimetal run %t/names.wat
;; WRITE: names.wat (module (import "a\\nb" "" (func)))
;; EXIT: 1
;; STDERR: `"a\nb"` `""`: func () -> ()
;;
;; RUN: bimetal run --preload math=%t/math.wat %s
;; WRITE: math.wat (module (func (export "double")))
;; EXIT: 1
;; STDERR: `math` `base`: global i32
;; STDERR: `other` `table`: table 1 funcref
;;
;; RUN: bimetal run --preload math=%t/none.wat %s
;; EXIT: 1
;; STDERR: error: `%t/none.wat` cannot be read: No such file
;;
;; RUN: bimetal run --preload math %s
;; EXIT: 1
;; STDERR: invalid value 'math' for '--preload <NAME=FILE>': expected NAME=FILE
;;
;; RUN: bimetal run --preload a=%t/a.wat %s
;; WRITE: a.wat (module (import "nowhere" "f" (func)))
;; EXIT: 1
;; STDERR: error: `%t/a.wat` cannot be preloaded: the module imports what nothing provides:
;; STDERR: `nowhere` `f`: func () -> ()
(module
  (import "math" "double" (func $double (param i32) (result i32)))
  (import "math" "base" (global $base i32))
  (import "other" "table" (table 1 funcref))
  (func (export "f") (param i32) (result i32)
    (i32.add (global.get $base) (call $double (local.get 0)))))
