//! The sizes of cells in the old space.
//!
//! Multiples of 8 up to 128, then eight steps to each doubling, so that no more than an eighth of a
//! cell is lost; the largest are even parts of a block.

/// A block has this many bytes.
pub(super) const BLOCK: u32 = 1 << BLOCK_LOG2;
/// Base-2 logarithm of [`BLOCK`].
pub(super) const BLOCK_LOG2: u32 = 16;
/// Objects up to this size are in cells; larger ones in blocks of their own.
pub(super) const LARGEST_CELL: u32 = BLOCK / 2;
/// How many sizes of cells there are.
pub(super) const COUNT: usize = 16 + 6 * 8 + 6;

/// By number, in bytes.
pub(super) static SIZES: [u32; COUNT] = {
    let mut sizes = [0; COUNT];
    let mut i = 0;
    while i < 16 {
        sizes[i] = (i as u32 + 1) * 8;
        i += 1;
    }
    let mut step = 16;
    while step <= 512 {
        let mut k = 1;
        while k <= 8 {
            sizes[i] = step * 8 + k * step;
            i += 1;
            k += 1;
        }
        step *= 2;
    }
    let mut parts = 7;
    while parts >= 2 {
        sizes[i] = BLOCK / parts / 8 * 8;
        i += 1;
        parts -= 1;
    }
    sizes
};

/// The number of the class for objects of so many units of eight bytes.
static OF: [u8; LARGEST_CELL as usize / 8 + 1] = {
    let mut of = [0; LARGEST_CELL as usize / 8 + 1];
    let mut class = 0;
    let mut i = 1;
    while i < of.len() {
        while SIZES[class] < i as u32 * 8 {
            class += 1;
        }
        of[i] = class as u8;
        i += 1;
    }
    of
};

/// The number of the class for objects of this size, at most [`LARGEST_CELL`].
#[inline(always)]
pub(super) fn class_of(size: u32) -> usize {
    // Most objects are small; the table would be one more load for each that is moved.
    match size <= 128 {
        true => (size / 8).wrapping_sub(1) as usize,
        false => OF[(size / 8) as usize] as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_cell_that_is_not_much_larger() {
        assert_eq!(SIZES[COUNT - 1], LARGEST_CELL);
        assert!(SIZES.is_sorted_by(|a, b| a < b));
        for size in (8..=LARGEST_CELL).step_by(8) {
            let cell = SIZES[class_of(size)];
            assert!(cell >= size && cell.is_multiple_of(8));
            if size <= 8192 {
                assert!(cell - size <= size / 8, "{size} in {cell}");
            }
        }
    }
}
