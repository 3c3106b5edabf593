//! Modules from bytes.

use arbitrary::{Result, Unstructured};
use wasm_smith::{Config, InstructionKind, InstructionKinds, MemoryOffsetChoices, Module};

/// The name of the export that [`runnable`] adds: how many function entries and loop iterations
/// are left before the module stops itself.
pub const FUEL: &str = "fuel of the fuzzer";

/// How much of it there is.
pub const FUEL_AMOUNT: u32 = 1000;

/// What this runtime accepts, and the sizes that make for many cases a second.
fn config(u: &mut Unstructured<'_>) -> Result<Config> {
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
        max_instructions: *u.choose(&[20, 100, 500])?,
        max_funcs: *u.choose(&[2, 6, 20])?,
        max_types: *u.choose(&[4, 20])?,
        max_type_size: *u.choose(&[20, 100])?,
        max_globals: 20,
        max_imports: *u.choose(&[0, 4, 12])?,
        max_memories: *u.choose(&[0, 1, 1, 4])?,
        max_tables: *u.choose(&[0, 1, 3])?,
        max_table_elements: 100,
        max_data_segments: 10,
        max_element_segments: 10,
        max_memory32_bytes: 8 << 16,
        min_funcs: 1,
        memory_offset_choices: match u.ratio(1, 2)? {
            true => MemoryOffsetChoices(90, 9, 1),
            false => MemoryOffsetChoices(20, 10, 20),
        },
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        custom_descriptors_enabled: false,
        custom_page_sizes_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
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
    if u.ratio(1, 8)? {
        config.max_memory32_bytes = 1 << 32;
        config.max_table_elements = 1_000_000;
    }
    Ok(Module::new(config, u)?.to_bytes())
}

/// A module whose functions end, whose memories stay small, and that exports all that it has.
/// A `portable` one makes its NaNs canonical itself.
///
/// # Errors
/// If the bytes are none.
pub fn runnable(u: &mut Unstructured<'_>, portable: bool) -> Result<Vec<u8>> {
    let mut config = config(u)?;
    config.export_everything = true;
    config.memory_max_size_required = true;
    config.table_max_size_required = true;
    config.canonicalize_nans = portable;
    // Two things that the oracle (wasmi 2.0.0) gets wrong: what is generated to avoid traps, as it
    // takes the wrong side of a `select` on an `i32.eqz`; and stores of vector lanes, which end
    // the process.
    config.disallow_traps = u.ratio(1, 2)? && !portable;
    config.simd_enabled &= !portable;
    let mut module = Module::new(config, u)?;
    let global = module
        .ensure_termination(FUEL_AMOUNT)
        .map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok(export_global(&module.to_bytes(), FUEL, global))
}

/// The module with one export more.
fn export_global(wasm: &[u8], name: &str, global: u32) -> Vec<u8> {
    const EXPORTS: u8 = 7;
    /// Those that come after exports. (Tags and the count of data segments have greater ids than
    /// their places.)
    const LATER: [u8; 5] = [8, 9, 12, 10, 11];
    let mut entry = Vec::new();
    leb(&mut entry, name.len() as u32);
    entry.extend(name.as_bytes());
    entry.push(3);
    leb(&mut entry, global);

    let mut out = wasm[..8].to_vec();
    let mut rest = &wasm[8..];
    let mut done = false;
    let section = |out: &mut Vec<u8>, count: u32, entries: &[u8]| {
        let mut body = Vec::new();
        leb(&mut body, count + 1);
        body.extend(entries);
        body.extend(&entry);
        out.push(EXPORTS);
        leb(out, body.len() as u32);
        out.extend(body);
    };
    while let [id, after @ ..] = rest {
        let mut body = after;
        let size = read_leb(&mut body) as usize;
        let (mut contents, next) = body.split_at(size);
        if *id == EXPORTS {
            let count = read_leb(&mut contents);
            section(&mut out, count, contents);
            done = true;
        } else {
            if !done && LATER.contains(id) {
                section(&mut out, 0, &[]);
                done = true;
            }
            out.extend(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    if !done {
        section(&mut out, 0, &[]);
    }
    out
}

fn leb(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_leb(bytes: &mut &[u8]) -> u32 {
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
