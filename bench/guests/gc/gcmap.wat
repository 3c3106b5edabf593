;; A hash map with chains, which grows, loses half of its keys again and again, and whose values are
;; objects: old objects that refer to new ones all the time.
(data (i32.const 0) "gcmap")
(global $name_length i32 (i32.const 5))
(type $value (struct (field $a i32) (field $b f64)))
(type $entry (struct
  (field $key i32) (field $value (mut (ref $value))) (field $next (mut (ref null $entry)))))
(type $buckets (array (mut (ref null $entry))))
(type $map (struct (field $buckets (mut (ref $buckets))) (field $count (mut i32))))

(func $hash (param $key i32) (result i32)
  (local.set $key (i32.mul (i32.xor (local.get $key)
    (i32.shr_u (local.get $key) (i32.const 15))) (i32.const 0x2c1b3c6d)))
  (i32.xor (local.get $key) (i32.shr_u (local.get $key) (i32.const 13))))

(func $slot (param $buckets (ref $buckets)) (param $key i32) (result i32)
  (i32.and (call $hash (local.get $key))
    (i32.sub (array.len (local.get $buckets)) (i32.const 1))))

(func $find (param $map (ref $map)) (param $key i32) (result (ref null $entry))
  (local $buckets (ref $buckets)) (local $entry (ref null $entry))
  (local.set $buckets (struct.get $map $buckets (local.get $map)))
  (local.set $entry (array.get $buckets (local.get $buckets)
    (call $slot (local.get $buckets) (local.get $key))))
  (loop $chain
    (if (i32.eqz (ref.is_null (local.get $entry))) (then
      (if (i32.ne (struct.get $entry $key (local.get $entry)) (local.get $key)) (then
        (local.set $entry (struct.get $entry $next (local.get $entry)))
        (br $chain))))))
  (local.get $entry))

(func $grow (param $map (ref $map))
  (local $from (ref $buckets)) (local $to (ref $buckets)) (local $i i32) (local $at i32)
  (local $entry (ref null $entry)) (local $next (ref null $entry))
  (local.set $from (struct.get $map $buckets (local.get $map)))
  (local.set $to (array.new_default $buckets
    (i32.shl (array.len (local.get $from)) (i32.const 1))))
  (loop $buckets
    (local.set $entry (array.get $buckets (local.get $from) (local.get $i)))
    (loop $chain
      (if (i32.eqz (ref.is_null (local.get $entry))) (then
        (local.set $next (struct.get $entry $next (local.get $entry)))
        (local.set $at (call $slot (local.get $to) (struct.get $entry $key (local.get $entry))))
        (struct.set $entry $next (local.get $entry)
          (array.get $buckets (local.get $to) (local.get $at)))
        (array.set $buckets (local.get $to) (local.get $at) (local.get $entry))
        (local.set $entry (local.get $next))
        (br $chain))))
    (br_if $buckets (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (array.len (local.get $from)))))
  (struct.set $map $buckets (local.get $map) (local.get $to)))

(func $set (param $map (ref $map)) (param $key i32) (param $value (ref $value))
  (local $entry (ref null $entry)) (local $buckets (ref $buckets)) (local $at i32)
  (local.set $entry (call $find (local.get $map) (local.get $key)))
  (if (ref.is_null (local.get $entry))
    (then
      (local.set $buckets (struct.get $map $buckets (local.get $map)))
      (if (i32.gt_u (struct.get $map $count (local.get $map)) (array.len (local.get $buckets)))
        (then
          (call $grow (local.get $map))
          (local.set $buckets (struct.get $map $buckets (local.get $map)))))
      (local.set $at (call $slot (local.get $buckets) (local.get $key)))
      (array.set $buckets (local.get $buckets) (local.get $at)
        (struct.new $entry (local.get $key) (local.get $value)
          (array.get $buckets (local.get $buckets) (local.get $at))))
      (struct.set $map $count (local.get $map)
        (i32.add (struct.get $map $count (local.get $map)) (i32.const 1))))
    (else (struct.set $entry $value (local.get $entry) (local.get $value)))))

(func $remove (param $map (ref $map)) (param $key i32)
  (local $entry (ref null $entry)) (local $before (ref null $entry))
  (local $buckets (ref $buckets)) (local $at i32)
  (local.set $buckets (struct.get $map $buckets (local.get $map)))
  (local.set $at (call $slot (local.get $buckets) (local.get $key)))
  (local.set $entry (array.get $buckets (local.get $buckets) (local.get $at)))
  (loop $chain
    (if (ref.is_null (local.get $entry)) (then (return)))
    (if (i32.ne (struct.get $entry $key (local.get $entry)) (local.get $key)) (then
      (local.set $before (local.get $entry))
      (local.set $entry (struct.get $entry $next (local.get $entry)))
      (br $chain))))
  (if (ref.is_null (local.get $before))
    (then (array.set $buckets (local.get $buckets) (local.get $at)
      (struct.get $entry $next (local.get $entry))))
    (else (struct.set $entry $next (local.get $before)
      (struct.get $entry $next (local.get $entry)))))
  (struct.set $map $count (local.get $map)
    (i32.sub (struct.get $map $count (local.get $map)) (i32.const 1))))

(func $run (param $size i32) (result i64)
  (local $map (ref $map)) (local $round i32) (local $i i32) (local $key i32)
  (local $sum i64) (local $entry (ref null $entry)) (local $value (ref $value))
  (local.set $map (struct.new $map (array.new_default $buckets (i32.const 16)) (i32.const 0)))
  (loop $rounds
    (local.set $i (i32.const 0))
    (loop $insert
      (local.set $key (i32.and (i32.mul (i32.add (local.get $i)
        (i32.mul (local.get $round) (i32.const 7919))) (i32.const 0x9e3779b1)) (i32.const 0x3ffff)))
      (call $set (local.get $map) (local.get $key)
        (struct.new $value (local.get $i) (f64.convert_i32_u (local.get $key))))
      (br_if $insert (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
        (i32.const 100000))))
    (local.set $i (i32.const 0))
    (loop $look
      (local.set $entry (call $find (local.get $map) (local.get $i)))
      (if (i32.eqz (ref.is_null (local.get $entry))) (then
        (local.set $value (struct.get $entry $value (local.get $entry)))
        (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 1))
          (i64.add (i64.extend_i32_u (struct.get $value $a (local.get $value)))
            (i64.trunc_f64_u (struct.get $value $b (local.get $value))))))))
      (if (i32.and (i32.xor (local.get $i) (local.get $round)) (i32.const 1)) (then
        (call $remove (local.get $map) (local.get $i))))
      (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
        (i32.const 0x40000))))
    (br_if $rounds (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1)))
      (local.get $size))))
  (i64.add (local.get $sum) (i64.extend_i32_u (struct.get $map $count (local.get $map)))))
