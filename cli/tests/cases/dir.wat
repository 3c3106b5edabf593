;; Directories: the guest prints `file` of its first preopen, then ends with the errno of creating
;; `new` there.
;;
;; RUN: bimetal run --dir %t %s
;; WRITE: file hello\n
;; STDOUT: hello
;;
;; RUN: bimetal run --dir %t::/data:ro %s
;; WRITE: file hello\n
;; STDOUT: hello
;; EXIT: 69
;;
;; RUN: bimetal run --dir . %s
;; WRITE: file here\n
;; STDOUT: here
;;
;; RUN: bimetal run %s
;; EXIT: 8
;;
;; RUN: bimetal run --dir %t/none %s
;; EXIT: 1
;; STDERR: error: the directory `%t/none` cannot be opened: No such file
;;
;; RUN: bimetal run --dir %t/file %s
;; WRITE: file x
;; EXIT: 1
;; STDERR: error: the directory `%t/file` cannot be opened: Not a directory
;;
;; RUN: bimetal run --dir ::x %s
;; EXIT: 1
;; STDERR: invalid value '::x' for '--dir <HOST[::GUEST][:ro]>'
;;
;; RUN: bimetal run --dir .::a::ro %s
;; EXIT: 1
;; STDERR: invalid value '.::a::ro' for '--dir <HOST[::GUEST][:ro]>': `a:`, the guest's name for it, ends in `:`; expected
;;
;; RUN: bimetal run --dir .:: %s
;; EXIT: 1
;; STDERR: invalid value '.::' for '--dir <HOST[::GUEST][:ro]>': expected HOST, HOST::GUEST
;;
;; RUN: bimetal run --dir .::x --dir %t::x/ %s
;; EXIT: 1
;; STDERR: error: the guest's name `x/` is given to two directories
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "file")
  (data (i32.const 8) "new")
  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $exit (local.get $errno)))))
  (func (export "_start")
    (call $check (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 32) (i32.const 1024))
    (i32.store (i32.const 36) (i32.const 512))
    (call $check (call $fd_read (i32.load (i32.const 16)) (i32.const 32) (i32.const 1)
      (i32.const 20)))
    (i32.store (i32.const 36) (i32.load (i32.const 20)))
    (call $check (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 20)))
    ;; oflags: creat | excl; rights: fd_write
    (call $exit (call $path_open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 3)
      (i32.const 5) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))))
