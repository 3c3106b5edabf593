//! Trap codes: ours and Cranelift's.
//!
//! Cranelift has five codes of its own, which its lowerings use (division, conversion, the
//! prologue's stack check, memory accesses). Those stand for our codes of the same meaning; every
//! other code of ours is a user code with our number.

use bimetal_abi::TrapCode;
use cranelift_codegen::ir;

const CRANELIFT: &[(TrapCode, ir::TrapCode)] = &[
    (TrapCode::StackOverflow, ir::TrapCode::STACK_OVERFLOW),
    (
        TrapCode::MemoryOutOfBounds,
        ir::TrapCode::HEAP_OUT_OF_BOUNDS,
    ),
    (TrapCode::IntegerOverflow, ir::TrapCode::INTEGER_OVERFLOW),
    (
        TrapCode::IntegerDivisionByZero,
        ir::TrapCode::INTEGER_DIVISION_BY_ZERO,
    ),
    (
        TrapCode::BadConversionToInteger,
        ir::TrapCode::BAD_CONVERSION_TO_INTEGER,
    ),
];

/// The code that stands for `code` in CLIF.
pub(crate) const fn to_clif(code: TrapCode) -> ir::TrapCode {
    match code {
        TrapCode::StackOverflow => ir::TrapCode::STACK_OVERFLOW,
        TrapCode::MemoryOutOfBounds => ir::TrapCode::HEAP_OUT_OF_BOUNDS,
        TrapCode::IntegerOverflow => ir::TrapCode::INTEGER_OVERFLOW,
        TrapCode::IntegerDivisionByZero => ir::TrapCode::INTEGER_DIVISION_BY_ZERO,
        TrapCode::BadConversionToInteger => ir::TrapCode::BAD_CONVERSION_TO_INTEGER,
        other => ir::TrapCode::unwrap_user(other as u8),
    }
}

/// The code that `code` stands for; `None` if it is not one that lowering produces.
pub(crate) fn from_clif(code: ir::TrapCode) -> Option<TrapCode> {
    CRANELIFT
        .iter()
        .find(|(_, clif)| *clif == code)
        .map(|(ours, _)| *ours)
        .or_else(|| TrapCode::from_u8(code.as_raw().get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &code in TrapCode::ALL {
            assert_eq!(from_clif(to_clif(code)), Some(code));
        }
        for &(ours, clif) in CRANELIFT {
            assert_eq!(to_clif(ours), clif);
        }
        assert_eq!(from_clif(ir::TrapCode::unwrap_user(200)), None);
    }
}
