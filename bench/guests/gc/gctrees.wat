;; Binary trees of the Benchmarks Game: trees of all depths that live shortly, and one that lives long.
(data (i32.const 0) "gctrees")
(global $name_length i32 (i32.const 7))
(type $tree (struct (field $left (ref null $tree)) (field $right (ref null $tree))))

(func $make (param $depth i32) (result (ref $tree))
  (if (result (ref $tree)) (i32.eqz (local.get $depth))
    (then (struct.new $tree (ref.null $tree) (ref.null $tree)))
    (else (struct.new $tree
      (call $make (i32.sub (local.get $depth) (i32.const 1)))
      (call $make (i32.sub (local.get $depth) (i32.const 1)))))))

(func $count (param $tree (ref $tree)) (result i32)
  (local $left (ref null $tree))
  (local.set $left (struct.get $tree $left (local.get $tree)))
  (if (result i32) (ref.is_null (local.get $left))
    (then (i32.const 1))
    (else (i32.add (i32.const 1) (i32.add
      (call $count (ref.as_non_null (local.get $left)))
      (call $count (ref.as_non_null (struct.get $tree $right (local.get $tree)))))))))

(func $run (param $size i32) (result i64)
  (local $long (ref null $tree)) (local $depth i32) (local $i i32) (local $sum i64)
  (local.set $sum (i64.extend_i32_u
    (call $count (call $make (i32.add (local.get $size) (i32.const 1))))))
  (local.set $long (call $make (local.get $size)))
  (local.set $depth (i32.const 4))
  (loop $depths
    (local.set $i (i32.shl (i32.const 1)
      (i32.add (i32.sub (local.get $size) (local.get $depth)) (i32.const 4))))
    (loop $trees
      (local.set $sum (i64.add (local.get $sum)
        (i64.extend_i32_u (call $count (call $make (local.get $depth))))))
      (br_if $trees (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (local.set $sum (i64.rotl (local.get $sum) (i64.const 5)))
    (local.set $depth (i32.add (local.get $depth) (i32.const 2)))
    (br_if $depths (i32.le_u (local.get $depth) (local.get $size))))
  (i64.add (local.get $sum)
    (i64.extend_i32_u (call $count (ref.as_non_null (local.get $long))))))
