//! The context of one guest and its builder.

use crate::core::{
    Clock, Dir, DirPerms, FilePerms, Host, Input, Listener, Output, Preopen, Random,
};
use crate::p1::Descriptors;
use crate::shared::SharedCtx;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// What one guest program may see and touch, and what it has open.
///
/// Made by [`WasiCtxBuilder`]; an embedder keeps it in its store's data. The threads of a guest, each
/// in a store of its own, [share](WasiCtx::share) what is in it.
#[derive(Debug)]
pub struct WasiCtx {
    pub(crate) host: Host,
    pub(crate) fds: Descriptors,
    /// What can be read when a call that waits shall not wait any more.
    pub(crate) end: Option<Arc<OwnedFd>>,
    /// Where all of this is, if it is shared.
    pub(crate) shared: Option<Arc<SharedCtx>>,
}

impl WasiCtx {
    pub(crate) fn of(host: Host, fds: Descriptors) -> WasiCtx {
        WasiCtx {
            host,
            fds,
            end: None,
            shared: None,
        }
    }

    /// The same context for another thread of the guest, with the same open files. From then on calls
    /// of several threads take turns, but for those that wait: reading, writing, accepting, polling.
    ///
    /// ```
    /// use bimetal_wasi::WasiCtxBuilder;
    ///
    /// let mut first = WasiCtxBuilder::new().build();
    /// let second = first.share()?;
    /// # drop(second);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the system has no descriptor left, by which threads that wait are told to end.
    pub fn share(&mut self) -> io::Result<WasiCtx> {
        let shared = match &self.shared {
            Some(shared) => shared.clone(),
            None => {
                let end = SharedCtx::end_of_waiting()?;
                let host = std::mem::take(&mut self.host);
                let own = WasiCtx::of(host, std::mem::take(&mut self.fds));
                let shared = Arc::new(SharedCtx::new(own, end));
                self.shared = Some(shared.clone());
                shared
            }
        };
        Ok(WasiCtx {
            host: Host::default(),
            fds: Descriptors::default(),
            end: None,
            shared: Some(shared),
        })
    }

    /// What was shared is this one's alone again: the others are gone.
    pub(crate) fn unshare(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut ctx = shared.lock();
            self.host = std::mem::take(&mut ctx.host);
            self.fds = std::mem::take(&mut ctx.fds);
        }
    }

    fn with_descriptors<R>(&self, f: impl FnOnce(&Descriptors) -> R) -> R {
        match &self.shared {
            Some(shared) => f(&shared.lock().fds),
            None => f(&self.fds),
        }
    }

    /// The preview-1 descriptor numbers of the listeners, in the order in which they were given.
    /// They follow the preopened directories, because C libraries scan for directories from 3 up
    /// to the first number that is none. Valid until the guest closes or renumbers them.
    pub fn listener_fds(&self) -> Vec<u32> {
        self.with_descriptors(Descriptors::listeners)
    }

    /// The preview-1 descriptor numbers of what the guest has opened and not closed: files,
    /// directories, connections. What it was given is not among them.
    pub fn opened_fds(&self) -> Vec<u32> {
        self.with_descriptors(Descriptors::opened)
    }
}

/// Collects what a guest is given, then makes a [`WasiCtx`] of it.
///
/// Whatever is not named here, the guest does not have.
///
/// ```
/// use bimetal_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
///
/// let data = tempfile::tempdir()?;
/// let ctx = WasiCtxBuilder::new()
///     .args(&["prog", "--fast"])
///     .env("LANG", "C")
///     .inherit_stderr()
///     .preopened_dir(data.path(), "/data", DirPerms::READ, FilePerms::READ)?
///     .build();
/// # drop(ctx);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct WasiCtxBuilder {
    host: Host,
    listeners: Vec<Listener>,
}

impl WasiCtxBuilder {
    /// A guest with nothing: null standard streams, the host's clocks and randomness.
    pub fn new() -> WasiCtxBuilder {
        WasiCtxBuilder::default()
    }

    /// Adds an argument; the first is the program's name. The guest sees it up to its first NUL.
    pub fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.host.args.push(until_nul(arg.as_ref()));
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: &[impl AsRef<[u8]>]) -> &mut Self {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    /// Sets a variable of the environment, replacing one of the same name.
    pub fn env(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        let mut variable = until_nul(name.as_ref());
        variable.push(b'=');
        let name_len = variable.len();
        variable.extend(until_nul(value.as_ref()));
        let (name, env) = (&variable[..name_len], &mut self.host.env);
        match env.iter_mut().find(|v| v.starts_with(name)) {
            Some(old) => *old = variable,
            None => env.push(variable),
        }
        self
    }

    /// Sets several variables.
    pub fn envs(&mut self, envs: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> &mut Self {
        for (name, value) in envs {
            self.env(name, value);
        }
        self
    }

    /// Gives the guest all of the host's environment.
    pub fn inherit_env(&mut self) -> &mut Self {
        use std::os::unix::ffi::OsStrExt;
        for (name, value) in std::env::vars_os() {
            self.env(name.as_bytes(), value.as_bytes());
        }
        self
    }

    /// Gives the guest all of the host's arguments.
    pub fn inherit_args(&mut self) -> &mut Self {
        use std::os::unix::ffi::OsStrExt;
        for arg in std::env::args_os() {
            self.arg(arg.as_bytes());
        }
        self
    }

    /// Sets standard input.
    pub fn stdin(&mut self, stream: impl Into<Input>) -> &mut Self {
        self.host.stdin = stream.into();
        self
    }

    /// Sets standard output.
    pub fn stdout(&mut self, stream: impl Into<Output>) -> &mut Self {
        self.host.stdout = stream.into();
        self
    }

    /// Sets standard error.
    pub fn stderr(&mut self, stream: impl Into<Output>) -> &mut Self {
        self.host.stderr = stream.into();
        self
    }

    /// Gives the guest the host's standard input.
    pub fn inherit_stdin(&mut self) -> &mut Self {
        self.stdin(Input::stdin())
    }

    /// Gives the guest the host's standard output. What the host has buffered itself is not
    /// flushed.
    pub fn inherit_stdout(&mut self) -> &mut Self {
        self.stdout(Output::stdout())
    }

    /// Gives the guest the host's standard error.
    pub fn inherit_stderr(&mut self) -> &mut Self {
        self.stderr(Output::stderr())
    }

    /// Gives the guest all three standard streams of the host.
    pub fn inherit_stdio(&mut self) -> &mut Self {
        self.inherit_stdin().inherit_stdout().inherit_stderr()
    }

    /// Gives the guest the host's directory `host_path` under the name `guest_path`.
    ///
    /// # Errors
    /// The directory cannot be opened, or the guest's name for it contains NUL.
    pub fn preopened_dir(
        &mut self,
        host_path: impl AsRef<Path>,
        guest_path: impl Into<String>,
        dir_perms: DirPerms,
        file_perms: FilePerms,
    ) -> io::Result<&mut Self> {
        let name = guest_path.into();
        if name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the guest's name for a directory contains a NUL byte",
            ));
        }
        // A C library looks for the name as it stands: `data/` would not give it `data`.
        let name = match name.trim_end_matches('/') {
            "" if !name.is_empty() => "/",
            trimmed => trimmed,
        };
        let dir = Dir::open_host(host_path, dir_perms, file_perms)?;
        self.host.preopens.push(Preopen {
            dir,
            name: name.to_string(),
        });
        Ok(self)
    }

    /// Gives the guest a listening stream socket, for example a `std::net::TcpListener`.
    pub fn preopened_listener(&mut self, listener: impl Into<OwnedFd>) -> &mut Self {
        self.listeners.push(Listener::new(listener));
        self
    }

    /// Replaces the clock of the time of day.
    pub fn wall_clock(&mut self, clock: impl Clock + 'static) -> &mut Self {
        self.host.clocks.wall = Arc::new(clock);
        self
    }

    /// Replaces the clock for measuring and waiting.
    pub fn monotonic_clock(&mut self, clock: impl Clock + 'static) -> &mut Self {
        self.host.clocks.monotonic = Arc::new(clock);
        self
    }

    /// Replaces the source of randomness.
    pub fn random(&mut self, random: impl Random + 'static) -> &mut Self {
        self.host.random = Box::new(random);
        self
    }

    /// Makes the context. The builder is empty again afterwards.
    pub fn build(&mut self) -> WasiCtx {
        let WasiCtxBuilder { host, listeners } = std::mem::take(self);
        let fds = Descriptors::new(&host, listeners);
        WasiCtx::of(host, fds)
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}
