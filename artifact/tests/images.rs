//! Images as bytes: what is written is read, the same each time; what changed since is refused.

use std::io::Cursor;

use bimetal_abi::{TrapCode, Tunables};
use bimetal_artifact::{FORMAT, Header, Image, ImageError, ImageWriter};
use bimetal_codegen::{Arch, Settings, Site, SiteTable, SiteTableBuilder, TrampolineKind};
use bimetal_wasm::{DefinedFuncIndex, Features, Module, TypeIndex};
use cranelift_entity::EntityRef;

const WAT: &str = r#"(module $names
    (memory (export "m") 1)
    (data (i32.const 3) "data")
    (func (export "f"))
    (func $second (result i32) i32.const 5))"#;

fn header() -> Header {
    Header::new(
        Arch::X86_64,
        vec!["has_sse41".into()],
        &Settings::default(),
        &Tunables::default(),
        &Features::default(),
    )
}

fn sites() -> SiteTable {
    let mut writer = SiteTableBuilder::default();
    writer.push(Site {
        handler: None,
        code_offset: 2,
        trap: Some(TrapCode::Unreachable),
        node: 0,
        wasm_offset: 40,
    });
    writer.finish([])
}

/// Code that nobody runs.
const CODE: [&[u8]; 2] = [&[0x90, 0x0f, 0x0b], &[0xb8, 5, 0, 0, 0, 0xc3]];

const TRAMPOLINE: &[u8] = &[0xc3; 7];

fn image() -> Vec<u8> {
    let module = Module::new(WAT, &Features::default()).unwrap();
    let mut writer = ImageWriter::new(Cursor::new(Vec::new()), &module, header()).unwrap();
    writer.function(CODE[0], 16, &sites()).unwrap();
    writer.function(CODE[1], 16, &SiteTable::default()).unwrap();
    let kind = TrampolineKind::HostToWasm;
    let ty = TypeIndex::from_u32(1);
    writer.trampoline(kind, ty, TRAMPOLINE, 32).unwrap();
    writer.finish().unwrap().into_inner()
}

/// The code of a function, if the image is whole and the function too.
fn verified(image: &Image, index: usize) -> Result<Vec<u8>, ImageError> {
    let func = image
        .function(DefinedFuncIndex::new(index))
        .ok_or(ImageError::NotAnImage("no such function"))?;
    let code = &image.text_bytes()[func.code.clone()];
    func.verify(code)?;
    Ok(code.to_vec())
}

#[test]
fn what_is_written_is_read() {
    let bytes = image();
    assert_eq!(bytes, image(), "the same input, the same bytes");
    let image = Image::open(bytes).unwrap();
    assert_eq!(image.header().check(&header()), Ok(()));
    assert_eq!(image.len(), 2);
    assert!(image.text().start.is_multiple_of(4096));
    for (index, code) in CODE.iter().enumerate() {
        assert_eq!(verified(&image, index).unwrap(), *code);
    }
    let first = image.function(DefinedFuncIndex::new(0)).unwrap();
    assert_eq!(first.sites(), Some(sites()));
    let module = Module::new(image.wasm(), &Features::default()).unwrap();
    assert_eq!(module.exports.len(), 2);
    let second = image.function(DefinedFuncIndex::new(1)).unwrap();
    assert_eq!(
        module.bytes[second.body.clone()],
        *module.body_bytes(DefinedFuncIndex::new(1))
    );
    assert!(second.was_compiled_from(module.body_bytes(DefinedFuncIndex::new(1))));
    assert!(!second.was_compiled_from(module.body_bytes(DefinedFuncIndex::new(0))));
    assert!(image.function(DefinedFuncIndex::new(2)).is_none());
    let [trampoline] = &image.trampolines().collect::<Vec<_>>()[..] else {
        panic!("there is one trampoline");
    };
    assert_eq!(trampoline.kind, TrampolineKind::HostToWasm);
    assert_eq!(trampoline.ty.as_u32(), 1);
    assert!(image.trampoline_text().start.is_multiple_of(4096));
    assert_eq!(
        image.trampoline_bytes()[trampoline.code.clone()],
        *TRAMPOLINE
    );
}

#[test]
fn an_offset_leads_to_its_function() {
    let image = Image::open(image()).unwrap();
    let find = |offset| image.find(offset).map(|(func, _)| func.index());
    assert_eq!(find(0), Some(0));
    assert_eq!(find(2), Some(0));
    assert_eq!(find(3), Some(0), "a return address behind the last byte");
    assert_eq!(find(4), None, "padding");
    assert_eq!(find(16), Some(1));
    assert_eq!(find(22), Some(1));
    assert_eq!(find(23), None);
    assert_eq!(find(usize::MAX), None);
}

#[test]
fn no_flipped_bit_gets_through() {
    let bytes = image();
    let whole = Image::open(bytes.clone()).unwrap();
    let header = whole.header().clone();
    let sealed_wasm = |image: &Image| {
        let mut wasm = image.wasm().to_vec();
        for &(start, end) in &header.unsealed {
            wasm[start as usize..end as usize].fill(0);
        }
        wasm
    };
    let mut refused = 0;
    let mut checked = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(image) = Image::open(flipped) else {
            refused += 1;
            continue;
        };
        // What can be reached of it is what was written.
        assert_eq!(*image.header(), header, "bit {bit}");
        assert_eq!(sealed_wasm(&image), sealed_wasm(&whole), "bit {bit}");
        assert!(image.trampolines().eq(whole.trampolines()), "bit {bit}");
        assert_eq!(image.trampoline_bytes(), whole.trampoline_bytes());
        for (index, code) in CODE.iter().enumerate() {
            match verified(&image, index) {
                Ok(found) => assert_eq!(found, *code, "bit {bit}"),
                Err(error) => {
                    assert!(matches!(error, ImageError::Damaged(_)), "{error}");
                    checked += 1;
                }
            }
        }
    }
    assert!(refused > 5_000, "{refused}");
    // Each bit of the code at least.
    assert!(checked >= 8 * (CODE[0].len() + CODE[1].len()), "{checked}");
}

#[test]
fn no_truncation_gets_through() {
    let bytes = image();
    for len in 0..bytes.len() {
        if let Ok(image) = Image::open(bytes[..len].to_vec()) {
            panic!("{len} of {} bytes were enough for {image:?}", bytes.len());
        }
    }
}

#[test]
fn what_is_something_else_says_so() {
    let error = |bytes: &[u8]| Image::open(bytes).unwrap_err().to_string();
    assert_eq!(error(b""), "not a compiled module: it is no ELF file");
    assert_eq!(
        error(b"\0asm\x01\0\0\0"),
        "not a compiled module: it is no ELF file"
    );
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(
        error(&own),
        "not a compiled module: it is a native program or library"
    );
}

#[test]
fn others_are_told_apart() {
    let own = header();
    let refused = |change: &dyn Fn(&mut Header)| {
        let mut header = own.clone();
        change(&mut header);
        header.check(&own).unwrap_err().to_string()
    };
    assert!(refused(&|h| h.engine = "9.9.9".into()).contains("Bimetal 9.9.9"));
    assert!(refused(&|h| h.abi = "0".into()).contains("other conventions"));
    assert!(refused(&|h| h.arch = "aarch64".into()).contains("machine code for aarch64"));
    let fuel = refused(&|h| {
        h.settings.insert("fuel".into(), "1".into());
    });
    assert!(fuel.contains("fuel is 1, here it is 0"), "{fuel}");
    let missing = refused(&|h| {
        h.settings.remove("memory guard");
    });
    assert!(missing.contains("memory guard is nothing"), "{missing}");
    // How hard the compiler tried is no obstacle.
    let mut slow = own.clone();
    slow.settings.insert("optimization".into(), "None".into());
    assert_eq!(slow.check(&own), Ok(()));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let bytes = image();
    let old = format!("\"format\": {FORMAT}");
    let at = bytes
        .windows(old.len())
        .position(|window| window == old.as_bytes())
        .unwrap();
    let mut newer = bytes;
    newer[at + old.len() - 1] = b'9';
    assert!(matches!(Image::open(newer), Err(ImageError::Version(_))));
}

#[test]
fn a_module_needs_all_its_functions() {
    let module = Module::new(WAT, &Features::default()).unwrap();
    let writer = ImageWriter::new(Cursor::new(Vec::new()), &module, header()).unwrap();
    assert!(writer.finish().is_err());
}

#[test]
fn a_key_makes_images_ones_own() {
    let module = Module::new(WAT, &Features::default()).unwrap();
    let mut writer = ImageWriter::new(Cursor::new(Vec::new()), &module, header()).unwrap();
    writer.function(CODE[0], 16, &sites()).unwrap();
    writer.missing().unwrap();
    let bytes = writer.finish_with_key(&[7; 32]).unwrap().into_inner();
    let refused = [
        Image::open(bytes.clone()),
        Image::open_with_key(bytes.clone(), &[8; 32]),
        Image::open_with_key(image(), &[7; 32]),
    ];
    for result in refused {
        assert!(matches!(result, Err(ImageError::Damaged(_))));
    }
    let image = Image::open_with_key(bytes, &[7; 32]).unwrap();
    assert_eq!(verified(&image, 0).unwrap(), CODE[0]);
    let second = image.function(DefinedFuncIndex::new(1)).unwrap();
    assert!(second.is_missing());
    assert_eq!(image.find(1).map(|(func, _)| func.index()), Some(0));
}

/// ELF names end at a NUL; WebAssembly's have any characters.
#[test]
fn functions_have_any_names() {
    let text = r#"(module (func (@name "a\00b")) (func (@name "")))"#;
    let module = Module::new(text, &Features::default()).unwrap();
    let mut writer = ImageWriter::new(Cursor::new(Vec::new()), &module, header()).unwrap();
    for _ in 0..2 {
        writer.function(CODE[0], 16, &sites()).unwrap();
    }
    Image::open(writer.finish().unwrap().into_inner()).unwrap();
}
