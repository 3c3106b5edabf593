;; Limits: what goes past them is stopped, and the exit code is that of a trap.
;;
;; RUN: bimetal run --invoke spin --fuel 100000 %s
;; EXIT: 134
;; STDERR: error: wasm trap: all fuel consumed
;; STDERR: demo!spin
;;
;; RUN: bimetal run --invoke add --fuel 100 %s 1 2
;; STDOUT: 3
;;
;; RUN: bimetal run --invoke add --fuel 0 %s 1 2
;; EXIT: 134
;; STDERR: error: wasm trap: all fuel consumed
;;
;; RUN: bimetal run --invoke spin --timeout 50ms %s
;; EXIT: 134
;; STDERR: error: wasm trap: timeout after 50ms: interrupt
;; STDERR: demo!spin
;;
;; RUN: bimetal run --invoke spin --eager -O0 --fuel 9223372036854775807 --timeout .1s %s
;; EXIT: 134
;; STDERR: error: wasm trap: timeout after .1s: interrupt
;;
;; RUN: bimetal run --invoke sleep --timeout 50ms %s
;; EXIT: 134
;; STDERR: error: wasm trap: timeout after 50ms: interrupt
;;
;; RUN: bimetal run --invoke add --timeout 1h %s 1 2
;; STDOUT: 3
;;
;; RUN: bimetal run --invoke grow %s 1
;; STDOUT: 1
;;
;; RUN: bimetal run --invoke grow --max-memory 128K %s 1
;; STDOUT: 1
;;
;; RUN: bimetal run --invoke grow --max-memory 128K %s 2
;; STDOUT: -1
;;
;; RUN: bimetal run --invoke grow --max-memory 1K %s 1
;; EXIT: 1
;; STDERR: error:
;;
;; RUN: bimetal run --invoke grow_table --max-table 3 %s 1
;; STDOUT: 2
;;
;; RUN: bimetal run --invoke grow_table --max-table 3 %s 2
;; STDOUT: -1
;;
;; RUN: bimetal run --invoke depth --max-stack 64K %s 10000000
;; EXIT: 134
;; STDERR: error: wasm trap: call stack exhausted
;;
;; RUN: bimetal run --invoke depth %s 3000
;; STDOUT: 3000
;;
;; RUN: bimetal run --timeout soon %s
;; EXIT: 1
;; STDERR: error: invalid value 'soon' for '--timeout <DURATION>'
;;
;; RUN: bimetal run --max-memory much %s
;; EXIT: 1
;; STDERR: error: invalid value 'much' for '--max-memory <SIZE>'
(module $demo
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (func $spin (export "spin") (loop (br 0)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  ;; A relative wait of an hour on the monotonic clock.
  (func (export "sleep")
    (i32.store8 (i32.const 8) (i32.const 0))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "grow_table") (param i32) (result i32)
    (table.grow (ref.null func) (local.get 0)))
  (func $depth (export "depth") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $depth (i32.sub (local.get 0) (i32.const 1)))))
      (else (i32.const 0)))))
