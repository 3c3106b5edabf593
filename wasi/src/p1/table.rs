//! The one table of preview 1's functions: name and wasm signature.
//!
//! The parameters are those of the Rust functions after context and memory, in the specification's
//! order; on the wire they are `i32` and `i64`. All return an `i32` errno but `proc_exit`, which
//! does not return. The lists are macros that hand themselves to another macro, so that linking,
//! and whatever else is wanted per function, is written once.

use super::{GuestMemory, Result};
use crate::WasiCtx;

/// A type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum WireType {
    I32,
    I64,
}

/// A function with its parameters as on the wire: missing ones are 0, 32-bit ones are cut.
pub type Call = fn(&mut WasiCtx, &mut GuestMemory<'_>, &[u64]) -> Result<()>;

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// What it is called here; `wasm` knows no such names.
    pub name: &'static str,
    /// Its type.
    pub ty: WireType,
}

/// One function of the interface.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The name of the import.
    pub name: &'static str,
    /// The parameters.
    pub params: &'static [Param],
    /// Whether it returns an errno; `proc_exit` returns nothing.
    pub returns: bool,
    /// The function itself, for callers that know it only at run time; `None` for `proc_exit`.
    pub call: Option<Call>,
}

/// The functions that both snapshots have and that return an errno.
macro_rules! common_functions {
    ($with:ident $($extra:tt)*) => {
        $with! { $($extra)*
            args_get(argv: u32, argv_buf: u32);
            args_sizes_get(argc: u32, argv_buf_size: u32);
            environ_get(environ: u32, environ_buf: u32);
            environ_sizes_get(count: u32, buf_size: u32);
            clock_res_get(id: u32, resolution: u32);
            clock_time_get(id: u32, precision: u64, time: u32);
            fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
            fd_allocate(fd: u32, offset: u64, len: u64);
            fd_close(fd: u32);
            fd_datasync(fd: u32);
            fd_fdstat_get(fd: u32, stat: u32);
            fd_fdstat_set_flags(fd: u32, flags: u32);
            fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
            fd_filestat_get(fd: u32, buf: u32);
            fd_filestat_set_size(fd: u32, size: u64);
            fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, fst_flags: u32);
            fd_pread(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nread: u32);
            fd_prestat_get(fd: u32, prestat: u32);
            fd_prestat_dir_name(fd: u32, path: u32, path_len: u32);
            fd_pwrite(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nwritten: u32);
            fd_read(fd: u32, iovs: u32, iovs_len: u32, nread: u32);
            fd_readdir(fd: u32, buf: u32, buf_len: u32, cookie: u64, bufused: u32);
            fd_renumber(fd: u32, to: u32);
            fd_seek(fd: u32, offset: i64, whence: u32, newoffset: u32);
            fd_sync(fd: u32);
            fd_tell(fd: u32, offset: u32);
            fd_write(fd: u32, iovs: u32, iovs_len: u32, nwritten: u32);
            path_create_directory(fd: u32, path: u32, path_len: u32);
            path_filestat_get(fd: u32, lookup: u32, path: u32, path_len: u32, buf: u32);
            path_filestat_set_times(
                fd: u32, lookup: u32, path: u32, path_len: u32, atim: u64, mtim: u64, fst_flags: u32
            );
            path_link(
                old_fd: u32, old_flags: u32, old_path: u32, old_path_len: u32,
                new_fd: u32, new_path: u32, new_path_len: u32
            );
            path_open(
                fd: u32, dirflags: u32, path: u32, path_len: u32, oflags: u32,
                base: u64, inheriting: u64, fdflags: u32, opened_fd: u32
            );
            path_readlink(
                fd: u32, path: u32, path_len: u32, buf: u32, buf_len: u32, bufused: u32
            );
            path_remove_directory(fd: u32, path: u32, path_len: u32);
            path_rename(
                fd: u32, old_path: u32, old_path_len: u32,
                new_fd: u32, new_path: u32, new_path_len: u32
            );
            path_symlink(
                old_path: u32, old_path_len: u32, fd: u32, new_path: u32, new_path_len: u32
            );
            path_unlink_file(fd: u32, path: u32, path_len: u32);
            poll_oneoff(input: u32, output: u32, nsubscriptions: u32, nevents: u32);
            proc_raise(signal: u32);
            sched_yield();
            random_get(buf: u32, buf_len: u32);
            sock_recv(
                fd: u32, ri_data: u32, ri_data_len: u32, ri_flags: u32,
                ro_datalen: u32, ro_flags: u32
            );
            sock_send(fd: u32, si_data: u32, si_data_len: u32, si_flags: u32, so_datalen: u32);
            sock_shutdown(fd: u32, how: u32);
        }
    };
}

/// The functions that only preview 1 has.
macro_rules! new_functions {
    ($with:ident $($extra:tt)*) => {
        $with! { $($extra)*
            sock_accept(fd: u32, fdflags: u32, connection: u32);
        }
    };
}

pub(super) use {common_functions, new_functions};

macro_rules! wire_type {
    (u32) => {
        WireType::I32
    };
    (u64) => {
        WireType::I64
    };
    (i64) => {
        WireType::I64
    };
}

/// More parameters than any function has.
const MAX_PARAMS: usize = 12;

fn first_ones(wire: &[u64]) -> [u64; MAX_PARAMS] {
    std::array::from_fn(|i| wire.get(i).copied().unwrap_or_default())
}

macro_rules! describe {
    ($($name:ident($($param:ident: $type:ident),*);)*) => {
        &[$(Function {
            name: stringify!($name),
            params: &[$(Param { name: stringify!($param), ty: wire_type!($type) }),*],
            returns: true,
            call: Some(|ctx, mem, wire| {
                let [$($param,)* ..] = first_ones(wire);
                $(let $param = $param as $type;)*
                super::$name(ctx, mem $(, $param)*)
            }),
        }),*]
    };
}

const COMMON: &[Function] = common_functions!(describe);
const NEW: &[Function] = new_functions!(describe);
const PROC_EXIT: Function = Function {
    name: "proc_exit",
    params: &[Param {
        name: "code",
        ty: WireType::I32,
    }],
    returns: false,
    call: None,
};

/// All functions of `wasi_snapshot_preview1`.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    COMMON.iter().chain(NEW).chain([&PROC_EXIT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_functions_are_there() {
        let names: std::collections::BTreeSet<_> = functions().map(|f| f.name).collect();
        assert_eq!(names.len(), 46);
        assert_eq!(functions().count(), 46);
    }
}
