;; What the programs on collected objects share: the work size from the arguments, and
;; `NAME SIZE CHECKSUM` at the end. A program is this and its own text in one module; it defines
;; $run (size -> checksum), a memory that begins with its name, and how long that is.
(import "wasi_snapshot_preview1" "args_sizes_get"
  (func $args_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_get"
  (func $args_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write"
  (func $fd_write (param i32 i32 i32 i32) (result i32)))
(memory (export "memory") 2)

;; The number that the first argument is.
(func $size (result i32) (local $at i32) (local $n i32) (local $c i32)
  (drop (call $args_sizes_get (i32.const 1000) (i32.const 1004)))
  (drop (call $args_get (i32.const 2000) (i32.const 4000)))
  (local.set $at (i32.load (i32.const 2004)))
  (loop $next
    (local.set $c (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
    (if (i32.lt_u (local.get $c) (i32.const 10)) (then
      (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10)) (local.get $c)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))))
  (local.get $n))

;; Writes a number at an address, decimal: where it ends.
(func $decimal (param $at i32) (param $n i32) (result i32)
  (if (i32.ge_u (local.get $n) (i32.const 10)) (then
    (local.set $at (call $decimal (local.get $at) (i32.div_u (local.get $n) (i32.const 10))))))
  (i32.store8 (local.get $at)
    (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
  (i32.add (local.get $at) (i32.const 1)))

(func (export "_start") (local $size i32) (local $sum i64) (local $at i32) (local $i i32) (local $d i32)
  (local.set $size (call $size))
  (local.set $sum (call $run (local.get $size)))
  (memory.copy (i32.const 3000) (i32.const 0) (global.get $name_length))
  (local.set $at (i32.add (i32.const 3000) (global.get $name_length)))
  (i32.store8 (local.get $at) (i32.const 32))
  (local.set $at (call $decimal (i32.add (local.get $at) (i32.const 1)) (local.get $size)))
  (i32.store8 (local.get $at) (i32.const 32))
  (local.set $i (i32.const 60))
  (loop $digit
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $d (i32.and (i32.const 15)
      (i32.wrap_i64 (i64.shr_u (local.get $sum) (i64.extend_i32_u (local.get $i))))))
    (i32.store8 (local.get $at) (i32.add (local.get $d)
      (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $d) (i32.const 10)))))
    (br_if $digit (i32.ge_s (local.tee $i (i32.sub (local.get $i) (i32.const 4))) (i32.const 0))))
  (i32.store8 (i32.add (local.get $at) (i32.const 1)) (i32.const 10))
  (i32.store (i32.const 1000) (i32.const 3000))
  (i32.store (i32.const 1004) (i32.sub (i32.add (local.get $at) (i32.const 2)) (i32.const 3000)))
  (drop (call $fd_write (i32.const 1) (i32.const 1000) (i32.const 1) (i32.const 1008))))
