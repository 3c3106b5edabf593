;; Arguments and environment: the guest prints both, a line each.
;;
;; RUN: bimetal run %s one "two three" -v --dir x -- --invoke
;; STDOUT: %s
;; STDOUT: one
;; STDOUT: two three
;; STDOUT: -v
;; STDOUT: --dir
;; STDOUT: x
;; STDOUT: --
;; STDOUT: --invoke
;;
;; RUN: bimetal --argv0 name %s ""
;; STDOUT: name
;; STDOUT:
;;
;; RUN: bimetal run --argv0 p --env A=1 --env B= --env C --env D --env A=2=3 %s
;; ENV: C=inherited
;; ENV: E=not inherited
;; STDOUT: p
;; STDOUT: A=2=3
;; STDOUT: B=
;; STDOUT: C=inherited
;;
;; RUN: bimetal run --argv0 p --inherit-env --env F=own %s
;; ENV: E=inherited
;; STDOUT: p
;; STDOUT: E=inherited
;; STDOUT: F=own
;;
;; RUN: bimetal run --argv0 p -v --env UNSET %s
;; STDOUT: p
;; STDERR: `--env UNSET`: it is not set here either
;;
;; RUN: bimetal run --env =x %s
;; EXIT: 1
;; STDERR: error: `--env =x` has no name
;;
;; RUN: bimetal run --env "" %s
;; EXIT: 1
;; STDERR: error: `--env ""` has no name
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get"
    (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get"
    (func $environ_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)

  ;; Writes the strings in 4096.. of the length at 4, with line ends for NULs.
  (func $print
    (local $p i32) (local $end i32)
    (local.set $p (i32.const 4096))
    (local.set $end (i32.add (local.get $p) (i32.load (i32.const 4))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
        (if (i32.eqz (i32.load8_u (local.get $p)))
          (then (i32.store8 (local.get $p) (i32.const 10))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 8) (i32.const 4096))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))

  (func (export "_start")
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $args_get (i32.const 1024) (i32.const 4096)))
    (call $print)
    (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $environ_get (i32.const 1024) (i32.const 4096)))
    (call $print)))
