//! Relaxed vector instructions.
//!
//! Each result is one of a few that the specification allows (3.0, section 4.3.5). With
//! `Tunables::relaxed_simd_deterministic` it is the one that the specification's deterministic
//! profile names, on every target; else whatever is fastest here.

use bimetal_codegen::{Arch, CompileError};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

use super::Lower;
use crate::graph::{self, Op};

impl Lower<'_> {
    /// Lowers `op` if it is relaxed.
    pub(super) fn relaxed(
        &mut self,
        op: Op,
        args: &[graph::Value],
    ) -> Result<Option<Value>, CompileError> {
        use types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};

        macro_rules! operands {
            ($ty:ident: $($i:literal),*) => {
                ($(self.lanes(args[$i], $ty)?,)*)
            };
        }
        // What x86-64 has of its own, unless results shall be the same everywhere.
        let x86 = self.isa.arch == Arch::X86_64 && !self.env.tunables.relaxed_simd_deterministic;

        Ok(Some(match op {
            Op::I8x16RelaxedSwizzle => {
                let (bytes, indices) = operands!(I8X16: 0, 1);
                match x86 && self.isa.has_byte_shuffle {
                    true => self.cur.ins().x86_pshufb(bytes, indices),
                    false => self.swizzle(bytes, indices),
                }
            }
            Op::I32x4RelaxedTruncF32x4S => {
                let (x,) = operands!(F32X4: 0);
                match x86 {
                    true => self.cur.ins().x86_cvtt2dq(I32X4, x),
                    false => self.cur.ins().fcvt_to_sint_sat(I32X4, x),
                }
            }
            Op::I32x4RelaxedTruncF32x4U => {
                let (x,) = operands!(F32X4: 0);
                self.cur.ins().fcvt_to_uint_sat(I32X4, x)
            }
            Op::I32x4RelaxedTruncF64x2SZero => {
                let (x,) = operands!(F64X2: 0);
                self.truncate_signed_low(x, x86)
            }
            Op::I32x4RelaxedTruncF64x2UZero => {
                let (x,) = operands!(F64X2: 0);
                self.truncate_unsigned_low(x)
            }

            Op::F32x4RelaxedMadd => {
                let (x, y, z) = operands!(F32X4: 0, 1, 2);
                self.multiply_add(x, y, z)
            }
            Op::F32x4RelaxedNmadd => {
                let (x, y, z) = operands!(F32X4: 0, 1, 2);
                let x = self.cur.ins().fneg(x);
                self.multiply_add(x, y, z)
            }
            Op::F64x2RelaxedMadd => {
                let (x, y, z) = operands!(F64X2: 0, 1, 2);
                self.multiply_add(x, y, z)
            }
            Op::F64x2RelaxedNmadd => {
                let (x, y, z) = operands!(F64X2: 0, 1, 2);
                let x = self.cur.ins().fneg(x);
                self.multiply_add(x, y, z)
            }

            Op::I8x16RelaxedLaneselect => self.lane_select(args, I8X16, x86)?,
            // What x86-64 has selects by bytes.
            Op::I16x8RelaxedLaneselect => self.lane_select(args, I16X8, false)?,
            Op::I32x4RelaxedLaneselect => self.lane_select(args, I32X4, x86)?,
            Op::I64x2RelaxedLaneselect => self.lane_select(args, I64X2, x86)?,

            Op::F32x4RelaxedMin if x86 => self.pseudo_min(args, F32X4)?,
            Op::F32x4RelaxedMax if x86 => self.pseudo_max(args, F32X4)?,
            Op::F64x2RelaxedMin if x86 => self.pseudo_min(args, F64X2)?,
            Op::F64x2RelaxedMax if x86 => self.pseudo_max(args, F64X2)?,
            Op::F32x4RelaxedMin => {
                let (x, y) = operands!(F32X4: 0, 1);
                self.cur.ins().fmin(x, y)
            }
            Op::F32x4RelaxedMax => {
                let (x, y) = operands!(F32X4: 0, 1);
                self.cur.ins().fmax(x, y)
            }
            Op::F64x2RelaxedMin => {
                let (x, y) = operands!(F64X2: 0, 1);
                self.cur.ins().fmin(x, y)
            }
            Op::F64x2RelaxedMax => {
                let (x, y) = operands!(F64X2: 0, 1);
                self.cur.ins().fmax(x, y)
            }

            Op::I16x8RelaxedQ15mulrS => {
                let (x, y) = operands!(I16X8: 0, 1);
                match x86 && self.isa.has_byte_shuffle {
                    true => self.cur.ins().x86_pmulhrsw(x, y),
                    false => self.cur.ins().sqmul_round_sat(x, y),
                }
            }
            Op::I16x8RelaxedDotI8x16I7x16S => self.relaxed_dot(args, x86)?,
            Op::I32x4RelaxedDotI8x16I7x16AddS => {
                let products = self.relaxed_dot(args, x86)?;
                let low = self.cur.ins().swiden_low(products);
                let high = self.cur.ins().swiden_high(products);
                let sums = self.cur.ins().iadd_pairwise(low, high);
                let z = self.lanes(args[2], I32X4)?;
                self.cur.ins().iadd(sums, z)
            }
            _ => return Ok(None),
        }))
    }

    /// `x * y + z`: rounded twice, or once where that is allowed and faster.
    fn multiply_add(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.isa.has_fma && !self.env.tunables.relaxed_simd_deterministic {
            return self.cur.ins().fma(x, y, z);
        }
        let product = self.cur.ins().fmul(x, y);
        self.cur.ins().fadd(product, z)
    }

    /// By the bits of the mask, or by the sign of each lane where that is allowed and faster.
    fn lane_select(
        &mut self,
        args: &[graph::Value],
        ty: Type,
        by_sign: bool,
    ) -> Result<Value, CompileError> {
        let x = self.lanes(args[0], ty)?;
        let y = self.lanes(args[1], ty)?;
        let mask = self.lanes(args[2], ty)?;
        Ok(match by_sign && self.isa.has_blend {
            true => self.cur.ins().blendv(mask, x, y),
            false => self.cur.ins().bitselect(mask, x, y),
        })
    }

    /// Products of bytes, of which the second is not negative, added by twos.
    fn relaxed_dot(&mut self, args: &[graph::Value], x86: bool) -> Result<Value, CompileError> {
        let x = self.lanes(args[0], types::I8X16)?;
        let y = self.lanes(args[1], types::I8X16)?;
        if x86 && self.isa.has_byte_shuffle {
            return Ok(self.cur.ins().x86_pmaddubsw(x, y));
        }
        let (x_low, y_low) = (self.cur.ins().swiden_low(x), self.cur.ins().swiden_low(y));
        let low = self.cur.ins().imul(x_low, y_low);
        let (x_high, y_high) = (self.cur.ins().swiden_high(x), self.cur.ins().swiden_high(y));
        let high = self.cur.ins().imul(x_high, y_high);
        Ok(self.cur.ins().iadd_pairwise(low, high))
    }
}
