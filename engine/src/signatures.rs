//! The function types of an engine.
//!
//! Generated code compares types by number, so an engine has one number for each type that is in
//! use: by a loaded module or by a host function of a store. When the last of these goes, the type
//! is forgotten with the trampolines that were compiled for it, and its number is given to another:
//! guests cannot fill a host's memory with types.
//!
//! **Invariant**: whoever has a number from here also keeps the [`Signature`], or borrows from
//! somebody who does. A function's store keeps its module or its host function, and they keep it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use bimetal_codegen::TrampolineKind;
use bimetal_wasm::FuncType;

use crate::engine::CodePtr;
use crate::error::Result;
use crate::tier::return_area;
use crate::vm::{HostKind, PlacedTrampoline};

/// The function types of an engine that are in use.
#[derive(Default)]
pub(crate) struct Signatures(RwLock<Known>);

#[derive(Default)]
struct Known {
    ids: HashMap<FuncType, u32>,
    /// By number; dead ones have no type any more, or are about to be forgotten.
    all: Vec<Weak<Signature>>,
    free: Vec<u32>,
}

/// A function type that is in use, with its trampolines.
pub(crate) struct Signature {
    pub(crate) id: u32,
    pub(crate) ty: FuncType,
    pub(crate) host_to_wasm: OnceLock<CodePtr>,
    /// Entry cells of host functions of this type, by `HostKind`, without and with call hooks.
    cells: [[AtomicPtr<u8>; 2]; 2],
    /// Trampolines, at most one of each kind, given back with this.
    trampolines: Mutex<Vec<PlacedTrampoline>>,
    known: Weak<Signatures>,
}

impl Signatures {
    /// The one form of a function type. Keep it as long as its number is in use.
    pub(crate) fn intern(self: &Arc<Self>, ty: &FuncType) -> Arc<Signature> {
        let find = |known: &Known| known.all[*known.ids.get(ty)? as usize].upgrade();
        if let Some(signature) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return signature;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(signature) = find(&known) {
            return signature;
        }
        let id = known.free.pop().unwrap_or_else(|| {
            known.all.push(Weak::new());
            (known.all.len() - 1) as u32
        });
        let stub = || AtomicPtr::new(bimetal_sys::lazy_host_stub(return_area(ty)).cast_mut());
        let signature = Arc::new(Signature {
            id,
            ty: ty.clone(),
            host_to_wasm: OnceLock::new(),
            cells: [[stub(), stub()], [stub(), stub()]],
            trampolines: Mutex::default(),
            known: Arc::downgrade(self),
        });
        // In the place of one that is dead and has not been forgotten yet, perhaps.
        known.ids.insert(ty.clone(), id);
        known.all[id as usize] = Arc::downgrade(&signature);
        signature
    }

    /// The type that has this number.
    pub(crate) fn at(&self, id: u32) -> Arc<Signature> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.all[id as usize]
            .upgrade()
            .expect("who has the number keeps the type")
    }
}

impl Signature {
    pub(crate) fn cell(&self, kind: HostKind, hooked: bool) -> &AtomicPtr<u8> {
        &self.cells[usize::from(hooked)][kind as usize]
    }

    /// Makes a trampoline the one of its kind, unless there is one; where that is.
    pub(crate) fn provide(&self, new: PlacedTrampoline) -> CodePtr {
        let mut all = self.lock();
        if let Some(present) = all.iter().find(|present| present.kind == new.kind) {
            return present.address();
        }
        let code = new.address();
        match new.kind {
            TrampolineKind::HostToWasm => drop(self.host_to_wasm.set(code)),
            TrampolineKind::WasmToNative => self.fill(HostKind::Native, false, code),
            TrampolineKind::WasmToArray => self.fill(HostKind::Array, false, code),
            TrampolineKind::HookedToNative => self.fill(HostKind::Native, true, code),
            TrampolineKind::HookedToArray => self.fill(HostKind::Array, true, code),
        }
        all.push(new);
        code
    }

    fn fill(&self, kind: HostKind, hooked: bool, code: CodePtr) {
        let cell = self.cell(kind, hooked);
        cell.store(code.as_ptr().cast_mut(), Ordering::Release);
    }

    /// Shows all trampolines of this type, until there is an error.
    pub(crate) fn try_each_trampoline(
        &self,
        mut f: impl FnMut(&PlacedTrampoline) -> Result<()>,
    ) -> Result<()> {
        self.lock().iter().try_for_each(&mut f)
    }

    /// How many trampolines there are of this type.
    pub(crate) fn trampolines(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PlacedTrampoline>> {
        let all = self.trampolines.lock();
        all.unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature[{}: {}]", self.id, self.ty)
    }
}

impl Drop for Signature {
    fn drop(&mut self) {
        let Some(signatures) = self.known.upgrade() else {
            return;
        };
        let mut known = signatures.0.write().unwrap_or_else(PoisonError::into_inner);
        // Unless somebody wanted the type again since it died, and it has another number.
        if known.ids.get(&self.ty) == Some(&self.id) {
            known.ids.remove(&self.ty);
        }
        known.free.push(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bimetal_wasm::ValType;

    #[test]
    fn types_are_known_while_they_are_used() {
        let signatures = Arc::new(Signatures::default());
        let ty = |n: usize| FuncType::new(vec![ValType::I32; n], []);
        let one = signatures.intern(&ty(1));
        let two = signatures.intern(&ty(2));
        assert!(Arc::ptr_eq(&one, &signatures.intern(&ty(1))));
        assert_ne!(one.id, two.id);
        let number = one.id;
        drop(one);
        // The number is free, and the type can come back.
        let three = signatures.intern(&ty(3));
        assert_eq!(three.id, number);
        let one = signatures.intern(&ty(1));
        assert_ne!(one.id, number);
        assert_eq!(signatures.at(number).ty, ty(3));
        assert_eq!(signatures.0.read().unwrap().all.len(), 3);
    }

    #[test]
    fn threads_agree() {
        let signatures = Arc::new(Signatures::default());
        let ty = FuncType::new([ValType::I64], []);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let (a, b) = (signatures.intern(&ty), signatures.intern(&ty));
                        assert!(Arc::ptr_eq(&a, &b));
                        assert!(Arc::ptr_eq(&a, &signatures.at(a.id)));
                    }
                });
            }
        });
        let known = signatures.0.read().unwrap();
        assert!(known.ids.is_empty());
        assert_eq!(known.all.len(), known.free.len());
    }
}
