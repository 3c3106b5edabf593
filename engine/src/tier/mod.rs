//! When functions are compiled, and their publication.
//!
//! Every call that may reach a better version goes through an entry cell. Under a lazy engine the
//! cells start at stubs that lead to [`compile_now`]; otherwise [`compile_all`] fills them with
//! the module. Publishing is: code in place and recorded, then one release store.
//!
//! **Invariant**: a function is compiled once, whoever asks and however many ask at once.

#[cfg_attr(not(feature = "parallel-compilation"), path = "serial.rs")]
mod parallel;

use std::io;
use std::mem::take;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bimetal_abi::CallMode;
use bimetal_codegen::{FunctionCode, ModuleEnv, RelocKind, RelocTarget};
use bimetal_sys::ReturnArea;
use bimetal_wasm::{CompositeType, DefinedFuncIndex, FuncType, Module, ValType};
use cranelift_entity::EntityRef;

use crate::engine::{CodePtr, Engine};
use crate::error::{Context, Error, Result};
use crate::middleware::compile_error;
use crate::module::{ModuleInner, describe};
pub(crate) use parallel::compile_parallel;

/// Which functions of a module are compiled, or being.
#[derive(Debug)]
pub(crate) struct LazyFunctions {
    states: Mutex<States>,
    changed: Condvar,
}

#[derive(Debug)]
struct States {
    of: Vec<State>,
    /// How many threads wait for a change. Mostly none, and telling them is a system call.
    waiting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotYet,
    Compiling,
    Done,
}

impl LazyFunctions {
    pub(crate) fn new(functions: usize) -> LazyFunctions {
        LazyFunctions {
            states: Mutex::new(States {
                of: vec![State::NotYet; functions],
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits while another thread compiles the function. Whether it is for us to compile.
    fn claim(&self, func: DefinedFuncIndex) -> bool {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match states.of[func.index()] {
                State::Done => return false,
                State::NotYet => {
                    states.of[func.index()] = State::Compiling;
                    return true;
                }
                State::Compiling => {
                    states.waiting += 1;
                    states = self
                        .changed
                        .wait(states)
                        .unwrap_or_else(PoisonError::into_inner);
                    states.waiting -= 1;
                }
            }
        }
    }

    fn settle(&self, func: DefinedFuncIndex, state: State) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.of[func.index()] = state;
        if states.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// Entry cells that lead to the lazy compiler. Where stubs may not be written, those functions that
/// the program's own text has no stub for are left out: [`prepare_cells`] has to see to them.
pub(crate) fn entry_cells(module: &Module, written: bool) -> io::Result<Box<[AtomicPtr<u8>]>> {
    let count = module.bodies.len() as u32;
    let count = match written {
        true => count,
        false => count.min(bimetal_sys::text_lazy_stubs(ReturnArea::Absent)),
    };
    let stubs = bimetal_sys::lazy_stubs(count, ReturnArea::Absent)?;
    let areas: Vec<ReturnArea> = module
        .types
        .values()
        .map(|ty| match &ty.composite {
            CompositeType::Func(ty) => return_area(ty),
            _ => ReturnArea::Absent,
        })
        .collect();
    module
        .bodies
        .keys()
        .map(|func| {
            let stub = match areas[module.functions[module.func_index(func)].index()] {
                area if !written && func.as_u32() >= bimetal_sys::text_lazy_stubs(area) => {
                    std::ptr::null()
                }
                ReturnArea::Absent => stubs.get(func.as_u32()),
                area => bimetal_sys::lazy_stub(func.as_u32(), area)?,
            };
            Ok(AtomicPtr::new(stub.cast_mut()))
        })
        .collect()
}

/// Entry cells that lead to where those of another module with the same code do: a function that is
/// not compiled yet is compiled for both.
pub(crate) fn same_cells(base: &ModuleInner) -> Box<[AtomicPtr<u8>]> {
    let cells = base.entry.iter();
    let copy = |cell: &AtomicPtr<u8>| AtomicPtr::new(cell.load(Ordering::Acquire));
    cells.map(copy).collect()
}

/// Makes functions ready that have no stub to do it at their first call.
pub(crate) fn prepare_cells(module: &Arc<ModuleInner>) -> Result<()> {
    for func in module.wasm().bodies.keys() {
        if module.entry[func.index()].load(Ordering::Relaxed).is_null() {
            compile_now(module, func)?;
        }
    }
    Ok(())
}

/// Whether a function of this type is passed an area for its results.
pub(crate) fn return_area(ty: &FuncType) -> ReturnArea {
    let is_float = |ty: &&ValType| matches!(ty, ValType::F32 | ValType::F64 | ValType::V128);
    let floats = ty.results().iter().filter(is_float).count();
    ReturnArea::for_results(ty.results().len() - floats, floats)
}

/// Compiles a function, or waits until another thread has, and says where it is.
pub(crate) fn compile_now(module: &Arc<ModuleInner>, func: DefinedFuncIndex) -> Result<CodePtr> {
    /// Lets others try if we fail, by error or panic.
    struct Claim<'a>(&'a LazyFunctions, DefinedFuncIndex, State);
    impl Drop for Claim<'_> {
        fn drop(&mut self) {
            self.0.settle(self.1, self.2);
        }
    }

    let cell = &module.entry[func.index()];
    if !module.lazy.claim(func) {
        return Ok(CodePtr::new(cell.load(Ordering::Acquire)));
    }
    let mut claim = Claim(&module.lazy, func, State::NotYet);
    if let Some(base) = &module.base {
        let code = compile_now(base, func)?;
        cell.store(code.as_ptr().cast_mut(), Ordering::Release);
        claim.2 = State::Done;
        return Ok(code);
    }
    if let Some(image) = module.code.image().filter(|image| image.has(func)) {
        match image.verified(func) {
            Ok(code) => {
                cell.store(code.as_ptr().cast_mut(), Ordering::Release);
                claim.2 = State::Done;
                return Ok(code);
            }
            // What a cache has lost can be made again.
            Err(error) if module.slot.is_some() => tracing::warn!(%error, "compiled again"),
            Err(error) => {
                return Err(Error::new(error))
                    .with_context(|| format!("cannot run {}", module.describe(func)));
            }
        }
    }
    let code = match take_over(module, func) {
        Some(code) => code,
        None => module.compile(func)?,
    };
    if !code.relocs.is_empty() {
        return Err(Error::msg(
            "code compiled for a lazy engine has relocations (a bug of the compiler)",
        ));
    }
    tracing::trace!(func = func.index(), bytes = code.bytes.len(), "compiled");
    let span = module
        .code
        .reserve(code.bytes.len(), code.alignment as usize)
        .and_then(|span| span.write(0, &code.bytes).map(|()| span))
        .context("cannot allocate memory for machine code")?;
    let address = span.address();
    if let Some(mut profile) = module.engine.profile() {
        profile.function(module, func, address, &code.bytes);
    }
    module
        .code
        .record([(func, address, code.bytes.len() as u32, code.sites)]);
    let code = CodePtr::new(std::ptr::with_exposed_provenance(address));
    cell.store(code.as_ptr().cast_mut(), Ordering::Release);
    claim.2 = State::Done;
    Ok(code)
}

/// Shows all functions of a module to the middlewares that may refuse them.
pub(crate) fn show_all(env: &ModuleEnv, parallel: bool) -> Result<()> {
    let Some(instrumentation) = &env.instrumentation else {
        return Ok(());
    };
    if !instrumentation.may_refuse() {
        return Ok(());
    }
    let functions: Vec<DefinedFuncIndex> = env.module.bodies.keys().collect();
    let show = |&func: &DefinedFuncIndex| {
        let shown = instrumentation.check(&env.module, func);
        shown.map_err(compile_error)
    };
    // The first error in the order of functions, so that it is always the same one.
    match parallel {
        true => compile_parallel(&functions, show).map(drop),
        false => functions.iter().try_for_each(show),
    }
}

/// The code of a function of which a module with the same outline has the body, and the bodies of
/// what was inlined into it.
fn take_over(module: &ModuleInner, func: DefinedFuncIndex) -> Option<FunctionCode> {
    // What a middleware makes of a function may depend on all of the module.
    let plain = module.env.instrumentation.is_none();
    let relative = module.relative.as_ref().filter(|_| plain)?;
    let theirs = relative.function(func).filter(|f| !f.is_missing())?;
    let wasm = module.wasm();
    // How far a body has moved, if it is the same.
    let moved = |func: DefinedFuncIndex| {
        let theirs = relative.function(func)?;
        let is_same = theirs.was_compiled_from(wasm.body_bytes(func));
        let body = wasm.bodies[func].range.start;
        is_same.then(|| (body as u32).wrapping_sub(theirs.body.start as u32))
    };
    let own = moved(func)?;
    let code = relative.text_bytes().get(theirs.code.clone())?;
    theirs.verify(code).ok()?;
    let sites = theirs.sites()?.moved(|inlined| match inlined {
        None => Some(own),
        Some(inlined) => moved(wasm.defined_func(inlined)?),
    })?;
    module.taken_over.fetch_add(1, Ordering::Relaxed);
    Some(FunctionCode {
        bytes: code.to_vec(),
        alignment: IMAGE_ALIGNMENT,
        relocs: Vec::new(),
        sites,
    })
}

/// How functions of images are aligned whose own wish is not known any more: for the constants
/// among their code, and for the processor.
pub(crate) const IMAGE_ALIGNMENT: u32 = 64;

/// Compiles all functions of a module that are not in its image, and publishes them.
pub(crate) fn compile_all(module: &Arc<ModuleInner>) -> Result<()> {
    let image = module.code.image();
    let functions: Vec<DefinedFuncIndex> = module
        .wasm()
        .bodies
        .keys()
        .filter(|&func| image.is_none_or(|image| !image.has(func)))
        .collect();
    if functions.is_empty() {
        return Ok(());
    }
    module.engine.compiler()?;
    let env = module.env_to_compile_all()?;
    let known = |func| take_over(module, func);
    let failed = "cannot allocate memory for machine code";
    // Direct calls need all functions to be near each other; otherwise they are placed as they come.
    let (batch, most) = match env.tunables.call_mode {
        CallMode::Direct => (usize::MAX, usize::MAX),
        CallMode::Cell => (BATCH, PLACED),
    };
    let (mut codes, mut bytes, mut left) = (Vec::new(), 0, &*functions);
    let mut each = |code: FunctionCode| -> Result<()> {
        bytes += code.bytes.len();
        codes.push(code);
        if bytes > most {
            let (now, later) = left.split_at(codes.len());
            place(module, now, take(&mut codes)).context(failed)?;
            (bytes, left) = (0, later);
        }
        Ok(())
    };
    compile_bodies(&module.engine, env, &functions, batch, &known, &mut each)?;
    place(module, left, codes).context(failed)
}

/// Bytes of bodies that are compiled before their code is handed on: enough for all cores to have
/// something to do, little enough to be in memory at once.
pub(crate) const BATCH: usize = 8 << 20;

/// Bytes of code that are placed at once.
const PLACED: usize = 4 << 20;

/// Compiles functions of a module that are not `known`, and hands their code to `each`, in this
/// order, after so many bytes of bodies at the latest.
pub(crate) fn compile_bodies(
    engine: &Engine,
    env: &ModuleEnv,
    functions: &[DefinedFuncIndex],
    batch: usize,
    known: &(dyn Fn(DefinedFuncIndex) -> Option<FunctionCode> + Sync),
    each: &mut dyn FnMut(FunctionCode) -> Result<()>,
) -> Result<()> {
    let wasm = &env.module;
    let len = |func: DefinedFuncIndex| wasm.bodies[func].range.len();
    let total: u64 = functions.iter().map(|&func| len(func) as u64).sum();
    let done = AtomicU64::new(0);
    let progress = engine.config().progress.as_ref();
    let compile = |&func: &DefinedFuncIndex| -> Result<FunctionCode> {
        let code = match known(func) {
            Some(code) => code,
            None => engine.with_compiler(|compiler, scratch| {
                compiler
                    .function(env, func, scratch)
                    .map_err(compile_error)
                    .with_context(|| format!("cannot compile {}", describe(wasm, func)))
            })?,
        };
        if let Some(progress) = progress {
            let bytes = len(func) as u64;
            let before = done.fetch_add(bytes, Ordering::Relaxed);
            // Not for each function: a module can have a hundred thousand.
            if before >> 16 != (before + bytes) >> 16 || before + bytes == total {
                progress(before + bytes, total);
            }
        }
        Ok(code)
    };
    let mut left = functions;
    while !left.is_empty() {
        let mut bytes = 0;
        let full = left.iter().position(|&func| {
            bytes += len(func);
            bytes > batch
        });
        let (now, later) = left.split_at(full.map_or(left.len(), |last| last + 1));
        left = later;
        // The first error in the order of functions, so that it is always the same one.
        match engine.config().parallel {
            true => compile_parallel(now, compile)?
                .into_iter()
                .try_for_each(&mut *each)?,
            false => (now.iter().map(compile)).try_for_each(|code| each(code?))?,
        }
    }
    engine.trim();
    Ok(())
}

/// Puts functions of a module, in ascending order, into one span, resolves their references to
/// each other, and publishes them.
fn place(
    module: &Arc<ModuleInner>,
    functions: &[DefinedFuncIndex],
    codes: Vec<FunctionCode>,
) -> io::Result<()> {
    let mut end = 0usize;
    let offsets: Vec<usize> = codes
        .iter()
        .map(|code| {
            let start = end.next_multiple_of((code.alignment as usize).max(1));
            end = start + code.bytes.len();
            start
        })
        .collect();
    if end == 0 {
        return Ok(());
    }
    let align = codes.iter().map(|code| code.alignment).max().unwrap_or(1);
    let span = module.code.reserve(end, align as usize)?;
    let base = span.address();
    let mut records = Vec::with_capacity(codes.len());
    // Written in pieces, so that the bytes of a large module do not exist twice.
    const PIECE: usize = 1 << 20;
    let mut piece: Vec<u8> = Vec::with_capacity(PIECE.min(end));
    let mut piece_start = 0;
    let mut profile = module.engine.profile();
    for (index, mut code) in codes.into_iter().enumerate() {
        let start = offsets[index];
        for reloc in &code.relocs {
            let RelocTarget::Func(target) = reloc.target;
            let target = module
                .wasm()
                .defined_func(target)
                .and_then(|defined| functions.binary_search(&defined).ok())
                .and_then(|position| offsets.get(position))
                .ok_or_else(|| io::Error::other("a relocation against a function elsewhere"))?;
            relocate(
                &mut code.bytes,
                reloc.offset as usize,
                reloc.kind,
                start,
                *target,
                reloc.addend,
            )?;
        }
        if let Some(profile) = &mut profile {
            profile.function(module, functions[index], base + start, &code.bytes);
        }
        if piece.len() >= PIECE {
            span.write(piece_start, &piece)?;
            piece.clear();
            piece_start = start;
        }
        piece.resize(start - piece_start, 0);
        piece.extend_from_slice(&code.bytes);
        records.push((
            functions[index],
            base + start,
            code.bytes.len() as u32,
            code.sites,
        ));
    }
    span.write(piece_start, &piece)?;
    drop(profile);
    module.code.record(records);
    for (func, offset) in functions.iter().zip(&offsets) {
        let cell = &module.entry[func.index()];
        let address: *mut u8 = std::ptr::with_exposed_provenance_mut(base + offset);
        cell.store(address, Ordering::Release);
    }
    Ok(())
}

/// Writes one relocation. `start` and `target` are offsets of functions in the same span.
fn relocate(
    bytes: &mut [u8],
    offset: usize,
    kind: RelocKind,
    start: usize,
    target: usize,
    addend: i64,
) -> io::Result<()> {
    let too_far = || io::Error::other("a function is too far away for a direct call");
    let field = bytes
        .get_mut(offset..offset + 4)
        .ok_or_else(|| io::Error::other("a relocation outside of its function"))?;
    let distance = target as i64 + addend - (start + offset) as i64;
    match kind {
        RelocKind::X86CallPcRel4 => {
            let value = i32::try_from(distance).map_err(|_| too_far())?;
            field.copy_from_slice(&value.to_le_bytes());
        }
        RelocKind::Arm64Call => {
            let words = i32::try_from(distance >> 2).map_err(|_| too_far())?;
            if !(-(1 << 25)..1 << 25).contains(&words) {
                return Err(too_far());
            }
            let mut instruction = [0; 4];
            instruction.copy_from_slice(field);
            let instruction = u32::from_le_bytes(instruction) | (words as u32 & 0x03ff_ffff);
            field.copy_from_slice(&instruction.to_le_bytes());
        }
        RelocKind::RiscvCallPlt | RelocKind::S390xPcRel32Dbl => {
            return Err(io::Error::other("code of another machine cannot be placed"));
        }
    }
    Ok(())
}
