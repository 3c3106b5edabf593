//! What belongs to a function type: its trampolines and the cells of host functions.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bimetal_codegen::TrampolineKind;
use bimetal_wasm::FuncType;

use crate::engine::CodePtr;
use crate::error::Result;
use crate::tier::return_area;
use crate::vm::{HostKind, PlacedTrampoline};

/// A function type's calling convention, with its trampolines.
pub(crate) struct Signature {
    /// The type, with `func` or `any` in the place of concrete types.
    pub(crate) ty: FuncType,
    pub(crate) host_to_wasm: OnceLock<CodePtr>,
    /// Entry cells of host functions of this type, by `HostKind`, without and with call hooks.
    cells: [[AtomicPtr<u8>; 2]; 2],
    /// Trampolines, at most one of each kind, given back with this.
    trampolines: Mutex<Vec<PlacedTrampoline>>,
}

impl Signature {
    pub(super) fn new(ty: FuncType) -> Signature {
        let stub = || AtomicPtr::new(bimetal_sys::lazy_host_stub(return_area(&ty)).cast_mut());
        let cells = [[stub(), stub()], [stub(), stub()]];
        Signature {
            ty,
            host_to_wasm: OnceLock::new(),
            cells,
            trampolines: Mutex::default(),
        }
    }

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
