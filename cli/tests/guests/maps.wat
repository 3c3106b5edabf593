;; Prints the file `maps` of its first directory. It uses what code can use: a memory that grows, a
;; table, many results, a function that is only called here.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "maps")
  (table funcref (elem $inner))
  (type $v (func))
  (global $calls (mut i32) (i32.const 0))
  (func $inner (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
  (func $many (result i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
    (i32.const 5) (i32.const 6) (i32.const 7) (i32.const 8) (i32.const 9))
  (func $check (param i32)
    (if (local.get 0) (then (call $exit (local.get 0)))))
  (func (export "_start")
    (drop (memory.grow (i32.const 1)))
    (call_indirect (type $v) (i32.const 0))
    (call $many)
    (if (i32.ne (i32.const 9)) (then (call $exit (i32.const 200))))
    (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)
    (drop)
    (call $check (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (loop $more
      (i32.store (i32.const 32) (i32.const 1024))
      (i32.store (i32.const 36) (i32.const 32768))
      (call $check (call $fd_read (i32.load (i32.const 16)) (i32.const 32) (i32.const 1)
        (i32.const 20)))
      (i32.store (i32.const 36) (i32.load (i32.const 20)))
      (call $check (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 24)))
      (br_if $more (i32.load (i32.const 20))))))
