//! The one table of preview 1's functions: name and wasm signature.
//!
//! `i32` and `i64` are the types on the wire, in the specification's order of parameters. All
//! return an `i32` errno but `proc_exit`, which does not return. The lists are macros that hand
//! themselves to another macro, so that linking, and whatever else is wanted per function, is
//! written once.

/// A type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum WireType {
    I32,
    I64,
}

/// One function of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name of the import.
    pub name: &'static str,
    /// The parameters.
    pub params: &'static [WireType],
    /// Whether it returns an errno; `proc_exit` returns nothing.
    pub returns: bool,
}

/// The functions that both snapshots have and that return an errno.
macro_rules! common_functions {
    ($with:ident $($extra:tt)*) => {
        $with! { $($extra)*
            args_get(argv: i32, argv_buf: i32);
            args_sizes_get(argc: i32, argv_buf_size: i32);
            environ_get(environ: i32, environ_buf: i32);
            environ_sizes_get(count: i32, buf_size: i32);
            clock_res_get(id: i32, resolution: i32);
            clock_time_get(id: i32, precision: i64, time: i32);
            fd_advise(fd: i32, offset: i64, len: i64, advice: i32);
            fd_allocate(fd: i32, offset: i64, len: i64);
            fd_close(fd: i32);
            fd_datasync(fd: i32);
            fd_fdstat_get(fd: i32, stat: i32);
            fd_fdstat_set_flags(fd: i32, flags: i32);
            fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64);
            fd_filestat_get(fd: i32, buf: i32);
            fd_filestat_set_size(fd: i32, size: i64);
            fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, fst_flags: i32);
            fd_pread(fd: i32, iovs: i32, iovs_len: i32, offset: i64, nread: i32);
            fd_prestat_get(fd: i32, prestat: i32);
            fd_prestat_dir_name(fd: i32, path: i32, path_len: i32);
            fd_pwrite(fd: i32, iovs: i32, iovs_len: i32, offset: i64, nwritten: i32);
            fd_read(fd: i32, iovs: i32, iovs_len: i32, nread: i32);
            fd_readdir(fd: i32, buf: i32, buf_len: i32, cookie: i64, bufused: i32);
            fd_renumber(fd: i32, to: i32);
            fd_seek(fd: i32, offset: i64, whence: i32, newoffset: i32);
            fd_sync(fd: i32);
            fd_tell(fd: i32, offset: i32);
            fd_write(fd: i32, iovs: i32, iovs_len: i32, nwritten: i32);
            path_create_directory(fd: i32, path: i32, path_len: i32);
            path_filestat_get(fd: i32, lookup: i32, path: i32, path_len: i32, buf: i32);
            path_filestat_set_times(
                fd: i32, lookup: i32, path: i32, path_len: i32, atim: i64, mtim: i64, fst_flags: i32
            );
            path_link(
                old_fd: i32, old_flags: i32, old_path: i32, old_path_len: i32,
                new_fd: i32, new_path: i32, new_path_len: i32
            );
            path_open(
                fd: i32, dirflags: i32, path: i32, path_len: i32, oflags: i32,
                base: i64, inheriting: i64, fdflags: i32, opened_fd: i32
            );
            path_readlink(
                fd: i32, path: i32, path_len: i32, buf: i32, buf_len: i32, bufused: i32
            );
            path_remove_directory(fd: i32, path: i32, path_len: i32);
            path_rename(
                fd: i32, old_path: i32, old_path_len: i32,
                new_fd: i32, new_path: i32, new_path_len: i32
            );
            path_symlink(
                old_path: i32, old_path_len: i32, fd: i32, new_path: i32, new_path_len: i32
            );
            path_unlink_file(fd: i32, path: i32, path_len: i32);
            poll_oneoff(input: i32, output: i32, nsubscriptions: i32, nevents: i32);
            proc_raise(signal: i32);
            sched_yield();
            random_get(buf: i32, buf_len: i32);
            sock_recv(
                fd: i32, ri_data: i32, ri_data_len: i32, ri_flags: i32,
                ro_datalen: i32, ro_flags: i32
            );
            sock_send(fd: i32, si_data: i32, si_data_len: i32, si_flags: i32, so_datalen: i32);
            sock_shutdown(fd: i32, how: i32);
        }
    };
}

/// The functions that only preview 1 has.
macro_rules! new_functions {
    ($with:ident $($extra:tt)*) => {
        $with! { $($extra)*
            sock_accept(fd: i32, fdflags: i32, connection: i32);
        }
    };
}

macro_rules! wire_type {
    (i32) => {
        WireType::I32
    };
    (i64) => {
        WireType::I64
    };
}

macro_rules! describe {
    ($($name:ident($($param:ident: $type:ident),*);)*) => {
        &[$(Function {
            name: stringify!($name),
            params: &[$(wire_type!($type)),*],
            returns: true,
        }),*]
    };
}

const COMMON: &[Function] = common_functions!(describe);
const NEW: &[Function] = new_functions!(describe);
const PROC_EXIT: Function = Function {
    name: "proc_exit",
    params: &[WireType::I32],
    returns: false,
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
