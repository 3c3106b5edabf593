//! Modules from bytes.

use crate::hints;
use arbitrary::{Result, Unstructured};
use bimetal_wasm::Features;
use bimetal_wasm::body::Operator;
use wasm_smith::{Config, InstructionKind, InstructionKinds, MemoryOffsetChoices, Module};

/// The name of one of the exports that [`runnable`] adds: how many function entries and loop iterations
/// are left before the module stops itself.
pub const FUEL: &str = "fuel of the fuzzer";

/// The name of such an export of other programs, which use more of it for each: it begins like the other.
pub const ROUGH_FUEL: &str = "fuel of the fuzzer, roughly";

/// How much of it there is.
pub const FUEL_AMOUNT: u32 = 1000;

/// How large a module may be: small mostly, for many cases a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Tiny,
    Small,
    Large,
}

/// What this runtime accepts.
fn config(u: &mut Unstructured<'_>) -> Result<Config> {
    let size = match (u.len(), u.int_in_range(0..=15)?) {
        (4000.., 1..) | (_, 0) => Size::Large,
        (_, 1..=5) => Size::Small,
        _ => Size::Tiny,
    };
    let of = |tiny: usize, small: usize, large: usize| match size {
        Size::Tiny => tiny,
        Size::Small => small,
        Size::Large => large,
    };
    let defaults = Config::default();
    let kinds = [
        InstructionKind::NumericInt,
        InstructionKind::Numeric,
        InstructionKind::VectorInt,
        InstructionKind::Vector,
        InstructionKind::Reference,
        InstructionKind::Parametric,
        InstructionKind::Variable,
        InstructionKind::Table,
        InstructionKind::MemoryInt,
        InstructionKind::Memory,
        InstructionKind::Control,
        InstructionKind::Aggregate,
    ];
    // Leaving things out finds what the mixture of everything does not.
    let allowed_instructions = match u.ratio(1, 2)? {
        true => InstructionKinds::all(),
        false => {
            let mut chosen = vec![InstructionKind::Control, InstructionKind::Variable];
            for kind in kinds {
                if u.arbitrary()? {
                    chosen.push(kind);
                }
            }
            InstructionKinds::new(&chosen)
        }
    };
    Ok(Config {
        allowed_instructions,
        allow_floats: u.ratio(4, 5)?,
        simd_enabled: u.ratio(1, 2)?,
        max_instructions: of(*u.choose(&[8, 16, 32])?, 100, 600),
        max_funcs: of(2, 5, 20),
        max_types: of(2, 5, 20),
        max_globals: of(3, 8, 30),
        max_imports: of(*u.choose(&[0, 0, 2])?, 4, 12),
        max_memories: *u.choose(&[0, 1, 1, 1, of(1, 2, 4)])?,
        max_tables: *u.choose(&[0, 1, of(1, 3, 5)])?,
        max_table_elements: of(10, 20, 100) as u64,
        max_data_segments: of(2, 5, 20),
        max_element_segments: of(2, 5, 20),
        max_elements: of(4, 10, 100),
        max_exports: of(5, 10, 100),
        max_memory32_bytes: (of(1, 3, 16) << 16) as u64,
        max_memory64_bytes: (of(1, 3, 16) << 16) as u128,
        min_funcs: 1,
        min_types: 1,
        memory_offset_choices: match u.ratio(1, 2)? {
            true => MemoryOffsetChoices(90, 9, 1),
            false => MemoryOffsetChoices(20, 10, 20),
        },
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        custom_descriptors_enabled: false,
        custom_page_sizes_enabled: false,
        memory64_enabled: u.ratio(1, 4)?,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: u.ratio(1, 2)?,
        threads_enabled: u.ratio(1, 4)?,
        wide_arithmetic_enabled: u.ratio(1, 4)?,
        max_tags: 0,
        ..defaults
    })
}

/// Any module that this runtime accepts.
///
/// # Errors
/// If the bytes are none.
pub fn module(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut config = config(u)?;
    config.generate_custom_sections = u.ratio(1, 4)?;
    config.min_uleb_size = *u.choose(&[1, 1, 1, 5])?;
    config.gc_enabled = u.ratio(1, 2)?;
    config.relaxed_simd_enabled = config.simd_enabled && u.ratio(1, 2)?;
    config.exceptions_enabled = u.ratio(1, 2)?;
    config.max_tags = 5;
    config.custom_page_sizes_enabled = u.ratio(1, 8)?;
    if u.ratio(1, 40)? {
        config.max_memory32_bytes = 1 << 32;
        config.max_table_elements = 1_000_000;
    }
    Ok(Module::new(config, u)?.to_bytes())
}

/// A module to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The module.
    pub wasm: Vec<u8>,
    /// Whether a peer is to do the same: not with relaxed instructions for vectors, nor with what it
    /// does not know.
    pub peer: bool,
}

/// What a module to run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// No objects and no exceptions: all state is numbers, functions and values of the host's.
    Plain,
    /// Everything.
    Whole,
}

/// A module whose functions end, whose memories stay small, and that exports all that it has.
///
/// # Errors
/// If the bytes are none.
pub fn runnable(u: &mut Unstructured<'_>, extent: Extent) -> Result<Program> {
    let mut config = config(u)?;
    if extent == Extent::Whole {
        config.gc_enabled = u.ratio(1, 2)?;
        config.exceptions_enabled = u.ratio(1, 3)?;
        config.max_tags = 4;
        config.custom_page_sizes_enabled = u.ratio(1, 8)?;
        config.relaxed_simd_enabled = config.simd_enabled && u.ratio(1, 4)?;
    }
    let peer = !config.relaxed_simd_enabled;
    let hints = match u.ratio(1, 4)? {
        true => Some(u.arbitrary::<u32>()?),
        false => None,
    };
    // Exports are added below: made-up names would take most of the bytes.
    config.max_exports = 0;
    config.memory_max_size_required = true;
    config.table_max_size_required = true;
    // Else most programs trap before they have done anything.
    config.disallow_traps = u.ratio(4, 5)?;
    let threads = config.threads_enabled;
    let mut module = Module::new(config, u)?;
    if threads && may_wait(&module.to_bytes()) {
        return Err(arbitrary::Error::IncorrectFormat);
    }
    let global = module
        .ensure_termination(FUEL_AMOUNT)
        .map_err(|_| arbitrary::Error::IncorrectFormat)?;
    let wasm = export_all(&module.to_bytes(), global).ok_or(arbitrary::Error::IncorrectFormat)?;
    let wasm = match hints {
        Some(seed) => hints::add(wasm, seed.into()),
        None => wasm,
    };
    Ok(Program { wasm, peer })
}

/// What the modules that are made here need.
pub fn features() -> Features {
    Features {
        custom_page_sizes: true,
        ..Features::default()
    }
}

/// Whether a module may wait at a shared memory, for nobody.
fn may_wait(wasm: &[u8]) -> bool {
    let Ok(module) = bimetal_wasm::Module::new(wasm.to_vec(), &features()) else {
        return true;
    };
    let shared = module.memories.values().any(|ty| ty.shared);
    let waits = |operator: &Operator<'_>| {
        matches!(
            operator,
            Operator::MemoryAtomicWait32 { .. } | Operator::MemoryAtomicWait64 { .. }
        )
    };
    shared
        && module.bodies.keys().any(|body| {
            let Ok(mut operators) = module.body_reader(body).get_operators_reader() else {
                return true;
            };
            while !operators.eof() {
                match operators.read() {
                    Ok(operator) if waits(&operator) => return true,
                    Ok(_) => {}
                    Err(_) => return true,
                }
            }
            false
        })
}

/// The module with exports of all that it has, and of the global with this number as [`FUEL`].
fn export_all(wasm: &[u8], fuel: u32) -> Option<Vec<u8>> {
    let module = bimetal_wasm::Module::new(wasm.to_vec(), &features()).ok()?;
    let kinds = [
        ('f', 0, module.functions.len()),
        ('t', 1, module.tables.len()),
        ('m', 2, module.memories.len()),
        ('g', 3, module.globals.len()),
        ('e', 4, module.tags.len()),
    ];
    let mut body = Vec::new();
    leb(&mut body, kinds.iter().map(|kind| kind.2 as u32).sum());
    for (letter, kind, count) in kinds {
        for i in 0..count as u32 {
            let name = match (kind, i) {
                (3, i) if i == fuel => FUEL.to_owned(),
                _ => format!("{letter}{i}"),
            };
            leb(&mut body, name.len() as u32);
            body.extend(name.as_bytes());
            body.push(kind);
            leb(&mut body, i);
        }
    }
    Some(with_exports(wasm, &body))
}

/// The module with this section of exports.
fn with_exports(wasm: &[u8], exports: &[u8]) -> Vec<u8> {
    const EXPORTS: u8 = 7;
    /// Those that come after exports. (Tags and the count of data segments have greater ids than
    /// their places.)
    const LATER: [u8; 5] = [8, 9, 12, 10, 11];
    let mut out = wasm[..8].to_vec();
    let mut rest = &wasm[8..];
    while let [id, after @ ..] = rest
        && !LATER.contains(id)
    {
        let mut body = after;
        let size = read_leb(&mut body) as usize;
        let next = &body[size..];
        // The generator makes some of its own accord.
        if *id != EXPORTS {
            out.extend(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    out.push(EXPORTS);
    leb(&mut out, exports.len() as u32);
    out.extend(exports);
    out.extend(rest);
    out
}

pub(crate) fn leb(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn read_leb(bytes: &mut &[u8]) -> u32 {
    let mut value = 0;
    let mut shift = 0;
    while let [byte, rest @ ..] = *bytes {
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Bytes that are almost a module.
///
/// # Errors
/// If there are no bytes.
pub fn mutated(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let changes = u.int_in_range(1..=8)?;
    let mut choices = Vec::new();
    for _ in 0..changes {
        choices.push((
            u.arbitrary::<u8>()?,
            u.arbitrary::<u32>()?,
            u.arbitrary::<u32>()?,
        ));
    }
    let mut bytes = module(u)?;
    for (what, place, value) in choices {
        let len = bytes.len();
        if len < 9 {
            break;
        }
        // The header is left alone, mostly.
        let place = match what & 0x70 {
            0 => place as usize % len,
            _ => 8 + place as usize % (len - 8),
        };
        let length = (value as usize >> 8) % 16;
        let end = (place + length).min(len);
        match what & 15 {
            0..=4 => bytes[place] = value as u8,
            5..=7 => bytes[place] ^= 1 << (value & 7),
            8 => bytes.truncate(place),
            9 | 10 => drop(bytes.drain(place..end)),
            11 => bytes.insert(place, value as u8),
            12 => {
                let copy = bytes[place..end].to_vec();
                let to = value as usize % len;
                bytes.splice(to..to, copy);
            }
            13 => bytes[place..end].fill(0xff),
            14 => bytes[place..end].fill(0x80),
            _ => {
                let (a, b) = (place, value as usize % len);
                bytes.swap(a, b);
            }
        }
    }
    Ok(bytes)
}
