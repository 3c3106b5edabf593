;; Programs on objects that compilers transform: functions that are inlined into each other and into
;; themselves, and what is known of objects from one access to the next.

(module
  (type $tree (struct (field $left (ref null $tree)) (field $right (ref null $tree))))
  (type $cell (struct (field $value (mut i32)) (field $next (mut (ref null $cell)))))
  (type $cells (array (mut (ref null $cell))))
  (type $words (array (mut i64)))
  (tag $stop (param i32))

  ;; Recursive twice over: inlined into itself.
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
  (func (export "trees") (param i32) (result i32) (call $count (call $make (local.get 0))))

  ;; A recursion without end is found out.
  (func $endless (export "endless") (param i32) (result (ref null $cell))
    (struct.new $cell (local.get 0) (call $endless (i32.add (local.get 0) (i32.const 1)))))

  ;; Locals of inlined functions begin as zeros each time, of whatever types those before had.
  (func $ints (param $n i32) (result i32) (local $a i32) (local $b i32)
    (if (local.get $n) (then (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.const 10))))
    (i32.add (local.get $a) (local.get $b)))
  (func $floats (param $n f64) (result f64) (local $a f64) (local $b f64)
    (if (f64.gt (local.get $n) (f64.const 0)) (then
      (local.set $a (f64.add (local.get $a) (f64.const 0.5))) (local.set $b (f64.const 4))))
    (f64.add (local.get $a) (local.get $b)))
  (func $refs (param $n (ref null $cell)) (result (ref null $cell))
    (local $a (ref null $cell)) (local $b (ref $cell))
    (if (ref.is_null (local.get $n))
      (then (local.set $a (struct.new $cell (i32.const 100) (ref.null $cell))))
      (else
        (local.set $b (ref.as_non_null (local.get $n)))
        (local.set $a (struct.new $cell
          (i32.add (struct.get $cell $value (local.get $b)) (i32.const 1)) (local.get $b)))))
    (local.get $a))
  (func (export "locals") (param $n i32) (result i32)
    (local $sum f64) (local $cell (ref null $cell))
    (loop $again
      (local.set $sum (f64.add (local.get $sum)
        (f64.convert_i32_s (call $ints (i32.and (local.get $n) (i32.const 1))))))
      (local.set $sum (f64.add (local.get $sum)
        (call $floats (f64.convert_i32_s (i32.and (local.get $n) (i32.const 2))))))
      (local.set $cell (call $refs (local.get $cell)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (i32.add (i32.trunc_f64_s (f64.mul (local.get $sum) (f64.const 2)))
      (struct.get $cell $value (local.get $cell))))

  ;; A loop in what is inlined, and calls below calls.
  (func $last (param $cell (ref $cell)) (result (ref $cell)) (local $next (ref null $cell))
    (loop $on
      (local.set $next (struct.get $cell $next (local.get $cell)))
      (if (i32.eqz (ref.is_null (local.get $next))) (then
        (local.set $cell (ref.as_non_null (local.get $next)))
        (br $on))))
    (local.get $cell))
  (func $append (param $list (ref null $cell)) (param $value i32) (result (ref $cell))
    (local $cell (ref $cell))
    (local.set $cell (struct.new $cell (local.get $value) (ref.null $cell)))
    (if (ref.is_null (local.get $list)) (then (return (local.get $cell))))
    (struct.set $cell $next (call $last (ref.as_non_null (local.get $list))) (local.get $cell))
    (ref.as_non_null (local.get $list)))
  (func $sum (param $cell (ref null $cell)) (result i32) (local $sum i32)
    (block $done (loop $on
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 3))
        (struct.get $cell $value (br_on_null $done (local.get $cell)))))
      (local.set $cell (struct.get $cell $next (local.get $cell)))
      (br $on)))
    (local.get $sum))
  (func (export "lists") (param $n i32) (result i32) (local $list (ref null $cell))
    (loop $again
      (local.set $list (call $append (local.get $list) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (call $sum (local.get $list)) (call $sum (ref.null $cell))))

  ;; What an inlined function throws is for who catches around the call.
  (func $throw (param $n i32) (param $cell (ref $cell)) (result (ref $cell))
    (if (i32.eq (local.get $n) (i32.const 3)) (then (throw $stop (local.get $n))))
    (struct.new $cell (local.get $n) (local.get $cell)))
  (func $through (param $n i32) (param $cell (ref $cell)) (result (ref $cell))
    (call $throw (local.get $n) (call $throw (i32.add (local.get $n) (i32.const 10))
      (local.get $cell))))
  (func (export "caught") (param $n i32) (result i32) (local $cell (ref $cell))
    (local.set $cell (struct.new $cell (i32.const 1000) (ref.null $cell)))
    (block $h (result i32)
      (try_table (catch $stop $h)
        (loop $again
          (local.set $cell (call $through (local.get $n) (local.get $cell)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $n) (i32.const 5)))))
      (i32.const 0))
    (i32.add (struct.get $cell $value (local.get $cell))))

  ;; Traps in what is inlined.
  (func $value (param $cell (ref null $cell)) (result i32)
    (struct.get $cell $value (local.get $cell)))
  (func $at (param $cells (ref null $cells)) (param $i i32) (result i32)
    (call $value (array.get $cells (local.get $cells) (local.get $i))))
  (func (export "at") (param $n i32) (param $i i32) (result i32) (local $cells (ref null $cells))
    (if (local.get $n) (then (local.set $cells
      (array.new $cells (struct.new $cell (i32.const 7) (ref.null $cell)) (local.get $n)))))
    (if (i32.eq (local.get $n) (i32.const 3)) (then
      (array.set $cells (local.get $cells) (i32.const 2) (ref.null $cell))))
    (call $at (local.get $cells) (local.get $i)))
  (func $abort (result (ref $cell)) (unreachable))
  (func (export "abort") (result i32) (call $value (call $abort)))

  ;; A branch out of an inlined body ends it alone.
  (func $early (param $n i32) (param $cell (ref null $cell)) (result i32)
    (block $b
      (br_if $b (ref.is_null (local.get $cell)))
      (loop $l
        (if (i32.gt_s (local.get $n) (i32.const 5)) (then (return (local.get $n))))
        (local.set $n (i32.add (local.get $n)
          (struct.get $cell $value (local.get $cell))))
        (br $l)))
    (i32.const -1))
  (func (export "early") (param $n i32) (result i32)
    (i32.add
      (i32.mul (i32.const 100)
        (call $early (local.get $n) (struct.new $cell (i32.const 2) (ref.null $cell))))
      (call $early (local.get $n) (ref.null $cell))))
)

(assert_return (invoke "trees" (i32.const 0)) (i32.const 1))
(assert_return (invoke "trees" (i32.const 1)) (i32.const 3))
(assert_return (invoke "trees" (i32.const 4)) (i32.const 31))
(assert_return (invoke "trees" (i32.const 7)) (i32.const 255))
(assert_exhaustion (invoke "endless" (i32.const 0)) "call stack exhausted")
(assert_return (invoke "locals" (i32.const 1)) (i32.const 122))
(assert_return (invoke "locals" (i32.const 2)) (i32.const 132))
(assert_return (invoke "locals" (i32.const 7)) (i32.const 230))
(assert_return (invoke "lists" (i32.const 1)) (i32.const 1))
(assert_return (invoke "lists" (i32.const 6)) (i32.const 2005))
(assert_return (invoke "caught" (i32.const 4)) (i32.const 4))
(assert_return (invoke "caught" (i32.const 2)) (i32.const 5))
(assert_return (invoke "caught" (i32.const 3)) (i32.const 1003))
(assert_return (invoke "at" (i32.const 4) (i32.const 3)) (i32.const 7))
(assert_trap (invoke "at" (i32.const 0) (i32.const 3)) "null array")
(assert_trap (invoke "at" (i32.const 3) (i32.const 3)) "out of bounds")
(assert_trap (invoke "at" (i32.const 3) (i32.const 2)) "null structure")
(assert_trap (invoke "abort") "unreachable")
(assert_return (invoke "early" (i32.const 2)) (i32.const 599))
(assert_return (invoke "early" (i32.const 9)) (i32.const 899))
