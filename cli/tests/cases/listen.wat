;; Listening sockets: the guest ends with the file type of descriptor 3, a stream socket (6).
;;
;; RUN: bimetal run --listen 127.0.0.1:0 -v %s
;; EXIT: 6
;; STDERR: listening on 127.0.0.1:
;; STDERR: the guest's listening sockets are its descriptors [3]
;;
;; RUN: bimetal run %s
;; EXIT: 255
;;
;; RUN: bimetal run --listen localhost:0 %s
;; EXIT: 6
;;
;; RUN: bimetal run --listen localhost %s
;; EXIT: 1
;; STDERR: invalid value 'localhost' for '--listen <HOST:PORT>': expected HOST:PORT
;;
;; RUN: bimetal run --listen no-such-host.invalid:80 %s
;; EXIT: 1
;; STDERR: error: cannot listen on no-such-host.invalid:80: the name cannot be resolved:
;;
;; RUN: bimetal run --listen 192.0.2.1:1 %s
;; EXIT: 1
;; STDERR: error: cannot listen on 192.0.2.1:1:
(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get"
    (func $fdstat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $fdstat (i32.const 3) (i32.const 0)) (then (call $exit (i32.const 255))))
    (call $exit (i32.load8_u (i32.const 0)))))
