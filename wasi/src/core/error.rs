//! One error code for the whole host core.
//!
//! The set is POSIX's, plus "not capable": every preview's error type is this set or a part of
//! it, so each view maps it by a table. Errors of the operating system come in through `From`.
//! An attempt to leave a preopened directory reaches us from `cap-std` as a "permission denied"
//! without an operating-system number, and becomes [`ErrorCode::Perm`], which is what guests'
//! C libraries and WASI's own conformance tests expect.

use std::fmt;
use std::io;

/// The result of a host operation.
pub type Result<T, E = ErrorCode> = std::result::Result<T, E>;

macro_rules! error_codes {
    ($($name:ident $os:ident $doc:literal,)*) => {
        /// Why a host operation failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!($doc, ".")] $name,)*
            /// The capability does not cover the request.
            Notcapable,
        }

        impl ErrorCode {
            fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $doc,)*
                    ErrorCode::Notcapable => "capabilities insufficient",
                }
            }

            fn from_os(errno: rustix::io::Errno) -> Option<ErrorCode> {
                use rustix::io::Errno;
                $(if errno == Errno::$os { return Some(ErrorCode::$name); })*
                None
            }
        }
    };
}

// The most frequent codes stand first, because the lookup goes from top to bottom.
error_codes! {
    Noent NOENT "no such file or directory",
    Again AGAIN "resource unavailable, or operation would block",
    Exist EXIST "file exists",
    Badf BADF "bad file descriptor",
    Inval INVAL "invalid argument",
    Notdir NOTDIR "not a directory",
    Isdir ISDIR "is a directory",
    Acces ACCESS "permission denied",
    Perm PERM "operation not permitted",
    Pipe PIPE "broken pipe",
    Rofs ROFS "read-only file system",
    Spipe SPIPE "invalid seek",
    TooBig TOOBIG "argument list too long",
    Addrinuse ADDRINUSE "address in use",
    Addrnotavail ADDRNOTAVAIL "address not available",
    Afnosupport AFNOSUPPORT "address family not supported",
    Already ALREADY "connection already in progress",
    Badmsg BADMSG "bad message",
    Busy BUSY "device or resource busy",
    Canceled CANCELED "operation cancelled",
    Child CHILD "no child processes",
    Connaborted CONNABORTED "connection aborted",
    Connrefused CONNREFUSED "connection refused",
    Connreset CONNRESET "connection reset",
    Deadlk DEADLK "resource deadlock would occur",
    Destaddrreq DESTADDRREQ "destination address required",
    Dom DOM "mathematics argument out of domain of function",
    Dquot DQUOT "disk quota exceeded",
    Fault FAULT "bad address",
    Fbig FBIG "file too large",
    Hostunreach HOSTUNREACH "host is unreachable",
    Idrm IDRM "identifier removed",
    Ilseq ILSEQ "illegal byte sequence",
    Inprogress INPROGRESS "operation in progress",
    Intr INTR "interrupted function",
    Io IO "input or output error",
    Isconn ISCONN "socket is connected",
    Loop LOOP "too many levels of symbolic links",
    Mfile MFILE "too many open files",
    Mlink MLINK "too many links",
    Msgsize MSGSIZE "message too large",
    Multihop MULTIHOP "multihop attempted",
    Nametoolong NAMETOOLONG "file name too long",
    Netdown NETDOWN "network is down",
    Netreset NETRESET "connection aborted by network",
    Netunreach NETUNREACH "network unreachable",
    Nfile NFILE "too many files open in system",
    Nobufs NOBUFS "no buffer space available",
    Nodev NODEV "no such device",
    Noexec NOEXEC "executable file format error",
    Nolck NOLCK "no locks available",
    Nolink NOLINK "link has been severed",
    Nomem NOMEM "not enough memory",
    Nomsg NOMSG "no message of the desired type",
    Noprotoopt NOPROTOOPT "protocol not available",
    Nospc NOSPC "no space left on device",
    Nosys NOSYS "function not supported",
    Notconn NOTCONN "the socket is not connected",
    Notempty NOTEMPTY "directory not empty",
    Notrecoverable NOTRECOVERABLE "state not recoverable",
    Notsock NOTSOCK "not a socket",
    Notsup OPNOTSUPP "not supported",
    Notty NOTTY "inappropriate input or output control operation",
    Nxio NXIO "no such device or address",
    Overflow OVERFLOW "value too large to be stored in data type",
    Ownerdead OWNERDEAD "previous owner died",
    Proto PROTO "protocol error",
    Protonosupport PROTONOSUPPORT "protocol not supported",
    Prototype PROTOTYPE "protocol wrong type for socket",
    Range RANGE "result too large",
    Srch SRCH "no such process",
    Stale STALE "stale file handle",
    Timedout TIMEDOUT "connection timed out",
    Txtbsy TXTBSY "text file busy",
    Xdev XDEV "cross-device link",
}

impl From<rustix::io::Errno> for ErrorCode {
    fn from(errno: rustix::io::Errno) -> ErrorCode {
        ErrorCode::from_os(errno).unwrap_or(ErrorCode::Io)
    }
}

impl From<io::Error> for ErrorCode {
    fn from(error: io::Error) -> ErrorCode {
        if let Some(errno) = rustix::io::Errno::from_io_error(&error) {
            return errno.into();
        }
        match error.kind() {
            // `cap-std` says so of a path that leads out of its directory.
            io::ErrorKind::PermissionDenied => ErrorCode::Perm,
            io::ErrorKind::NotFound => ErrorCode::Noent,
            io::ErrorKind::AlreadyExists => ErrorCode::Exist,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ErrorCode::Inval,
            io::ErrorKind::WouldBlock => ErrorCode::Again,
            io::ErrorKind::BrokenPipe => ErrorCode::Pipe,
            io::ErrorKind::ConnectionReset => ErrorCode::Connreset,
            io::ErrorKind::ConnectionAborted => ErrorCode::Connaborted,
            io::ErrorKind::NotConnected => ErrorCode::Notconn,
            io::ErrorKind::TimedOut => ErrorCode::Timedout,
            io::ErrorKind::Interrupted => ErrorCode::Intr,
            io::ErrorKind::Unsupported => ErrorCode::Notsup,
            io::ErrorKind::OutOfMemory => ErrorCode::Nomem,
            io::ErrorKind::NotADirectory => ErrorCode::Notdir,
            io::ErrorKind::IsADirectory => ErrorCode::Isdir,
            io::ErrorKind::DirectoryNotEmpty => ErrorCode::Notempty,
            io::ErrorKind::ReadOnlyFilesystem => ErrorCode::Rofs,
            io::ErrorKind::StorageFull => ErrorCode::Nospc,
            _ => ErrorCode::Io,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ErrorCode {}
