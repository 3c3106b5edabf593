;; JetStream's hash-map: the hash map of Apache Harmony's class library as a compiler of Java or Kotlin makes
;; it, with boxed keys and values whose `hashCode` and `equals` are virtual. It is filled, asked for each key
;; five times, and gone through by an iterator.
(data (i32.const 0) "gcmap")
(global $name_length i32 (i32.const 5))
(global $count i32 (i32.const 90000))
(rec
  (type $hash_code (func (param (ref $object)) (result i32)))
  (type $equals (func (param (ref $object) (ref null $object)) (result i32)))
  (type $class (struct (field $hash_code (ref $hash_code)) (field $equals (ref $equals))))
  (type $object (sub (struct (field $class (ref $class))))))
(type $integer (sub final $object (struct (field $class (ref $class)) (field $value i32))))
(rec (type $entry (sub $object (struct (field $class (ref $class))
  (field $key (ref null $object)) (field $hash i32)
  (field $value (mut (ref null $object))) (field $next (mut (ref null $entry)))))))
(type $entries (array (mut (ref null $entry))))
(type $map (sub $object (struct (field $class (ref $class))
  (field $entries (mut (ref $entries))) (field $count (mut i32)) (field $threshold (mut i32))
  (field $changes (mut i32)))))
(type $iterator (sub $object (struct (field $class (ref $class)) (field $map (ref $map))
  (field $position (mut i32)) (field $expected i32)
  (field $next (mut (ref null $entry))) (field $last (mut (ref null $entry))))))
(elem declare func $hash_of_object $equal_objects $hash_of_integer $equal_integers)
(global $object_class (ref $class) (struct.new $class (ref.func $hash_of_object) (ref.func $equal_objects)))
(global $integer_class (ref $class) (struct.new $class (ref.func $hash_of_integer) (ref.func $equal_integers)))

(func $hash_of_object (type $hash_code) (i32.const 1))
(func $equal_objects (type $equals) (ref.eq (local.get 0) (local.get 1)))
(func $hash_of_integer (type $hash_code)
  (struct.get $integer $value (ref.cast (ref $integer) (local.get 0))))
(func $equal_integers (type $equals)
  (if (result i32) (ref.test (ref $integer) (local.get 1))
    (then (i32.eq (struct.get $integer $value (ref.cast (ref $integer) (local.get 0)))
      (struct.get $integer $value (ref.cast (ref $integer) (local.get 1)))))
    (else (i32.const 0))))

(func $box (param $value i32) (result (ref $object))
  (struct.new $integer (global.get $integer_class) (local.get $value)))
(func $unbox (param $object (ref null $object)) (result i32)
  (struct.get $integer $value (ref.cast (ref $integer) (local.get $object))))

(func $new_map (result (ref $map))
  (struct.new $map (global.get $object_class) (array.new_default $entries (i32.const 16))
    (i32.const 0) (i32.const 12) (i32.const 0)))

(func $hash (param $key (ref null $object)) (result i32) (local $object (ref $object))
  (block $null
    (local.set $object (br_on_null $null (local.get $key)))
    (return (call_ref $hash_code (local.get $object)
      (struct.get $class $hash_code (struct.get $object $class (local.get $object))))))
  (i32.const 0))

;; The entry of a key in the chain with this number.
(func $find (param $map (ref $map)) (param $key (ref null $object)) (param $index i32) (param $hash i32)
  (result (ref null $entry))
  (local $entry (ref null $entry)) (local $object (ref $object))
  (local.set $entry (array.get $entries (struct.get $map $entries (local.get $map)) (local.get $index)))
  (block $null
    (local.set $object (br_on_null $null (local.get $key)))
    (loop $chain
      (if (ref.is_null (local.get $entry)) (then (return (ref.null $entry))))
      (if (i32.eq (struct.get $entry $hash (local.get $entry)) (local.get $hash)) (then
        (if (call_ref $equals (local.get $object) (struct.get $entry $key (local.get $entry))
            (struct.get $class $equals (struct.get $object $class (local.get $object))))
          (then (return (local.get $entry))))))
      (local.set $entry (struct.get $entry $next (local.get $entry)))
      (br $chain)))
  (loop $chain
    (if (ref.is_null (local.get $entry)) (then (return (ref.null $entry))))
    (if (ref.is_null (struct.get $entry $key (local.get $entry))) (then (return (local.get $entry))))
    (local.set $entry (struct.get $entry $next (local.get $entry)))
    (br $chain))
  (unreachable))

(func $index (param $map (ref $map)) (param $hash i32) (result i32)
  (i32.and (local.get $hash)
    (i32.sub (array.len (struct.get $map $entries (local.get $map))) (i32.const 1))))

(func $get (param $map (ref $map)) (param $key (ref null $object)) (result (ref null $object))
  (local $hash i32) (local $entry (ref null $entry))
  (local.set $hash (call $hash (local.get $key)))
  (local.set $entry (call $find (local.get $map) (local.get $key)
    (call $index (local.get $map) (local.get $hash)) (local.get $hash)))
  (if (ref.is_null (local.get $entry)) (then (return (ref.null $object))))
  (struct.get $entry $value (local.get $entry)))

(func $rehash (param $map (ref $map))
  (local $from (ref $entries)) (local $to (ref $entries)) (local $i i32) (local $at i32)
  (local $length i32) (local $entry (ref null $entry)) (local $next (ref null $entry))
  (local.set $from (struct.get $map $entries (local.get $map)))
  (local.set $length (i32.shl (array.len (local.get $from)) (i32.const 1)))
  (local.set $to (array.new_default $entries (local.get $length)))
  (loop $chains
    (local.set $entry (array.get $entries (local.get $from) (local.get $i)))
    (loop $chain
      (if (i32.eqz (ref.is_null (local.get $entry))) (then
        (local.set $at (i32.and (struct.get $entry $hash (local.get $entry))
          (i32.sub (local.get $length) (i32.const 1))))
        (local.set $next (struct.get $entry $next (local.get $entry)))
        (struct.set $entry $next (local.get $entry)
          (array.get $entries (local.get $to) (local.get $at)))
        (array.set $entries (local.get $to) (local.get $at) (local.get $entry))
        (local.set $entry (local.get $next))
        (br $chain))))
    (br_if $chains (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (array.len (local.get $from)))))
  (struct.set $map $entries (local.get $map) (local.get $to))
  (struct.set $map $threshold (local.get $map)
    (i32.div_u (i32.mul (local.get $length) (i32.const 3)) (i32.const 4))))

;; The value that was there before.
(func $put (param $map (ref $map)) (param $key (ref null $object)) (param $value (ref null $object))
  (result (ref null $object))
  (local $hash i32) (local $index i32) (local $entry (ref null $entry)) (local $old (ref null $object))
  (local.set $hash (call $hash (local.get $key)))
  (local.set $index (call $index (local.get $map) (local.get $hash)))
  (local.set $entry
    (call $find (local.get $map) (local.get $key) (local.get $index) (local.get $hash)))
  (if (ref.is_null (local.get $entry)) (then
    (struct.set $map $changes (local.get $map)
      (i32.add (struct.get $map $changes (local.get $map)) (i32.const 1)))
    (struct.set $map $count (local.get $map)
      (i32.add (struct.get $map $count (local.get $map)) (i32.const 1)))
    (if (i32.gt_u (struct.get $map $count (local.get $map)) (struct.get $map $threshold (local.get $map)))
      (then
        (call $rehash (local.get $map))
        (local.set $index (call $index (local.get $map) (local.get $hash)))))
    (local.set $entry (struct.new $entry (global.get $object_class) (local.get $key)
      (local.get $hash) (ref.null $object)
      (array.get $entries (struct.get $map $entries (local.get $map)) (local.get $index))))
    (array.set $entries (struct.get $map $entries (local.get $map)) (local.get $index)
      (local.get $entry))))
  (local.set $old (struct.get $entry $value (local.get $entry)))
  (struct.set $entry $value (local.get $entry) (local.get $value))
  (local.get $old))

(func $iterator (param $map (ref $map)) (result (ref $iterator))
  (struct.new $iterator (global.get $object_class) (local.get $map) (i32.const 0)
    (struct.get $map $changes (local.get $map)) (ref.null $entry) (ref.null $entry)))

(func $has_next (param $iterator (ref $iterator)) (result i32)
  (local $entries (ref $entries)) (local $entry (ref null $entry)) (local $at i32)
  (if (i32.eqz (ref.is_null (struct.get $iterator $next (local.get $iterator)))) (then
    (return (i32.const 1))))
  (local.set $entries (struct.get $map $entries (struct.get $iterator $map (local.get $iterator))))
  (loop $look
    (local.set $at (struct.get $iterator $position (local.get $iterator)))
    (if (i32.ge_u (local.get $at) (array.len (local.get $entries))) (then (return (i32.const 0))))
    (struct.set $iterator $position (local.get $iterator) (i32.add (local.get $at) (i32.const 1)))
    (local.set $entry (array.get $entries (local.get $entries) (local.get $at)))
    (br_if $look (ref.is_null (local.get $entry))))
  (struct.set $iterator $next (local.get $iterator) (local.get $entry))
  (i32.const 1))

(func $next (param $iterator (ref $iterator)) (result (ref $entry)) (local $entry (ref $entry))
  (if (i32.ne (struct.get $iterator $expected (local.get $iterator))
      (struct.get $map $changes (struct.get $iterator $map (local.get $iterator))))
    (then (unreachable)))
  (if (i32.eqz (call $has_next (local.get $iterator))) (then (unreachable)))
  (local.set $entry (ref.as_non_null (struct.get $iterator $next (local.get $iterator))))
  (struct.set $iterator $last (local.get $iterator) (local.get $entry))
  (struct.set $iterator $next (local.get $iterator) (struct.get $entry $next (local.get $entry)))
  (local.get $entry))

(func $round (result i64)
  (local $map (ref $map)) (local $i i32) (local $j i32) (local $sum i64)
  (local $iterator (ref $iterator)) (local $entry (ref $entry))
  (local.set $map (call $new_map))
  (loop $fill
    (drop (call $put (local.get $map) (call $box (local.get $i)) (call $box (i32.const 42))))
    (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (global.get $count))))
  (loop $times
    (local.set $i (i32.const 0))
    (loop $ask
      (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u
        (call $unbox (call $get (local.get $map) (call $box (local.get $i)))))))
      (br_if $ask (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (global.get $count))))
    (br_if $times (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 5))))
  (local.set $iterator (call $iterator (local.get $map)))
  (loop $entries
    (if (call $has_next (local.get $iterator)) (then
      (local.set $entry (call $next (local.get $iterator)))
      (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 1)) (i64.extend_i32_u (i32.add
        (call $unbox (struct.get $entry $key (local.get $entry)))
        (call $unbox (struct.get $entry $value (local.get $entry)))))))
      (br $entries))))
  (local.get $sum))

(func $run (param $size i32) (result i64) (local $sum i64)
  (loop $rounds
    (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 7)) (call $round)))
    (br_if $rounds (local.tee $size (i32.sub (local.get $size) (i32.const 1)))))
  (local.get $sum))
