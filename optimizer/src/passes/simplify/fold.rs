//! Evaluates numeric instructions on constants.
//!
//! Values are raw bits, zero-extended to 64. The results are those of the WebAssembly
//! specification bit by bit; where it leaves a choice (the payload of a NaN that arithmetic makes)
//! nothing is folded, so that a folded program cannot be told from one that was not. Vectors are
//! not folded.

use bimetal_abi::TrapCode;

use crate::graph::Op;

/// What an instruction on constants comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// These bits.
    Value(u64),
    /// It always traps.
    Trap(TrapCode),
    /// Not known here.
    Unknown,
}

use Folded::{Trap, Unknown, Value};

fn i32_(value: i32) -> Folded {
    Value(u64::from(value as u32))
}

fn u32_(value: u32) -> Folded {
    Value(u64::from(value))
}

fn i64_(value: i64) -> Folded {
    Value(value as u64)
}

fn bool_(value: bool) -> Folded {
    Value(u64::from(value))
}

fn f32_(value: f32) -> Folded {
    if value.is_nan() {
        return Unknown;
    }
    u32_(value.to_bits())
}

fn f64_(value: f64) -> Folded {
    if value.is_nan() {
        return Unknown;
    }
    Value(value.to_bits())
}

/// `op` on one constant.
pub(super) fn unary(op: Op, a: u64) -> Folded {
    let (w, l) = (a as u32, a);
    let (f, d) = (f32::from_bits(w), f64::from_bits(l));
    match op {
        Op::I32Eqz => bool_(w == 0),
        Op::I64Eqz => bool_(l == 0),
        Op::I32Clz => u32_(w.leading_zeros()),
        Op::I32Ctz => u32_(w.trailing_zeros()),
        Op::I32Popcnt => u32_(w.count_ones()),
        Op::I64Clz => u32_(l.leading_zeros()),
        Op::I64Ctz => u32_(l.trailing_zeros()),
        Op::I64Popcnt => u32_(l.count_ones()),
        Op::I32WrapI64 => u32_(w),
        Op::I64ExtendI32S => i64_(i64::from(w as i32)),
        Op::I64ExtendI32U => u32_(w),
        Op::I32Extend8S => i32_(i32::from(w as i8)),
        Op::I32Extend16S => i32_(i32::from(w as i16)),
        Op::I64Extend8S => i64_(i64::from(l as i8)),
        Op::I64Extend16S => i64_(i64::from(l as i16)),
        Op::I64Extend32S => i64_(i64::from(l as i32)),

        // Sign manipulation and reinterpretation are defined on bits, NaN or not.
        Op::F32Abs => u32_(w & 0x7fff_ffff),
        Op::F32Neg => u32_(w ^ 0x8000_0000),
        Op::F64Abs => Value(l & !(1 << 63)),
        Op::F64Neg => Value(l ^ (1 << 63)),
        Op::I32ReinterpretF32 | Op::F32ReinterpretI32 => u32_(w),
        Op::I64ReinterpretF64 | Op::F64ReinterpretI64 => Value(l),

        Op::F32Ceil => f32_(f.ceil()),
        Op::F32Floor => f32_(f.floor()),
        Op::F32Trunc => f32_(f.trunc()),
        Op::F32Nearest => f32_(f.round_ties_even()),
        Op::F32Sqrt => f32_(f.sqrt()),
        Op::F64Ceil => f64_(d.ceil()),
        Op::F64Floor => f64_(d.floor()),
        Op::F64Trunc => f64_(d.trunc()),
        Op::F64Nearest => f64_(d.round_ties_even()),
        Op::F64Sqrt => f64_(d.sqrt()),
        Op::F32DemoteF64 => f32_(d as f32),
        Op::F64PromoteF32 => f64_(f64::from(f)),

        Op::F32ConvertI32S => f32_(w as i32 as f32),
        Op::F32ConvertI32U => f32_(w as f32),
        Op::F32ConvertI64S => f32_(l as i64 as f32),
        Op::F32ConvertI64U => f32_(l as f32),
        Op::F64ConvertI32S => f64_(f64::from(w as i32)),
        Op::F64ConvertI32U => f64_(f64::from(w)),
        Op::F64ConvertI64S => f64_(l as i64 as f64),
        Op::F64ConvertI64U => f64_(l as f64),

        Op::I32TruncF32S => truncate(f64::from(f), I32_RANGE, |t| u64::from(t as i32 as u32)),
        Op::I32TruncF32U => truncate(f64::from(f), U32_RANGE, |t| u64::from(t as u32)),
        Op::I32TruncF64S => truncate(d, I32_RANGE, |t| u64::from(t as i32 as u32)),
        Op::I32TruncF64U => truncate(d, U32_RANGE, |t| u64::from(t as u32)),
        Op::I64TruncF32S => truncate(f64::from(f), I64_RANGE, |t| t as i64 as u64),
        Op::I64TruncF32U => truncate(f64::from(f), U64_RANGE, |t| t as u64),
        Op::I64TruncF64S => truncate(d, I64_RANGE, |t| t as i64 as u64),
        Op::I64TruncF64U => truncate(d, U64_RANGE, |t| t as u64),

        // Rust's `as` saturates and makes NaN 0, exactly as these do.
        Op::I32TruncSatF32S => i32_(f as i32),
        Op::I32TruncSatF32U => u32_(f as u32),
        Op::I32TruncSatF64S => i32_(d as i32),
        Op::I32TruncSatF64U => u32_(d as u32),
        Op::I64TruncSatF32S => i64_(f as i64),
        Op::I64TruncSatF32U => Value(f as u64),
        Op::I64TruncSatF64S => i64_(d as i64),
        Op::I64TruncSatF64U => Value(d as u64),
        _ => Unknown,
    }
}

/// The truncated values that a type holds: from the first, up to but not including the second.
type Range = (f64, f64);

const TWO_31: f64 = 2147483648.0;
const TWO_32: f64 = 4294967296.0;
const TWO_63: f64 = 9223372036854775808.0;
const TWO_64: f64 = 18446744073709551616.0;
const I32_RANGE: Range = (-TWO_31, TWO_31);
const U32_RANGE: Range = (0.0, TWO_32);
const I64_RANGE: Range = (-TWO_63, TWO_63);
const U64_RANGE: Range = (0.0, TWO_64);

fn truncate(value: f64, (low, high): Range, convert: impl Fn(f64) -> u64) -> Folded {
    let truncated = value.trunc();
    if value.is_nan() {
        Trap(TrapCode::BadConversionToInteger)
    } else if truncated >= low && truncated < high {
        Value(convert(truncated))
    } else {
        Trap(TrapCode::IntegerOverflow)
    }
}

/// `op` on two constants.
pub(super) fn binary(op: Op, a: u64, b: u64) -> Folded {
    let (wa, wb) = (a as u32, b as u32);
    let (sa, sb) = (wa as i32, wb as i32);
    let (la, lb) = (a as i64, b as i64);
    let (fa, fb) = (f32::from_bits(wa), f32::from_bits(wb));
    let (da, db) = (f64::from_bits(a), f64::from_bits(b));
    match op {
        Op::I32Add => u32_(wa.wrapping_add(wb)),
        Op::I32Sub => u32_(wa.wrapping_sub(wb)),
        Op::I32Mul => u32_(wa.wrapping_mul(wb)),
        Op::I32DivS => match (sb, sa.checked_div(sb)) {
            (0, _) => Trap(TrapCode::IntegerDivisionByZero),
            (_, Some(quotient)) => i32_(quotient),
            (_, None) => Trap(TrapCode::IntegerOverflow),
        },
        Op::I32DivU => wa
            .checked_div(wb)
            .map_or(Trap(TrapCode::IntegerDivisionByZero), u32_),
        Op::I32RemS if sb == 0 => Trap(TrapCode::IntegerDivisionByZero),
        Op::I32RemS => i32_(sa.wrapping_rem(sb)),
        Op::I32RemU => wa
            .checked_rem(wb)
            .map_or(Trap(TrapCode::IntegerDivisionByZero), u32_),
        Op::I32And => u32_(wa & wb),
        Op::I32Or => u32_(wa | wb),
        Op::I32Xor => u32_(wa ^ wb),
        Op::I32Shl => u32_(wa.wrapping_shl(wb)),
        Op::I32ShrS => i32_(sa.wrapping_shr(wb)),
        Op::I32ShrU => u32_(wa.wrapping_shr(wb)),
        Op::I32Rotl => u32_(wa.rotate_left(wb % 32)),
        Op::I32Rotr => u32_(wa.rotate_right(wb % 32)),
        Op::I32Eq => bool_(wa == wb),
        Op::I32Ne => bool_(wa != wb),
        Op::I32LtS => bool_(sa < sb),
        Op::I32LtU => bool_(wa < wb),
        Op::I32GtS => bool_(sa > sb),
        Op::I32GtU => bool_(wa > wb),
        Op::I32LeS => bool_(sa <= sb),
        Op::I32LeU => bool_(wa <= wb),
        Op::I32GeS => bool_(sa >= sb),
        Op::I32GeU => bool_(wa >= wb),

        Op::I64Add => Value(a.wrapping_add(b)),
        Op::I64Sub => Value(a.wrapping_sub(b)),
        Op::I64Mul => Value(a.wrapping_mul(b)),
        Op::I64DivS => match (lb, la.checked_div(lb)) {
            (0, _) => Trap(TrapCode::IntegerDivisionByZero),
            (_, Some(quotient)) => i64_(quotient),
            (_, None) => Trap(TrapCode::IntegerOverflow),
        },
        Op::I64DivU => a
            .checked_div(b)
            .map_or(Trap(TrapCode::IntegerDivisionByZero), Value),
        Op::I64RemS if lb == 0 => Trap(TrapCode::IntegerDivisionByZero),
        Op::I64RemS => i64_(la.wrapping_rem(lb)),
        Op::I64RemU => a
            .checked_rem(b)
            .map_or(Trap(TrapCode::IntegerDivisionByZero), Value),
        Op::I64And => Value(a & b),
        Op::I64Or => Value(a | b),
        Op::I64Xor => Value(a ^ b),
        Op::I64Shl => Value(a.wrapping_shl(wb)),
        Op::I64ShrS => i64_(la.wrapping_shr(wb)),
        Op::I64ShrU => Value(a.wrapping_shr(wb)),
        Op::I64Rotl => Value(a.rotate_left(wb % 64)),
        Op::I64Rotr => Value(a.rotate_right(wb % 64)),
        Op::I64Eq => bool_(a == b),
        Op::I64Ne => bool_(a != b),
        Op::I64LtS => bool_(la < lb),
        Op::I64LtU => bool_(a < b),
        Op::I64GtS => bool_(la > lb),
        Op::I64GtU => bool_(a > b),
        Op::I64LeS => bool_(la <= lb),
        Op::I64LeU => bool_(a <= b),
        Op::I64GeS => bool_(la >= lb),
        Op::I64GeU => bool_(a >= b),

        Op::F32Add => f32_(fa + fb),
        Op::F32Sub => f32_(fa - fb),
        Op::F32Mul => f32_(fa * fb),
        Op::F32Div => f32_(fa / fb),
        Op::F32Copysign => u32_((wa & 0x7fff_ffff) | (wb & 0x8000_0000)),
        Op::F32Min | Op::F32Max if fa.is_nan() || fb.is_nan() => Unknown,
        // Equal operands are the same bits but for the zeros, of which min takes the negative one.
        Op::F32Min if fa == fb => u32_(wa | wb),
        Op::F32Max if fa == fb => u32_(wa & wb),
        Op::F32Min => f32_(if fa < fb { fa } else { fb }),
        Op::F32Max => f32_(if fa > fb { fa } else { fb }),
        Op::F32Eq => bool_(fa == fb),
        Op::F32Ne => bool_(fa != fb),
        Op::F32Lt => bool_(fa < fb),
        Op::F32Gt => bool_(fa > fb),
        Op::F32Le => bool_(fa <= fb),
        Op::F32Ge => bool_(fa >= fb),

        Op::F64Add => f64_(da + db),
        Op::F64Sub => f64_(da - db),
        Op::F64Mul => f64_(da * db),
        Op::F64Div => f64_(da / db),
        Op::F64Copysign => Value((a & !(1 << 63)) | (b & (1 << 63))),
        Op::F64Min | Op::F64Max if da.is_nan() || db.is_nan() => Unknown,
        Op::F64Min if da == db => Value(a | b),
        Op::F64Max if da == db => Value(a & b),
        Op::F64Min => f64_(if da < db { da } else { db }),
        Op::F64Max => f64_(if da > db { da } else { db }),
        Op::F64Eq => bool_(da == db),
        Op::F64Ne => bool_(da != db),
        Op::F64Lt => bool_(da < db),
        Op::F64Gt => bool_(da > db),
        Op::F64Le => bool_(da <= db),
        Op::F64Ge => bool_(da >= db),
        _ => Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_those_of_the_specification() {
        let min = i32::MIN as u32 as u64;
        let minus_one = u64::from(u32::MAX);
        assert_eq!(
            binary(Op::I32DivS, min, minus_one),
            Trap(TrapCode::IntegerOverflow)
        );
        assert_eq!(binary(Op::I32RemS, min, minus_one), Value(0));
        assert_eq!(
            binary(Op::I32DivS, 7, 0),
            Trap(TrapCode::IntegerDivisionByZero)
        );
        assert_eq!(
            binary(Op::I64RemU, 7, 0),
            Trap(TrapCode::IntegerDivisionByZero)
        );
        assert_eq!(
            binary(Op::I64DivS, 1 << 63, u64::MAX),
            Trap(TrapCode::IntegerOverflow)
        );
    }

    #[test]
    fn truncation_has_exact_limits() {
        let d = |value: f64| value.to_bits();
        assert_eq!(unary(Op::I32TruncF64S, d(2147483647.9)), Value(0x7fff_ffff));
        assert_eq!(
            unary(Op::I32TruncF64S, d(-2147483648.9)),
            Value(0x8000_0000)
        );
        assert_eq!(
            unary(Op::I32TruncF64S, d(2147483648.0)),
            Trap(TrapCode::IntegerOverflow)
        );
        assert_eq!(unary(Op::I32TruncF64U, d(-0.9)), Value(0));
        assert_eq!(
            unary(Op::I32TruncF64U, d(-1.0)),
            Trap(TrapCode::IntegerOverflow)
        );
        assert_eq!(
            unary(Op::I64TruncF64U, d(f64::NAN)),
            Trap(TrapCode::BadConversionToInteger)
        );
        assert_eq!(unary(Op::I32TruncSatF64S, d(f64::NAN)), Value(0));
        assert_eq!(
            unary(Op::I64TruncF64S, d(-9223372036854775808.0)),
            Value(1 << 63)
        );
    }

    #[test]
    fn nan_results_are_left_alone() {
        let inf = f64::INFINITY.to_bits();
        assert_eq!(binary(Op::F64Sub, inf, inf), Unknown);
        assert_eq!(unary(Op::F64Sqrt, (-1.0f64).to_bits()), Unknown);
        assert_eq!(binary(Op::F64Min, f64::NAN.to_bits(), 0), Unknown);
        assert_eq!(unary(Op::F32Neg, 0x7fa0_0000), Value(0xffa0_0000));
        assert_eq!(
            binary(Op::F64Ne, f64::NAN.to_bits(), f64::NAN.to_bits()),
            Value(1)
        );
    }

    #[test]
    fn zeros_have_signs() {
        let (plus, minus) = (0.0f64.to_bits(), (-0.0f64).to_bits());
        assert_eq!(binary(Op::F64Min, plus, minus), Value(minus));
        assert_eq!(binary(Op::F64Max, plus, minus), Value(plus));
        assert_eq!(unary(Op::F64Nearest, (-0.5f64).to_bits()), Value(minus));
        assert_eq!(
            unary(Op::F64Nearest, 2.5f64.to_bits()),
            Value(2.0f64.to_bits())
        );
    }
}
