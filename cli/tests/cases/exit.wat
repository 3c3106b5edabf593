;; Exit codes are the guest's own.
;;
;; RUN: bimetal run %s
;; EXIT: 42
;;
;; RUN: bimetal run --invoke exit %s 0
;;
;; RUN: bimetal run --invoke exit %s 7
;; EXIT: 7
;;
;; RUN: bimetal run --invoke exit %s 255
;; EXIT: 255
;;
;; The system passes on eight bits of it, but no failure becomes a success.
;;
;; RUN: bimetal run --invoke exit %s 256
;; EXIT: 1
;;
;; RUN: bimetal run --invoke exit %s 0x80000000
;; EXIT: 1
;;
;; RUN: bimetal run --invoke exit %s 300
;; EXIT: 44
;;
;; RUN: bimetal run -v %s
;; EXIT: 42
;; STDERR: ran for
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "exit") (param i32)
    (call $exit (local.get 0)))
  (func (export "_start")
    (call $exit (i32.const 42))
    unreachable))
