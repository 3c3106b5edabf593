//! From a decoding failure to an error that says what to do about it.
//!
//! Most modules that are refused are fine but newer than this runtime. So a failing module is
//! validated again with every proposal that `wasmparser` knows: if it gets past the failure then,
//! the error names the proposals it needs. This costs time only for modules that are refused.

use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

use crate::convert::Failure;
use crate::error::{Error, ErrorKind};
use crate::sections::{CODE, section_name, sections};

/// Past this size the proposals are not found out one by one: each takes another validation.
const SEARCH_LIMIT: usize = 16 << 20;

/// Proposals by the name that an error gives them.
const PROPOSALS: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::SIMD, "SIMD"),
    (WasmFeatures::MULTI_MEMORY, "multi-memory"),
    (
        WasmFeatures::EXTENDED_CONST,
        "extended constant expressions",
    ),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
    (WasmFeatures::TAIL_CALL, "tail call"),
    (WasmFeatures::EXCEPTIONS, "exception handling"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception handling"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::GC, "garbage collection"),
    (
        WasmFeatures::FUNCTION_REFERENCES,
        "typed function references",
    ),
    (WasmFeatures::THREADS, "threads"),
    (
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "shared-everything threads",
    ),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPACT_IMPORTS, "compact import section"),
    (
        WasmFeatures::ACQUIRE_RELEASE_ATOMICS,
        "acquire-release atomics",
    ),
    (
        WasmFeatures::MULTIBYTE_ARRAY_ACCESS,
        "multibyte array access",
    ),
];

/// What [`Features`](crate::Features) can switch on.
const SWITCHES: WasmFeatures = WasmFeatures::SIMD
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::THREADS)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS);

/// The error for this failure of `data` under `features`.
pub(crate) fn explain(data: &[u8], features: WasmFeatures, failure: &Failure) -> Error {
    let (error, kind) = match failure {
        Failure::Missing { proposal, offset } => return needs(*proposal, *offset),
        Failure::Reader(error) => (error, ErrorKind::Malformed),
        Failure::Rule(error) => (error, ErrorKind::Invalid),
    };
    let offset = error.offset();
    let with_all = validate(data, WasmFeatures::all());
    let passes = match &with_all {
        Ok(()) => true,
        Err(later) => later.offset() > offset && error.missing_wasm_feature().is_some(),
    };
    if passes {
        let proposals = match error.missing_wasm_feature() {
            Some(proposal) => proposal,
            None if data.len() <= SEARCH_LIMIT => needed(data, features),
            None => WasmFeatures::empty(),
        };
        return needs(proposals.difference(features), offset);
    }
    if is_limit(error.message()) {
        return Error::new(
            ErrorKind::Unsupported,
            format!("past the implementation's limits: {}", error.message()),
            Some(offset as usize),
        );
    }
    as_it_is(data, error, kind)
}

/// The error for this failure of `data`, which has been accepted before: it has changed since. No
/// validator is asked.
pub(crate) fn has_changed(data: &[u8], failure: &Failure) -> Error {
    match failure {
        Failure::Missing { proposal, offset } => needs(*proposal, *offset),
        Failure::Reader(error) | Failure::Rule(error) => {
            as_it_is(data, error, ErrorKind::Malformed)
        }
    }
}

fn as_it_is(data: &[u8], error: &BinaryReaderError, kind: ErrorKind) -> Error {
    let offset = error.offset() as usize;
    let message = format!("{}{}", error.message(), place(data, offset));
    Error::new(kind, message, Some(offset))
}

/// In which section an offset lies, as the end of a message; nothing for the code section, where
/// the function says it.
fn place(data: &[u8], offset: usize) -> String {
    let sections = sections(data);
    let end = sections.last().map_or(8, |section| section.content.end);
    if offset >= end && offset < data.len() {
        let name = section_name(data[end]);
        return format!(": the {name} section does not fit into the module");
    }
    sections
        .iter()
        .find(|section| section.content.start <= offset && offset <= section.content.end)
        .filter(|section| section.id != CODE)
        .map(|section| format!(" in the {} section", section.name()))
        .unwrap_or_default()
}

fn validate(data: &[u8], features: WasmFeatures) -> wasmparser::Result<()> {
    Validator::new_with_features(features)
        .validate_all(data)
        .map(|_| ())
}

/// The proposals without which the module, valid with all, is not.
fn needed(data: &[u8], features: WasmFeatures) -> WasmFeatures {
    PROPOSALS
        .iter()
        .map(|(proposal, _)| *proposal)
        .filter(|proposal| !features.contains(*proposal))
        .filter(|proposal| validate(data, WasmFeatures::all().difference(*proposal)).is_err())
        .collect()
}

fn needs(proposals: WasmFeatures, offset: u64) -> Error {
    let names: Vec<&str> = PROPOSALS
        .iter()
        .filter(|(proposal, _)| proposals.contains(*proposal))
        .map(|(_, name)| *name)
        .collect();
    let state = if SWITCHES.contains(proposals) && !proposals.is_empty() {
        "disabled"
    } else {
        "not supported yet"
    };
    let message = match names.as_slice() {
        [] => format!("{state}: the module needs a proposal"),
        [name] => format!("{state}: the module needs the {name} proposal"),
        [names @ .., last] => format!(
            "{state}: the module needs the proposals {} and {last}",
            names.join(", ")
        ),
    };
    Error::new(ErrorKind::Unsupported, message, Some(offset as usize))
}

/// Whether the validator refused a number or size that the specification allows.
fn is_limit(message: &str) -> bool {
    [
        "exceeds limit of",
        "exceeds the limit of",
        "implementation limit",
        "implementation error",
        "size is out of bounds",
        "size out of bounds",
        "locals exceed maximum",
    ]
    .iter()
    .any(|part| message.contains(part))
}
