//! Arguments of calls, and patterns for their results.

use bimetal::{AnyRef, ExternRef, HeapType as Heap, Store, V128, Val};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The value of an argument.
///
/// # Errors
/// A kind of value that belongs to a later proposal.
pub(super) fn argument(store: &mut Store<()>, arg: &WastArg<'_>) -> Result<Val, String> {
    let WastArg::Core(arg) = arg else {
        return Err("component values are not supported".into());
    };
    Ok(match arg {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(V128::from(u128::from_le_bytes(value.to_le_bytes()))),
        WastArgCore::RefNull(heap) => null(heap)?,
        WastArgCore::RefExtern(value) => Val::ExternRef(Some(
            ExternRef::new(store, *value).map_err(|error| error.to_string())?,
        )),
        WastArgCore::RefHost(value) => {
            let host = |store: &mut Store<()>| {
                let value = ExternRef::new(&mut *store, *value)?;
                AnyRef::convert_extern(store, value)
            };
            Val::AnyRef(Some(host(store).map_err(|error| error.to_string())?))
        }
    })
}

fn null(heap: &HeapType<'_>) -> Result<Val, String> {
    use AbstractHeapType as A;
    let HeapType::Abstract { ty, .. } = heap else {
        return Err(format!("a null of {heap:?} cannot be an argument"));
    };
    let top = match ty {
        A::Func | A::NoFunc => Heap::Func,
        A::Extern | A::NoExtern => Heap::Extern,
        A::Exn | A::NoExn => Heap::Exn,
        A::Any | A::Eq | A::Struct | A::Array | A::I31 | A::None => Heap::Any,
        other => return Err(format!("a null of {other:?} is not supported")),
    };
    Ok(Val::null_ref(&top))
}

/// Compares results with what is expected of them.
///
/// # Errors
/// The first difference.
pub(super) fn check_results(
    store: &Store<()>,
    actual: &[Val],
    expected: &[WastRet<'_>],
) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!(
            "expected {} results, got {}",
            expected.len(),
            actual.len()
        ));
    }
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let WastRet::Core(expected) = expected else {
            return Err("component values are not supported".into());
        };
        if !matches(store, actual, expected) {
            return Err(format!(
                "result {i}: expected {}, got {}",
                describe_pattern(expected),
                describe(store, actual)
            ));
        }
    }
    Ok(())
}

fn matches(store: &Store<()>, actual: &Val, expected: &WastRetCore<'_>) -> bool {
    match (actual, expected) {
        (_, WastRetCore::Either(choices)) => {
            choices.iter().any(|choice| matches(store, actual, choice))
        }
        (Val::I32(actual), WastRetCore::I32(expected)) => actual == expected,
        (Val::I64(actual), WastRetCore::I64(expected)) => actual == expected,
        (Val::F32(bits), WastRetCore::F32(expected)) => f32_matches(*bits, expected),
        (Val::F64(bits), WastRetCore::F64(expected)) => f64_matches(*bits, expected),
        (Val::V128(actual), WastRetCore::V128(expected)) => {
            v128_matches(actual.as_u128(), expected)
        }
        (actual, WastRetCore::RefNull(heap)) => {
            let same = |null: Val| match (actual.ref_(), null.ref_()) {
                (Some(a), Some(b)) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
                _ => false,
            };
            // A null of a type of the module says no more than that it is one.
            actual.ref_().is_some_and(|value| value.is_null())
                && heap
                    .as_ref()
                    .is_none_or(|heap| null(heap).map_or(true, same))
        }
        (Val::FuncRef(actual), WastRetCore::RefFunc(_)) => actual.is_some(),
        (Val::ExternRef(actual), WastRetCore::RefExtern(expected)) => match (actual, expected) {
            (Some(actual), Some(expected)) => host_number(store, actual) == Some(*expected),
            (Some(_), None) => true,
            (None, _) => false,
        },
        (Val::AnyRef(Some(actual)), WastRetCore::RefHost(expected)) => {
            host_number_of_any(store, actual) == Some(*expected)
        }
        (Val::AnyRef(Some(_)), WastRetCore::RefAny) => true,
        (Val::AnyRef(Some(actual)), WastRetCore::RefEq) => is(store, actual, &Heap::Eq),
        (Val::AnyRef(Some(actual)), WastRetCore::RefI31 | WastRetCore::RefI31Shared) => {
            is(store, actual, &Heap::I31)
        }
        (Val::AnyRef(Some(actual)), WastRetCore::RefStruct) => is(store, actual, &Heap::Struct),
        (Val::AnyRef(Some(actual)), WastRetCore::RefArray) => is(store, actual, &Heap::Array),
        _ => false,
    }
}

fn is(store: &Store<()>, value: &AnyRef, ty: &Heap) -> bool {
    value.matches_ty(store, ty).unwrap_or(false)
}

/// The number that `(ref.host N)` put into a reference.
fn host_number_of_any(store: &Store<()>, value: &AnyRef) -> Option<u32> {
    value
        .host_data(store)
        .ok()?
        .and_then(|data| data.downcast_ref::<u32>())
        .copied()
}

/// The number that `(ref.extern N)` put into a reference.
fn host_number(store: &Store<()>, value: &ExternRef) -> Option<u32> {
    value
        .data(store)
        .ok()
        .and_then(|data| data.downcast_ref::<u32>())
        .copied()
}

fn f32_matches(bits: u32, expected: &NanPattern<F32>) -> bool {
    const QUIET: u32 = 0x7fc0_0000;
    match expected {
        // The sign of a NaN is free, and so is the payload of an arithmetic one.
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == QUIET,
        NanPattern::ArithmeticNan => bits & QUIET == QUIET,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn f64_matches(bits: u64, expected: &NanPattern<F64>) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match expected {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == QUIET,
        NanPattern::ArithmeticNan => bits & QUIET == QUIET,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn v128_matches(actual: u128, expected: &V128Pattern) -> bool {
    /// The lane `i` of `bits` bits, zero-extended.
    fn lane(vector: u128, i: usize, bits: u32) -> u64 {
        let shifted = vector >> (i as u32 * bits);
        (shifted & ((1u128 << bits) - 1)) as u64
    }
    match expected {
        V128Pattern::I8x16(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, &expected)| lane(actual, i, 8) as u8 == expected as u8),
        V128Pattern::I16x8(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, &expected)| lane(actual, i, 16) as u16 == expected as u16),
        V128Pattern::I32x4(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, &expected)| lane(actual, i, 32) as u32 == expected as u32),
        V128Pattern::I64x2(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, &expected)| lane(actual, i, 64) == expected as u64),
        V128Pattern::F32x4(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, expected)| f32_matches(lane(actual, i, 32) as u32, expected)),
        V128Pattern::F64x2(lanes) => lanes
            .iter()
            .enumerate()
            .all(|(i, expected)| f64_matches(lane(actual, i, 64), expected)),
    }
}

fn describe(store: &Store<()>, value: &Val) -> String {
    match value {
        Val::I32(value) => format!("(i32.const {value} (; {value:#x} ;))"),
        Val::I64(value) => format!("(i64.const {value} (; {value:#x} ;))"),
        Val::F32(bits) => format!("(f32.const {} (; {bits:#x} ;))", f32::from_bits(*bits)),
        Val::F64(bits) => format!("(f64.const {} (; {bits:#x} ;))", f64::from_bits(*bits)),
        Val::V128(value) => format!("(v128.const {:#034x})", value.as_u128()),
        Val::FuncRef(None) => "(ref.null func)".into(),
        Val::FuncRef(Some(_)) => "(ref.func)".into(),
        Val::ExternRef(None) => "(ref.null extern)".into(),
        Val::ExternRef(Some(value)) => match host_number(store, value) {
            Some(number) => format!("(ref.extern {number})"),
            None => "(ref.extern)".into(),
        },
        Val::AnyRef(None) => "(ref.null any)".into(),
        Val::AnyRef(Some(value)) => match value.ty(store) {
            Ok(ty) => format!("(ref {ty})"),
            Err(error) => error.to_string(),
        },
        Val::ExnRef(None) => "(ref.null exn)".into(),
        Val::ExnRef(Some(_)) => "(ref exn)".into(),
    }
}

fn describe_pattern(pattern: &WastRetCore<'_>) -> String {
    fn float<T>(name: &str, pattern: &NanPattern<T>, value: impl Fn(&T) -> String) -> String {
        match pattern {
            NanPattern::CanonicalNan => format!("({name}.const nan:canonical)"),
            NanPattern::ArithmeticNan => format!("({name}.const nan:arithmetic)"),
            NanPattern::Value(bits) => format!("({name}.const {})", value(bits)),
        }
    }
    match pattern {
        WastRetCore::I32(value) => format!("(i32.const {value} (; {value:#x} ;))"),
        WastRetCore::I64(value) => format!("(i64.const {value} (; {value:#x} ;))"),
        WastRetCore::F32(value) => float("f32", value, |v| {
            format!("{} (; {:#x} ;)", f32::from_bits(v.bits), v.bits)
        }),
        WastRetCore::F64(value) => float("f64", value, |v| {
            format!("{} (; {:#x} ;)", f64::from_bits(v.bits), v.bits)
        }),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_patterns() {
        let canonical = NanPattern::<F32>::CanonicalNan;
        let arithmetic = NanPattern::<F32>::ArithmeticNan;
        for (bits, is_canonical, is_arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0x7fa0_0000, false, false),
            (0x7f80_0000, false, false),
        ] {
            assert_eq!(f32_matches(bits, &canonical), is_canonical, "{bits:#x}");
            assert_eq!(f32_matches(bits, &arithmetic), is_arithmetic, "{bits:#x}");
        }
        assert!(f64_matches(
            0xfff8_0000_0000_0000,
            &NanPattern::CanonicalNan
        ));
        assert!(!f64_matches(
            0x7ff4_0000_0000_0000,
            &NanPattern::ArithmeticNan
        ));
    }

    #[test]
    fn lanes_are_little_endian() {
        let vector = u128::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let mut lanes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, -1];
        assert!(v128_matches(vector, &V128Pattern::I8x16(lanes)));
        lanes[15] = 15;
        assert!(!v128_matches(vector, &V128Pattern::I8x16(lanes)));
        assert!(v128_matches(
            vector,
            &V128Pattern::I32x4([0x0302_0100, 0x0706_0504, 0x0b0a_0908, 0xff0e_0d0cu32 as i32])
        ));
    }
}
