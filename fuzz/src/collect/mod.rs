//! Collecting: programs made to have objects that live, move and die.
//!
//! What `wasm-smith` makes has few objects, and hardly any that is used later. So the programs of this
//! target come from a grammar of our own: random hierarchies of types (`types`), functions that build
//! and change graphs of objects (`body`, `statements`) held by locals, operands, globals, tables,
//! exceptions and the host, and now and then a function that sums up all that can be reached
//! (`walk`): by casts in wasm what the driver shows of references through the API.
//!
//! What is done with a program is what [`execute`] does: two configurations, or one and
//! the peer, must agree. There are two instances in each store, which get each other's objects, functions
//! and exceptions.
//!
//! Programs end, as functions and loops consume the fuel that is exported as [`ROUGH_FUEL`]; few of
//! them trap, as nulls and indices are checked mostly.

mod body;
mod statements;
mod types;
mod walk;

use arbitrary::Unstructured;

use crate::execute::{self, Execute};
use crate::generate::{FUEL_AMOUNT, Program, ROUGH_FUEL};
use crate::source::Source;
use crate::{Notes, Target, hints};
use body::Body;
use types::{Heap, Ty, Types, nullable};

/// The target.
#[derive(Debug)]
pub struct Collect(Execute);

impl Collect {
    /// With an engine per configuration.
    ///
    /// # Errors
    /// If there is no compiler for this machine.
    pub fn new() -> Result<Collect, String> {
        Ok(Collect(Execute::with(ROUNDS, INSTANCES, program)?))
    }
}

impl Target for Collect {
    fn run(&mut self, input: &[u8], notes: &mut Notes) -> Result<(), String> {
        let text = source(&mut Unstructured::new(
            input.get(execute::HEADER..).unwrap_or(&[]),
        ));
        notes.files.push(("wat", text.0.into_bytes()));
        self.0.run(input, notes)
    }

    fn run_file(&mut self, file: &[u8], notes: &mut Notes) -> Result<(), String> {
        self.0.run_file(file, notes)
    }
}

/// To compile programs takes longer than to run them.
const ROUNDS: u64 = 2;
/// Objects, functions and exceptions of the first get into the second.
const INSTANCES: u32 = 2;

/// A program of this grammar, in the binary format.
pub(crate) fn program(u: &mut Unstructured<'_>) -> Option<Program> {
    let (text, peer) = source(u);
    match bimetal_wasm::text::parse(&text, None) {
        Ok(wasm) => {
            // One size in four.
            let hinted = text.len().is_multiple_of(4);
            let wasm = match hinted {
                true => hints::add(wasm, text.len() as u64),
                false => wasm,
            };
            Some(Program { wasm, peer })
        }
        Err(error) => panic!("the generator makes what is no text: {error:#}"),
    }
}

/// Choices: what the input says, then so many made-up ones as the input has asked for, and then always
/// the first, which ends things.
pub(crate) struct Choices<'a> {
    u: Unstructured<'a>,
    source: Source,
    left: u32,
}

impl<'a> Choices<'a> {
    fn new(mut u: Unstructured<'a>) -> Choices<'a> {
        let left = u.arbitrary::<u8>().map_or(0, |n| 3 * u32::from(n));
        let source = Source::new(u.arbitrary::<u32>().unwrap_or(0).into());
        Choices { u, source, left }
    }

    /// A number below this, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        if self.u.is_empty() && self.left > 0 {
            self.left -= 1;
            return self.source.below(bound as u64) as usize;
        }
        self.u.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    /// So often of so many times; never at the end.
    fn chance(&mut self, often: usize, of: usize) -> bool {
        self.below(of) >= of - often
    }

    fn is_at_end(&self) -> bool {
        self.u.is_empty() && self.left == 0
    }

    /// One of these.
    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn number(&mut self) -> i32 {
        const SPECIAL: [i32; 8] = [0, 1, -1, 2, 0x3fff_ffff, 0x4000_0000, i32::MIN, i32::MAX];
        match self.below(3) {
            0 => self.of(&SPECIAL),
            1 => self.below(256) as i32,
            _ => (self.below(1 << 16) as i32) << 16 | self.below(1 << 16) as i32,
        }
    }
}

/// Which instructions for exceptions a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceptions {
    None,
    /// `try_table`.
    Current,
    /// `try`, `catch`, `delegate`.
    Legacy,
}

#[derive(Clone, Debug)]
struct Signature {
    params: Vec<Ty>,
    results: Vec<Ty>,
    /// The number of the function type.
    ty: usize,
}

/// What a program has, besides bodies.
struct Outline<'a> {
    c: Choices<'a>,
    types: Types,
    exceptions: Exceptions,
    /// Functions of the host's, and then those of the program.
    functions: Vec<Signature>,
    imported: usize,
    signatures: Vec<(Vec<Ty>, Vec<Ty>)>,
    /// The types of globals, and whether they can be set.
    globals: Vec<(Ty, bool)>,
    /// What each tag carries.
    tags: Vec<Vec<Ty>>,
}

/// How many elements the tables have at first.
const TABLE: usize = 8;

fn signature(c: &mut Choices<'_>, types: &Types) -> (Vec<Ty>, Vec<Ty>) {
    let all = types.defs.len();
    let params = match c.below(8) {
        7 => 9 + c.below(5),
        few => few / 2,
    };
    let param = |c: &mut Choices<'_>| match c.below(8) {
        7 => Ty::Ref(Heap::Def(c.below(all)), false),
        _ => nullable(c, all),
    };
    let params = (0..params).map(|_| param(c)).collect();
    let results = 1 + c.below(12).saturating_sub(9);
    let results = (0..results).map(|_| nullable(c, all)).collect();
    (params, results)
}

impl<'a> Outline<'a> {
    fn new(mut c: Choices<'a>) -> Outline<'a> {
        let types = Types::new(&mut c);
        let exceptions = match c.below(4) {
            0 => Exceptions::None,
            1 => Exceptions::Legacy,
            _ => Exceptions::Current,
        };
        let all = types.defs.len();
        let signatures: Vec<_> = (0..1 + c.below(4))
            .map(|_| signature(&mut c, &types))
            .collect();
        let imported = c.below(3);
        let functions = (0..imported + 1 + c.below(3))
            .map(|_| {
                let ty = c.below(signatures.len());
                let (params, results) = signatures[ty].clone();
                Signature {
                    params,
                    results,
                    ty,
                }
            })
            .collect();
        let mut globals = vec![
            (Ty::Ref(Heap::Any, true), true),
            (Ty::Ref(Heap::Def(0), true), true),
        ];
        for _ in 0..c.below(4) {
            let ty = nullable(&mut c, all);
            globals.push((ty, !c.chance(1, 6)));
        }
        let tags = (0..1 + c.below(3))
            .map(|_| (0..c.below(4)).map(|_| nullable(&mut c, all)).collect())
            .collect();
        Outline {
            c,
            types,
            exceptions,
            functions,
            imported,
            signatures,
            globals,
            tags,
        }
    }
}

fn list(name: &str, types: &[Ty]) -> String {
    types.iter().map(|ty| format!(" ({name} {ty})")).collect()
}

/// The program's text, and whether a peer can run it.
fn source(u: &mut Unstructured<'_>) -> (String, bool) {
    let rest = u.bytes(u.len()).unwrap_or(&[]);
    let mut outline = Outline::new(Choices::new(Unstructured::new(rest)));
    let mut text = format!("(module\n{}", outline.types.text());
    for (number, (params, results)) in outline.signatures.iter().enumerate() {
        let (params, results) = (list("param", params), list("result", results));
        text.push_str(&format!("(type $s{number} (func{params}{results}))\n"));
    }
    for (number, function) in outline.functions[..outline.imported].iter().enumerate() {
        text.push_str(&format!(
            "(import \"host\" \"{number}\" (func $f{number} (type $s{})))\n",
            function.ty
        ));
    }
    if outline.exceptions != Exceptions::None {
        for (number, carried) in outline.tags.iter().enumerate() {
            let carried = list("param", carried);
            text.push_str(&format!(
                "(tag $e{number} (export \"e{number}\"){carried})\n"
            ));
        }
    }
    text.push_str(&format!(
        "(global $fuel (export {ROUGH_FUEL:?}) (mut i32) (i32.const {FUEL_AMOUNT}))\n\
         (global $budget (mut i32) (i32.const 0))\n\
         (table $any (export \"t0\") {TABLE} 40 anyref)\n\
         (table $first (export \"t1\") {TABLE} (ref null $t0))\n\
         (data $bytes \"{}\")\n",
        "0123456789abcdef".repeat(5)
    ));
    let count = outline.functions.len();
    let functions: String = (0..count).map(|number| format!(" $f{number}")).collect();
    text.push_str(&format!("(table $functions funcref (elem{functions}))\n"));
    text.push_str("(elem $items anyref (item (ref.i31 (i32.const 5))) (item (ref.null none)))\n");
    for number in 0..outline.globals.len() {
        let (ty, mutable) = outline.globals[number];
        let value = match outline.c.chance(1, 2) {
            true => outline.fresh(ty),
            false => outline.zero(ty),
        };
        let ty = match mutable {
            true => format!("(mut {ty})"),
            false => ty.to_string(),
        };
        text.push_str(&format!(
            "(global $g{number} (export \"g{number}\") {ty} {value})\n"
        ));
    }
    // It is most of the code of a small program.
    if outline.c.chance(1, 3) {
        text.push_str(&walk::functions(&outline));
    }
    for number in outline.imported..count {
        text.push_str(&Body::new(&mut outline, number).function());
    }
    text.push_str(")\n");
    (text, outline.exceptions != Exceptions::Legacy)
}
