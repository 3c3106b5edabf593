;; A divisor that is replaced where it is zero: wasmi 2.0.0 takes the wrong side of the `select`.
;; Here it was right; it is here so that it stays so.
(module
  (memory (export "m") 1 2)
  (global $fuel (export "fuel of the fuzzer") (mut i32) (i32.const 1000))
  (func (export "div") (param i64) (result i32) (local i32)
    (local.set 1 (i32.wrap_i64 (local.get 0)))
    i32.const 100
    i32.const 1
    local.get 1
    local.get 1
    i32.eqz
    select
    i32.div_u)
  (func (export "constant") (result i32) (local i32)
    (local.set 0 (i32.const 0x3fffffff))
    i32.const -3
    i32.const 1
    local.get 0
    local.get 0
    i32.eqz
    select
    i32.rem_u)
  (func (export "grow and store") (param i32 i64) (result i32)
    (local i32)
    (i64.store offset=3 (local.get 0) (local.get 1))
    (local.set 2 (memory.grow (i32.const 1)))
    (i64.store offset=65533 (local.get 0) (local.get 1))
    (local.get 2)))
