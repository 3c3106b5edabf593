;; Objects in globals that are never set: they move all the same, also while a loop runs that would read
;; the global once.
(module
  (rec
    (type $number (func (param (ref $object)) (result i32)))
    (type $class (struct (field $number (ref $number))))
    (type $object (sub (struct (field $class (ref $class)) (field $value i32)))))
  (elem declare func $value)
  (global $class (ref $class) (struct.new $class (ref.func $value)))
  (global $wrapped externref (extern.convert_any (struct.new $object (global.get $class) (i32.const 3))))
  (func $value (type $number) (struct.get $object $value (local.get 0)))

  (func (export "sum") (param $n i32) (result i32) (local $sum i32) (local $object (ref $object))
    (loop $again
      (local.set $object (struct.new $object (global.get $class) (local.get $n)))
      (local.set $sum (i32.add (local.get $sum) (call_ref $number (local.get $object)
        (struct.get $class $number (struct.get $object $class (local.get $object))))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  (func (export "wrapped") (param $n i32) (result i32) (local $sum i32) (local $object (ref $object))
    (loop $again
      (drop (struct.new $object (global.get $class) (local.get $n)))
      (local.set $object
        (ref.cast (ref $object) (any.convert_extern (global.get $wrapped))))
      (local.set $sum (i32.add (local.get $sum) (struct.get $object $value (local.get $object))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))

(assert_return (invoke "sum" (i32.const 100)) (i32.const 5050))
(assert_return (invoke "sum" (i32.const 200000)) (i32.const -1474736480))
(assert_return (invoke "wrapped" (i32.const 200000)) (i32.const 600000))
