;; A program with threads: what it is without `--threads`, and ways to end with it.
;; RUN: bimetal run %s
;; EXIT: 1
;; STDERR: `wasi` `thread-spawn`
;; STDERR: `--threads`
;; RUN: bimetal run --threads %s
;; STDOUT: ok
;; RUN: bimetal run --threads=1 %s
;; STDOUT: ok
;; The second is refused.
;; RUN: bimetal run --threads=0 %s
;; EXIT: 3
;; RUN: bimetal run --threads --invoke exit %s
;; EXIT: 42
;; RUN: bimetal run --threads --invoke trap %s
;; EXIT: 134
;; STDERR: in thread 1
;; STDERR: unreachable
;; STDERR: wasi_thread_start
;; RUN: bimetal run --threads --timeout 100ms --invoke wait %s
;; EXIT: 134
;; STDERR: timeout after 100ms
;; RUN: bimetal run --threads --fuel 100000 --invoke spin %s
;; EXIT: 134
;; STDERR: fuel
;; RUN: bimetal run --threads --deterministic %s
;; EXIT: 1
;; STDERR: cannot be used with
;; RUN: bimetal run --threads=many %s
;; EXIT: 1
;; STDERR: --threads
(module
  (import "env" "memory" (memory 1 1 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (export "memory" (memory 0))
  (func $start (param i32)
    (if (i32.lt_s (call $spawn (local.get 0)) (i32.const 0))
      (then (call $exit (i32.const 3)))))
  (func $wait
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
  ;; The thread prints, and then lets the main one go on.
  (func (export "_start") (call $start (i32.const 0)) (call $wait))
  (func (export "exit") (call $start (i32.const 1)) (call $wait))
  (func (export "trap") (call $start (i32.const 2)) (call $wait))
  (func (export "wait") (call $start (i32.const 3)) (call $wait))
  (func (export "spin") (call $start (i32.const 4)) (call $wait))
  (func (export "wasi_thread_start") (param $thread i32) (param $what i32)
    (block $spin (block $wait (block $trap (block $exit (block $print
      (br_table $print $exit $trap $wait $spin (local.get $what)))
      (i32.store (i32.const 32) (i32.const 0x0a6b6f))
      (i32.store (i32.const 16) (i32.const 32))
      (i32.store (i32.const 20) (i32.const 3))
      (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
      (i32.atomic.store (i32.const 0) (i32.const 1))
      (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
      (return))
      (call $exit (i32.const 42)))
      unreachable)
      (call $wait))
    (loop (br 0))))
