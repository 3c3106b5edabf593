//! Trampolines in place: compiled one by one, or mapped with the image that has them.
//!
//! They belong to the function types of the engine, not to a module: the first who brings one of a
//! kind for a type provides all. So those of an image are mapped apart from its functions, and that
//! mapping lives as long as a type uses it, while the module may go.
//!
//! The image's seal covers its trampolines, so all of them are published as soon as it is loaded.

use std::collections::HashMap;
use std::sync::Arc;

use bimetal_artifact::Image;
use bimetal_codegen::{TrampolineCode, TrampolineKind};
use bimetal_sys::MappedCode;
use bimetal_wasm::FuncType;
use cranelift_entity::EntityRef;

use super::code::{CodePiece, CodeSpace};
use super::image::ImageFile;
use crate::engine::CodePtr;
use crate::error::{Context, Result};
use crate::registry::RegisteredType;

/// A trampoline that can run as long as this lives.
#[derive(Debug)]
pub(crate) struct PlacedTrampoline {
    pub(crate) kind: TrampolineKind,
    address: usize,
    len: usize,
    _holder: Holder,
}

/// What keeps trampolines in place.
#[derive(Clone, Debug)]
enum Holder {
    Piece { _piece: Arc<CodePiece> },
    Mapped { _code: Arc<MappedCode> },
}

impl PlacedTrampoline {
    /// Puts one that has just been compiled into executable memory.
    pub(crate) fn new(
        space: &Arc<CodeSpace>,
        kind: TrampolineKind,
        code: &TrampolineCode,
    ) -> Result<PlacedTrampoline> {
        let piece = CodePiece::new(space, &code.bytes, code.alignment as usize)
            .context("cannot allocate memory for machine code")?;
        Ok(PlacedTrampoline {
            kind,
            address: piece.address().expose_provenance(),
            len: code.bytes.len(),
            _holder: Holder::Piece {
                _piece: Arc::new(piece),
            },
        })
    }

    pub(crate) fn address(&self) -> CodePtr {
        CodePtr::new(std::ptr::with_exposed_provenance(self.address))
    }

    /// Its machine code.
    pub(crate) fn bytes(&self) -> &[u8] {
        let start: *const u8 = std::ptr::with_exposed_provenance(self.address);
        // SAFETY: so many bytes are there, readable, and never changed while the holder lives.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

/// Gives the trampolines of an image to the types that have none of their own yet. `file` is the
/// image's, if it is one; otherwise they are copied. `types` are the module's.
pub(super) fn share(
    image: &Image,
    file: Option<ImageFile<'_>>,
    space: &Arc<CodeSpace>,
    types: &[RegisteredType],
) -> Result<()> {
    let range = image.trampoline_text();
    if range.is_empty() {
        return Ok(());
    }
    let mapped = file.and_then(|file| file.map(range).ok());
    let (base, holder) = match mapped {
        Some(code) => (
            code.base(),
            Holder::Mapped {
                _code: Arc::new(code),
            },
        ),
        None => {
            let piece = CodePiece::new(space, image.trampoline_bytes(), 1)
                .context("cannot allocate memory for machine code")?;
            (
                piece.address(),
                Holder::Piece {
                    _piece: Arc::new(piece),
                },
            )
        }
    };
    let base = base.expose_provenance();
    let of = |index: usize| types.get(index).filter(|ty| ty.is_func());
    // Different types may be called alike; the image has trampolines for the first of them.
    let mut alike: HashMap<&FuncType, Vec<usize>> = HashMap::new();
    if types.iter().any(|ty| !ty.is_alone()) {
        for index in 0..types.len() {
            if let Some(ty) = of(index) {
                alike.entry(&ty.signature().ty).or_default().push(index);
            }
        }
    }
    for trampoline in image.trampolines() {
        let Some(first) = of(trampoline.ty.index()) else {
            continue;
        };
        let provide = |ty: &RegisteredType| {
            ty.signature().provide(PlacedTrampoline {
                kind: trampoline.kind,
                address: base + trampoline.code.start,
                len: trampoline.code.len(),
                _holder: holder.clone(),
            });
        };
        match alike.get(&first.signature().ty) {
            Some(all) => all.iter().copied().filter_map(of).for_each(provide),
            None => provide(first),
        }
    }
    Ok(())
}
