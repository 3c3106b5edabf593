//! wasm → graph.
