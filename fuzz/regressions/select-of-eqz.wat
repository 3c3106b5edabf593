;; A divisor that is replaced where it is zero. An interpreter takes the wrong side of the `select`.
(module
  (memory (export "m") 1 2)
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
