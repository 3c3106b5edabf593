;; RUN: bimetal wast %s
;; EXIT: 1
;; STDOUT-HAS: FAIL %s (3 of 8 directives)
;; STDOUT-HAS: %s:34:2: result 0: expected (i32.const 6
;; STDOUT-HAS: got (i32.const 5
;;
;; RUN: bimetal wast --lazy -O0 %t/good.wast
;; WRITE: good.wast (module (func (export "f"))) (assert_return (invoke "f"))
;; STDOUT: ok   %t/good.wast (2 directives)
;;
;; RUN: bimetal wast %t
;; WRITE: a.wast (module)
;; WRITE: b.wast (module
;; WRITE: c.txt no script
;; EXIT: 1
;; STDOUT-HAS: ok   %t/a.wast (1 directive)
;; STDOUT-HAS: FAIL %t/b.wast
;; STDOUT-HAS: 1 passed, 1 failed
;;
;; RUN: bimetal wast %t
;; EXIT: 1
;; STDERR: error: there are no `.wast` files
;;
;; RUN: bimetal wast %t/none.wast
;; EXIT: 1
;; STDERR: error: `%t/none.wast` cannot be read: No such file

(module
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "trap") unreachable))

(assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 5))
(assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 6))
(assert_trap (invoke "trap") "unreachable")
(assert_trap (invoke "add" (i32.const 0) (i32.const 0)) "unreachable")
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_invalid (module (func)) "type mismatch")
(assert_malformed (module quote "(func") "unexpected token")
