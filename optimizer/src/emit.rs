//! From Cranelift's finished buffer to [`FunctionCode`]: bytes, relocations and sites.
//!
//! An instruction's source location is the number of its site in the graph; Cranelift hands back
//! ranges of code with those numbers. Each trap and each call's return address becomes a [`Site`],
//! sorted by code offset.
//!
//! **Invariant**: the only relocations are calls of functions of the same module. Anything else,
//! a library call above all, is a defect of the lowering and reported as one.

use bimetal_codegen::{
    CompileError, FunctionCode, Handler, InlineNode, Reloc, RelocKind, RelocTarget, Site,
    SiteTable, SiteTableBuilder, StackMapTable, StackMapTableBuilder, TrampolineCode,
};
use bimetal_wasm::FuncIndex;
use cranelift_codegen::binemit;
use cranelift_codegen::ir::{self, ExternalName};
use cranelift_codegen::{
    CodegenError, CompiledCode, Context, Final, FinalizedMachCallSite,
    FinalizedMachExceptionHandler, FinalizedMachReloc, FinalizedRelocTarget, MachSrcLoc,
    control::ControlPlane, isa::TargetIsa, print_errors::pretty_error,
};

use crate::traps;

/// Where a source location is in the wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WasmLocation {
    /// The inline node, 0 for the function itself.
    pub node: u32,
    /// Offset in the module's binary.
    pub offset: u32,
}

/// The wasm side of a function's code.
pub(crate) struct Provenance<'a> {
    /// Where the function starts: the place of a stack overflow in its prologue.
    pub start: u32,
    /// The meaning of a source location's number.
    pub locate: &'a dyn Fn(u32) -> WasmLocation,
    /// The inlined functions.
    pub nodes: &'a [InlineNode],
}

/// Buffers that are reused from function to function.
#[derive(Debug, Default)]
pub(crate) struct EmitScratch {
    sites: Vec<(u32, Option<bimetal_abi::TrapCode>, Option<Handler>)>,
    builder: SiteTableBuilder,
    words: Vec<u32>,
    maps: StackMapTableBuilder,
}

/// Runs Cranelift on `context.func`.
///
/// # Errors
/// [`CompileError::Limit`] if the function is too large, [`CompileError::Bug`] otherwise.
pub(crate) fn compile(context: &mut Context, isa: &dyn TargetIsa) -> Result<(), CompileError> {
    match context.compile(isa, &mut ControlPlane::default()) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.inner {
            CodegenError::ImplLimitExceeded => {
                CompileError::Limit("the function has too many values".into())
            }
            CodegenError::CodeTooLarge => {
                CompileError::Limit("the function's code is too large".into())
            }
            CodegenError::Unsupported(what) => CompileError::Unsupported(what),
            other => CompileError::Bug(pretty_error(error.func, other)),
        }),
    }
}

/// The compiled function in `context` as data.
///
/// # Errors
/// [`CompileError::Bug`] if there is a relocation that nobody could resolve.
pub(crate) fn function(
    context: &Context,
    isa: &dyn TargetIsa,
    provenance: &Provenance<'_>,
    scratch: &mut EmitScratch,
) -> Result<FunctionCode, CompileError> {
    let code = compiled(context)?;
    let relocs = code
        .buffer
        .relocs()
        .iter()
        .map(|reloc| relocation(reloc, &context.func))
        .collect::<Result<_, _>>()?;
    let mut side_table = sites(code, provenance, scratch);
    side_table.stack_maps = stack_maps(code, scratch);
    Ok(FunctionCode {
        bytes: code.code_buffer().to_vec(),
        alignment: alignment(code, isa),
        relocs,
        sites: side_table,
    })
}

/// The compiled trampoline in `context` as data.
///
/// # Errors
/// [`CompileError::Bug`] if there is a relocation.
pub(crate) fn trampoline(
    context: &Context,
    isa: &dyn TargetIsa,
) -> Result<TrampolineCode, CompileError> {
    let code = compiled(context)?;
    if let Some(reloc) = code.buffer.relocs().first() {
        return Err(CompileError::Bug(format!(
            "a trampoline refers to {}",
            reloc.target.display(Some(&context.func.params))
        )));
    }
    Ok(TrampolineCode {
        bytes: code.code_buffer().to_vec(),
        alignment: alignment(code, isa),
    })
}

/// What the code needs, and what the processor likes (x86-64 decodes 32 bytes at a time).
fn alignment(code: &CompiledCode, isa: &dyn TargetIsa) -> u32 {
    code.buffer
        .alignment
        .max(isa.function_alignment().preferred)
}

fn compiled(context: &Context) -> Result<&CompiledCode, CompileError> {
    context
        .compiled_code()
        .ok_or_else(|| CompileError::Bug("nothing was compiled".into()))
}

fn relocation(reloc: &FinalizedMachReloc, func: &ir::Function) -> Result<Reloc, CompileError> {
    let bug = || {
        CompileError::Bug(format!(
            "relocation {:?} against {}",
            reloc.kind,
            reloc.target.display(Some(&func.params))
        ))
    };
    let kind = match reloc.kind {
        binemit::Reloc::X86CallPCRel4 => RelocKind::X86CallPcRel4,
        binemit::Reloc::Arm64Call => RelocKind::Arm64Call,
        binemit::Reloc::RiscvCallPlt => RelocKind::RiscvCallPlt,
        binemit::Reloc::S390xPLTRel32Dbl | binemit::Reloc::S390xPCRel32Dbl => {
            RelocKind::S390xPcRel32Dbl
        }
        _ => return Err(bug()),
    };
    let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = &reloc.target else {
        return Err(bug());
    };
    let name = func.params.user_named_funcs().get(*name).ok_or_else(bug)?;
    Ok(Reloc {
        offset: reloc.offset,
        kind,
        target: RelocTarget::Func(FuncIndex::from_u32(name.index)),
        addend: reloc.addend,
    })
}

/// All traps and return addresses of `code`.
fn sites(code: &CompiledCode, provenance: &Provenance<'_>, scratch: &mut EmitScratch) -> SiteTable {
    let EmitScratch { sites, builder, .. } = scratch;
    sites.clear();
    sites.extend(code.buffer.traps().iter().filter_map(|trap| {
        // A code that is none of ours guards what cannot happen; without an entry the runtime
        // reports the fault for what it is.
        Some((trap.offset, Some(traps::from_clif(trap.code)?), None))
    }));
    let calls = code.buffer.call_sites();
    sites.extend(calls.map(|call| (call.ret_addr, None, handler(&call))));
    // Stable, so that of several traps at one instruction the first one wins.
    sites.sort_by_key(|&(offset, ..)| offset);

    let ranges = code.buffer.get_srclocs_sorted();
    for &(code_offset, trap, handler) in &*sites {
        // A return address is behind its call.
        let inside = code_offset.saturating_sub(u32::from(trap.is_none()));
        let range = ranges.partition_point(|range| range.end <= inside);
        let at = location(ranges.get(range), inside, provenance);
        builder.push(Site {
            code_offset,
            trap,
            node: at.node,
            wasm_offset: at.offset,
            handler,
        });
    }
    builder.finish(provenance.nodes)
}

/// Where references are at each call, from the frame pointer: what Cranelift counts from the stack
/// pointer, it says how far away the frame pointer is.
fn stack_maps(code: &CompiledCode, scratch: &mut EmitScratch) -> StackMapTable {
    let EmitScratch { words, maps, .. } = scratch;
    for (return_address, span, map) in code.buffer.user_stack_maps() {
        words.clear();
        words.extend(map.entries().map(|(_, above_sp)| span - above_sp));
        maps.push(*return_address, words);
    }
    maps.finish()
}

/// Where an exception goes on that this call ends with. The lowering makes one handler at most, for
/// all exceptions.
fn handler(call: &FinalizedMachCallSite<'_>) -> Option<Handler> {
    match *call.exception_handlers.first()? {
        FinalizedMachExceptionHandler::Default(code_offset) => Some(Handler {
            code_offset,
            frame_size: call.frame_offset?,
        }),
        _ => None,
    }
}

fn location(
    range: Option<&MachSrcLoc<Final>>,
    offset: u32,
    provenance: &Provenance<'_>,
) -> WasmLocation {
    range
        .filter(|range| range.start <= offset && !range.loc.is_default())
        .map_or(
            WasmLocation {
                node: 0,
                offset: provenance.start,
            },
            |range| (provenance.locate)(range.loc.bits()),
        )
}
