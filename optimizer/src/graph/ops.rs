//! The instructions of the graph: one table, everything else derived from it.
//!
//! A line is `Variant "text" [operands] [results] immediate effects;`. The numeric and vector
//! instructions are those of wasm, one to one and under the names that the decoder uses, so that
//! the builder, the printer, the parser and the lowering can all be made from
//! [`for_each_op!`](crate::for_each_op). Operand and result columns are lists of [`Slot`]; the
//! immediate column names an [`ImmKind`]; the effect column a constant of [`Effects`].
//!
//! A call whose exceptions are caught in the function is a terminator, `try_call` and its kin: it
//! goes on along its first edge, or with an exception along its second. Its results can only be
//! arguments of its own edges: the last one, the exception, of the second, the others of the first.
//!
//! What has no line yet are guards of speculative inlining. `Op` is `u16` and [`Effects`] is `u32` so
//! that they fit.

use std::fmt;

use bitflags::bitflags;

use crate::graph::types::Type;

/// Calls `$macro!` with the table of all ops.
#[macro_export]
macro_rules! for_each_op {
    ($macro:ident) => {
        $macro! {

            // Constants.
            I32Const "i32.const" [] [I32] I32 PURE;
            I64Const "i64.const" [] [I64] I64 PURE;
            F32Const "f32.const" [] [F32] F32 PURE;
            F64Const "f64.const" [] [F64] F64 PURE;
            V128Const "v128.const" [] [V128] V128 PURE;

            // Integer arithmetic.
            I32Clz "i32.clz" [I32] [I32] None PURE;
            I32Ctz "i32.ctz" [I32] [I32] None PURE;
            I32Popcnt "i32.popcnt" [I32] [I32] None PURE;
            I32Add "i32.add" [I32 I32] [I32] None COMMUTES;
            I32Sub "i32.sub" [I32 I32] [I32] None PURE;
            I32Mul "i32.mul" [I32 I32] [I32] None COMMUTES;
            I32DivS "i32.div_s" [I32 I32] [I32] None TRAPS;
            I32DivU "i32.div_u" [I32 I32] [I32] None TRAPS;
            I32RemS "i32.rem_s" [I32 I32] [I32] None TRAPS;
            I32RemU "i32.rem_u" [I32 I32] [I32] None TRAPS;
            I32And "i32.and" [I32 I32] [I32] None COMMUTES;
            I32Or "i32.or" [I32 I32] [I32] None COMMUTES;
            I32Xor "i32.xor" [I32 I32] [I32] None COMMUTES;
            I32Shl "i32.shl" [I32 I32] [I32] None PURE;
            I32ShrS "i32.shr_s" [I32 I32] [I32] None PURE;
            I32ShrU "i32.shr_u" [I32 I32] [I32] None PURE;
            I32Rotl "i32.rotl" [I32 I32] [I32] None PURE;
            I32Rotr "i32.rotr" [I32 I32] [I32] None PURE;
            I32Extend8S "i32.extend8_s" [I32] [I32] None PURE;
            I32Extend16S "i32.extend16_s" [I32] [I32] None PURE;
            I32Eqz "i32.eqz" [I32] [I32] None PURE;
            I32Eq "i32.eq" [I32 I32] [I32] None COMMUTES;
            I32Ne "i32.ne" [I32 I32] [I32] None COMMUTES;
            I32LtS "i32.lt_s" [I32 I32] [I32] None PURE;
            I32LtU "i32.lt_u" [I32 I32] [I32] None PURE;
            I32GtS "i32.gt_s" [I32 I32] [I32] None PURE;
            I32GtU "i32.gt_u" [I32 I32] [I32] None PURE;
            I32LeS "i32.le_s" [I32 I32] [I32] None PURE;
            I32LeU "i32.le_u" [I32 I32] [I32] None PURE;
            I32GeS "i32.ge_s" [I32 I32] [I32] None PURE;
            I32GeU "i32.ge_u" [I32 I32] [I32] None PURE;
            I64Clz "i64.clz" [I64] [I64] None PURE;
            I64Ctz "i64.ctz" [I64] [I64] None PURE;
            I64Popcnt "i64.popcnt" [I64] [I64] None PURE;
            I64Add "i64.add" [I64 I64] [I64] None COMMUTES;
            I64Sub "i64.sub" [I64 I64] [I64] None PURE;
            I64Mul "i64.mul" [I64 I64] [I64] None COMMUTES;
            I64DivS "i64.div_s" [I64 I64] [I64] None TRAPS;
            I64DivU "i64.div_u" [I64 I64] [I64] None TRAPS;
            I64RemS "i64.rem_s" [I64 I64] [I64] None TRAPS;
            I64RemU "i64.rem_u" [I64 I64] [I64] None TRAPS;
            I64And "i64.and" [I64 I64] [I64] None COMMUTES;
            I64Or "i64.or" [I64 I64] [I64] None COMMUTES;
            I64Xor "i64.xor" [I64 I64] [I64] None COMMUTES;
            I64Shl "i64.shl" [I64 I64] [I64] None PURE;
            I64ShrS "i64.shr_s" [I64 I64] [I64] None PURE;
            I64ShrU "i64.shr_u" [I64 I64] [I64] None PURE;
            I64Rotl "i64.rotl" [I64 I64] [I64] None PURE;
            I64Rotr "i64.rotr" [I64 I64] [I64] None PURE;
            I64Extend8S "i64.extend8_s" [I64] [I64] None PURE;
            I64Extend16S "i64.extend16_s" [I64] [I64] None PURE;
            I64Extend32S "i64.extend32_s" [I64] [I64] None PURE;
            I64Eqz "i64.eqz" [I64] [I32] None PURE;
            I64Eq "i64.eq" [I64 I64] [I32] None COMMUTES;
            I64Ne "i64.ne" [I64 I64] [I32] None COMMUTES;
            I64LtS "i64.lt_s" [I64 I64] [I32] None PURE;
            I64LtU "i64.lt_u" [I64 I64] [I32] None PURE;
            I64GtS "i64.gt_s" [I64 I64] [I32] None PURE;
            I64GtU "i64.gt_u" [I64 I64] [I32] None PURE;
            I64LeS "i64.le_s" [I64 I64] [I32] None PURE;
            I64LeU "i64.le_u" [I64 I64] [I32] None PURE;
            I64GeS "i64.ge_s" [I64 I64] [I32] None PURE;
            I64GeU "i64.ge_u" [I64 I64] [I32] None PURE;

            // 128-bit arithmetic: low and high halves.
            I64Add128 "i64.add128" [I64 I64 I64 I64] [I64 I64] None PURE;
            I64Sub128 "i64.sub128" [I64 I64 I64 I64] [I64 I64] None PURE;
            I64MulWideS "i64.mul_wide_s" [I64 I64] [I64 I64] None COMMUTES;
            I64MulWideU "i64.mul_wide_u" [I64 I64] [I64 I64] None COMMUTES;

            // Floating-point arithmetic.
            F32Abs "f32.abs" [F32] [F32] None PURE;
            F32Neg "f32.neg" [F32] [F32] None PURE;
            F32Ceil "f32.ceil" [F32] [F32] None PURE;
            F32Floor "f32.floor" [F32] [F32] None PURE;
            F32Trunc "f32.trunc" [F32] [F32] None PURE;
            F32Nearest "f32.nearest" [F32] [F32] None PURE;
            F32Sqrt "f32.sqrt" [F32] [F32] None PURE;
            F32Add "f32.add" [F32 F32] [F32] None PURE;
            F32Sub "f32.sub" [F32 F32] [F32] None PURE;
            F32Mul "f32.mul" [F32 F32] [F32] None PURE;
            F32Div "f32.div" [F32 F32] [F32] None PURE;
            F32Min "f32.min" [F32 F32] [F32] None PURE;
            F32Max "f32.max" [F32 F32] [F32] None PURE;
            F32Copysign "f32.copysign" [F32 F32] [F32] None PURE;
            F32Eq "f32.eq" [F32 F32] [I32] None COMMUTES;
            F32Ne "f32.ne" [F32 F32] [I32] None COMMUTES;
            F32Lt "f32.lt" [F32 F32] [I32] None PURE;
            F32Gt "f32.gt" [F32 F32] [I32] None PURE;
            F32Le "f32.le" [F32 F32] [I32] None PURE;
            F32Ge "f32.ge" [F32 F32] [I32] None PURE;
            F64Abs "f64.abs" [F64] [F64] None PURE;
            F64Neg "f64.neg" [F64] [F64] None PURE;
            F64Ceil "f64.ceil" [F64] [F64] None PURE;
            F64Floor "f64.floor" [F64] [F64] None PURE;
            F64Trunc "f64.trunc" [F64] [F64] None PURE;
            F64Nearest "f64.nearest" [F64] [F64] None PURE;
            F64Sqrt "f64.sqrt" [F64] [F64] None PURE;
            F64Add "f64.add" [F64 F64] [F64] None PURE;
            F64Sub "f64.sub" [F64 F64] [F64] None PURE;
            F64Mul "f64.mul" [F64 F64] [F64] None PURE;
            F64Div "f64.div" [F64 F64] [F64] None PURE;
            F64Min "f64.min" [F64 F64] [F64] None PURE;
            F64Max "f64.max" [F64 F64] [F64] None PURE;
            F64Copysign "f64.copysign" [F64 F64] [F64] None PURE;
            F64Eq "f64.eq" [F64 F64] [I32] None COMMUTES;
            F64Ne "f64.ne" [F64 F64] [I32] None COMMUTES;
            F64Lt "f64.lt" [F64 F64] [I32] None PURE;
            F64Gt "f64.gt" [F64 F64] [I32] None PURE;
            F64Le "f64.le" [F64 F64] [I32] None PURE;
            F64Ge "f64.ge" [F64 F64] [I32] None PURE;

            // Conversions.
            I32WrapI64 "i32.wrap_i64" [I64] [I32] None PURE;
            I32TruncF32S "i32.trunc_f32_s" [F32] [I32] None TRAPS;
            I32TruncF32U "i32.trunc_f32_u" [F32] [I32] None TRAPS;
            I32TruncSatF32S "i32.trunc_sat_f32_s" [F32] [I32] None PURE;
            I32TruncSatF32U "i32.trunc_sat_f32_u" [F32] [I32] None PURE;
            I32TruncF64S "i32.trunc_f64_s" [F64] [I32] None TRAPS;
            I32TruncF64U "i32.trunc_f64_u" [F64] [I32] None TRAPS;
            I32TruncSatF64S "i32.trunc_sat_f64_s" [F64] [I32] None PURE;
            I32TruncSatF64U "i32.trunc_sat_f64_u" [F64] [I32] None PURE;
            I64TruncF32S "i64.trunc_f32_s" [F32] [I64] None TRAPS;
            I64TruncF32U "i64.trunc_f32_u" [F32] [I64] None TRAPS;
            I64TruncSatF32S "i64.trunc_sat_f32_s" [F32] [I64] None PURE;
            I64TruncSatF32U "i64.trunc_sat_f32_u" [F32] [I64] None PURE;
            I64TruncF64S "i64.trunc_f64_s" [F64] [I64] None TRAPS;
            I64TruncF64U "i64.trunc_f64_u" [F64] [I64] None TRAPS;
            I64TruncSatF64S "i64.trunc_sat_f64_s" [F64] [I64] None PURE;
            I64TruncSatF64U "i64.trunc_sat_f64_u" [F64] [I64] None PURE;
            I64ExtendI32S "i64.extend_i32_s" [I32] [I64] None PURE;
            I64ExtendI32U "i64.extend_i32_u" [I32] [I64] None PURE;
            F32ConvertI32S "f32.convert_i32_s" [I32] [F32] None PURE;
            F32ConvertI32U "f32.convert_i32_u" [I32] [F32] None PURE;
            F32ConvertI64S "f32.convert_i64_s" [I64] [F32] None PURE;
            F32ConvertI64U "f32.convert_i64_u" [I64] [F32] None PURE;
            F64ConvertI32S "f64.convert_i32_s" [I32] [F64] None PURE;
            F64ConvertI32U "f64.convert_i32_u" [I32] [F64] None PURE;
            F64ConvertI64S "f64.convert_i64_s" [I64] [F64] None PURE;
            F64ConvertI64U "f64.convert_i64_u" [I64] [F64] None PURE;
            F32DemoteF64 "f32.demote_f64" [F64] [F32] None PURE;
            F64PromoteF32 "f64.promote_f32" [F32] [F64] None PURE;
            I32ReinterpretF32 "i32.reinterpret_f32" [F32] [I32] None PURE;
            I64ReinterpretF64 "i64.reinterpret_f64" [F64] [I64] None PURE;
            F32ReinterpretI32 "f32.reinterpret_i32" [I32] [F32] None PURE;
            F64ReinterpretI64 "f64.reinterpret_i64" [I64] [F64] None PURE;

            // Selection: `(if true, if false, condition)`.
            Select "select" [T T I32] [T] None PURE;

            // References.
            RefNull "ref.null" [] [T] None PURE;
            RefIsNull "ref.is_null" [Ref] [I32] None PURE;
            RefFunc "ref.func" [] [FuncRef] Func PURE;
            // Whether a reference is that of a function of this instance. There is one of each.
            FuncIs "func.is" [FuncRef] [I32] Func PURE;
            RefAsNonNull "ref.as_non_null" [T] [T] None TRAPS;
            RefEq "ref.eq" [AnyRef AnyRef] [I32] None COMMUTES;
            RefTest "ref.test" [Ref] [I32] Cast PURE;
            RefCast "ref.cast" [T] [T] Cast TRAPS;
            RefI31 "ref.i31" [I32] [AnyRef] None PURE;
            I31GetS "i31.get_s" [AnyRef] [I32] None TRAPS;
            I31GetU "i31.get_u" [AnyRef] [I32] None TRAPS;
            AnyConvertExtern "any.convert_extern" [ExternRef] [AnyRef] None PURE;
            ExternConvertAny "extern.convert_any" [AnyRef] [ExternRef] None PURE;

            // Structs and arrays. `T` is what the field or element is, `i32` if it is packed. A
            // length never changes.
            StructNew "struct.new" [Rest] [AnyRef] Type ALLOC;
            StructNewDefault "struct.new_default" [] [AnyRef] Type ALLOC;
            StructGet "struct.get" [AnyRef] [T] Field HEAP_LOAD;
            StructGetS "struct.get_s" [AnyRef] [I32] Field HEAP_LOAD;
            StructGetU "struct.get_u" [AnyRef] [I32] Field HEAP_LOAD;
            StructSet "struct.set" [AnyRef T] [] Field HEAP_STORE;
            ArrayNew "array.new" [T I32] [AnyRef] Type ALLOC_TRAPS;
            ArrayNewDefault "array.new_default" [I32] [AnyRef] Type ALLOC_TRAPS;
            ArrayNewFixed "array.new_fixed" [Rest] [AnyRef] Type ALLOC;
            ArrayNewData "array.new_data" [I32 I32] [AnyRef] TypeData ALLOC_SEGMENT;
            ArrayNewElem "array.new_elem" [I32 I32] [AnyRef] TypeElem ALLOC_SEGMENT;
            ArrayGet "array.get" [AnyRef I32] [T] Type HEAP_LOAD;
            ArrayGetS "array.get_s" [AnyRef I32] [I32] Type HEAP_LOAD;
            ArrayGetU "array.get_u" [AnyRef I32] [I32] Type HEAP_LOAD;
            ArraySet "array.set" [AnyRef I32 T] [] Type HEAP_STORE;
            ArrayLen "array.len" [AnyRef] [I32] None TRAPS;
            ArrayFill "array.fill" [AnyRef I32 T I32] [] Type HEAP_STORE;
            ArrayCopy "array.copy" [AnyRef I32 AnyRef I32 I32] [] TypePair HEAP_COPY;
            ArrayInitData "array.init_data" [AnyRef I32 I32 I32] [] TypeData HEAP_SEGMENT;
            ArrayInitElem "array.init_elem" [AnyRef I32 I32 I32] [] TypeElem HEAP_SEGMENT;

            // Memory.
            I32Load "i32.load" [Addr] [I32] Mem LOAD;
            I32Load8S "i32.load8_s" [Addr] [I32] Mem LOAD;
            I32Load8U "i32.load8_u" [Addr] [I32] Mem LOAD;
            I32Load16S "i32.load16_s" [Addr] [I32] Mem LOAD;
            I32Load16U "i32.load16_u" [Addr] [I32] Mem LOAD;
            I64Load "i64.load" [Addr] [I64] Mem LOAD;
            I64Load8S "i64.load8_s" [Addr] [I64] Mem LOAD;
            I64Load8U "i64.load8_u" [Addr] [I64] Mem LOAD;
            I64Load16S "i64.load16_s" [Addr] [I64] Mem LOAD;
            I64Load16U "i64.load16_u" [Addr] [I64] Mem LOAD;
            I64Load32S "i64.load32_s" [Addr] [I64] Mem LOAD;
            I64Load32U "i64.load32_u" [Addr] [I64] Mem LOAD;
            F32Load "f32.load" [Addr] [F32] Mem LOAD;
            F64Load "f64.load" [Addr] [F64] Mem LOAD;
            V128Load "v128.load" [Addr] [V128] Mem LOAD;
            V128Load8x8S "v128.load8x8_s" [Addr] [V128] Mem LOAD;
            V128Load8x8U "v128.load8x8_u" [Addr] [V128] Mem LOAD;
            V128Load16x4S "v128.load16x4_s" [Addr] [V128] Mem LOAD;
            V128Load16x4U "v128.load16x4_u" [Addr] [V128] Mem LOAD;
            V128Load32x2S "v128.load32x2_s" [Addr] [V128] Mem LOAD;
            V128Load32x2U "v128.load32x2_u" [Addr] [V128] Mem LOAD;
            V128Load8Splat "v128.load8_splat" [Addr] [V128] Mem LOAD;
            V128Load16Splat "v128.load16_splat" [Addr] [V128] Mem LOAD;
            V128Load32Splat "v128.load32_splat" [Addr] [V128] Mem LOAD;
            V128Load64Splat "v128.load64_splat" [Addr] [V128] Mem LOAD;
            V128Load32Zero "v128.load32_zero" [Addr] [V128] Mem LOAD;
            V128Load64Zero "v128.load64_zero" [Addr] [V128] Mem LOAD;
            V128Load8Lane "v128.load8_lane" [Addr V128] [V128] MemLane LOAD;
            V128Load16Lane "v128.load16_lane" [Addr V128] [V128] MemLane LOAD;
            V128Load32Lane "v128.load32_lane" [Addr V128] [V128] MemLane LOAD;
            V128Load64Lane "v128.load64_lane" [Addr V128] [V128] MemLane LOAD;
            I32Store "i32.store" [Addr I32] [] Mem STORE;
            I32Store8 "i32.store8" [Addr I32] [] Mem STORE;
            I32Store16 "i32.store16" [Addr I32] [] Mem STORE;
            I64Store "i64.store" [Addr I64] [] Mem STORE;
            I64Store8 "i64.store8" [Addr I64] [] Mem STORE;
            I64Store16 "i64.store16" [Addr I64] [] Mem STORE;
            I64Store32 "i64.store32" [Addr I64] [] Mem STORE;
            F32Store "f32.store" [Addr F32] [] Mem STORE;
            F64Store "f64.store" [Addr F64] [] Mem STORE;
            V128Store "v128.store" [Addr V128] [] Mem STORE;
            V128Store8Lane "v128.store8_lane" [Addr V128] [] MemLane STORE;
            V128Store16Lane "v128.store16_lane" [Addr V128] [] MemLane STORE;
            V128Store32Lane "v128.store32_lane" [Addr V128] [] MemLane STORE;
            V128Store64Lane "v128.store64_lane" [Addr V128] [] MemLane STORE;
            MemorySize "memory.size" [] [Addr] Memory READS_MEMORY_SIZE;
            MemoryGrow "memory.grow" [Addr] [Addr] Memory GROW_MEMORY;
            MemoryCopy "memory.copy" [Addr Addr Addr] [] MemoryPair BULK_MEMORY;
            MemoryFill "memory.fill" [Addr I32 Addr] [] Memory BULK_MEMORY;
            MemoryInit "memory.init" [Addr I32 I32] [] MemoryInit BULK_MEMORY_SEGMENT;
            DataDrop "data.drop" [] [] Data WRITES_SEGMENT;

            // Atomic instructions.
            I32AtomicLoad "i32.atomic.load" [Addr] [I32] Mem ATOMIC;
            I32AtomicLoad8U "i32.atomic.load8_u" [Addr] [I32] Mem ATOMIC;
            I32AtomicLoad16U "i32.atomic.load16_u" [Addr] [I32] Mem ATOMIC;
            I64AtomicLoad "i64.atomic.load" [Addr] [I64] Mem ATOMIC;
            I64AtomicLoad8U "i64.atomic.load8_u" [Addr] [I64] Mem ATOMIC;
            I64AtomicLoad16U "i64.atomic.load16_u" [Addr] [I64] Mem ATOMIC;
            I64AtomicLoad32U "i64.atomic.load32_u" [Addr] [I64] Mem ATOMIC;
            I32AtomicStore "i32.atomic.store" [Addr I32] [] Mem ATOMIC;
            I32AtomicStore8 "i32.atomic.store8" [Addr I32] [] Mem ATOMIC;
            I32AtomicStore16 "i32.atomic.store16" [Addr I32] [] Mem ATOMIC;
            I64AtomicStore "i64.atomic.store" [Addr I64] [] Mem ATOMIC;
            I64AtomicStore8 "i64.atomic.store8" [Addr I64] [] Mem ATOMIC;
            I64AtomicStore16 "i64.atomic.store16" [Addr I64] [] Mem ATOMIC;
            I64AtomicStore32 "i64.atomic.store32" [Addr I64] [] Mem ATOMIC;
            I32AtomicRmwAdd "i32.atomic.rmw.add" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8AddU "i32.atomic.rmw8.add_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16AddU "i32.atomic.rmw16.add_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwAdd "i64.atomic.rmw.add" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8AddU "i64.atomic.rmw8.add_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16AddU "i64.atomic.rmw16.add_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32AddU "i64.atomic.rmw32.add_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwSub "i32.atomic.rmw.sub" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8SubU "i32.atomic.rmw8.sub_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16SubU "i32.atomic.rmw16.sub_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwSub "i64.atomic.rmw.sub" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8SubU "i64.atomic.rmw8.sub_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16SubU "i64.atomic.rmw16.sub_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32SubU "i64.atomic.rmw32.sub_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwAnd "i32.atomic.rmw.and" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8AndU "i32.atomic.rmw8.and_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16AndU "i32.atomic.rmw16.and_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwAnd "i64.atomic.rmw.and" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8AndU "i64.atomic.rmw8.and_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16AndU "i64.atomic.rmw16.and_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32AndU "i64.atomic.rmw32.and_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwOr "i32.atomic.rmw.or" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8OrU "i32.atomic.rmw8.or_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16OrU "i32.atomic.rmw16.or_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwOr "i64.atomic.rmw.or" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8OrU "i64.atomic.rmw8.or_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16OrU "i64.atomic.rmw16.or_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32OrU "i64.atomic.rmw32.or_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwXor "i32.atomic.rmw.xor" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8XorU "i32.atomic.rmw8.xor_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16XorU "i32.atomic.rmw16.xor_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwXor "i64.atomic.rmw.xor" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8XorU "i64.atomic.rmw8.xor_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16XorU "i64.atomic.rmw16.xor_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32XorU "i64.atomic.rmw32.xor_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwXchg "i32.atomic.rmw.xchg" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw8XchgU "i32.atomic.rmw8.xchg_u" [Addr I32] [I32] Mem ATOMIC;
            I32AtomicRmw16XchgU "i32.atomic.rmw16.xchg_u" [Addr I32] [I32] Mem ATOMIC;
            I64AtomicRmwXchg "i64.atomic.rmw.xchg" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw8XchgU "i64.atomic.rmw8.xchg_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw16XchgU "i64.atomic.rmw16.xchg_u" [Addr I64] [I64] Mem ATOMIC;
            I64AtomicRmw32XchgU "i64.atomic.rmw32.xchg_u" [Addr I64] [I64] Mem ATOMIC;
            I32AtomicRmwCmpxchg "i32.atomic.rmw.cmpxchg" [Addr I32 I32] [I32] Mem ATOMIC;
            I32AtomicRmw8CmpxchgU "i32.atomic.rmw8.cmpxchg_u" [Addr I32 I32] [I32] Mem ATOMIC;
            I32AtomicRmw16CmpxchgU "i32.atomic.rmw16.cmpxchg_u" [Addr I32 I32] [I32] Mem ATOMIC;
            I64AtomicRmwCmpxchg "i64.atomic.rmw.cmpxchg" [Addr I64 I64] [I64] Mem ATOMIC;
            I64AtomicRmw8CmpxchgU "i64.atomic.rmw8.cmpxchg_u" [Addr I64 I64] [I64] Mem ATOMIC;
            I64AtomicRmw16CmpxchgU "i64.atomic.rmw16.cmpxchg_u" [Addr I64 I64] [I64] Mem ATOMIC;
            I64AtomicRmw32CmpxchgU "i64.atomic.rmw32.cmpxchg_u" [Addr I64 I64] [I64] Mem ATOMIC;
            AtomicFence "atomic.fence" [] [] None FENCE;
            MemoryAtomicNotify "memory.atomic.notify" [Addr I32] [I32] Mem ATOMIC;
            MemoryAtomicWait32 "memory.atomic.wait32" [Addr I32 I64] [I32] Mem CALL;
            MemoryAtomicWait64 "memory.atomic.wait64" [Addr I64 I64] [I32] Mem CALL;

            // Tables.
            TableGet "table.get" [TableAddr] [T] Table TABLE_LOAD;
            TableSet "table.set" [TableAddr T] [] Table TABLE_STORE;
            TableSize "table.size" [] [TableAddr] Table READS_TABLE;
            TableGrow "table.grow" [T TableAddr] [TableAddr] Table GROW_TABLE;
            TableCopy "table.copy" [TableAddr TableAddr TableAddr] [] TablePair BULK_TABLE;
            TableFill "table.fill" [TableAddr T TableAddr] [] Table BULK_TABLE;
            TableInit "table.init" [TableAddr I32 I32] [] TableInit BULK_TABLE_SEGMENT;
            ElemDrop "elem.drop" [] [] Elem WRITES_SEGMENT;

            // Globals.
            GlobalGet "global.get" [] [T] Global READS_GLOBAL;
            GlobalSet "global.set" [T] [] Global WRITES_GLOBAL;

            // Calls. `call_indirect` takes the callee's table index after the arguments, `call_ref`
            // the callee.
            Call "call" [Rest] [Rest] Func CALL;
            CallIndirect "call_indirect" [Rest TableAddr] [Rest] CallIndirect CALL;
            CallRef "call_ref" [Rest FuncRef] [Rest] Type CALL;
            TryCall "try_call" [Rest] [Rest ExnRef] Func TAIL_CALL;
            TryCallIndirect "try_call_indirect" [Rest TableAddr] [Rest ExnRef] CallIndirect TAIL_CALL;
            TryCallRef "try_call_ref" [Rest FuncRef] [Rest ExnRef] Type TAIL_CALL;

            // Exceptions; the operands are never null. `exn.tag` and `tag.address` are what tags
            // are compared by.
            ExnNew "exn.new" [Rest] [ExnRef] Tag ALLOC;
            ExnTag "exn.tag" [ExnRef] [I64] None READS_EXCEPTION;
            ExnField "exn.field" [ExnRef] [T] ExnField READS_EXCEPTION;
            TagAddress "tag.address" [] [I64] Tag PURE;
            ThrowRef "throw_ref" [ExnRef] [] None TAIL_CALL;

            // Vectors: whole.
            I8x16Swizzle "i8x16.swizzle" [V128 V128] [V128] None PURE;
            I8x16Shuffle "i8x16.shuffle" [V128 V128] [V128] Shuffle PURE;
            V128Not "v128.not" [V128] [V128] None PURE;
            V128And "v128.and" [V128 V128] [V128] None COMMUTES;
            V128Or "v128.or" [V128 V128] [V128] None COMMUTES;
            V128Xor "v128.xor" [V128 V128] [V128] None COMMUTES;
            V128AndNot "v128.andnot" [V128 V128] [V128] None PURE;
            V128Bitselect "v128.bitselect" [V128 V128 V128] [V128] None PURE;
            V128AnyTrue "v128.any_true" [V128] [I32] None PURE;

            // Vectors: lanes.
            I8x16Splat "i8x16.splat" [I32] [V128] None PURE;
            I16x8Splat "i16x8.splat" [I32] [V128] None PURE;
            I32x4Splat "i32x4.splat" [I32] [V128] None PURE;
            I64x2Splat "i64x2.splat" [I64] [V128] None PURE;
            F32x4Splat "f32x4.splat" [F32] [V128] None PURE;
            F64x2Splat "f64x2.splat" [F64] [V128] None PURE;
            I8x16ExtractLaneS "i8x16.extract_lane_s" [V128] [I32] Lane PURE;
            I8x16ExtractLaneU "i8x16.extract_lane_u" [V128] [I32] Lane PURE;
            I8x16ReplaceLane "i8x16.replace_lane" [V128 I32] [V128] Lane PURE;
            I16x8ExtractLaneS "i16x8.extract_lane_s" [V128] [I32] Lane PURE;
            I16x8ExtractLaneU "i16x8.extract_lane_u" [V128] [I32] Lane PURE;
            I16x8ReplaceLane "i16x8.replace_lane" [V128 I32] [V128] Lane PURE;
            I32x4ExtractLane "i32x4.extract_lane" [V128] [I32] Lane PURE;
            I32x4ReplaceLane "i32x4.replace_lane" [V128 I32] [V128] Lane PURE;
            I64x2ExtractLane "i64x2.extract_lane" [V128] [I64] Lane PURE;
            I64x2ReplaceLane "i64x2.replace_lane" [V128 I64] [V128] Lane PURE;
            F32x4ExtractLane "f32x4.extract_lane" [V128] [F32] Lane PURE;
            F32x4ReplaceLane "f32x4.replace_lane" [V128 F32] [V128] Lane PURE;
            F64x2ExtractLane "f64x2.extract_lane" [V128] [F64] Lane PURE;
            F64x2ReplaceLane "f64x2.replace_lane" [V128 F64] [V128] Lane PURE;

            // Vectors: comparisons.
            I8x16Eq "i8x16.eq" [V128 V128] [V128] None COMMUTES;
            I8x16Ne "i8x16.ne" [V128 V128] [V128] None COMMUTES;
            I8x16LtS "i8x16.lt_s" [V128 V128] [V128] None PURE;
            I8x16LtU "i8x16.lt_u" [V128 V128] [V128] None PURE;
            I8x16GtS "i8x16.gt_s" [V128 V128] [V128] None PURE;
            I8x16GtU "i8x16.gt_u" [V128 V128] [V128] None PURE;
            I8x16LeS "i8x16.le_s" [V128 V128] [V128] None PURE;
            I8x16LeU "i8x16.le_u" [V128 V128] [V128] None PURE;
            I8x16GeS "i8x16.ge_s" [V128 V128] [V128] None PURE;
            I8x16GeU "i8x16.ge_u" [V128 V128] [V128] None PURE;
            I16x8Eq "i16x8.eq" [V128 V128] [V128] None COMMUTES;
            I16x8Ne "i16x8.ne" [V128 V128] [V128] None COMMUTES;
            I16x8LtS "i16x8.lt_s" [V128 V128] [V128] None PURE;
            I16x8LtU "i16x8.lt_u" [V128 V128] [V128] None PURE;
            I16x8GtS "i16x8.gt_s" [V128 V128] [V128] None PURE;
            I16x8GtU "i16x8.gt_u" [V128 V128] [V128] None PURE;
            I16x8LeS "i16x8.le_s" [V128 V128] [V128] None PURE;
            I16x8LeU "i16x8.le_u" [V128 V128] [V128] None PURE;
            I16x8GeS "i16x8.ge_s" [V128 V128] [V128] None PURE;
            I16x8GeU "i16x8.ge_u" [V128 V128] [V128] None PURE;
            I32x4Eq "i32x4.eq" [V128 V128] [V128] None COMMUTES;
            I32x4Ne "i32x4.ne" [V128 V128] [V128] None COMMUTES;
            I32x4LtS "i32x4.lt_s" [V128 V128] [V128] None PURE;
            I32x4LtU "i32x4.lt_u" [V128 V128] [V128] None PURE;
            I32x4GtS "i32x4.gt_s" [V128 V128] [V128] None PURE;
            I32x4GtU "i32x4.gt_u" [V128 V128] [V128] None PURE;
            I32x4LeS "i32x4.le_s" [V128 V128] [V128] None PURE;
            I32x4LeU "i32x4.le_u" [V128 V128] [V128] None PURE;
            I32x4GeS "i32x4.ge_s" [V128 V128] [V128] None PURE;
            I32x4GeU "i32x4.ge_u" [V128 V128] [V128] None PURE;
            I64x2Eq "i64x2.eq" [V128 V128] [V128] None COMMUTES;
            I64x2Ne "i64x2.ne" [V128 V128] [V128] None COMMUTES;
            I64x2LtS "i64x2.lt_s" [V128 V128] [V128] None PURE;
            I64x2GtS "i64x2.gt_s" [V128 V128] [V128] None PURE;
            I64x2LeS "i64x2.le_s" [V128 V128] [V128] None PURE;
            I64x2GeS "i64x2.ge_s" [V128 V128] [V128] None PURE;
            F32x4Eq "f32x4.eq" [V128 V128] [V128] None COMMUTES;
            F32x4Ne "f32x4.ne" [V128 V128] [V128] None COMMUTES;
            F32x4Lt "f32x4.lt" [V128 V128] [V128] None PURE;
            F32x4Gt "f32x4.gt" [V128 V128] [V128] None PURE;
            F32x4Le "f32x4.le" [V128 V128] [V128] None PURE;
            F32x4Ge "f32x4.ge" [V128 V128] [V128] None PURE;
            F64x2Eq "f64x2.eq" [V128 V128] [V128] None COMMUTES;
            F64x2Ne "f64x2.ne" [V128 V128] [V128] None COMMUTES;
            F64x2Lt "f64x2.lt" [V128 V128] [V128] None PURE;
            F64x2Gt "f64x2.gt" [V128 V128] [V128] None PURE;
            F64x2Le "f64x2.le" [V128 V128] [V128] None PURE;
            F64x2Ge "f64x2.ge" [V128 V128] [V128] None PURE;

            // Vectors: integers.
            I8x16Abs "i8x16.abs" [V128] [V128] None PURE;
            I8x16Neg "i8x16.neg" [V128] [V128] None PURE;
            I8x16Popcnt "i8x16.popcnt" [V128] [V128] None PURE;
            I8x16AllTrue "i8x16.all_true" [V128] [I32] None PURE;
            I8x16Bitmask "i8x16.bitmask" [V128] [I32] None PURE;
            I8x16Shl "i8x16.shl" [V128 I32] [V128] None PURE;
            I8x16ShrS "i8x16.shr_s" [V128 I32] [V128] None PURE;
            I8x16ShrU "i8x16.shr_u" [V128 I32] [V128] None PURE;
            I8x16Add "i8x16.add" [V128 V128] [V128] None COMMUTES;
            I8x16Sub "i8x16.sub" [V128 V128] [V128] None PURE;
            I8x16AddSatS "i8x16.add_sat_s" [V128 V128] [V128] None COMMUTES;
            I8x16AddSatU "i8x16.add_sat_u" [V128 V128] [V128] None COMMUTES;
            I8x16SubSatS "i8x16.sub_sat_s" [V128 V128] [V128] None PURE;
            I8x16SubSatU "i8x16.sub_sat_u" [V128 V128] [V128] None PURE;
            I8x16MinS "i8x16.min_s" [V128 V128] [V128] None COMMUTES;
            I8x16MinU "i8x16.min_u" [V128 V128] [V128] None COMMUTES;
            I8x16MaxS "i8x16.max_s" [V128 V128] [V128] None COMMUTES;
            I8x16MaxU "i8x16.max_u" [V128 V128] [V128] None COMMUTES;
            I8x16AvgrU "i8x16.avgr_u" [V128 V128] [V128] None COMMUTES;
            I16x8Abs "i16x8.abs" [V128] [V128] None PURE;
            I16x8Neg "i16x8.neg" [V128] [V128] None PURE;
            I16x8AllTrue "i16x8.all_true" [V128] [I32] None PURE;
            I16x8Bitmask "i16x8.bitmask" [V128] [I32] None PURE;
            I16x8Shl "i16x8.shl" [V128 I32] [V128] None PURE;
            I16x8ShrS "i16x8.shr_s" [V128 I32] [V128] None PURE;
            I16x8ShrU "i16x8.shr_u" [V128 I32] [V128] None PURE;
            I16x8Add "i16x8.add" [V128 V128] [V128] None COMMUTES;
            I16x8Sub "i16x8.sub" [V128 V128] [V128] None PURE;
            I16x8AddSatS "i16x8.add_sat_s" [V128 V128] [V128] None COMMUTES;
            I16x8AddSatU "i16x8.add_sat_u" [V128 V128] [V128] None COMMUTES;
            I16x8SubSatS "i16x8.sub_sat_s" [V128 V128] [V128] None PURE;
            I16x8SubSatU "i16x8.sub_sat_u" [V128 V128] [V128] None PURE;
            I16x8Mul "i16x8.mul" [V128 V128] [V128] None COMMUTES;
            I16x8MinS "i16x8.min_s" [V128 V128] [V128] None COMMUTES;
            I16x8MinU "i16x8.min_u" [V128 V128] [V128] None COMMUTES;
            I16x8MaxS "i16x8.max_s" [V128 V128] [V128] None COMMUTES;
            I16x8MaxU "i16x8.max_u" [V128 V128] [V128] None COMMUTES;
            I16x8AvgrU "i16x8.avgr_u" [V128 V128] [V128] None COMMUTES;
            I32x4Abs "i32x4.abs" [V128] [V128] None PURE;
            I32x4Neg "i32x4.neg" [V128] [V128] None PURE;
            I32x4AllTrue "i32x4.all_true" [V128] [I32] None PURE;
            I32x4Bitmask "i32x4.bitmask" [V128] [I32] None PURE;
            I32x4Shl "i32x4.shl" [V128 I32] [V128] None PURE;
            I32x4ShrS "i32x4.shr_s" [V128 I32] [V128] None PURE;
            I32x4ShrU "i32x4.shr_u" [V128 I32] [V128] None PURE;
            I32x4Add "i32x4.add" [V128 V128] [V128] None COMMUTES;
            I32x4Sub "i32x4.sub" [V128 V128] [V128] None PURE;
            I32x4Mul "i32x4.mul" [V128 V128] [V128] None COMMUTES;
            I32x4MinS "i32x4.min_s" [V128 V128] [V128] None COMMUTES;
            I32x4MinU "i32x4.min_u" [V128 V128] [V128] None COMMUTES;
            I32x4MaxS "i32x4.max_s" [V128 V128] [V128] None COMMUTES;
            I32x4MaxU "i32x4.max_u" [V128 V128] [V128] None COMMUTES;
            I64x2Abs "i64x2.abs" [V128] [V128] None PURE;
            I64x2Neg "i64x2.neg" [V128] [V128] None PURE;
            I64x2AllTrue "i64x2.all_true" [V128] [I32] None PURE;
            I64x2Bitmask "i64x2.bitmask" [V128] [I32] None PURE;
            I64x2Shl "i64x2.shl" [V128 I32] [V128] None PURE;
            I64x2ShrS "i64x2.shr_s" [V128 I32] [V128] None PURE;
            I64x2ShrU "i64x2.shr_u" [V128 I32] [V128] None PURE;
            I64x2Add "i64x2.add" [V128 V128] [V128] None COMMUTES;
            I64x2Sub "i64x2.sub" [V128 V128] [V128] None PURE;
            I64x2Mul "i64x2.mul" [V128 V128] [V128] None COMMUTES;
            I8x16NarrowI16x8S "i8x16.narrow_i16x8_s" [V128 V128] [V128] None PURE;
            I8x16NarrowI16x8U "i8x16.narrow_i16x8_u" [V128 V128] [V128] None PURE;
            I16x8NarrowI32x4S "i16x8.narrow_i32x4_s" [V128 V128] [V128] None PURE;
            I16x8NarrowI32x4U "i16x8.narrow_i32x4_u" [V128 V128] [V128] None PURE;
            I16x8ExtendLowI8x16S "i16x8.extend_low_i8x16_s" [V128] [V128] None PURE;
            I16x8ExtendLowI8x16U "i16x8.extend_low_i8x16_u" [V128] [V128] None PURE;
            I16x8ExtendHighI8x16S "i16x8.extend_high_i8x16_s" [V128] [V128] None PURE;
            I16x8ExtendHighI8x16U "i16x8.extend_high_i8x16_u" [V128] [V128] None PURE;
            I16x8ExtMulLowI8x16S "i16x8.extmul_low_i8x16_s" [V128 V128] [V128] None COMMUTES;
            I16x8ExtMulLowI8x16U "i16x8.extmul_low_i8x16_u" [V128 V128] [V128] None COMMUTES;
            I16x8ExtMulHighI8x16S "i16x8.extmul_high_i8x16_s" [V128 V128] [V128] None COMMUTES;
            I16x8ExtMulHighI8x16U "i16x8.extmul_high_i8x16_u" [V128 V128] [V128] None COMMUTES;
            I32x4ExtendLowI16x8S "i32x4.extend_low_i16x8_s" [V128] [V128] None PURE;
            I32x4ExtendLowI16x8U "i32x4.extend_low_i16x8_u" [V128] [V128] None PURE;
            I32x4ExtendHighI16x8S "i32x4.extend_high_i16x8_s" [V128] [V128] None PURE;
            I32x4ExtendHighI16x8U "i32x4.extend_high_i16x8_u" [V128] [V128] None PURE;
            I32x4ExtMulLowI16x8S "i32x4.extmul_low_i16x8_s" [V128 V128] [V128] None COMMUTES;
            I32x4ExtMulLowI16x8U "i32x4.extmul_low_i16x8_u" [V128 V128] [V128] None COMMUTES;
            I32x4ExtMulHighI16x8S "i32x4.extmul_high_i16x8_s" [V128 V128] [V128] None COMMUTES;
            I32x4ExtMulHighI16x8U "i32x4.extmul_high_i16x8_u" [V128 V128] [V128] None COMMUTES;
            I64x2ExtendLowI32x4S "i64x2.extend_low_i32x4_s" [V128] [V128] None PURE;
            I64x2ExtendLowI32x4U "i64x2.extend_low_i32x4_u" [V128] [V128] None PURE;
            I64x2ExtendHighI32x4S "i64x2.extend_high_i32x4_s" [V128] [V128] None PURE;
            I64x2ExtendHighI32x4U "i64x2.extend_high_i32x4_u" [V128] [V128] None PURE;
            I64x2ExtMulLowI32x4S "i64x2.extmul_low_i32x4_s" [V128 V128] [V128] None COMMUTES;
            I64x2ExtMulLowI32x4U "i64x2.extmul_low_i32x4_u" [V128 V128] [V128] None COMMUTES;
            I64x2ExtMulHighI32x4S "i64x2.extmul_high_i32x4_s" [V128 V128] [V128] None COMMUTES;
            I64x2ExtMulHighI32x4U "i64x2.extmul_high_i32x4_u" [V128 V128] [V128] None COMMUTES;
            I16x8ExtAddPairwiseI8x16S "i16x8.extadd_pairwise_i8x16_s" [V128] [V128] None PURE;
            I16x8ExtAddPairwiseI8x16U "i16x8.extadd_pairwise_i8x16_u" [V128] [V128] None PURE;
            I32x4ExtAddPairwiseI16x8S "i32x4.extadd_pairwise_i16x8_s" [V128] [V128] None PURE;
            I32x4ExtAddPairwiseI16x8U "i32x4.extadd_pairwise_i16x8_u" [V128] [V128] None PURE;
            I16x8Q15MulrSatS "i16x8.q15mulr_sat_s" [V128 V128] [V128] None COMMUTES;
            I32x4DotI16x8S "i32x4.dot_i16x8_s" [V128 V128] [V128] None COMMUTES;

            // Vectors: floats.
            F32x4Abs "f32x4.abs" [V128] [V128] None PURE;
            F32x4Neg "f32x4.neg" [V128] [V128] None PURE;
            F32x4Sqrt "f32x4.sqrt" [V128] [V128] None PURE;
            F32x4Ceil "f32x4.ceil" [V128] [V128] None PURE;
            F32x4Floor "f32x4.floor" [V128] [V128] None PURE;
            F32x4Trunc "f32x4.trunc" [V128] [V128] None PURE;
            F32x4Nearest "f32x4.nearest" [V128] [V128] None PURE;
            F32x4Add "f32x4.add" [V128 V128] [V128] None PURE;
            F32x4Sub "f32x4.sub" [V128 V128] [V128] None PURE;
            F32x4Mul "f32x4.mul" [V128 V128] [V128] None PURE;
            F32x4Div "f32x4.div" [V128 V128] [V128] None PURE;
            F32x4Min "f32x4.min" [V128 V128] [V128] None PURE;
            F32x4Max "f32x4.max" [V128 V128] [V128] None PURE;
            F32x4PMin "f32x4.pmin" [V128 V128] [V128] None PURE;
            F32x4PMax "f32x4.pmax" [V128 V128] [V128] None PURE;
            F64x2Abs "f64x2.abs" [V128] [V128] None PURE;
            F64x2Neg "f64x2.neg" [V128] [V128] None PURE;
            F64x2Sqrt "f64x2.sqrt" [V128] [V128] None PURE;
            F64x2Ceil "f64x2.ceil" [V128] [V128] None PURE;
            F64x2Floor "f64x2.floor" [V128] [V128] None PURE;
            F64x2Trunc "f64x2.trunc" [V128] [V128] None PURE;
            F64x2Nearest "f64x2.nearest" [V128] [V128] None PURE;
            F64x2Add "f64x2.add" [V128 V128] [V128] None PURE;
            F64x2Sub "f64x2.sub" [V128 V128] [V128] None PURE;
            F64x2Mul "f64x2.mul" [V128 V128] [V128] None PURE;
            F64x2Div "f64x2.div" [V128 V128] [V128] None PURE;
            F64x2Min "f64x2.min" [V128 V128] [V128] None PURE;
            F64x2Max "f64x2.max" [V128 V128] [V128] None PURE;
            F64x2PMin "f64x2.pmin" [V128 V128] [V128] None PURE;
            F64x2PMax "f64x2.pmax" [V128 V128] [V128] None PURE;

            // Vectors: conversions.
            I32x4TruncSatF32x4S "i32x4.trunc_sat_f32x4_s" [V128] [V128] None PURE;
            I32x4TruncSatF32x4U "i32x4.trunc_sat_f32x4_u" [V128] [V128] None PURE;
            I32x4TruncSatF64x2SZero "i32x4.trunc_sat_f64x2_s_zero" [V128] [V128] None PURE;
            I32x4TruncSatF64x2UZero "i32x4.trunc_sat_f64x2_u_zero" [V128] [V128] None PURE;
            F32x4ConvertI32x4S "f32x4.convert_i32x4_s" [V128] [V128] None PURE;
            F32x4ConvertI32x4U "f32x4.convert_i32x4_u" [V128] [V128] None PURE;
            F64x2ConvertLowI32x4S "f64x2.convert_low_i32x4_s" [V128] [V128] None PURE;
            F64x2ConvertLowI32x4U "f64x2.convert_low_i32x4_u" [V128] [V128] None PURE;
            F32x4DemoteF64x2Zero "f32x4.demote_f64x2_zero" [V128] [V128] None PURE;
            F64x2PromoteLowF32x4 "f64x2.promote_low_f32x4" [V128] [V128] None PURE;

            // Vectors: results that processors choose. With `Tunables::relaxed_simd_deterministic`
            // they are the same everywhere.
            I8x16RelaxedSwizzle "i8x16.relaxed_swizzle" [V128 V128] [V128] None PURE;
            I32x4RelaxedTruncF32x4S "i32x4.relaxed_trunc_f32x4_s" [V128] [V128] None PURE;
            I32x4RelaxedTruncF32x4U "i32x4.relaxed_trunc_f32x4_u" [V128] [V128] None PURE;
            I32x4RelaxedTruncF64x2SZero "i32x4.relaxed_trunc_f64x2_s_zero" [V128] [V128] None PURE;
            I32x4RelaxedTruncF64x2UZero "i32x4.relaxed_trunc_f64x2_u_zero" [V128] [V128] None PURE;
            F32x4RelaxedMadd "f32x4.relaxed_madd" [V128 V128 V128] [V128] None PURE;
            F32x4RelaxedNmadd "f32x4.relaxed_nmadd" [V128 V128 V128] [V128] None PURE;
            F64x2RelaxedMadd "f64x2.relaxed_madd" [V128 V128 V128] [V128] None PURE;
            F64x2RelaxedNmadd "f64x2.relaxed_nmadd" [V128 V128 V128] [V128] None PURE;
            I8x16RelaxedLaneselect "i8x16.relaxed_laneselect" [V128 V128 V128] [V128] None PURE;
            I16x8RelaxedLaneselect "i16x8.relaxed_laneselect" [V128 V128 V128] [V128] None PURE;
            I32x4RelaxedLaneselect "i32x4.relaxed_laneselect" [V128 V128 V128] [V128] None PURE;
            I64x2RelaxedLaneselect "i64x2.relaxed_laneselect" [V128 V128 V128] [V128] None PURE;
            F32x4RelaxedMin "f32x4.relaxed_min" [V128 V128] [V128] None PURE;
            F32x4RelaxedMax "f32x4.relaxed_max" [V128 V128] [V128] None PURE;
            F64x2RelaxedMin "f64x2.relaxed_min" [V128 V128] [V128] None PURE;
            F64x2RelaxedMax "f64x2.relaxed_max" [V128 V128] [V128] None PURE;
            I16x8RelaxedQ15mulrS "i16x8.relaxed_q15mulr_s" [V128 V128] [V128] None PURE;
            I16x8RelaxedDotI8x16I7x16S "i16x8.relaxed_dot_i8x16_i7x16_s" [V128 V128] [V128] None PURE;
            I32x4RelaxedDotI8x16I7x16AddS "i32x4.relaxed_dot_i8x16_i7x16_add_s" [V128 V128 V128] [V128] None PURE;

            // The store's claims on a program; not in the program itself. `fuel.check` gives the
            // fuel there is afterwards.
            InterruptCheck "interrupt.check" [] [] None INTERRUPT;
            FuelGet "fuel.get" [] [I64] None READS_FUEL;
            FuelSet "fuel.set" [I64] [] None WRITES_FUEL;
            FuelCheck "fuel.check" [I64] [I64] None INTERRUPT;

            // Terminators.
            Jump "jump" [] [] None TERMINATOR;
            BranchIf "branch_if" [I32] [] Hint TERMINATOR;
            BrTable "br_table" [I32] [] JumpTable TERMINATOR;
            Return "return" [Rest] [] None TERMINATOR;
            ReturnCall "return_call" [Rest] [] Func TAIL_CALL;
            ReturnCallIndirect "return_call_indirect" [Rest TableAddr] [] CallIndirect TAIL_CALL;
            ReturnCallRef "return_call_ref" [Rest FuncRef] [] Type TAIL_CALL;
            Unreachable "unreachable" [] [] Trap TERMINATOR_TRAPS;
        }
    };
}

/// The type of an operand or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `v128`.
    V128,
    /// `funcref`.
    FuncRef,
    /// `externref`.
    ExternRef,
    /// `anyref`.
    AnyRef,
    /// `exnref`.
    ExnRef,
    /// A reference of any type.
    Ref,
    /// Any type, the same wherever it stands in one instruction; for table, global, struct and
    /// array instructions that of the element, content or field.
    T,
    /// The index type of the memory: `i32`, or `i64` for a 64-bit memory. Of the two memories of
    /// `memory.copy`, the destination for the first operand, the source for the second, and
    /// `i32` for the third unless both are 64-bit.
    Addr,
    /// The same for tables.
    TableAddr,
    /// Any number of values, as the function's type or the immediate's says.
    Rest,
}

impl Slot {
    /// The type, where it is always the same.
    pub const fn fixed(self) -> Option<Type> {
        match self {
            Slot::I32 => Some(Type::I32),
            Slot::I64 => Some(Type::I64),
            Slot::F32 => Some(Type::F32),
            Slot::F64 => Some(Type::F64),
            Slot::V128 => Some(Type::V128),
            Slot::FuncRef => Some(Type::FuncRef),
            Slot::ExternRef => Some(Type::ExternRef),
            Slot::AnyRef => Some(Type::AnyRef),
            Slot::ExnRef => Some(Type::ExnRef),
            Slot::Ref | Slot::T | Slot::Addr | Slot::TableAddr | Slot::Rest => None,
        }
    }
}

/// Which variant of [`Imm`](crate::graph::Imm) an op has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "described at the variants of `Imm`")]
pub enum ImmKind {
    None,
    I32,
    I64,
    F32,
    F64,
    V128,
    Lane,
    Shuffle,
    Mem,
    MemLane,
    Memory,
    MemoryPair,
    MemoryInit,
    Data,
    Table,
    TablePair,
    TableInit,
    Elem,
    Global,
    Func,
    CallIndirect,
    Type,
    Field,
    TypeData,
    TypeElem,
    TypePair,
    Cast,
    Tag,
    ExnField,
    Hint,
    JumpTable,
    Trap,
}

bitflags! {
    /// What an op may do beyond computing its results, and the algebra that holds for it.
    ///
    /// *Which* memory, table, global, field or type of array is in the immediate: see
    /// [`Imm::memory`](crate::graph::Imm::memory) and its kin. Fields of a type and those of its
    /// subtypes are the same, other types' fields never are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Effects: u32 {
        /// Reads a memory's bytes.
        const READS_MEMORY = 1 << 0;
        /// Writes a memory's bytes.
        const WRITES_MEMORY = 1 << 1;
        /// Depends on a memory's size other than by trapping.
        const READS_MEMORY_SIZE = 1 << 2;
        /// May change a memory's size and move it.
        const WRITES_MEMORY_SIZE = 1 << 3;
        /// Reads a table's elements or size.
        const READS_TABLE = 1 << 4;
        /// Writes a table's elements or size.
        const WRITES_TABLE = 1 << 5;
        /// Reads a global.
        const READS_GLOBAL = 1 << 6;
        /// Writes a global.
        const WRITES_GLOBAL = 1 << 7;
        /// Reads the garbage-collected heap.
        const READS_HEAP = 1 << 8;
        /// Writes the garbage-collected heap.
        const WRITES_HEAP = 1 << 9;
        /// Reads a data or element segment.
        const READS_SEGMENT = 1 << 10;
        /// Drops a data or element segment.
        const WRITES_SEGMENT = 1 << 11;
        /// Can trap.
        const CAN_TRAP = 1 << 12;
        /// Can run any code: other wasm, the host.
        const CAN_CALL = 1 << 13;
        /// A place at which the garbage collector may run or the stack be inspected.
        const SAFEPOINT = 1 << 14;
        /// Ends a block.
        const IS_TERMINATOR = 1 << 15;
        /// The first two operands may be exchanged.
        const IS_COMMUTATIVE = 1 << 16;
        /// Reads the store's fuel.
        const READS_FUEL = 1 << 17;
        /// Writes the store's fuel.
        const WRITES_FUEL = 1 << 18;
        /// The garbage collector may run, and move objects. An instruction without
        /// [`Self::CAN_TRAP`] that has this can fail, but only for want of memory.
        const COLLECTS = 1 << 19;

        /// Nothing.
        const PURE = 0;
        /// Nothing, and commutative.
        const COMMUTES = Self::IS_COMMUTATIVE.bits();
        /// Only a trap.
        const TRAPS = Self::CAN_TRAP.bits();
        /// A load.
        const LOAD = Self::READS_MEMORY.bits() | Self::CAN_TRAP.bits();
        /// A store.
        const STORE = Self::WRITES_MEMORY.bits() | Self::CAN_TRAP.bits();
        /// An atomic access. It is ordered with all other accesses, to whatever memory, and what other
        /// threads have done before, growing included, may be seen after it.
        const ATOMIC = Self::FENCE.bits() | Self::CAN_TRAP.bits();
        /// The order of atomic accesses, without one.
        const FENCE = Self::READS_MEMORY.bits() | Self::WRITES_MEMORY.bits()
            | Self::READS_MEMORY_SIZE.bits() | Self::WRITES_MEMORY_SIZE.bits();
        /// `memory.grow`. An embedder's limiter may run.
        const GROW_MEMORY = Self::READS_MEMORY_SIZE.bits() | Self::WRITES_MEMORY_SIZE.bits()
            | Self::CAN_TRAP.bits() | Self::SAFEPOINT.bits();
        /// `memory.copy`, `memory.fill`.
        const BULK_MEMORY = Self::READS_MEMORY.bits() | Self::WRITES_MEMORY.bits()
            | Self::CAN_TRAP.bits() | Self::SAFEPOINT.bits();
        /// `memory.init`.
        const BULK_MEMORY_SEGMENT = Self::WRITES_MEMORY.bits() | Self::READS_SEGMENT.bits()
            | Self::CAN_TRAP.bits() | Self::SAFEPOINT.bits();
        /// `table.get`. An entry of a table that is initialised lazily may be made here.
        const TABLE_LOAD = Self::READS_TABLE.bits() | Self::CAN_TRAP.bits()
            | Self::SAFEPOINT.bits();
        /// `table.set`.
        const TABLE_STORE = Self::WRITES_TABLE.bits() | Self::CAN_TRAP.bits();
        /// `table.grow`.
        const GROW_TABLE = Self::READS_TABLE.bits() | Self::WRITES_TABLE.bits()
            | Self::CAN_TRAP.bits() | Self::SAFEPOINT.bits();
        /// `table.copy`, `table.fill`.
        const BULK_TABLE = Self::GROW_TABLE.bits();
        /// `table.init`.
        const BULK_TABLE_SEGMENT = Self::WRITES_TABLE.bits() | Self::READS_SEGMENT.bits()
            | Self::CAN_TRAP.bits() | Self::SAFEPOINT.bits();
        /// Anything.
        const CALL = Self::READS_MEMORY.bits() | Self::WRITES_MEMORY.bits()
            | Self::READS_MEMORY_SIZE.bits() | Self::WRITES_MEMORY_SIZE.bits()
            | Self::READS_TABLE.bits() | Self::WRITES_TABLE.bits()
            | Self::READS_GLOBAL.bits() | Self::WRITES_GLOBAL.bits()
            | Self::READS_HEAP.bits() | Self::WRITES_HEAP.bits()
            | Self::READS_SEGMENT.bits() | Self::WRITES_SEGMENT.bits()
            | Self::READS_FUEL.bits() | Self::WRITES_FUEL.bits()
            | Self::CAN_TRAP.bits() | Self::CAN_CALL.bits() | Self::SAFEPOINT.bits()
            | Self::COLLECTS.bits();
        /// Anything, but that no object moves: registers are kept, so that nobody could say where
        /// they are.
        const INTERRUPT = Self::CALL.bits() & !Self::COLLECTS.bits();
        /// Makes an object. Nobody misses one that is not used.
        const ALLOC = Self::SAFEPOINT.bits() | Self::COLLECTS.bits();
        /// Makes an array whose size may be too large.
        const ALLOC_TRAPS = Self::ALLOC.bits() | Self::CAN_TRAP.bits();
        /// Makes an array of a part of a segment.
        const ALLOC_SEGMENT = Self::ALLOC_TRAPS.bits() | Self::READS_SEGMENT.bits();
        /// Reads a field or element.
        const HEAP_LOAD = Self::READS_HEAP.bits() | Self::CAN_TRAP.bits();
        /// Writes fields or elements.
        const HEAP_STORE = Self::WRITES_HEAP.bits() | Self::CAN_TRAP.bits();
        /// `array.copy`.
        const HEAP_COPY = Self::HEAP_LOAD.bits() | Self::HEAP_STORE.bits();
        /// `array.init_data`, `array.init_elem`.
        const HEAP_SEGMENT = Self::HEAP_STORE.bits() | Self::READS_SEGMENT.bits();
        /// Reads an exception, which never changes.
        const READS_EXCEPTION = Self::READS_HEAP.bits();
        /// Anything, and ends a block.
        const TAIL_CALL = Self::CALL.bits() | Self::IS_TERMINATOR.bits();
        /// Ends a block, no more.
        const TERMINATOR = Self::IS_TERMINATOR.bits();
        /// Ends a block by trapping.
        const TERMINATOR_TRAPS = Self::IS_TERMINATOR.bits() | Self::CAN_TRAP.bits();

        /// All that something else may read.
        const ANY_WRITE = Self::WRITES_MEMORY.bits() | Self::WRITES_MEMORY_SIZE.bits()
            | Self::WRITES_TABLE.bits() | Self::WRITES_GLOBAL.bits()
            | Self::WRITES_HEAP.bits() | Self::WRITES_SEGMENT.bits()
            | Self::WRITES_FUEL.bits();
        /// All that something else may have written.
        const ANY_READ = Self::READS_MEMORY.bits() | Self::READS_MEMORY_SIZE.bits()
            | Self::READS_TABLE.bits() | Self::READS_GLOBAL.bits()
            | Self::READS_HEAP.bits() | Self::READS_SEGMENT.bits()
            | Self::READS_FUEL.bits();
        /// All for which an instruction must stay although nobody uses its results.
        const SIDE_EFFECTS = Self::ANY_WRITE.bits() | Self::CAN_TRAP.bits()
            | Self::CAN_CALL.bits() | Self::IS_TERMINATOR.bits();
    }
}

impl Effects {
    /// Whether it computes its results from its operands and immediate and does nothing else, so
    /// that it can be moved, merged with an equal one, or removed.
    pub const fn is_pure(self) -> bool {
        self.bits() & !Effects::IS_COMMUTATIVE.bits() == 0
    }

    /// Whether it can be removed if nobody uses its results.
    pub const fn is_removable(self) -> bool {
        !self.intersects(Effects::SIDE_EFFECTS)
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The instruction's name in the text format.
    pub name: &'static str,
    /// The operands.
    pub operands: &'static [Slot],
    /// The results.
    pub results: &'static [Slot],
    /// The immediate.
    pub imm: ImmKind,
    /// The effects.
    pub effects: Effects,
}

macro_rules! define {
    ($($op:ident $name:literal [$($arg:ident)*] [$($ret:ident)*] $imm:ident $effects:ident;)*) => {
        /// What an instruction does.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "each is the wasm instruction of that name")]
        pub enum Op {
            $($op,)*
        }

        impl Op {
            /// All of them, in the table's order.
            pub const ALL: &[Op] = &[$(Op::$op),*];
        }

        static INFO: &[OpInfo] = &[$(OpInfo {
            name: $name,
            operands: &[$(Slot::$arg),*],
            results: &[$(Slot::$ret),*],
            imm: ImmKind::$imm,
            effects: Effects::$effects,
        },)*];
    };
}

for_each_op!(define);

impl Op {
    /// Its line of the table.
    pub fn info(self) -> &'static OpInfo {
        &INFO[self as usize]
    }

    /// Its name in the text format.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Its effects.
    pub fn effects(self) -> Effects {
        self.info().effects
    }

    /// Whether it ends a block.
    pub fn is_terminator(self) -> bool {
        self.effects().contains(Effects::IS_TERMINATOR)
    }

    /// The op with this name.
    pub fn from_name(name: &str) -> Option<Op> {
        static BY_NAME: std::sync::OnceLock<std::collections::HashMap<&'static str, Op>> =
            std::sync::OnceLock::new();
        BY_NAME
            .get_or_init(|| Op::ALL.iter().map(|&op| (op.name(), op)).collect())
            .get(name)
            .copied()
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for &op in Op::ALL {
            assert_eq!(Op::from_name(op.name()), Some(op));
        }
    }

    #[test]
    fn effects_are_consistent() {
        for &op in Op::ALL {
            let info = op.info();
            let effects = info.effects;
            assert!(!effects.is_pure() || effects.is_removable(), "{op}");
            if effects.contains(Effects::IS_COMMUTATIVE) {
                assert!(info.operands.len() >= 2 && info.operands[0] == info.operands[1]);
            }
            let accesses = effects != Effects::FENCE;
            if accesses && effects.intersects(Effects::READS_MEMORY | Effects::WRITES_MEMORY) {
                assert!(effects.contains(Effects::CAN_TRAP), "{op}");
            }
        }
    }
}
