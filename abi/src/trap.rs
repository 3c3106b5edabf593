//! Trap codes: why wasm code stopped.

/// One line per trap: variant, number as stored in side tables, and the message of the
/// specification's test-suite (`assert_trap` compares a prefix).
macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $message:literal;)*) => {
        /// Why wasm code stopped. The numbers stand in side tables and images.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TrapCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl TrapCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &[TrapCode] = &[$(TrapCode::$name),*];

            /// The code with this number.
            pub const fn from_u8(number: u8) -> Option<TrapCode> {
                match number {
                    $($number => Some(TrapCode::$name),)*
                    _ => None,
                }
            }

            /// What happened, in the words of the specification's test-suite.
            pub const fn message(self) -> &'static str {
                match self {
                    $(TrapCode::$name => $message,)*
                }
            }
        }
    };
}

traps! {
    /// The stack pointer passed the store's limit.
    StackOverflow = 1, "call stack exhausted";
    /// A memory access outside of the memory's current size.
    MemoryOutOfBounds = 2, "out of bounds memory access";
    /// A misaligned atomic access.
    HeapMisaligned = 3, "unaligned atomic";
    /// A table access outside of the table's current size.
    TableOutOfBounds = 4, "out of bounds table access";
    /// `call_indirect` with an index outside of the table.
    UndefinedElement = 5, "undefined element";
    /// `call_indirect` on a null entry.
    UninitializedElement = 6, "uninitialized element";
    /// `call_indirect` on a function of another signature.
    BadSignature = 7, "indirect call type mismatch";
    /// `i32.div_s` and its kin: the result is not representable.
    IntegerOverflow = 8, "integer overflow";
    /// A division or remainder by zero.
    IntegerDivisionByZero = 9, "integer divide by zero";
    /// A float to integer truncation of a NaN or an out-of-range value.
    BadConversionToInteger = 10, "invalid conversion to integer";
    /// `unreachable` was executed.
    Unreachable = 11, "unreachable";
    /// A deadline or another interrupt.
    Interrupt = 12, "interrupt";
    /// The store ran out of fuel.
    OutOfFuel = 13, "all fuel consumed";
    /// A null reference where a value was needed.
    NullReference = 14, "null reference";
    /// An array access out of bounds.
    ArrayOutOfBounds = 15, "out of bounds array access";
    /// A failed `ref.cast`.
    CastFailure = 16, "cast failure";
    /// The garbage-collected heap is full.
    AllocationTooLarge = 17, "allocation size too large";
    /// `throw` found no handler.
    UncaughtException = 18, "uncaught exception";
    /// A wait on a memory that is not shared.
    AtomicWaitNonShared = 19, "expected shared memory";
    /// A field of a null reference to a struct.
    NullStructReference = 20, "null structure reference";
    /// An element of a null reference to an array, or its length.
    NullArrayReference = 21, "null array reference";
    /// The value of a null reference to an `i31`.
    NullI31Reference = 22, "null i31 reference";
    /// A call of a null reference to a function.
    NullFunctionReference = 23, "null function reference";
}

impl std::fmt::Display for TrapCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for TrapCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for &code in TrapCode::ALL {
            assert_eq!(TrapCode::from_u8(code as u8), Some(code));
        }
        assert_eq!(TrapCode::from_u8(0), None);
    }
}
