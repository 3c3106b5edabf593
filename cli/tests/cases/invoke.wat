;; `--invoke`: arguments by type, results, and what can be wrong with either.
;;
;; RUN: bimetal run --invoke add %s 2 3
;; STDOUT: 5
;;
;; RUN: bimetal run --invoke add %s 0xffffffff -0x10
;; STDOUT: -17
;;
;; RUN: bimetal run --invoke all %s -1 18446744073709551615 1.5 -0x1.8p-1 0x0102
;; STDOUT: -1
;; STDOUT: -1
;; STDOUT: 1.5
;; STDOUT: -0.75
;; STDOUT: 0x00000000000000000000000000000102
;;
;; RUN: bimetal run --invoke all %s 0 0 nan -inf 0
;; STDOUT: 0
;; STDOUT: 0
;; STDOUT: nan
;; STDOUT: -inf
;; STDOUT: 0x00000000000000000000000000000000
;;
;; RUN: bimetal run --invoke all %s 0 0 -nan:0x200001 1e400 0
;; STDOUT: 0
;; STDOUT: 0
;; STDOUT: -nan:0x200001
;; STDOUT: inf
;; STDOUT: 0x00000000000000000000000000000000
;;
;; RUN: bimetal run --invoke references %s null null
;; STDOUT: null
;; STDOUT: null
;; STDOUT: <funcref>
;;
;; RUN: bimetal run --invoke nothing %s
;;
;; RUN: bimetal run --invoke add %s 2
;; EXIT: 1
;; STDERR: error: `add` takes 2 arguments, but 1 was given: its type is (i32, i32) -> (i32)
;;
;; RUN: bimetal run --invoke nothing %s 2 3
;; EXIT: 1
;; STDERR: error: `nothing` takes 0 arguments, but 2 were given: its type is () -> ()
;;
;; RUN: bimetal run --invoke add %s 2 x
;; EXIT: 1
;; STDERR: error: argument 2 of `add`: `x` is no i32; its type is (i32, i32) -> (i32)
;;
;; RUN: bimetal run --invoke add %s 2 4294967296
;; EXIT: 1
;; STDERR: `4294967296` is no i32 (out of range)
;;
;; RUN: bimetal run --invoke references %s x null
;; EXIT: 1
;; STDERR: `x` is no funcref (only `null` can be written)
;;
;; RUN: bimetal run --invoke ad %s
;; EXIT: 1
;; STDERR: error: the module exports no function `ad`; its functions are:
;; STDERR: add: (i32, i32) -> (i32)
;; STDERR: nothing: () -> ()
;;
;; RUN: bimetal run --invoke -x %t/names.wat
;; WRITE: names.wat (module (func (export "-x") (result i32) (i32.const 3)))
;; STDOUT: 3
;;
;; RUN: bimetal run %t/names.wat
;; WRITE: names.wat (module (func (export "")) (func (export "a\\nb: () -> ()\\1b[1m")) (func (export "don't")))
;; EXIT: 1
;; STDERR: "": () -> ()
;; STDERR: "a\nb: () -> ()\u{1b}[1m": () -> ()
;; STDERR: don't: () -> ()
;;
;; RUN: bimetal run --invoke memory %s
;; EXIT: 1
;; STDERR: error: the module exports no function `memory`
;;
;; RUN: bimetal run %s
;; EXIT: 1
;; STDERR: error: there is nothing to run: this bare module has no `_start`; choose a function with `--invoke NAME`:
;; STDERR: add: (i32, i32) -> (i32)
;;
;; RUN: bimetal run -v --invoke add %s 1 1
;; STDOUT: 2
;; STDERR: environment: bare module
(module
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "all") (param i32 i64 f32 f64 v128) (result i32 i64 f32 f64 v128)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))
  (func $references (export "references")
    (param funcref externref) (result funcref externref funcref)
    (local.get 0) (local.get 1) (ref.func $references))
  (func (export "nothing")))
