//! `--invoke`: arguments from text, results to text.
//!
//! Numbers are written as in the text format, and what is printed can be given as an argument
//! again, NaNs with their payload included.

use bimetal::{Error, Instance, Module, Result, Store, V128, Val, ValType};

use crate::output;
use bimetal_runtime::host::Host;

/// Calls the exported function `name` and returns its results, one text each.
pub fn invoke(
    store: &mut Store<Host>,
    instance: Instance,
    module: &Module,
    name: &str,
    args: &[String],
) -> Result<Vec<String>> {
    let Some(func) = instance.get_func(&mut *store, name) else {
        let mut message = format!("the module exports no function `{name}`");
        let functions = functions(module);
        if !functions.is_empty() {
            message += "; its functions are:";
            message += &functions;
        }
        return Err(Error::msg(message));
    };
    let ty = func.ty(&*store);
    if args.len() != ty.params().len() {
        return Err(Error::msg(format!(
            "`{name}` takes {}, but {} given: its type is {ty}",
            output::count(ty.params().len(), "argument"),
            match args.len() {
                1 => "1 was".to_string(),
                n => format!("{n} were"),
            },
        )));
    }
    let mut params = Vec::with_capacity(args.len());
    for (i, (text, param)) in args.iter().zip(ty.params()).enumerate() {
        params.push(parse(text, &param).map_err(|reason| {
            Error::msg(format!(
                "argument {} of `{name}`: `{text}` is no {param}{reason}; its type is {ty}",
                i + 1
            ))
        })?);
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    func.call(&mut *store, &params, &mut results)?;
    Ok(results.iter().map(show).collect())
}

/// The exported functions with their types, a line each.
pub fn functions(module: &Module) -> String {
    const SHOWN: usize = 20;
    let functions: Vec<_> = module
        .exports()
        .filter_map(|export| {
            let ty = export.ty();
            let ty = ty.func()?;
            Some(format!("\n    {}: {ty}", output::name(export.name())))
        })
        .collect();
    let mut text: String = functions.iter().take(SHOWN).map(String::as_str).collect();
    if functions.len() > SHOWN {
        text += &format!("\n    … and {} more", functions.len() - SHOWN);
    }
    text
}

/// The value of `ty` that `text` says; the error is a remark to "is no i32".
fn parse(text: &str, ty: &ValType) -> Result<Val, &'static str> {
    const RANGE: &str = " (out of range)";
    Ok(match ty {
        ValType::I32 => {
            let value = integer(text).ok_or("")?;
            let fits = (-(1i128 << 31)..1 << 32).contains(&value);
            Val::I32(fits.then_some(value as i32).ok_or(RANGE)?)
        }
        ValType::I64 => {
            let value = integer(text).ok_or("")?;
            let fits = (-(1i128 << 63)..1 << 64).contains(&value);
            Val::I64(fits.then_some(value as i64).ok_or(RANGE)?)
        }
        ValType::F32 => Val::F32(float32(text).ok_or("")?),
        ValType::F64 => Val::F64(float64(text).ok_or("")?),
        ValType::V128 => {
            let digits = text.replace('_', "");
            let value = match digits.strip_prefix("0x") {
                Some(hex) => u128::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            Val::V128(V128::from(value.map_err(|_| " (an unsigned number)")?))
        }
        ValType::Ref(ty) if text == "null" && ty.is_nullable() => Val::null_ref(ty.heap_type()),
        ValType::Ref(_) => return Err(" (only `null` can be written)"),
    })
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = sign(text);
    let digits = digits.replace('_', "");
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    // `from_str_radix` takes a second sign.
    let value = i128::from(value);
    (!digits.contains(['+', '-'])).then_some(if negative { -value } else { value })
}

fn float32(text: &str) -> Option<u32> {
    let (negative, digits) = sign(text);
    let bits = if let Some(payload) = nan_payload(digits, 0x40_0000)? {
        0x7f80_0000 | u32::try_from(payload).ok().filter(|&p| p < 1 << 23)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        let (significand, exponent) = hex_float(hex)?;
        // Rounded once here; the scaling is exact but for subnormal results.
        scale(f64::from(significand as f32), exponent).map(|value| (value as f32).to_bits())?
    } else {
        decimal(digits)?.parse::<f32>().ok()?.to_bits()
    };
    Some(bits | u32::from(negative) << 31)
}

fn float64(text: &str) -> Option<u64> {
    let (negative, digits) = sign(text);
    let bits = if let Some(payload) = nan_payload(digits, 1 << 51)? {
        0x7ff0_0000_0000_0000 | Some(payload).filter(|&p| p < 1 << 52)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        let (significand, exponent) = hex_float(hex)?;
        scale(significand as f64, exponent)?.to_bits()
    } else {
        decimal(digits)?.parse::<f64>().ok()?.to_bits()
    };
    Some(bits | u64::from(negative) << 63)
}

/// `nan` or `nan:0x…`: the payload; `Some(None)` for what is no NaN, `None` for a broken one.
fn nan_payload(text: &str, canonical: u64) -> Option<Option<u64>> {
    match text.strip_prefix("nan") {
        None => Some(None),
        Some("") => Some(Some(canonical)),
        Some(rest) => {
            let payload = u64::from_str_radix(rest.strip_prefix(":0x")?, 16).ok()?;
            (payload != 0).then_some(Some(payload))
        }
    }
}

/// Decimal digits as Rust reads them, and `inf`; a second sign, which Rust would read, is none.
fn decimal(digits: &str) -> Option<String> {
    let plain = digits == "inf" || digits.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| digits.replace('_', ""))
}

/// `1.8p3` in hexadecimal: a significand, odd if digits beyond it were dropped, and its exponent.
fn hex_float(text: &str) -> Option<(u64, i32)> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() {
        return None;
    }
    let mut significand: u64 = 0;
    let mut exponent = i64::from(exponent);
    let digits = whole.chars().map(|c| (c, 0));
    for (c, shift) in digits.chain(fraction.chars().map(|c| (c, 4))) {
        if c == '_' {
            continue;
        }
        let digit = u64::from(c.to_digit(16)?);
        if significand >> 60 == 0 {
            significand = significand << 4 | digit;
            exponent -= shift;
        } else {
            significand |= u64::from(digit != 0);
            exponent += 4 - shift;
        }
    }
    Some((significand, exponent.clamp(-10_000, 10_000) as i32))
}

/// `value * 2^exponent`, in steps that do not overflow before the result does.
fn scale(mut value: f64, mut exponent: i32) -> Option<f64> {
    if value == 0.0 {
        return Some(0.0);
    }
    while exponent > 0 && value.is_finite() {
        let step = exponent.min(1000);
        value *= f64::powi(2.0, step);
        exponent -= step;
    }
    while exponent < 0 && value != 0.0 {
        let step = exponent.max(-1000);
        value *= f64::powi(2.0, step);
        exponent -= step;
    }
    value.is_finite().then_some(value)
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => {
            let value = f32::from_bits(*bits);
            match value.is_nan() {
                true => show_nan(
                    value.is_sign_negative(),
                    u64::from(bits & 0x7f_ffff),
                    0x40_0000,
                ),
                false => value.to_string(),
            }
        }
        Val::F64(bits) => {
            let value = f64::from_bits(*bits);
            match value.is_nan() {
                true => show_nan(value.is_sign_negative(), bits & ((1 << 52) - 1), 1 << 51),
                false => value.to_string(),
            }
        }
        Val::V128(value) => format!("{:#034x}", value.as_u128()),
        Val::FuncRef(None) | Val::ExternRef(None) => "null".into(),
        Val::AnyRef(None) | Val::ExnRef(None) => "null".into(),
        Val::FuncRef(Some(_)) => "<funcref>".into(),
        Val::ExternRef(Some(_)) => "<externref>".into(),
        Val::AnyRef(Some(_)) => "<anyref>".into(),
        Val::ExnRef(Some(_)) => "<exnref>".into(),
    }
}

fn show_nan(negative: bool, payload: u64, canonical: u64) -> String {
    let sign = if negative { "-" } else { "" };
    match payload == canonical {
        true => format!("{sign}nan"),
        false => format!("{sign}nan:{payload:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [
            ("0", 0),
            ("-1", -1),
            ("4294967295", -1),
            ("0xffff_ffff", -1),
            ("-0x80000000", i32::MIN),
            ("+7", 7),
        ] {
            match parse(text, &ValType::I32) {
                Ok(Val::I32(got)) => assert_eq!(got, value, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [
            "",
            "-",
            "--1",
            "0x",
            "1.5",
            "4294967296",
            "-2147483649",
            "x",
            "0x-1",
        ] {
            assert!(parse(text, &ValType::I32).is_err(), "{text}");
        }
        assert!(matches!(
            parse("18446744073709551615", &ValType::I64),
            Ok(Val::I64(-1))
        ));
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("0", 0.0f64),
            ("-0.0", -0.0),
            ("1e9", 1e9),
            ("1_000.5", 1000.5),
            ("inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("0x1.8p3", 12.0),
            ("-0x.8", f64::NAN),
            ("0x10", 16.0),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
        ] {
            let got = float64(text);
            if value.is_nan() {
                assert_eq!(got, None, "{text}");
            } else {
                assert_eq!(got, Some(value.to_bits()), "{text}");
            }
        }
        assert_eq!(float32("0x1.fffffep127"), Some(f32::MAX.to_bits()));
        assert_eq!(float32("0.1"), Some(0.1f32.to_bits()));
        assert_eq!(float32("nan"), Some(0x7fc0_0000));
        assert_eq!(float32("-nan:0x200000"), Some(0xffa0_0000));
        for text in [
            "",
            "e5",
            "--1",
            "nan:0x0",
            "nan:0x800000",
            "infinity",
            "0x",
            "1x",
        ] {
            assert_eq!(float32(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for bits in [
            0u32,
            0x8000_0000,
            0x3f80_0000,
            0x7f80_0000,
            0x7fc0_0000,
            0xffa0_0001,
        ] {
            assert_eq!(float32(&show(&Val::F32(bits))), Some(bits));
        }
        for bits in [
            1u64,
            0x7ff8_0000_0000_0000,
            0xfff0_0000_0000_0001,
            0x4009_21fb_5444_2d18,
        ] {
            assert_eq!(float64(&show(&Val::F64(bits))), Some(bits));
        }
    }
}
