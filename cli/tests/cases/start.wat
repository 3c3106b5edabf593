;; A bare module with a start function has done its work when it is instantiated.
;;
;; RUN: bimetal run %s
;; EXIT: 134
;; STDERR: error: wasm trap: unreachable
;; STDERR: main
;;
;; RUN: bimetal run %t/quiet.wat
;; WRITE: quiet.wat (module (func $f) (start $f))
;;
;; RUN: bimetal run %t/empty.wat
;; WRITE: empty.wat (module)
;; EXIT: 1
;; STDERR: error: there is nothing to run: this bare module exports no function
;;
;; RUN: bimetal run %t/typed.wat
;; WRITE: typed.wat (module (func (export "_start") (param i32)))
;; EXIT: 1
;; STDERR: error: the export `_start` cannot be called: the function is of type
;;
;; RUN: bimetal run %t/plain.wat
;; WRITE: plain.wat (module (func (export "_start")))
(module
  (func $main unreachable)
  (start $main))
