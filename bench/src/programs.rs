//! The guest programs in `bench/guests`, with the results that every correct compiler gives.

/// One benchmark program. It prints `NAME SIZE CHECKSUM` for the work size that it is given.
#[derive(Clone, Copy, Debug)]
pub struct GuestProgram {
    /// The name of `guests/NAME.c` and `guests/NAME.wasm`.
    pub name: &'static str,
    /// What it stresses, in a few words.
    pub about: &'static str,
    /// The work size of a race: about two seconds of compiled code.
    pub size: u32,
    /// The checksum that belongs to `size`.
    pub sum: u64,
    /// A work size of a tenth of a second or less, for tests.
    pub small: u32,
    /// The checksum that belongs to `small`.
    pub small_sum: u64,
}

impl GuestProgram {
    /// What the program prints for its race size, without the line's end.
    pub fn line(&self) -> String {
        format!("{} {} {:016x}", self.name, self.size, self.sum)
    }

    /// What it prints for its small size.
    pub fn small_line(&self) -> String {
        format!("{} {} {:016x}", self.name, self.small, self.small_sum)
    }
}

const fn program(
    name: &'static str,
    about: &'static str,
    (size, sum): (u32, u64),
    (small, small_sum): (u32, u64),
) -> GuestProgram {
    GuestProgram {
        name,
        about,
        size,
        sum,
        small,
        small_sum,
    }
}

/// All programs, by name.
#[rustfmt::skip]
pub const PROGRAMS: [GuestProgram; 16] = [
    program("align", "dynamic programming over integer rows", (100, 0xdf9e2a7fae7ff960), (1, 0x7962548f6badff86)),
    program("calls", "recursion: fib, Ackermann, Takeuchi, n-queens", (180, 0xaa844dc0733e303c), (1, 0xb9fa002987b485cc)),
    program("crypto", "ChaCha20, Poly1305, X25519", (45, 0x6c59b88b82b6e0c8), (1, 0xf153d84e4d7239a6)),
    program("hash", "XXH64, SHA-256, a hash map", (200, 0x02999a605e2ccfc7), (1, 0x343cf4d7acae606d)),
    program("interp", "a bytecode interpreter with one switch", (250, 0xcd6d9d5fe26a8205), (2, 0x8ce56a31d0c2f815)),
    program("json", "JSON to a tree and back", (180, 0x3b763ff4d96efdb1), (1, 0x99b542ef5076f7ad)),
    program("lz", "LZ77 with a range coder, both ways", (34, 0x6e7bc52341e98318), (1, 0xf2d73a071e028f16)),
    program("mandelbrot", "a scalar floating-point loop", (2000, 0x0843ff9ccd07787a), (60, 0x50489ef39c6cda6c)),
    program("matmul", "dense matrices, naive and blocked", (40, 0x7ed55a76809073ed), (1, 0x7b6afa5a1d84c23a)),
    program("nbody", "scalar doubles with divisions and roots", (30000, 0x46aac76e880eeac5), (20, 0x0ba4c42f528dff3f)),
    program("regex", "a lazy DFA, backtracking, word search", (24, 0xfcc3bc5aad9e08f2), (1, 0x81c38b176d768eb4)),
    program("simd", "128-bit SIMD by hand", (3000, 0xe5071e6793c71def), (20, 0x48ab8e3a849c71fb)),
    program("sort", "introsort, heap, merge and radix sort", (36, 0x53c245119f73fc86), (1, 0x5ba18cdc987d0ffa)),
    program("stencil", "Jacobi, Gauss-Seidel, the Game of Life", (520, 0x66dd573fc1398492), (3, 0x64f5e218f0a2c225)),
    program("trees", "malloc and pointers: trees and treaps", (56, 0x0035eda9dbc69a97), (1, 0x62c496ececce3d7b)),
    program("vcall", "method tables and call-backs", (850, 0xe57f243e330bda0a), (3, 0x6f6f9b643f772e50)),
];

/// Programs in text (`guests/gc/NAME.wat`) that make objects on the collected heap.
#[rustfmt::skip]
pub const GC_PROGRAMS: [GuestProgram; 4] = [
    program("gcmap", "JetStream's hash map: boxed keys, virtual methods", (40, 0x650ade4d9af75b76), (2, 0x000091528919c2c5)),
    program("gcrichards", "Octane's Richards: tasks that send packets", (2000, 0x00000162514e2d40), (1, 0x00000000016252c0)),
    program("gcsplay", "Sightglass's splay: a tree whose nodes come and go", (50, 0x1cfb6a25ba5c6a9d), (1, 0xfc0d3e7fd59c65a1)),
    program("gctrees", "binary trees of the Benchmarks Game", (18, 0x9018f721cf86fdff), (10, 0x00000009017f05ff)),
];

/// The whole text of one of [`GC_PROGRAMS`].
pub fn gc_program_text(name: &str) -> Option<String> {
    let own = match name {
        "gcmap" => include_str!("../guests/gc/gcmap.wat"),
        "gcrichards" => include_str!("../guests/gc/gcrichards.wat"),
        "gcsplay" => include_str!("../guests/gc/gcsplay.wat"),
        "gctrees" => include_str!("../guests/gc/gctrees.wat"),
        _ => return None,
    };
    let shared = include_str!("../guests/gc/prelude.wat");
    Some(format!("(module\n{shared}\n{own})\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{GC_PROGRAMS, PROGRAMS, gc_program_text};

    #[test]
    fn the_table_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        let sources: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .filter_map(|entry| {
                Some(
                    entry
                        .ok()?
                        .file_name()
                        .to_str()?
                        .strip_suffix(".c")?
                        .to_owned(),
                )
            })
            .collect();
        let table: BTreeSet<String> = PROGRAMS.iter().map(|p| p.name.to_owned()).collect();
        assert_eq!(sources, table);
        for program in PROGRAMS {
            let source = fs::read_to_string(folder.join(format!("{}.c", program.name))).unwrap();
            let default = format!("bench_size(argc, argv, {})", program.size);
            assert!(
                source.contains(&default),
                "{}: its default is not {default}",
                program.name
            );
            let done = format!("bench_done(\"{}\"", program.name);
            assert!(
                source.contains(&done),
                "{}: it prints another name",
                program.name
            );
            let wasm = fs::read(folder.join(format!("{}.wasm", program.name))).unwrap();
            assert!(
                wasm.starts_with(b"\0asm") && wasm.len() < 100 << 10,
                "{}",
                program.name
            );
        }
    }

    #[test]
    fn each_program_on_objects_has_its_text() {
        for program in GC_PROGRAMS {
            let text = gc_program_text(program.name).unwrap();
            let named = format!("(data (i32.const 0) \"{}\")", program.name);
            assert!(text.contains(&named), "{}", program.name);
        }
    }

    #[test]
    fn each_is_described() {
        let readme = include_str!("../README.md");
        for program in PROGRAMS.iter().chain(&GC_PROGRAMS) {
            let row = format!("| `{}` |", program.name);
            assert!(
                readme.contains(&row),
                "README.md does not describe {}",
                program.name
            );
        }
    }
}
