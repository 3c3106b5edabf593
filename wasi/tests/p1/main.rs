//! Preview 1, driven as an engine would drive it: raw integers and a byte buffer as guest memory,
//! scratch directories as the host.

mod escape;
mod files;
mod hostile;
mod inputs;
mod listing;
mod paths;
mod polling;
mod rights;
mod sockets;
mod streams;
mod support;
mod unstable;
