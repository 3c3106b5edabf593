;; The smallest program, in every way to run it.
;;
;; RUN: bimetal run %s
;; STDOUT: hello, world
;;
;; RUN: bimetal %s
;; STDOUT: hello, world
;;
;; RUN: bimetal -O0 --eager %s
;; STDOUT: hello, world
;;
;; RUN: bimetal -O 1 %s --dir nowhere -O9
;; STDOUT: hello, world
;;
;; RUN: bimetal run -O2 --opt-fuel 0 %s
;; STDOUT: hello, world
;;
;; RUN: bimetal run -v %s
;; STDOUT: hello, world
;; STDERR: hello.wat:
;; STDERR: 1 function
;; STDERR: decoded and validated in
;; STDERR: environment: WASI preview 1 command
;; STDERR: ran for
;; STDERR: compiled 1 of 1 function
;;
;; RUN: bimetal run -v --compile-only %s
;; STDERR: decoded, validated and compiled in
;; STDERR-NOT: ran for
;;
;; RUN: bimetal run -v --eager %s
;; STDOUT: hello, world
;; STDERR: decoded, validated and compiled in
;;
;; RUN: bimetal run %d/missing.wasm
;; EXIT: 1
;; STDERR: error: `%d/missing.wasm` cannot be read: No such file
;;
;; RUN: bimetal run -
;; STDIN: (module (func (export "_start") unreachable))
;; EXIT: 134
;; STDERR: error: wasm trap: unreachable
(module $hello
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\0d\00\00\00hello, world\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))))
