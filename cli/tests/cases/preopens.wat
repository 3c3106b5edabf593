;; What directories are called: the guest prints the names of its preopens, a line each.
;;
;; RUN: bimetal run %s
;;
;; RUN: bimetal run --dir %t --dir . %s
;; STDOUT: %t
;; STDOUT: .
;;
;; A slash at the end is no part of the name, which a C library would not find otherwise.
;;
;; RUN: bimetal run --dir %t/ --dir .//::data/:ro --dir /:ro %s
;; STDOUT: %t
;; STDOUT: data
;; STDOUT: /
;;
;; RUN: bimetal run --dir %t:ro --dir %t::/a:b --dir %t::größer %s
;; STDOUT: %t
;; STDOUT: /a:b
;; STDOUT: größer
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get"
    (func $prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
    (func $dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $fd i32) (local $length i32)
    (local.set $fd (i32.const 3))
    (block $done
      (loop $next
        (br_if $done (call $prestat_get (local.get $fd) (i32.const 0)))
        (local.set $length (i32.load (i32.const 4)))
        (if (call $dir_name (local.get $fd) (i32.const 1024) (local.get $length))
          (then unreachable))
        (i32.store8 (i32.add (i32.const 1024) (local.get $length)) (i32.const 10))
        (i32.store (i32.const 8) (i32.const 1024))
        (i32.store (i32.const 12) (i32.add (local.get $length) (i32.const 1)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
        (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
        (br $next)))))
