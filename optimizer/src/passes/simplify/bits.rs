//! Which bits of an integer can be set.
//!
//! The set is a mask; read as a number it is also the greatest value, unsigned. Unknown is all
//! bits.

use crate::graph::Op;

use super::ints::{Int, Width};

const ALL: u64 = u64::MAX;

/// All bits up to the highest one set.
fn smear(bits: u64) -> u64 {
    match bits.leading_zeros() {
        64 => 0,
        zeros => ALL >> zeros,
    }
}

/// The bits that can be set in the result of `op`, which is no constant, given those of its
/// operands; `shift` is the second operand if it is constant.
pub(super) fn possible(op: Op, args: &[u64], shift: Option<u64>) -> u64 {
    let arg = |i: usize| args.get(i).copied().unwrap_or(ALL);
    if let Some((int, width)) = Int::of(op) {
        let mask = width.mask();
        return integer(int, width, arg(0) & mask, arg(1) & mask, shift);
    }
    match op {
        Op::F32Eq | Op::F32Ne | Op::F32Lt | Op::F32Gt | Op::F32Le | Op::F32Ge => 1,
        Op::F64Eq | Op::F64Ne | Op::F64Lt | Op::F64Gt | Op::F64Le | Op::F64Ge => 1,
        Op::RefIsNull | Op::RefEq | Op::RefTest | Op::V128AnyTrue => 1,
        Op::I8x16AllTrue | Op::I16x8AllTrue | Op::I32x4AllTrue | Op::I64x2AllTrue => 1,
        Op::I8x16Bitmask => 0xffff,
        Op::I16x8Bitmask => 0xff,
        Op::I32x4Bitmask => 0xf,
        Op::I64x2Bitmask => 0x3,
        Op::I32Load8U | Op::I64Load8U | Op::I8x16ExtractLaneU => 0xff,
        Op::I32Load16U | Op::I64Load16U | Op::I16x8ExtractLaneU => 0xffff,
        Op::I64Load32U => Width::W32.mask(),
        Op::I32WrapI64 | Op::I64ExtendI32U => arg(0) & Width::W32.mask(),
        Op::I64ExtendI32S if arg(0) & Width::W32.sign() == 0 => arg(0) & Width::W32.mask(),
        Op::I64Extend32S if arg(0) & Width::W32.sign() == 0 => arg(0) & Width::W32.mask(),
        Op::Select => arg(0) | arg(1),
        _ => ALL,
    }
}

fn integer(int: Int, width: Width, a: u64, b: u64, shift: Option<u64>) -> u64 {
    let mask = width.mask();
    let shift = shift.map(|shift| (shift % u64::from(width.bits())) as u32);
    let fits = |value: Option<u64>| value.filter(|&v| v <= mask).map_or(mask, smear);
    match (int, shift) {
        (Int::And, _) => a & b,
        (Int::Or | Int::Xor, _) => a | b,
        (Int::Add, _) => fits(a.checked_add(b)),
        (Int::Mul, _) => fits(a.checked_mul(b)),
        (Int::Shl, Some(shift)) => (a << shift) & mask,
        (Int::ShrU, Some(shift)) => a >> shift,
        (Int::ShrS, Some(shift)) if a & width.sign() == 0 => a >> shift,
        (Int::ShrU, None) => smear(a),
        (Int::ShrS, None) if a & width.sign() == 0 => smear(a),
        // The remainder is less than the divisor and not more than the dividend.
        (Int::RemU, _) => smear(a.min(b.saturating_sub(1))),
        (Int::DivU, _) => smear(a),
        (Int::Clz | Int::Ctz | Int::Popcnt, _) => smear(u64::from(width.bits())),
        (Int::Extend8S, _) if a & 0x80 == 0 => a & 0x7f,
        (Int::Extend16S, _) if a & 0x8000 == 0 => a & 0x7fff,
        (Int::Eqz, _) => 1,
        _ if int.inverse().is_some() => 1,
        _ => mask,
    }
}
