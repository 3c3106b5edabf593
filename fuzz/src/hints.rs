//! Branch hints, which `wasm-smith` does not make: about some branches of a module, at random. They
//! change where code is put, and never what it does.

use bimetal_wasm::Module;
use bimetal_wasm::body::Operator;

use crate::generate::{features, leb};
use crate::source::Source;

/// The module with a section of hints before its code. As it is if it has no branches.
pub(crate) fn add(wasm: Vec<u8>, seed: u64) -> Vec<u8> {
    let Some(hints) = section(&wasm, seed) else {
        return wasm;
    };
    const CODE: u8 = 10;
    let mut rest = &wasm[8..];
    while let [id, after @ ..] = rest
        && *id != CODE
    {
        let mut body = after;
        let size = crate::generate::read_leb(&mut body) as usize;
        rest = &body[size..];
    }
    let (before, code) = wasm.split_at(wasm.len() - rest.len());
    let mut out = before.to_vec();
    out.push(0);
    leb(&mut out, hints.len() as u32);
    out.extend(hints);
    out.extend(code);
    out
}

fn section(wasm: &[u8], seed: u64) -> Option<Vec<u8>> {
    let module = Module::new(wasm.to_vec(), &features()).ok()?;
    let mut source = Source::new(seed);
    let (mut functions, mut count) = (Vec::new(), 0);
    for (index, body) in module.bodies.keys().enumerate() {
        let body = module.body_reader(body);
        let start = body.range().start;
        let mut operators = body.get_operators_reader().ok()?;
        let (mut hints, mut number) = (Vec::new(), 0);
        while !operators.eof() {
            let offset = operators.original_position() - start;
            let branches = matches!(
                operators.read().ok()?,
                Operator::If { .. } | Operator::BrIf { .. }
            );
            if branches && source.below(2) == 0 {
                leb(&mut hints, offset as u32);
                hints.extend([1, source.below(2) as u8]);
                number += 1;
            }
        }
        if number > 0 {
            leb(&mut functions, (module.num_imported_funcs + index) as u32);
            leb(&mut functions, number);
            functions.extend(hints);
            count += 1;
        }
    }
    if count == 0 {
        return None;
    }
    let mut contents = Vec::new();
    let name = "metadata.code.branch_hint";
    leb(&mut contents, name.len() as u32);
    contents.extend(name.as_bytes());
    leb(&mut contents, count);
    contents.extend(functions);
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_where_branches_are() {
        let text = "(module (func (param i32) (if (local.get 0) (then (br_if 0 (local.get 0))))))";
        let wasm = bimetal_wasm::text::parse(text, None).unwrap();
        let all = (0..50).map(|seed| {
            let module = Module::new(add(wasm.clone(), seed), &features()).unwrap();
            let func = bimetal_wasm::DefinedFuncIndex::from_u32(0);
            let hints = module.branch_hints(func).to_vec();
            let body = module.body_reader(func);
            let start = body.range().start;
            let mut operators = body.get_operators_reader().unwrap();
            let mut places = Vec::new();
            while !operators.eof() {
                let place = (operators.original_position() - start) as u32;
                if matches!(
                    operators.read().unwrap(),
                    Operator::If { .. } | Operator::BrIf { .. }
                ) {
                    places.push(place);
                }
            }
            assert!(hints.iter().all(|hint| places.contains(&hint.offset)));
            hints.len()
        });
        assert_eq!(all.max(), Some(2));
    }
}
