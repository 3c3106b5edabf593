//! Constants, integers, floats and conversions: one line per instruction.
//!
//! Most wasm instructions are a CLIF instruction. What is not: division and truncation without
//! machine faults, which are checked first; rounding on processors without it, which the runtime
//! does.

use bimetal_abi::Builtin;
use bimetal_codegen::CompileError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{InstBuilder, TrapCode, Type, Value, types};

use super::Lower;
use crate::graph::{self, Imm, Op};

/// A direction of rounding.
#[derive(Clone, Copy)]
pub(super) enum Round {
    Ceil,
    Floor,
    Trunc,
    Nearest,
}

impl Lower<'_> {
    /// Lowers `op` if it computes a scalar from scalars.
    pub(super) fn numeric(
        &mut self,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<Value>, CompileError> {
        use types::{F32, F64, I8, I16, I32, I64};

        /// One operand, any CLIF instruction.
        macro_rules! unary {
            ($inst:ident) => {{
                let x = self.get(args[0])?;
                self.cur.ins().$inst(x)
            }};
            ($inst:ident $ty:expr) => {{
                let x = self.get(args[0])?;
                self.cur.ins().$inst($ty, x)
            }};
        }
        macro_rules! binary {
            ($inst:ident) => {{
                let x = self.get(args[0])?;
                let y = self.get(args[1])?;
                self.cur.ins().$inst(x, y)
            }};
        }
        // Comparisons stay `i8`: see `Lower::get`.
        macro_rules! icmp {
            ($cc:ident) => {{
                let x = self.get(args[0])?;
                let y = self.get(args[1])?;
                self.cur.ins().icmp(IntCC::$cc, x, y)
            }};
        }
        macro_rules! fcmp {
            ($cc:ident) => {{
                let x = self.get(args[0])?;
                let y = self.get(args[1])?;
                self.cur.ins().fcmp(FloatCC::$cc, x, y)
            }};
        }
        macro_rules! extend {
            ($from:expr, $to:expr) => {{
                let x = self.get(args[0])?;
                let low = self.cur.ins().ireduce($from, x);
                self.cur.ins().sextend($to, low)
            }};
        }

        Ok(Some(match op {
            Op::I32Const => match imm {
                Imm::I32(value) => self.iconst(I32, u64::from(value as u32)),
                _ => return Ok(None),
            },
            Op::I64Const => match imm {
                Imm::I64(value) => self.iconst(I64, value as u64),
                _ => return Ok(None),
            },
            Op::F32Const => match imm {
                Imm::F32(bits) => self.cur.ins().f32const(Ieee32::with_bits(bits)),
                _ => return Ok(None),
            },
            Op::F64Const => match imm {
                Imm::F64(bits) => self.cur.ins().f64const(Ieee64::with_bits(bits)),
                _ => return Ok(None),
            },
            Op::Select => self.select(args)?,

            Op::I32Clz | Op::I64Clz => unary!(clz),
            Op::I32Ctz | Op::I64Ctz => unary!(ctz),
            Op::I32Popcnt | Op::I64Popcnt => unary!(popcnt),
            Op::I32Add | Op::I64Add => binary!(iadd),
            Op::I32Sub | Op::I64Sub => binary!(isub),
            Op::I32Mul | Op::I64Mul => binary!(imul),
            Op::I32And | Op::I64And => binary!(band),
            Op::I32Or | Op::I64Or => binary!(bor),
            Op::I32Xor | Op::I64Xor => binary!(bxor),
            Op::I32Shl | Op::I64Shl => binary!(ishl),
            Op::I32ShrS | Op::I64ShrS => binary!(sshr),
            Op::I32ShrU | Op::I64ShrU => binary!(ushr),
            Op::I32Rotl | Op::I64Rotl => binary!(rotl),
            Op::I32Rotr | Op::I64Rotr => binary!(rotr),
            Op::I32DivS | Op::I64DivS => {
                self.check_division(args, true)?;
                binary!(sdiv)
            }
            Op::I32DivU | Op::I64DivU => {
                self.check_division(args, false)?;
                binary!(udiv)
            }
            Op::I32RemS | Op::I64RemS => {
                self.check_division(args, false)?;
                binary!(srem)
            }
            Op::I32RemU | Op::I64RemU => {
                self.check_division(args, false)?;
                binary!(urem)
            }
            Op::I32Extend8S => extend!(I8, I32),
            Op::I32Extend16S => extend!(I16, I32),
            Op::I64Extend8S => extend!(I8, I64),
            Op::I64Extend16S => extend!(I16, I64),
            Op::I64Extend32S => extend!(I32, I64),

            Op::I32Eqz | Op::I64Eqz => {
                let x = self.raw(args[0])?;
                let ty = self.cur.func.dfg.value_type(x);
                let zero = self.iconst(ty, 0);
                self.cur.ins().icmp(IntCC::Equal, x, zero)
            }
            Op::I32Eq | Op::I64Eq => icmp!(Equal),
            Op::I32Ne | Op::I64Ne => icmp!(NotEqual),
            Op::I32LtS | Op::I64LtS => icmp!(SignedLessThan),
            Op::I32LtU | Op::I64LtU => icmp!(UnsignedLessThan),
            Op::I32GtS | Op::I64GtS => icmp!(SignedGreaterThan),
            Op::I32GtU | Op::I64GtU => icmp!(UnsignedGreaterThan),
            Op::I32LeS | Op::I64LeS => icmp!(SignedLessThanOrEqual),
            Op::I32LeU | Op::I64LeU => icmp!(UnsignedLessThanOrEqual),
            Op::I32GeS | Op::I64GeS => icmp!(SignedGreaterThanOrEqual),
            Op::I32GeU | Op::I64GeU => icmp!(UnsignedGreaterThanOrEqual),

            Op::F32Abs | Op::F64Abs => unary!(fabs),
            Op::F32Neg | Op::F64Neg => unary!(fneg),
            Op::F32Sqrt | Op::F64Sqrt => unary!(sqrt),
            Op::F32Ceil | Op::F64Ceil => self.round_arg(Round::Ceil, args)?,
            Op::F32Floor | Op::F64Floor => self.round_arg(Round::Floor, args)?,
            Op::F32Trunc | Op::F64Trunc => self.round_arg(Round::Trunc, args)?,
            Op::F32Nearest | Op::F64Nearest => self.round_arg(Round::Nearest, args)?,
            Op::F32Add | Op::F64Add => binary!(fadd),
            Op::F32Sub | Op::F64Sub => binary!(fsub),
            Op::F32Mul | Op::F64Mul => binary!(fmul),
            Op::F32Div | Op::F64Div => binary!(fdiv),
            Op::F32Min | Op::F64Min => binary!(fmin),
            Op::F32Max | Op::F64Max => binary!(fmax),
            Op::F32Copysign | Op::F64Copysign => binary!(fcopysign),
            Op::F32Eq | Op::F64Eq => fcmp!(Equal),
            Op::F32Ne | Op::F64Ne => fcmp!(NotEqual),
            Op::F32Lt | Op::F64Lt => fcmp!(LessThan),
            Op::F32Gt | Op::F64Gt => fcmp!(GreaterThan),
            Op::F32Le | Op::F64Le => fcmp!(LessThanOrEqual),
            Op::F32Ge | Op::F64Ge => fcmp!(GreaterThanOrEqual),

            Op::I32WrapI64 => unary!(ireduce I32),
            Op::I64ExtendI32S => unary!(sextend I64),
            Op::I64ExtendI32U => {
                // A comparison is extended once.
                let x = self.raw(args[0])?;
                self.cur.ins().uextend(I64, x)
            }
            Op::I32TruncF32S | Op::I32TruncF64S => self.truncate(args, I32, true)?,
            Op::I32TruncF32U | Op::I32TruncF64U => self.truncate(args, I32, false)?,
            Op::I64TruncF32S | Op::I64TruncF64S => self.truncate(args, I64, true)?,
            Op::I64TruncF32U | Op::I64TruncF64U => self.truncate(args, I64, false)?,
            Op::I32TruncSatF32S | Op::I32TruncSatF64S => unary!(fcvt_to_sint_sat I32),
            Op::I32TruncSatF32U | Op::I32TruncSatF64U => unary!(fcvt_to_uint_sat I32),
            Op::I64TruncSatF32S | Op::I64TruncSatF64S => unary!(fcvt_to_sint_sat I64),
            Op::I64TruncSatF32U | Op::I64TruncSatF64U => unary!(fcvt_to_uint_sat I64),
            Op::F32ConvertI32S | Op::F32ConvertI64S => unary!(fcvt_from_sint F32),
            Op::F32ConvertI32U | Op::F32ConvertI64U => unary!(fcvt_from_uint F32),
            Op::F64ConvertI32S | Op::F64ConvertI64S => unary!(fcvt_from_sint F64),
            Op::F64ConvertI32U | Op::F64ConvertI64U => unary!(fcvt_from_uint F64),
            Op::F32DemoteF64 => unary!(fdemote F32),
            Op::F64PromoteF32 => unary!(fpromote F64),
            Op::I32ReinterpretF32 => self.reinterpret(args, I32)?,
            Op::I64ReinterpretF64 => self.reinterpret(args, I64)?,
            Op::F32ReinterpretI32 => self.reinterpret(args, F32)?,
            Op::F64ReinterpretI64 => self.reinterpret(args, F64)?,
            _ => return Ok(None),
        }))
    }

    /// Lowers `op` if it computes 128 bits: the low and the high half.
    pub(super) fn wide_numeric(
        &mut self,
        op: Op,
        args: &[graph::Value],
    ) -> Result<Option<[Value; 2]>, CompileError> {
        let &[a, b, ref rest @ ..] = args else {
            return Ok(None);
        };
        let result = match (op, rest) {
            (Op::I64Add128 | Op::I64Sub128, &[c, d]) => {
                let [a, b, c, d] = [self.get(a)?, self.get(b)?, self.get(c)?, self.get(d)?];
                let x = self.cur.ins().iconcat(a, b);
                let y = self.cur.ins().iconcat(c, d);
                match op {
                    Op::I64Add128 => self.cur.ins().iadd(x, y),
                    _ => self.cur.ins().isub(x, y),
                }
            }
            (Op::I64MulWideS, []) => {
                let [a, b] = [self.get(a)?, self.get(b)?];
                let x = self.cur.ins().sextend(types::I128, a);
                let y = self.cur.ins().sextend(types::I128, b);
                self.cur.ins().imul(x, y)
            }
            (Op::I64MulWideU, []) => {
                let [a, b] = [self.get(a)?, self.get(b)?];
                let x = self.cur.ins().uextend(types::I128, a);
                let y = self.cur.ins().uextend(types::I128, b);
                self.cur.ins().imul(x, y)
            }
            _ => return Ok(None),
        };
        let (low, high) = self.cur.ins().isplit(result);
        Ok(Some([low, high]))
    }

    fn reinterpret(&mut self, args: &[graph::Value], ty: Type) -> Result<Value, CompileError> {
        let value = self.get(args[0])?;
        Ok(self.bitcast(ty, value))
    }

    /// Without machine faults, checks a divisor, and a quotient that may not be representable.
    fn check_division(&mut self, args: &[graph::Value], signed: bool) -> Result<(), CompileError> {
        if self.signals {
            return Ok(());
        }
        let divisor = self.get(args[1])?;
        self.trap_if_zero(divisor, TrapCode::INTEGER_DIVISION_BY_ZERO);
        if signed {
            let dividend = self.get(args[0])?;
            let ty = self.cur.func.dfg.value_type(divisor);
            let minus_one = self.cur.ins().iconst(ty, all_ones(ty));
            let least = self.iconst(ty, 1 << (ty.bits() - 1));
            let by_minus_one = self.cur.ins().icmp(IntCC::Equal, divisor, minus_one);
            let is_least = self.cur.ins().icmp(IntCC::Equal, dividend, least);
            let overflows = self.cur.ins().band(by_minus_one, is_least);
            self.trap_if(overflows, TrapCode::INTEGER_OVERFLOW);
        }
        Ok(())
    }

    /// `trunc`: traps on what is no number or out of range.
    fn truncate(
        &mut self,
        args: &[graph::Value],
        to: Type,
        signed: bool,
    ) -> Result<Value, CompileError> {
        let value = self.get(args[0])?;
        if self.signals {
            return Ok(if signed {
                self.cur.ins().fcvt_to_sint(to, value)
            } else {
                self.cur.ins().fcvt_to_uint(to, value)
            });
        }
        // All of this is exact in `f64`.
        let wide = if self.cur.func.dfg.value_type(value) == types::F32 {
            self.cur.ins().fpromote(types::F64, value)
        } else {
            value
        };
        let is_nan = self.cur.ins().fcmp(FloatCC::Unordered, wide, wide);
        self.trap_if(is_nan, TrapCode::BAD_CONVERSION_TO_INTEGER);
        let (below, bound, limit) = match (to, signed) {
            (types::I32, true) => (FloatCC::LessThanOrEqual, -2147483649.0, 2147483648.0),
            (types::I32, false) => (FloatCC::LessThanOrEqual, -1.0, 4294967296.0),
            // The number one below the least `i64` is no `f64`.
            (_, true) => (
                FloatCC::LessThan,
                -9223372036854775808.0,
                9223372036854775808.0,
            ),
            (_, false) => (FloatCC::LessThanOrEqual, -1.0, 18446744073709551616.0),
        };
        let bound = self.cur.ins().f64const(bound);
        let too_small = self.cur.ins().fcmp(below, wide, bound);
        let limit = self.cur.ins().f64const(limit);
        let too_large = self
            .cur
            .ins()
            .fcmp(FloatCC::GreaterThanOrEqual, wide, limit);
        let out_of_range = self.cur.ins().bor(too_small, too_large);
        self.trap_if(out_of_range, TrapCode::INTEGER_OVERFLOW);
        Ok(if signed {
            self.cur.ins().fcvt_to_sint_sat(to, value)
        } else {
            self.cur.ins().fcvt_to_uint_sat(to, value)
        })
    }

    fn round_arg(&mut self, round: Round, args: &[graph::Value]) -> Result<Value, CompileError> {
        let value = self.get(args[0])?;
        Ok(self.round(round, value))
    }

    /// Rounds a scalar or the lanes of a vector.
    pub(super) fn round(&mut self, round: Round, value: Value) -> Value {
        if self.isa.has_round {
            let ins = self.cur.ins();
            return match round {
                Round::Ceil => ins.ceil(value),
                Round::Floor => ins.floor(value),
                Round::Trunc => ins.trunc(value),
                Round::Nearest => ins.nearest(value),
            };
        }
        let ty = self.cur.func.dfg.value_type(value);
        let builtin = match (round, ty.lane_type()) {
            (Round::Ceil, types::F32) => Builtin::ceil_f32,
            (Round::Ceil, _) => Builtin::ceil_f64,
            (Round::Floor, types::F32) => Builtin::floor_f32,
            (Round::Floor, _) => Builtin::floor_f64,
            (Round::Trunc, types::F32) => Builtin::trunc_f32,
            (Round::Trunc, _) => Builtin::trunc_f64,
            (Round::Nearest, types::F32) => Builtin::nearest_f32,
            (Round::Nearest, _) => Builtin::nearest_f64,
        };
        if !ty.is_vector() {
            return self.call_rounding(builtin, value);
        }
        let mut result = value;
        for lane in 0..ty.lane_count() as u8 {
            let scalar = self.cur.ins().extractlane(value, lane);
            let rounded = self.call_rounding(builtin, scalar);
            result = self.cur.ins().insertlane(result, rounded, lane);
        }
        result
    }

    fn call_rounding(&mut self, builtin: Builtin, value: Value) -> Value {
        let rounded = self.call_builtin(builtin, &[value]).unwrap_or(value);
        if !self.isa.target.flags().enable_nan_canonicalization() {
            return rounded;
        }
        // Cranelift does it for its own instructions only.
        let canonical = match self.cur.func.dfg.value_type(rounded) {
            types::F32 => self.cur.ins().f32const(Ieee32::NAN),
            _ => self.cur.ins().f64const(Ieee64::NAN),
        };
        let is_nan = self.cur.ins().fcmp(FloatCC::Unordered, rounded, rounded);
        self.cur.ins().select(is_nan, canonical, rounded)
    }
}

/// -1 as Cranelift wants it: no bits above the type's.
fn all_ones(ty: Type) -> i64 {
    if ty == types::I64 {
        -1
    } else {
        (1 << ty.bits()) - 1
    }
}
