;; Octane's splay, as Sightglass has it: a splay tree of 8000 nodes, each with a payload of about a hundred
;; objects, in which nodes are replaced by new ones all the time. What lives, lives for a while and then dies.
(data (i32.const 0) "gcsplay")
(global $name_length i32 (i32.const 7))
(global $seed (mut i32) (i32.const 49734321))
(type $numbers (array (mut i32)))
(rec (type $payload (struct
  (field $left (mut (ref null $payload))) (field $right (mut (ref null $payload)))
  (field $numbers (ref null $numbers)))))
(type $node (struct (field $key f64) (field $value (ref null $payload))
  (field $left (mut (ref null $node))) (field $right (mut (ref null $node)))))
(global $root (mut (ref null $node)) (ref.null $node))

(func $random (result f64) (local $s i32)
  (local.set $s (global.get $seed))
  (local.set $s (i32.add (i32.add (local.get $s) (i32.const 0x7ed55d16))
    (i32.shl (local.get $s) (i32.const 12))))
  (local.set $s (i32.xor (i32.xor (local.get $s) (i32.const 0xc761c23c))
    (i32.shr_u (local.get $s) (i32.const 19))))
  (local.set $s (i32.add (i32.add (local.get $s) (i32.const 0x165667b1))
    (i32.shl (local.get $s) (i32.const 5))))
  (local.set $s (i32.xor (i32.add (local.get $s) (i32.const 0xd3a2646c))
    (i32.shl (local.get $s) (i32.const 9))))
  (local.set $s (i32.add (i32.add (local.get $s) (i32.const 0xfd7046c5))
    (i32.shl (local.get $s) (i32.const 3))))
  (local.set $s (i32.xor (i32.xor (local.get $s) (i32.const 0xb55a4f09))
    (i32.shr_u (local.get $s) (i32.const 16))))
  (global.set $seed (local.get $s))
  (f64.div (f64.convert_i32_u (i32.and (local.get $s) (i32.const 0xfffffff)))
    (f64.const 268435456)))

(func $payload (param $depth i32) (result (ref $payload))
  (local $numbers (ref $numbers))
  (if (result (ref $payload)) (i32.eqz (local.get $depth))
    (then
      (local.set $numbers (array.new_default $numbers (i32.const 10)))
      (array.set $numbers (local.get $numbers) (i32.const 0) (i32.const 0))
      (array.set $numbers (local.get $numbers) (i32.const 1) (i32.const 1))
      (array.set $numbers (local.get $numbers) (i32.const 2) (i32.const 2))
      (array.set $numbers (local.get $numbers) (i32.const 3) (i32.const 3))
      (array.set $numbers (local.get $numbers) (i32.const 4) (i32.const 4))
      (array.set $numbers (local.get $numbers) (i32.const 5) (i32.const 5))
      (array.set $numbers (local.get $numbers) (i32.const 6) (i32.const 6))
      (array.set $numbers (local.get $numbers) (i32.const 7) (i32.const 7))
      (array.set $numbers (local.get $numbers) (i32.const 8) (i32.const 8))
      (array.set $numbers (local.get $numbers) (i32.const 9) (i32.const 9))
      (struct.new $payload (ref.null $payload) (ref.null $payload) (local.get $numbers)))
    (else (struct.new $payload
      (call $payload (i32.sub (local.get $depth) (i32.const 1)))
      (call $payload (i32.sub (local.get $depth) (i32.const 1)))
      (ref.null $numbers)))))

;; Brings the node with the key, or one next to it, to the root.
(func $splay (param $key f64)
  (local $dummy (ref $node)) (local $left (ref $node)) (local $right (ref $node))
  (local $current (ref $node)) (local $tmp (ref $node))
  (if (ref.is_null (global.get $root)) (then (return)))
  (local.set $dummy (struct.new $node (f64.const 0)
    (ref.null $payload) (ref.null $node) (ref.null $node)))
  (local.set $left (local.get $dummy))
  (local.set $right (local.get $dummy))
  (local.set $current (ref.as_non_null (global.get $root)))
  (block $done
    (loop $down
      (if (f64.lt (local.get $key) (struct.get $node $key (local.get $current))) (then
        (local.set $tmp (br_on_null $done (struct.get $node $left (local.get $current))))
        (if (f64.lt (local.get $key) (struct.get $node $key (local.get $tmp))) (then
          (struct.set $node $left (local.get $current) (struct.get $node $right (local.get $tmp)))
          (struct.set $node $right (local.get $tmp) (local.get $current))
          (local.set $current (local.get $tmp))
          (drop (br_on_null $done (struct.get $node $left (local.get $current))))))
        (struct.set $node $left (local.get $right) (local.get $current))
        (local.set $right (local.get $current))
        (local.set $current (ref.as_non_null (struct.get $node $left (local.get $current))))
        (br $down)))
      (if (f64.gt (local.get $key) (struct.get $node $key (local.get $current))) (then
        (local.set $tmp (br_on_null $done (struct.get $node $right (local.get $current))))
        (if (f64.gt (local.get $key) (struct.get $node $key (local.get $tmp))) (then
          (struct.set $node $right (local.get $current) (struct.get $node $left (local.get $tmp)))
          (struct.set $node $left (local.get $tmp) (local.get $current))
          (local.set $current (local.get $tmp))
          (drop (br_on_null $done (struct.get $node $right (local.get $current))))))
        (struct.set $node $right (local.get $left) (local.get $current))
        (local.set $left (local.get $current))
        (local.set $current (ref.as_non_null (struct.get $node $right (local.get $current))))
        (br $down)))))
  (struct.set $node $right (local.get $left) (struct.get $node $left (local.get $current)))
  (struct.set $node $left (local.get $right) (struct.get $node $right (local.get $current)))
  (struct.set $node $left (local.get $current) (struct.get $node $right (local.get $dummy)))
  (struct.set $node $right (local.get $current) (struct.get $node $left (local.get $dummy)))
  (global.set $root (local.get $current)))

(func $find (param $key f64) (result (ref null $node))
  (if (ref.is_null (global.get $root)) (then (return (ref.null $node))))
  (call $splay (local.get $key))
  (if (f64.eq (struct.get $node $key (global.get $root)) (local.get $key)) (then
    (return (global.get $root))))
  (ref.null $node))

(func $insert (param $key f64) (param $value (ref $payload))
  (local $node (ref $node)) (local $root (ref $node))
  (local.set $node
    (struct.new $node (local.get $key) (local.get $value) (ref.null $node) (ref.null $node)))
  (if (ref.is_null (global.get $root)) (then
    (global.set $root (local.get $node))
    (return)))
  (call $splay (local.get $key))
  (local.set $root (ref.as_non_null (global.get $root)))
  (if (f64.eq (struct.get $node $key (local.get $root)) (local.get $key)) (then (return)))
  (if (f64.gt (local.get $key) (struct.get $node $key (local.get $root)))
    (then
      (struct.set $node $left (local.get $node) (local.get $root))
      (struct.set $node $right (local.get $node) (struct.get $node $right (local.get $root)))
      (struct.set $node $right (local.get $root) (ref.null $node)))
    (else
      (struct.set $node $right (local.get $node) (local.get $root))
      (struct.set $node $left (local.get $node) (struct.get $node $left (local.get $root)))
      (struct.set $node $left (local.get $root) (ref.null $node))))
  (global.set $root (local.get $node)))

;; The greatest key below that of the root; NaN if there is none.
(func $below (result f64) (local $node (ref null $node))
  (local.set $node (struct.get $node $left (global.get $root)))
  (if (ref.is_null (local.get $node)) (then (return (f64.const nan))))
  (loop $right
    (if (i32.eqz (ref.is_null (struct.get $node $right (local.get $node)))) (then
      (local.set $node (struct.get $node $right (local.get $node)))
      (br $right))))
  (struct.get $node $key (local.get $node)))

(func $remove (param $key f64) (local $right (ref null $node))
  (call $splay (local.get $key))
  (if (ref.is_null (struct.get $node $left (global.get $root)))
    (then (global.set $root (struct.get $node $right (global.get $root))))
    (else
      (local.set $right (struct.get $node $right (global.get $root)))
      (global.set $root (struct.get $node $left (global.get $root)))
      (call $splay (local.get $key))
      (struct.set $node $right (global.get $root) (local.get $right)))))

(func $insert_new (result f64) (local $key f64)
  (loop $again
    (local.set $key (call $random))
    (br_if $again (i32.eqz (ref.is_null (call $find (local.get $key))))))
  (call $insert (local.get $key) (call $payload (i32.const 5)))
  (local.get $key))

(func $sum (param $node (ref null $node)) (result i64) (local $value (ref null $payload))
  (if (ref.is_null (local.get $node)) (then (return (i64.const 0))))
  (local.set $value (struct.get $node $value (local.get $node)))
  (loop $leaf
    (if (i32.eqz (ref.is_null (struct.get $payload $right (local.get $value)))) (then
      (local.set $value (struct.get $payload $right (local.get $value)))
      (br $leaf))))
  (i64.add
    (i64.add (i64.rotl (call $sum (struct.get $node $left (local.get $node))) (i64.const 3))
      (call $sum (struct.get $node $right (local.get $node))))
    (i64.add (i64.reinterpret_f64 (struct.get $node $key (local.get $node)))
      (i64.extend_i32_u (array.get $numbers
        (struct.get $payload $numbers (local.get $value)) (i32.const 9))))))

(func $run (param $size i32) (result i64) (local $i i32) (local $key f64) (local $other f64)
  (loop $fill
    (drop (call $insert_new))
    (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 8000))))
  (local.set $i (i32.mul (local.get $size) (i32.const 800)))
  (loop $replace
    (local.set $key (call $insert_new))
    (call $splay (local.get $key))
    (local.set $other (call $below))
    (if (f64.ne (local.get $other) (local.get $other))
      (then (call $remove (local.get $key)))
      (else (call $remove (local.get $other))))
    (br_if $replace (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
  (call $sum (global.get $root)))
