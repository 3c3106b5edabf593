//! Vectors: one line per instruction.
//!
//! The `T x N` in an instruction's name is the lane type in which Cranelift wants its operands;
//! bits are reinterpreted only where a value has another one. Byte permutations on x86-64 before
//! SSSE3 are made of scalars.

use bimetal_codegen::{Arch, CompileError};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    ConstantData, InstBuilder, Opcode, StackSlotData, StackSlotKind, Type, Value, types,
};

use super::Lower;
use super::numeric::Round;
use super::vm::Region;
use crate::graph::{self, Imm, Op};
use crate::signature::POINTER;

impl Lower<'_> {
    /// Lowers `op` if it computes with vectors.
    pub(super) fn simd(
        &mut self,
        op: Op,
        imm: Imm,
        args: &[graph::Value],
    ) -> Result<Option<Value>, CompileError> {
        use types::{F32X4, F64X2, I8X16, I16X8, I32, I32X4, I64X2};

        macro_rules! unary {
            ($ty:ident $inst:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                self.cur.ins().$inst(x)
            }};
        }
        macro_rules! binary {
            ($ty:ident $inst:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let y = self.lanes(args[1], $ty)?;
                self.cur.ins().$inst(x, y)
            }};
        }
        // These take any lanes, if both operands have the same.
        macro_rules! bitwise {
            ($inst:ident) => {{
                let x = self.raw(args[0])?;
                let y = self.raw(args[1])?;
                let x = self.integer_lanes(x);
                let ty = self.cur.func.dfg.value_type(x);
                let y = self.as_lanes(y, ty);
                self.cur.ins().$inst(x, y)
            }};
        }
        macro_rules! icmp {
            ($ty:ident $cc:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let y = self.lanes(args[1], $ty)?;
                self.cur.ins().icmp(IntCC::$cc, x, y)
            }};
        }
        macro_rules! fcmp {
            ($ty:ident $cc:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let y = self.lanes(args[1], $ty)?;
                self.cur.ins().fcmp(FloatCC::$cc, x, y)
            }};
        }
        macro_rules! shift {
            ($ty:ident $inst:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let by = self.get(args[1])?;
                self.cur.ins().$inst(x, by)
            }};
        }
        // The test's `i8` stands for the `i32`: see `Lower::get`.
        macro_rules! all_true {
            ($ty:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                self.cur.ins().vall_true(x)
            }};
        }
        macro_rules! bitmask {
            ($ty:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                self.cur.ins().vhigh_bits(I32, x)
            }};
        }
        macro_rules! splat {
            ($ty:ident) => {{
                let x = self.get(args[0])?;
                let x = self.as_lane(x, $ty);
                self.cur.ins().splat($ty, x)
            }};
        }
        macro_rules! extract {
            ($ty:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let lane = lane(imm)?;
                self.cur.ins().extractlane(x, lane)
            }};
            ($ty:ident $extend:ident) => {{
                let x = extract!($ty);
                self.cur.ins().$extend(I32, x)
            }};
        }
        macro_rules! replace {
            ($ty:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let y = self.get(args[1])?;
                let y = self.as_lane(y, $ty);
                let lane = lane(imm)?;
                self.cur.ins().insertlane(x, y, lane)
            }};
        }
        macro_rules! extmul {
            ($ty:ident $widen:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let y = self.lanes(args[1], $ty)?;
                let x = self.cur.ins().$widen(x);
                let y = self.cur.ins().$widen(y);
                self.cur.ins().imul(x, y)
            }};
        }
        macro_rules! pairwise {
            ($ty:ident $low:ident $high:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                let low = self.cur.ins().$low(x);
                let high = self.cur.ins().$high(x);
                self.cur.ins().iadd_pairwise(low, high)
            }};
        }
        macro_rules! round {
            ($ty:ident $round:ident) => {{
                let x = self.lanes(args[0], $ty)?;
                self.round(Round::$round, x)
            }};
        }

        Ok(Some(match op {
            Op::V128Const => match imm {
                Imm::V128(constant) => self.vector(I8X16, self.graph.constant(constant)),
                _ => return Ok(None),
            },
            Op::I8x16Shuffle => match imm {
                Imm::Shuffle(constant) => {
                    let x = self.lanes(args[0], I8X16)?;
                    let y = self.lanes(args[1], I8X16)?;
                    self.shuffle(x, y, self.graph.constant(constant).to_le_bytes())
                }
                _ => return Ok(None),
            },
            Op::I8x16Swizzle => {
                let x = self.lanes(args[0], I8X16)?;
                let y = self.lanes(args[1], I8X16)?;
                self.swizzle(x, y)
            }

            Op::V128Not => {
                let x = self.raw(args[0])?;
                let x = self.integer_lanes(x);
                self.cur.ins().bnot(x)
            }
            Op::V128And => bitwise!(band),
            Op::V128Or => bitwise!(bor),
            Op::V128Xor => bitwise!(bxor),
            Op::V128AndNot => bitwise!(band_not),
            Op::V128Bitselect => {
                let x = self.lanes(args[0], I8X16)?;
                let y = self.lanes(args[1], I8X16)?;
                let mask = self.lanes(args[2], I8X16)?;
                self.cur.ins().bitselect(mask, x, y)
            }
            Op::V128AnyTrue => {
                let x = self.lanes(args[0], I8X16)?;
                self.cur.ins().vany_true(x)
            }

            Op::I8x16Splat => splat!(I8X16),
            Op::I16x8Splat => splat!(I16X8),
            Op::I32x4Splat => splat!(I32X4),
            Op::I64x2Splat => splat!(I64X2),
            Op::F32x4Splat => splat!(F32X4),
            Op::F64x2Splat => splat!(F64X2),
            Op::I8x16ExtractLaneS => extract!(I8X16 sextend),
            Op::I8x16ExtractLaneU => extract!(I8X16 uextend),
            Op::I16x8ExtractLaneS => extract!(I16X8 sextend),
            Op::I16x8ExtractLaneU => extract!(I16X8 uextend),
            Op::I32x4ExtractLane => extract!(I32X4),
            Op::I64x2ExtractLane => extract!(I64X2),
            Op::F32x4ExtractLane => extract!(F32X4),
            Op::F64x2ExtractLane => extract!(F64X2),
            Op::I8x16ReplaceLane => replace!(I8X16),
            Op::I16x8ReplaceLane => replace!(I16X8),
            Op::I32x4ReplaceLane => replace!(I32X4),
            Op::I64x2ReplaceLane => replace!(I64X2),
            Op::F32x4ReplaceLane => replace!(F32X4),
            Op::F64x2ReplaceLane => replace!(F64X2),

            Op::I8x16Eq => icmp!(I8X16 Equal),
            Op::I8x16Ne => icmp!(I8X16 NotEqual),
            Op::I8x16LtS => icmp!(I8X16 SignedLessThan),
            Op::I8x16LtU => icmp!(I8X16 UnsignedLessThan),
            Op::I8x16GtS => icmp!(I8X16 SignedGreaterThan),
            Op::I8x16GtU => icmp!(I8X16 UnsignedGreaterThan),
            Op::I8x16LeS => icmp!(I8X16 SignedLessThanOrEqual),
            Op::I8x16LeU => icmp!(I8X16 UnsignedLessThanOrEqual),
            Op::I8x16GeS => icmp!(I8X16 SignedGreaterThanOrEqual),
            Op::I8x16GeU => icmp!(I8X16 UnsignedGreaterThanOrEqual),
            Op::I16x8Eq => icmp!(I16X8 Equal),
            Op::I16x8Ne => icmp!(I16X8 NotEqual),
            Op::I16x8LtS => icmp!(I16X8 SignedLessThan),
            Op::I16x8LtU => icmp!(I16X8 UnsignedLessThan),
            Op::I16x8GtS => icmp!(I16X8 SignedGreaterThan),
            Op::I16x8GtU => icmp!(I16X8 UnsignedGreaterThan),
            Op::I16x8LeS => icmp!(I16X8 SignedLessThanOrEqual),
            Op::I16x8LeU => icmp!(I16X8 UnsignedLessThanOrEqual),
            Op::I16x8GeS => icmp!(I16X8 SignedGreaterThanOrEqual),
            Op::I16x8GeU => icmp!(I16X8 UnsignedGreaterThanOrEqual),
            Op::I32x4Eq => icmp!(I32X4 Equal),
            Op::I32x4Ne => icmp!(I32X4 NotEqual),
            Op::I32x4LtS => icmp!(I32X4 SignedLessThan),
            Op::I32x4LtU => icmp!(I32X4 UnsignedLessThan),
            Op::I32x4GtS => icmp!(I32X4 SignedGreaterThan),
            Op::I32x4GtU => icmp!(I32X4 UnsignedGreaterThan),
            Op::I32x4LeS => icmp!(I32X4 SignedLessThanOrEqual),
            Op::I32x4LeU => icmp!(I32X4 UnsignedLessThanOrEqual),
            Op::I32x4GeS => icmp!(I32X4 SignedGreaterThanOrEqual),
            Op::I32x4GeU => icmp!(I32X4 UnsignedGreaterThanOrEqual),
            Op::I64x2Eq => icmp!(I64X2 Equal),
            Op::I64x2Ne => icmp!(I64X2 NotEqual),
            Op::I64x2LtS => icmp!(I64X2 SignedLessThan),
            Op::I64x2GtS => icmp!(I64X2 SignedGreaterThan),
            Op::I64x2LeS => icmp!(I64X2 SignedLessThanOrEqual),
            Op::I64x2GeS => icmp!(I64X2 SignedGreaterThanOrEqual),
            Op::F32x4Eq => fcmp!(F32X4 Equal),
            Op::F32x4Ne => fcmp!(F32X4 NotEqual),
            Op::F32x4Lt => fcmp!(F32X4 LessThan),
            Op::F32x4Gt => fcmp!(F32X4 GreaterThan),
            Op::F32x4Le => fcmp!(F32X4 LessThanOrEqual),
            Op::F32x4Ge => fcmp!(F32X4 GreaterThanOrEqual),
            Op::F64x2Eq => fcmp!(F64X2 Equal),
            Op::F64x2Ne => fcmp!(F64X2 NotEqual),
            Op::F64x2Lt => fcmp!(F64X2 LessThan),
            Op::F64x2Gt => fcmp!(F64X2 GreaterThan),
            Op::F64x2Le => fcmp!(F64X2 LessThanOrEqual),
            Op::F64x2Ge => fcmp!(F64X2 GreaterThanOrEqual),

            Op::I8x16Abs => unary!(I8X16 iabs),
            Op::I8x16Neg => unary!(I8X16 ineg),
            Op::I8x16Popcnt => unary!(I8X16 popcnt),
            Op::I8x16AllTrue => all_true!(I8X16),
            Op::I8x16Bitmask => bitmask!(I8X16),
            Op::I8x16Shl => shift!(I8X16 ishl),
            Op::I8x16ShrS => shift!(I8X16 sshr),
            Op::I8x16ShrU => shift!(I8X16 ushr),
            Op::I8x16Add => binary!(I8X16 iadd),
            Op::I8x16Sub => binary!(I8X16 isub),
            Op::I8x16AddSatS => binary!(I8X16 sadd_sat),
            Op::I8x16AddSatU => binary!(I8X16 uadd_sat),
            Op::I8x16SubSatS => binary!(I8X16 ssub_sat),
            Op::I8x16SubSatU => binary!(I8X16 usub_sat),
            Op::I8x16MinS => binary!(I8X16 smin),
            Op::I8x16MinU => binary!(I8X16 umin),
            Op::I8x16MaxS => binary!(I8X16 smax),
            Op::I8x16MaxU => binary!(I8X16 umax),
            Op::I8x16AvgrU => binary!(I8X16 avg_round),
            Op::I16x8Abs => unary!(I16X8 iabs),
            Op::I16x8Neg => unary!(I16X8 ineg),
            Op::I16x8AllTrue => all_true!(I16X8),
            Op::I16x8Bitmask => bitmask!(I16X8),
            Op::I16x8Shl => shift!(I16X8 ishl),
            Op::I16x8ShrS => shift!(I16X8 sshr),
            Op::I16x8ShrU => shift!(I16X8 ushr),
            Op::I16x8Add => binary!(I16X8 iadd),
            Op::I16x8Sub => binary!(I16X8 isub),
            Op::I16x8AddSatS => binary!(I16X8 sadd_sat),
            Op::I16x8AddSatU => binary!(I16X8 uadd_sat),
            Op::I16x8SubSatS => binary!(I16X8 ssub_sat),
            Op::I16x8SubSatU => binary!(I16X8 usub_sat),
            Op::I16x8Mul => binary!(I16X8 imul),
            Op::I16x8MinS => binary!(I16X8 smin),
            Op::I16x8MinU => binary!(I16X8 umin),
            Op::I16x8MaxS => binary!(I16X8 smax),
            Op::I16x8MaxU => binary!(I16X8 umax),
            Op::I16x8AvgrU => binary!(I16X8 avg_round),
            Op::I16x8Q15MulrSatS => binary!(I16X8 sqmul_round_sat),
            Op::I32x4Abs => unary!(I32X4 iabs),
            Op::I32x4Neg => unary!(I32X4 ineg),
            Op::I32x4AllTrue => all_true!(I32X4),
            Op::I32x4Bitmask => bitmask!(I32X4),
            Op::I32x4Shl => shift!(I32X4 ishl),
            Op::I32x4ShrS => shift!(I32X4 sshr),
            Op::I32x4ShrU => shift!(I32X4 ushr),
            Op::I32x4Add => binary!(I32X4 iadd),
            Op::I32x4Sub => binary!(I32X4 isub),
            Op::I32x4Mul => binary!(I32X4 imul),
            Op::I32x4MinS => binary!(I32X4 smin),
            Op::I32x4MinU => binary!(I32X4 umin),
            Op::I32x4MaxS => binary!(I32X4 smax),
            Op::I32x4MaxU => binary!(I32X4 umax),
            Op::I32x4DotI16x8S => {
                let x = self.lanes(args[0], I16X8)?;
                let y = self.lanes(args[1], I16X8)?;
                let x_low = self.cur.ins().swiden_low(x);
                let y_low = self.cur.ins().swiden_low(y);
                let low = self.cur.ins().imul(x_low, y_low);
                let x_high = self.cur.ins().swiden_high(x);
                let y_high = self.cur.ins().swiden_high(y);
                let high = self.cur.ins().imul(x_high, y_high);
                self.cur.ins().iadd_pairwise(low, high)
            }
            Op::I64x2Abs => unary!(I64X2 iabs),
            Op::I64x2Neg => unary!(I64X2 ineg),
            Op::I64x2AllTrue => all_true!(I64X2),
            Op::I64x2Bitmask => bitmask!(I64X2),
            Op::I64x2Shl => shift!(I64X2 ishl),
            Op::I64x2ShrS => shift!(I64X2 sshr),
            Op::I64x2ShrU => shift!(I64X2 ushr),
            Op::I64x2Add => binary!(I64X2 iadd),
            Op::I64x2Sub => binary!(I64X2 isub),
            Op::I64x2Mul => binary!(I64X2 imul),

            Op::I8x16NarrowI16x8S => binary!(I16X8 snarrow),
            Op::I8x16NarrowI16x8U => binary!(I16X8 unarrow),
            Op::I16x8NarrowI32x4S => binary!(I32X4 snarrow),
            Op::I16x8NarrowI32x4U => binary!(I32X4 unarrow),
            Op::I16x8ExtendLowI8x16S => unary!(I8X16 swiden_low),
            Op::I16x8ExtendLowI8x16U => unary!(I8X16 uwiden_low),
            Op::I16x8ExtendHighI8x16S => unary!(I8X16 swiden_high),
            Op::I16x8ExtendHighI8x16U => unary!(I8X16 uwiden_high),
            Op::I32x4ExtendLowI16x8S => unary!(I16X8 swiden_low),
            Op::I32x4ExtendLowI16x8U => unary!(I16X8 uwiden_low),
            Op::I32x4ExtendHighI16x8S => unary!(I16X8 swiden_high),
            Op::I32x4ExtendHighI16x8U => unary!(I16X8 uwiden_high),
            Op::I64x2ExtendLowI32x4S => unary!(I32X4 swiden_low),
            Op::I64x2ExtendLowI32x4U => unary!(I32X4 uwiden_low),
            Op::I64x2ExtendHighI32x4S => unary!(I32X4 swiden_high),
            Op::I64x2ExtendHighI32x4U => unary!(I32X4 uwiden_high),
            Op::I16x8ExtMulLowI8x16S => extmul!(I8X16 swiden_low),
            Op::I16x8ExtMulLowI8x16U => extmul!(I8X16 uwiden_low),
            Op::I16x8ExtMulHighI8x16S => extmul!(I8X16 swiden_high),
            Op::I16x8ExtMulHighI8x16U => extmul!(I8X16 uwiden_high),
            Op::I32x4ExtMulLowI16x8S => extmul!(I16X8 swiden_low),
            Op::I32x4ExtMulLowI16x8U => extmul!(I16X8 uwiden_low),
            Op::I32x4ExtMulHighI16x8S => extmul!(I16X8 swiden_high),
            Op::I32x4ExtMulHighI16x8U => extmul!(I16X8 uwiden_high),
            Op::I64x2ExtMulLowI32x4S => extmul!(I32X4 swiden_low),
            Op::I64x2ExtMulLowI32x4U => extmul!(I32X4 uwiden_low),
            Op::I64x2ExtMulHighI32x4S => extmul!(I32X4 swiden_high),
            Op::I64x2ExtMulHighI32x4U => extmul!(I32X4 uwiden_high),
            Op::I16x8ExtAddPairwiseI8x16S => pairwise!(I8X16 swiden_low swiden_high),
            Op::I16x8ExtAddPairwiseI8x16U => pairwise!(I8X16 uwiden_low uwiden_high),
            Op::I32x4ExtAddPairwiseI16x8S => pairwise!(I16X8 swiden_low swiden_high),
            Op::I32x4ExtAddPairwiseI16x8U => pairwise!(I16X8 uwiden_low uwiden_high),

            Op::F32x4Abs => unary!(F32X4 fabs),
            Op::F32x4Neg => unary!(F32X4 fneg),
            Op::F32x4Sqrt => unary!(F32X4 sqrt),
            Op::F32x4Ceil => round!(F32X4 Ceil),
            Op::F32x4Floor => round!(F32X4 Floor),
            Op::F32x4Trunc => round!(F32X4 Trunc),
            Op::F32x4Nearest => round!(F32X4 Nearest),
            Op::F32x4Add => binary!(F32X4 fadd),
            Op::F32x4Sub => binary!(F32X4 fsub),
            Op::F32x4Mul => binary!(F32X4 fmul),
            Op::F32x4Div => binary!(F32X4 fdiv),
            Op::F32x4Min => binary!(F32X4 fmin),
            Op::F32x4Max => binary!(F32X4 fmax),
            Op::F32x4PMin => self.pseudo_min(args, F32X4)?,
            Op::F32x4PMax => self.pseudo_max(args, F32X4)?,
            Op::F64x2Abs => unary!(F64X2 fabs),
            Op::F64x2Neg => unary!(F64X2 fneg),
            Op::F64x2Sqrt => unary!(F64X2 sqrt),
            Op::F64x2Ceil => round!(F64X2 Ceil),
            Op::F64x2Floor => round!(F64X2 Floor),
            Op::F64x2Trunc => round!(F64X2 Trunc),
            Op::F64x2Nearest => round!(F64X2 Nearest),
            Op::F64x2Add => binary!(F64X2 fadd),
            Op::F64x2Sub => binary!(F64X2 fsub),
            Op::F64x2Mul => binary!(F64X2 fmul),
            Op::F64x2Div => binary!(F64X2 fdiv),
            Op::F64x2Min => binary!(F64X2 fmin),
            Op::F64x2Max => binary!(F64X2 fmax),
            Op::F64x2PMin => self.pseudo_min(args, F64X2)?,
            Op::F64x2PMax => self.pseudo_max(args, F64X2)?,

            Op::I32x4TruncSatF32x4S => {
                let x = self.lanes(args[0], F32X4)?;
                self.cur.ins().fcvt_to_sint_sat(I32X4, x)
            }
            Op::I32x4TruncSatF32x4U => {
                let x = self.lanes(args[0], F32X4)?;
                self.cur.ins().fcvt_to_uint_sat(I32X4, x)
            }
            Op::I32x4TruncSatF64x2SZero => {
                let x = self.lanes(args[0], F64X2)?;
                self.truncate_signed_low(x, false)
            }
            Op::I32x4TruncSatF64x2UZero => {
                let x = self.lanes(args[0], F64X2)?;
                self.truncate_unsigned_low(x)
            }
            Op::F32x4ConvertI32x4S => {
                let x = self.lanes(args[0], I32X4)?;
                self.cur.ins().fcvt_from_sint(F32X4, x)
            }
            Op::F32x4ConvertI32x4U => {
                let x = self.lanes(args[0], I32X4)?;
                self.cur.ins().fcvt_from_uint(F32X4, x)
            }
            Op::F64x2ConvertLowI32x4S => {
                let x = self.lanes(args[0], I32X4)?;
                let wide = self.cur.ins().swiden_low(x);
                self.cur.ins().fcvt_from_sint(F64X2, wide)
            }
            Op::F64x2ConvertLowI32x4U => {
                let x = self.lanes(args[0], I32X4)?;
                let wide = self.cur.ins().uwiden_low(x);
                self.cur.ins().fcvt_from_uint(F64X2, wide)
            }
            Op::F32x4DemoteF64x2Zero => unary!(F64X2 fvdemote),
            Op::F64x2PromoteLowF32x4 => unary!(F32X4 fvpromote_low),
            _ => return Ok(None),
        }))
    }

    /// A constant vector; its lowest byte is the first in memory order.
    fn vector(&mut self, ty: Type, bits: u128) -> Value {
        let data = ConstantData::from(&bits.to_le_bytes()[..]);
        let constant = self.cur.func.dfg.constants.insert(data);
        self.cur.ins().vconst(ty, constant)
    }

    /// A scalar as wide as a lane.
    fn as_lane(&mut self, value: Value, ty: Type) -> Value {
        let lane = ty.lane_type();
        if lane.is_int() && lane.bits() < 32 {
            self.cur.ins().ireduce(lane, value)
        } else {
            value
        }
    }

    /// A vector with the lanes it has, if they are integers, else bytes.
    fn integer_lanes(&mut self, value: Value) -> Value {
        let ty = self.cur.func.dfg.value_type(value);
        if ty.lane_type().is_float() {
            self.as_lanes(value, types::I8X16)
        } else {
            value
        }
    }

    /// `pmin`: `y < x ? y : x`.
    pub(super) fn pseudo_min(
        &mut self,
        args: &[graph::Value],
        ty: Type,
    ) -> Result<Value, CompileError> {
        let x = self.lanes(args[0], ty)?;
        let y = self.lanes(args[1], ty)?;
        let less = self.cur.ins().fcmp(FloatCC::LessThan, y, x);
        let less = self.as_lanes(less, ty);
        Ok(self.cur.ins().bitselect(less, y, x))
    }

    /// `pmax`: `x < y ? y : x`.
    pub(super) fn pseudo_max(
        &mut self,
        args: &[graph::Value],
        ty: Type,
    ) -> Result<Value, CompileError> {
        let x = self.lanes(args[0], ty)?;
        let y = self.lanes(args[1], ty)?;
        let less = self.cur.ins().fcmp(FloatCC::LessThan, x, y);
        let less = self.as_lanes(less, ty);
        Ok(self.cur.ins().bitselect(less, y, x))
    }

    /// Two doubles as signed integers in the low lanes, zeros above; those that are out of range as
    /// x86-64 has it, or saturated.
    pub(super) fn truncate_signed_low(&mut self, value: Value, x86: bool) -> Value {
        let wide = match x86 {
            true => self.cur.ins().x86_cvtt2dq(types::I64X2, value),
            false => self.cur.ins().fcvt_to_sint_sat(types::I64X2, value),
        };
        let zero = self.vector(types::I64X2, 0);
        self.cur.ins().snarrow(wide, zero)
    }

    /// Two doubles as unsigned integers in the low lanes, zeros above.
    pub(super) fn truncate_unsigned_low(&mut self, value: Value) -> Value {
        if self.isa.arch == Arch::X86_64 && !self.isa.has_round {
            // Cranelift's vector form rounds, which would be a library call here.
            let mut result = self.vector(types::I32X4, 0);
            for lane in 0..2u8 {
                let scalar = self.cur.ins().extractlane(value, lane);
                let scalar = self.cur.ins().fcvt_to_uint_sat(types::I32, scalar);
                result = self.cur.ins().insertlane(result, scalar, lane);
            }
            return result;
        }
        let wide = self.cur.ins().fcvt_to_uint_sat(types::I64X2, value);
        let zero = self.vector(types::I64X2, 0);
        self.cur.ins().uunarrow(wide, zero)
    }

    fn shuffle(&mut self, x: Value, y: Value, lanes: [u8; 16]) -> Value {
        if self.isa.has_byte_shuffle {
            let mask = ConstantData::from(&lanes[..]);
            let mask = self.cur.func.dfg.immediates.push(mask);
            return self.cur.ins().shuffle(x, y, mask);
        }
        let mut result = x;
        for (to, from) in lanes.into_iter().enumerate() {
            let source = if from < 16 { x } else { y };
            let byte = self.cur.ins().extractlane(source, from % 16);
            result = self.cur.ins().insertlane(result, byte, to as u8);
        }
        result
    }

    pub(super) fn swizzle(&mut self, bytes: Value, indices: Value) -> Value {
        if self.isa.has_byte_shuffle {
            return self.cur.ins().swizzle(bytes, indices);
        }
        let slot = self.cur.func.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            16,
            4,
        ));
        let slot = self.cur.ins().stack_addr(POINTER, slot, 0);
        let flags = self.flags.mutable(self.cur.func, Region::Slots);
        self.store_op(Opcode::Store, flags, bytes, slot, 0);
        let mut result = bytes;
        for lane in 0..16u8 {
            let index = self.cur.ins().extractlane(indices, lane);
            let index = self.cur.ins().uextend(POINTER, index);
            let fifteen = self.iconst(POINTER, 15);
            let inside = self
                .cur
                .ins()
                .icmp(IntCC::UnsignedLessThanOrEqual, index, fifteen);
            let offset = self.cur.ins().band(index, fifteen);
            let place = self.cur.ins().iadd(slot, offset);
            let byte = self.load(types::I8, flags, place, 0);
            let zero = self.iconst(types::I8, 0);
            let byte = self.cur.ins().select(inside, byte, zero);
            result = self.cur.ins().insertlane(result, byte, lane);
        }
        result
    }
}

fn lane(imm: Imm) -> Result<u8, CompileError> {
    match imm {
        Imm::Lane(lane) => Ok(lane),
        _ => Err(CompileError::Bug("a lane instruction without lane".into())),
    }
}
