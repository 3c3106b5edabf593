;; Text that does not parse, or is not valid: where, in the file's own terms.
;;
;; RUN: bimetal run %s
;; EXIT: 1
;; STDERR: error: `%s` cannot be loaded:
;; STDERR: --> %s:32:14
;; STDERR: i32.sum
;;
;; RUN: bimetal validate %s
;; EXIT: 1
;; STDERR: --> %s:32:14
;;
;; RUN: bimetal wat %s
;; EXIT: 1
;; STDERR: --> %s:32:14
;;
;; RUN: bimetal validate %t/bad.wat %t/good.wat
;; WRITE: bad.wat (module (func $broken (result i32)))
;; WRITE: good.wat (module)
;; EXIT: 1
;; STDOUT: %t/good.wat: valid
;; STDERR: error: `%t/bad.wat` is no module that can be used: type mismatch
;; STDERR: broken
;;
;; RUN: bimetal run %t/future.wat
;; WRITE: future.wat (module (memory 1 (pagesize 1)) (func (export "_start")))
;; EXIT: 1
;; STDERR: error: `%t/future.wat` cannot be loaded:
;; STDERR: custom page sizes
(module
  (func (export "f") (result i32)
    (i32.add i32.sum)))
