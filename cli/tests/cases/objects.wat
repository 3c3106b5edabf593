;; Objects are collected as the program runs; what lives is limited like a memory.
;;
;; RUN: bimetal run -v %s
;; STDERR: collections:
;; STDERR: alive; stopped for
;;
;; RUN: bimetal run --max-memory 16M %s
;;
;; RUN: bimetal run --max-memory 16M --invoke endless %s
;; EXIT: 134
;; STDERR: the garbage-collected heap has no room for this object
;; STDERR: endless
(module
  (type $cell (struct (field (ref null $cell)) (field i64)))
  (global $all (mut (ref null $cell)) (ref.null $cell))
  (func (export "_start") (local $n i32)
    (loop $again
      (global.set $all (struct.new $cell (ref.null $cell) (i64.const 1)))
      (br_if $again (i32.lt_u
        (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000)))))
  (func (export "endless")
    (loop $again
      (global.set $all (struct.new $cell (global.get $all) (i64.const 1)))
      (br $again))))
