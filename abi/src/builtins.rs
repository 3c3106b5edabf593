//! The runtime's functions that generated code calls.
//!
//! One line each; the compiler's signatures, the engine's table and the stubs are derived from it.
//! Code holds their numbers, so new ones come last.

/// A parameter's type. All builtins take the `vmctx` of the caller first, which is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltinType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer; also table elements and host pointers.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
}

/// What comes back and what generated code does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltinReturn {
    /// Nothing; cannot fail.
    Nothing,
    /// A value; cannot fail.
    Value(BuiltinType),
    /// An `i32`: 0 is success; on any other value an error is in the store: call `raise`.
    Status,
    /// An `i64`: [`RAISED`] means that an error is in the store: call `raise`. Else the value.
    ValueOrRaise,
    /// Nothing, and every register is as it was: for calls on cold paths of hot loops, around which
    /// nothing shall be kept in memory. A failure does not return.
    Preserved,
    /// Does not return.
    Never,
}

/// The value of a [`BuiltinReturn::ValueOrRaise`] that is no value.
pub const RAISED: i64 = i64::MIN;

/// Calls `$macro!` with all builtins:
/// `(doc) name(param types…) -> return;`.
#[macro_export]
macro_rules! for_each_builtin {
    ($macro:ident) => {
        $macro! {
            "Resumes at the newest host entry; the reason is in the store."
            raise() -> Never;
            "Stops with trap code `code`."
            trap(I32) -> Never;
            "`memory.grow` (memory index, delta in pages): old size in pages or -1."
            memory_grow(I32, I64) -> ValueOrRaise;
            "`memory.copy` (destination memory, source memory, destination, source, length)."
            memory_copy(I32, I32, I64, I64, I64) -> Status;
            "`memory.fill` (memory, destination, byte, length)."
            memory_fill(I32, I64, I32, I64) -> Status;
            "`memory.init` (memory, data segment, destination, source, length)."
            memory_init(I32, I32, I64, I32, I32) -> Status;
            "`data.drop` (data segment)."
            data_drop(I32) -> Nothing;
            "`table.grow` (table, delta, initial element): old size or -1."
            table_grow(I32, I64, I64) -> ValueOrRaise;
            "`table.fill` (table, destination, element, length)."
            table_fill(I32, I64, I64, I64) -> Status;
            "`table.copy` (destination table, source table, destination, source, length)."
            table_copy(I32, I32, I64, I64, I64) -> Status;
            "`table.init` (table, element segment, destination, source, length)."
            table_init(I32, I32, I64, I32, I32) -> Status;
            "`elem.drop` (element segment)."
            elem_drop(I32) -> Nothing;
            "`f32.ceil`, where the processor has none."
            ceil_f32(F32) -> F32;
            "`f64.ceil`, where the processor has none."
            ceil_f64(F64) -> F64;
            "`f32.floor`, where the processor has none."
            floor_f32(F32) -> F32;
            "`f64.floor`, where the processor has none."
            floor_f64(F64) -> F64;
            "`f32.trunc`, where the processor has none."
            trunc_f32(F32) -> F32;
            "`f64.trunc`, where the processor has none."
            trunc_f64(F64) -> F64;
            "`f32.nearest`, where the processor has none."
            nearest_f32(F32) -> F32;
            "`f64.nearest`, where the processor has none."
            nearest_f64(F64) -> F64;
            "An interrupt was requested: go on, or stop."
            interrupt() -> Preserved;
            "Fuel ran out, `VmStoreContext.fuel` says by how much: go on with what is there then, or stop."
            out_of_fuel() -> Preserved;
            "A host function will be called, in a store with a call hook."
            calling_host() -> Preserved;
            "A host function has returned, in a store with a call hook."
            returning_from_host() -> Preserved;
            "A zero was read from a lazy table: writes the element. `VmStoreContext.arguments` are table and index."
            table_element() -> Preserved;
            "Makes the reference to a function that has none yet. `VmStoreContext.arguments` is the function."
            func_ref() -> Preserved;
            "`memory.atomic.notify` (memory, index, offset, count): how many were waiting."
            memory_atomic_notify(I32, I64, I64, I32) -> ValueOrRaise;
            "`memory.atomic.wait32` (memory, index, offset, expected, nanoseconds): 0, 1 or 2."
            memory_atomic_wait32(I32, I64, I64, I32, I64) -> ValueOrRaise;
            "`memory.atomic.wait64` (memory, index, offset, expected, nanoseconds): 0, 1 or 2."
            memory_atomic_wait64(I32, I64, I64, I64, I64) -> ValueOrRaise;
            "Makes an object (type number, kind, size in bytes), when there is no room between `gc_next` and `gc_limit`: its header is written, the rest undefined. May collect."
            gc_alloc(I32, I32, I32) -> ValueOrRaise;
            "Makes an array (type number, length): header and length are written, all elements zero. May collect."
            gc_array(I32, I32) -> ValueOrRaise;
            "Called before a traced reference is written into an object that has `VmObject::BARRIER`. `VmStoreContext.arguments` are the object's reference and the offset in it in bytes."
            gc_barrier() -> Preserved;
            "`array.fill` (array, start, low and high 64 bits of the value, length)."
            array_fill(I32, I32, I64, I64, I32) -> Status;
            "`array.copy` (destination, start there, source, start there, length)."
            array_copy(I32, I32, I32, I32, I32) -> Status;
            "`array.new_data` (module type index, data segment, offset, length). May collect."
            array_new_data(I32, I32, I32, I32) -> ValueOrRaise;
            "`array.new_elem` (module type index, element segment, offset, length). May collect."
            array_new_elem(I32, I32, I32, I32) -> ValueOrRaise;
            "`array.init_data` (module type index, array, start, data segment, offset, length)."
            array_init_data(I32, I32, I32, I32, I32, I32) -> Status;
            "`array.init_elem` (module type index, array, start, element segment, offset, length)."
            array_init_elem(I32, I32, I32, I32, I32, I32) -> Status;
            "Throws the exception (a reference that is not null): goes on at the handler of a frame above, or resumes at the newest host entry."
            throw_ref(I32) -> Never;
        }
    };
}

macro_rules! define {
    ($($doc:literal $name:ident($($param:ident),*) -> $ret:ident;)*) => {
        /// A function of the runtime that generated code calls; the number is its index in
        /// `vmctx.builtins`.
        #[allow(non_camel_case_types, reason = "the names are those of the functions")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Builtin {
            $(#[doc = $doc] $name,)*
        }

        impl Builtin {
            /// All of them, in the table's order.
            pub const ALL: &[Builtin] = &[$(Builtin::$name),*];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Builtin::$name => stringify!($name),)*
                }
            }

            /// The parameters after the caller's `vmctx`.
            pub const fn params(self) -> &'static [BuiltinType] {
                match self {
                    $(Builtin::$name => &[$(BuiltinType::$param),*],)*
                }
            }

            /// What comes back.
            pub const fn returns(self) -> BuiltinReturn {
                match self {
                    $(Builtin::$name => returns!($ret),)*
                }
            }
        }
    };
}

macro_rules! returns {
    (Never) => {
        BuiltinReturn::Never
    };
    (Nothing) => {
        BuiltinReturn::Nothing
    };
    (Preserved) => {
        BuiltinReturn::Preserved
    };
    (Status) => {
        BuiltinReturn::Status
    };
    (ValueOrRaise) => {
        BuiltinReturn::ValueOrRaise
    };
    ($value:ident) => {
        BuiltinReturn::Value(BuiltinType::$value)
    };
}

for_each_builtin!(define);

impl Builtin {
    /// Offset of this builtin's entry in the table that `vmctx.builtins` points to.
    pub const fn offset(self) -> u32 {
        self as u32 * 8
    }
}
