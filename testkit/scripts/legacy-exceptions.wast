;; The exception instructions that came before `exnref`.

(module $tags
  (tag $imported (export "imported") (param i32))
  (func (export "throw-imported") (param i32) (throw $imported (local.get 0))))
(register "tags")

(module
  (tag $imported (import "tags" "imported") (param i32))
  (tag $alias (import "tags" "imported") (param i32))
  (func $throw-imported (import "tags" "throw-imported") (param i32))
  (tag $e0)
  (tag $e1)
  (tag $i32 (param i32))
  (tag $many (param i64 f32 i32 f64))

  (func $throw-if (param i32)
    (if (local.get 0) (then (throw $e0))))

  (func $throw-i32 (param i32) (throw $i32 (local.get 0)))

  (func (export "empty") (result i32)
    try (result i32) (i32.const 1) catch $e0 (i32.const 2) catch_all (i32.const 3) end)

  (func (export "simple") (param i32) (result i32)
    try (result i32) (call $throw-if (local.get 0)) (i32.const 42)
       catch $e0 (i32.const 23) end)

  (func (export "in-place") (result i32)
    try (result i32) (throw $e0) catch $e0 (i32.const 23) end)

  (func (export "without-catch") (param i32)
    try (call $throw-if (local.get 0)) end)

  (func (export "unreachable-not-caught") try (unreachable) catch_all end)

  (func $div (param i32 i32) (result i32) (i32.div_u (local.get 0) (local.get 1)))
  (func (export "trap-in-callee") (param i32 i32) (result i32)
    try (result i32) (call $div (local.get 0) (local.get 1))
       catch_all (i32.const 11) end)

  (func (export "second") (param i32) (result i32)
    try (result i32) (call $throw-i32 (local.get 0)) (i32.const 0)
       catch $e0 (i32.const 1)
       catch $e1 (i32.const 2)
       catch $i32
       catch_all (i32.const 4) end)

  (func (export "all") (param i32) (result i32)
    try (result i32) (call $throw-i32 (local.get 0)) (i32.const 0)
       catch $e0 (i32.const 1)
       catch_all (i32.const 4) end)

  (func (export "imported") (param i32) (result i32)
    try (result i32) (call $throw-imported (local.get 0)) (i32.const 0)
       catch $i32 (drop) (i32.const 1)
       catch $imported end)

  (func (export "alias") (param i32) (result i32)
    try (result i32) (throw $alias (local.get 0))
       catch $imported end)

  (func (export "payload") (result f64)
    (local $i i64) (local $f f32) (local $n i32) (local $d f64)
    try (throw $many (i64.const 1) (f32.const 2) (i32.const 3) (f64.const 4))
       catch $many (local.set $d) (local.set $n) (local.set $f) (local.set $i) end
    (f64.add (f64.add (f64.convert_i64_s (local.get $i)) (f64.promote_f32 (local.get $f)))
      (f64.mul (f64.convert_i32_s (local.get $n)) (local.get $d))))

  ;; An exception in a catch is not caught by the same try.
  (func (export "catch-throws") (result i32)
    try (result i32)
        try (result i32) (call $throw-if (i32.const 1)) (i32.const 0)
           catch $e0 (throw $e1)
           catch $e1 (i32.const 1) end
       catch $e1 (i32.const 2) end)

  (func (export "inner-catches") (param i32) (result i32)
    try (result i32)
        try (result i32) (call $throw-if (local.get 0)) (i32.const 0)
           catch $e1 (i32.const 1) end
       catch $e0 (i32.const 2) end)

  ;; Locals are those at the call.
  (func (export "locals") (param i32) (result i32)
    (local $n i32)
    (local.set $n (i32.const 1))
    try
        (local.set $n (i32.const 10))
        (call $throw-if (i32.eq (local.get 0) (i32.const 0)))
        (local.set $n (i32.const 20))
        (call $throw-if (i32.eq (local.get 0) (i32.const 1)))
        (local.set $n (i32.const 30))
       catch $e0 (local.set $n (i32.add (local.get $n) (i32.const 5))) end
    (local.get $n))

  (func (export "in-loop") (param i32) (result i32)
    (local $sum i32)
    (loop $again
      try (call $throw-i32 (local.get 0))
         catch $i32 (local.set $sum (i32.add (local.get $sum))) end
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $sum))

  (func (export "rethrow") (param i32) (result i32)
    try (result i32)
        try (result i32) (call $throw-i32 (local.get 0)) (i32.const 0)
           catch_all (rethrow 0) end
       catch $i32 (i32.add (i32.const 100)) end)

  (func (export "rethrow-outer") (param i32) (result i32)
    try (result i32)
        try (result i32) (call $throw-i32 (local.get 0)) (i32.const 0)
           catch $i32 (drop)
            try (result i32) (throw $e0)
               catch $e0 (rethrow 1) end end
       catch $i32 (i32.add (i32.const 100))
       catch_all (i32.const 1) end)

  (func (export "rethrow-uncaught") (param i32)
    try (call $throw-i32 (local.get 0)) catch_all (rethrow 0) end)

  (func (export "rethrow-nested") (param i32) (result i32)
    try (result i32) (throw $e1)
       catch $e1 try (result i32)
            try (result i32) (throw $e0)
               catch $e0 (if (i32.eq (local.get 0) (i32.const 0)) (then (rethrow 1)))
                (if (i32.eq (local.get 0) (i32.const 1)) (then (rethrow 3)))
                (i32.const 23) end
           catch $e0 (i32.const 42)
           catch $e1 (i32.const 43) end end)

  (func (export "delegate-none") (result i32)
    try (result i32) (i32.const 1) (br 0) delegate 0)

  (func (export "delegate-simple") (param i32) (result i32)
    try $t (result i32)
        try (result i32) (call $throw-if (local.get 0)) (i32.const 1)
           delegate $t
       catch $e0 (i32.const 2) end)

  (func (export "delegate-skips") (result i32)
    try $t (result i32)
        try (result i32)
            try (result i32) (throw $e0)
               delegate $t
           catch $e0 (i32.const 1) end
       catch $e0 (i32.const 2) end)

  ;; A block catches nothing: whoever is around it does.
  (func (export "delegate-to-block") (result i32)
    try (result i32)
        (block $b
          try (throw $e0) delegate $b)
        (i32.const 0)
       catch_all (i32.const 1) end)

  (func (export "delegate-to-catch") (result i32)
    try (result i32)
        try $t (throw $e0)
           catch $e0 try (call $throw-if (i32.const 1)) delegate $t end
        (i32.const 0)
       catch_all (i32.const 1) end)

  (func (export "delegate-to-caller")
    try try (throw $e0) delegate 1 catch_all end)

  (func $count (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (throw $i32 (i32.const 7)))
      (else
        try (result i32) (call $count (i32.sub (local.get 0) (i32.const 1)))
           catch $e0 (i32.const 1) end)))
  (func (export "deep") (param i32) (result i32)
    try (result i32) (call $count (local.get 0))
       catch $i32 end)

  (type $t (func (param i32)))
  (table funcref (elem $throw-if $throw-i32))
  (func (export "indirect") (param i32) (result i32)
    try (result i32) (call_indirect (type $t) (i32.const 1) (local.get 0)) (i32.const 0)
       catch $e0 (i32.const 100)
       catch $i32 (i32.add (i32.const 200)) end)

  (func $nothing (param i32) (result i32) (local.get 0))
  (func (export "results") (param i32) (result i32)
    try (result i32)
        (call $nothing (i32.const 3))
        (call $nothing (local.get 0))
        (call $throw-if)
        (call $nothing (i32.const 4))
        (i32.add)
       catch_all (i32.const 5) end)

  ;; A tail call is made outside of the try.
  (func $tail (param i32)
    try (return_call $throw-if (local.get 0)) catch_all end)
  (func (export "tail-call") (param i32) (result i32)
    try (result i32) (call $tail (local.get 0)) (i32.const 0)
       catch_all (i32.const 1) end)

  ;; Both kinds in one function.
  (func (export "mixed") (param i32) (result i32)
    (block $h (result i32)
      (try_table (catch $i32 $h)
        try (call $throw-i32 (local.get 0))
           catch $e0 (return (i32.const 1)) end)
      (i32.const 2)))

  (func (export "unreachable-catch") (result i32)
    try (result i32) (i32.const 1) (br 0)
       catch $e0 (call $throw-if (i32.const 1)) (i32.const 2)
       catch $e1 (rethrow 0)
       catch_all (rethrow 0) end)
)

(assert_return (invoke "empty") (i32.const 1))
(assert_return (invoke "simple" (i32.const 0)) (i32.const 42))
(assert_return (invoke "simple" (i32.const 1)) (i32.const 23))
(assert_return (invoke "in-place") (i32.const 23))
(assert_return (invoke "without-catch" (i32.const 0)))
(assert_exception (invoke "without-catch" (i32.const 1)))
(assert_trap (invoke "unreachable-not-caught") "unreachable")
(assert_return (invoke "trap-in-callee" (i32.const 7) (i32.const 2)) (i32.const 3))
(assert_trap (invoke "trap-in-callee" (i32.const 1) (i32.const 0)) "integer divide by zero")
(assert_return (invoke "second" (i32.const 77)) (i32.const 77))
(assert_return (invoke "all" (i32.const 77)) (i32.const 4))
(assert_return (invoke "imported" (i32.const 77)) (i32.const 77))
(assert_return (invoke "alias" (i32.const 77)) (i32.const 77))
(assert_return (invoke "payload") (f64.const 15))
(assert_return (invoke "catch-throws") (i32.const 2))
(assert_return (invoke "inner-catches" (i32.const 0)) (i32.const 0))
(assert_return (invoke "inner-catches" (i32.const 1)) (i32.const 2))
(assert_return (invoke "locals" (i32.const 0)) (i32.const 15))
(assert_return (invoke "locals" (i32.const 1)) (i32.const 25))
(assert_return (invoke "locals" (i32.const 2)) (i32.const 30))
(assert_return (invoke "in-loop" (i32.const 10)) (i32.const 55))
(assert_return (invoke "rethrow" (i32.const 7)) (i32.const 107))
(assert_return (invoke "rethrow-outer" (i32.const 7)) (i32.const 107))
(assert_exception (invoke "rethrow-uncaught" (i32.const 7)))
(assert_return (invoke "rethrow-nested" (i32.const 0)) (i32.const 42))
(assert_return (invoke "rethrow-nested" (i32.const 1)) (i32.const 43))
(assert_return (invoke "rethrow-nested" (i32.const 2)) (i32.const 23))
(assert_return (invoke "delegate-none") (i32.const 1))
(assert_return (invoke "delegate-simple" (i32.const 0)) (i32.const 1))
(assert_return (invoke "delegate-simple" (i32.const 1)) (i32.const 2))
(assert_return (invoke "delegate-skips") (i32.const 2))
(assert_return (invoke "delegate-to-block") (i32.const 1))
(assert_return (invoke "delegate-to-catch") (i32.const 1))
(assert_exception (invoke "delegate-to-caller"))
(assert_return (invoke "deep" (i32.const 100)) (i32.const 7))
(assert_return (invoke "indirect" (i32.const 0)) (i32.const 100))
(assert_return (invoke "indirect" (i32.const 1)) (i32.const 201))
(assert_return (invoke "results" (i32.const 0)) (i32.const 7))
(assert_return (invoke "results" (i32.const 1)) (i32.const 5))
(assert_return (invoke "tail-call" (i32.const 0)) (i32.const 0))
(assert_return (invoke "tail-call" (i32.const 1)) (i32.const 1))
(assert_return (invoke "mixed" (i32.const 9)) (i32.const 9))
(assert_return (invoke "unreachable-catch") (i32.const 1))

(assert_invalid (module (tag $e (result i32))) "non-empty tag result type")
(assert_invalid (module (func (rethrow 0))) "invalid rethrow label")
(assert_invalid (module (tag $e) (func try catch $e (i32.const 1) end)) "type mismatch")
