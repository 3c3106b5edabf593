use super::*;
use bimetal_wasm::{Features, ValType};

fn registry() -> Arc<Registry> {
    Registry::new().unwrap()
}

#[test]
fn types_are_known_while_they_are_used() {
    let types = registry();
    let ty = |n: usize| FuncType::new(vec![ValType::I32; n], []);
    let one = types.func(&ty(1)).unwrap();
    let two = types.func(&ty(2)).unwrap();
    assert_eq!(one, types.func(&ty(1)).unwrap());
    assert_ne!(one.id, two.id);
    let number = one.id;
    drop(one);
    // The number is free, and the type can come back.
    let three = types.func(&ty(3)).unwrap();
    assert_eq!(three.id, number);
    let one = types.func(&ty(1)).unwrap();
    assert_ne!(one.id, number);
    assert_eq!(types.at(number).signature().ty, ty(3));
    assert_eq!(types.read().all.len(), 3);
}

#[test]
fn threads_agree() {
    let types = registry();
    let ty = FuncType::new([ValType::I64], []);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let (a, b) = (types.func(&ty).unwrap(), types.func(&ty).unwrap());
                    assert_eq!(a, b);
                    assert_eq!(a, types.at(a.id));
                }
            });
        }
    });
    let known = types.read();
    assert!(known.groups.is_empty());
    assert_eq!(known.all.len(), known.free.len());
}

fn of_module(types: &Arc<Registry>, text: &str) -> Vec<RegisteredType> {
    let module = bimetal_wasm::Module::new(text, &Features::default()).unwrap();
    types.module(&module).unwrap()
}

#[test]
fn rec_groups_are_compared_as_a_whole() {
    let types = registry();
    let list = "(rec (type $l (sub (struct (field (ref null $l)) (field i32)))))";
    let a = of_module(&types, &format!("(module {list})"));
    let again = list.replace("$l", "$m");
    let b = of_module(&types, &format!("(module (type (func)) {list} {again})"));
    assert_eq!(a[0], b[1]);
    assert_eq!(b[1], b[2]);
    // The same struct in a larger group is another type.
    let c = of_module(
        &types,
        "(module (rec (type $l (sub (struct (field (ref null $l)) (field i32))))
            (type (func))))",
    );
    assert_ne!(a[0], c[0]);
    // One that refers to another group, whichever module has it.
    let user = "(type $u (func (param (ref $l)) (result (ref null $u))))";
    let d = of_module(&types, &format!("(module {list} {user})"));
    let e = of_module(&types, &format!("(module (type (array i8)) {list} {user})"));
    assert_eq!(d[1], e[2]);
    drop((a, b, c, d, e));
    assert!(types.read().groups.is_empty());
}

#[test]
fn subtypes_and_layouts() {
    let types = registry();
    let mut text = "(module (type $0 (sub (struct (field i8))))".to_owned();
    for i in 1..12 {
        let fields = "(field i8)".repeat(i + 1);
        let before = i - 1;
        text += &format!("(type ${i} (sub ${before} (struct {fields})))");
    }
    let all = of_module(&types, &(text + "(type (array (mut externref))))"));
    for (i, a) in all[..12].iter().enumerate() {
        for (j, b) in all[..12].iter().enumerate() {
            assert_eq!(a.is_subtype_of(b), i >= j);
        }
        assert_eq!(a.struct_layout().unwrap().offsets.len(), i + 1);
        let info = a.info();
        assert_eq!(usize::from(info.depth), i);
        assert_eq!(info.long_display.is_null(), i < 8);
        assert_eq!(info.display[0], all[0].id);
    }
    let array = all[12].info();
    assert_eq!((array.traced_elements, array.element_log2), (1, 2));
    assert_eq!(all[12].array_layout().unwrap().base, 12);
}

#[test]
fn long_chains_of_types() {
    let types = registry();
    let mut text = "(module (type $0 (func))".to_owned();
    for i in 1..50_000 {
        let before = i - 1;
        text += &format!("(type ${i} (func (param (ref ${before}))))");
    }
    let all = of_module(&types, &(text + ")"));
    let last = all.last().cloned();
    drop(all);
    assert_eq!(types.read().groups.len(), 50_000);
    drop(last);
    assert!(types.read().groups.is_empty());
}
