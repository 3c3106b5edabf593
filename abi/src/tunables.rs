//! Settings that change generated code or the layout that it assumes.
//!
//! Two artifacts are interchangeable only if all of this is equal; the later image format and the
//! cache key hash it.

use std::sync::Arc;

use bimetal_wasm::{MemoryType, OperatorCost};

/// How a call to a function of the same module is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallMode {
    /// By relocation: caller and callee are compiled together as final.
    Direct,
    /// Through the entry cell: the callee may be compiled later, or again.
    Cell,
}

/// Settings that change generated code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tunables {
    /// How functions of the same module call each other.
    pub call_mode: CallMode,
    /// Address space reserved for a 32-bit memory, in bytes. Memories that fit never move.
    pub memory_reservation: u64,
    /// Inaccessible bytes after the reservation.
    pub memory_guard: u64,
    /// Whether faults on guard pages may stand for bounds checks at all.
    pub signals_based_traps: bool,
    /// Whether an out-of-bounds index is also masked under misspeculation (Spectre variant 1).
    pub spectre_mitigation: bool,
    /// Whether relaxed vector instructions have the same results on every target.
    pub relaxed_simd_deterministic: bool,
    /// Whether functions and loops look at `VmStoreContext.interrupt`.
    pub interrupts: bool,
    /// Whether code counts in `VmStoreContext.fuel` what it executes.
    pub fuel: bool,
    /// How much it counts, if not the defaults.
    pub operator_cost: Option<Arc<OperatorCost>>,
}

impl Tunables {
    /// What must be equal where code is compiled and where it runs, by name. The call mode is not
    /// among it: every function has an entry cell, whoever calls it directly.
    pub fn facts(&self) -> [(&'static str, u64); 8] {
        let Tunables {
            call_mode: _,
            memory_reservation,
            memory_guard,
            signals_based_traps,
            spectre_mitigation,
            relaxed_simd_deterministic,
            interrupts,
            fuel,
            ref operator_cost,
        } = *self;
        [
            ("memory reservation", memory_reservation),
            ("memory guard", memory_guard),
            ("signals-based traps", signals_based_traps.into()),
            ("spectre mitigation", spectre_mitigation.into()),
            (
                "deterministic relaxed SIMD",
                relaxed_simd_deterministic.into(),
            ),
            ("interrupts", interrupts.into()),
            ("fuel", fuel.into()),
            (
                "operator costs",
                operator_cost.as_ref().map_or(0, |cost| cost.digest()),
            ),
        ]
    }
}

impl Default for Tunables {
    /// 64-bit hosts: the full 4 GiB index space and 32 MiB of guard.
    fn default() -> Self {
        Tunables {
            call_mode: CallMode::Direct,
            memory_reservation: 4 << 30,
            memory_guard: 32 << 20,
            signals_based_traps: true,
            spectre_mitigation: true,
            relaxed_simd_deterministic: false,
            interrupts: false,
            fuel: false,
            operator_cost: None,
        }
    }
}

/// How accesses to a memory are kept inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryStyle {
    /// The base never moves; `reservation` bytes from it are address space of this memory,
    /// accessible or faulting.
    Reserved {
        /// In bytes, without the guard.
        reservation: u64,
    },
    /// The base may move when the memory grows, unless it is shared; only the current length is known
    /// at run time.
    Dynamic,
}

/// The plan for one memory, the same for the compiler and the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryPlan {
    /// Its type.
    pub ty: MemoryType,
    /// How accesses are kept inside.
    pub style: MemoryStyle,
    /// Inaccessible bytes after the reservation (`Reserved`) or the current length (`Dynamic`).
    pub guard: u64,
}

impl MemoryPlan {
    /// The plan for a memory of type `ty`.
    pub fn new(ty: MemoryType, tunables: &Tunables) -> MemoryPlan {
        let full = ty.maximum_byte_size().min(1 << 32);
        // Small pages end anywhere, protected ones do not.
        let faults = tunables.signals_based_traps && ty.page_size() >= 1 << 16;
        let fits = faults && !ty.memory64 && tunables.memory_reservation >= full.max(1);
        MemoryPlan {
            ty,
            style: if fits {
                MemoryStyle::Reserved {
                    reservation: tunables.memory_reservation,
                }
            } else if faults && ty.shared {
                // Others are using it while it grows.
                MemoryStyle::Reserved {
                    reservation: ty.maximum_byte_size(),
                }
            } else {
                MemoryStyle::Dynamic
            },
            guard: if faults { tunables.memory_guard } else { 0 },
        }
    }

    /// Whether code may leave it to faults that nothing past the end is accessed. Otherwise it
    /// compares each access with the length.
    pub fn faults_at_end(&self) -> bool {
        self.guard > 0 || self.style != MemoryStyle::Dynamic
    }

    /// Whether an access of `size` bytes at a 32-bit index plus `offset` can be left to the guard
    /// pages, without any check.
    pub fn elides_check(&self, offset: u64, size: u8) -> bool {
        match self.style {
            MemoryStyle::Reserved { reservation } => {
                let last = (u32::MAX as u64)
                    .saturating_add(offset)
                    .saturating_add(size as u64);
                last <= reservation.saturating_add(self.guard)
            }
            MemoryStyle::Dynamic => false,
        }
    }
}
