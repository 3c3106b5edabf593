//! Programs with an image inside: made, found again, damaged.

use bimetal_artifact::ImageError;
use bimetal_artifact::executable::{self, Attached, Stub, mark};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

const SETTINGS: &[u8] = b"{\"name\": \"m\"}";

/// What a linker could have made of a runtime without any code.
fn stub(architecture: Architecture, endianness: Endianness) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, architecture, endianness);
    for (name, data) in [
        (".rodata", vec![7; 100]),
        (".bimetal.stub", mark(false).into()),
    ] {
        let id = object.add_section(Vec::new(), name.into(), SectionKind::ReadOnlyData);
        object.set_section_data(id, data, 8);
    }
    let mut bytes = object.write().unwrap();
    // A program, not an object file.
    let kind = 16 + usize::from(endianness == Endianness::Big);
    bytes[16..18].fill(0);
    bytes[kind] = 3;
    bytes
}

fn image() -> Vec<u8> {
    (0..100_000u32).map(|i| (i / 7) as u8).collect()
}

fn program() -> Vec<u8> {
    let stub = stub(Architecture::X86_64, Endianness::Little);
    let stub = Stub::new(&stub, "x86_64").unwrap();
    stub.attach(&image(), SETTINGS).unwrap()
}

#[test]
fn what_is_attached_is_found() {
    for (architecture, endianness, arch) in [
        (Architecture::X86_64, Endianness::Little, "x86_64"),
        (Architecture::Aarch64, Endianness::Little, "aarch64"),
        (Architecture::Riscv64, Endianness::Little, "riscv64"),
        (Architecture::S390x, Endianness::Big, "s390x"),
    ] {
        let bytes = stub(architecture, endianness);
        assert_eq!(executable::find(&bytes).unwrap(), None);
        let program = Stub::new(&bytes, arch).unwrap();
        assert!(!program.has_compiler());
        let program = program.attach(&image(), SETTINGS).unwrap();
        let Attached {
            image: at,
            settings,
        } = executable::find(&program).unwrap().unwrap();
        assert_eq!(settings, SETTINGS);
        assert!(at.start.is_multiple_of(64 << 10));
        assert!(program[at.start as usize..at.end as usize] == image());
        // What is loaded of the stub stays where it was, but for where the sections are told of.
        let data = bytes.windows(100).position(|at| at == [7; 100]).unwrap();
        assert_eq!(program[data..data + 100], [7; 100]);

        let error = Stub::new(&program, arch).unwrap_err();
        assert!(
            error.to_string().contains("has a module already"),
            "{error}"
        );
        let error = Stub::new(&bytes, "z80").unwrap_err();
        assert!(error.to_string().contains("it is for"), "{error}");
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let whole = stub(Architecture::X86_64, Endianness::Little);
    for bytes in [&b""[..], b"\0asm", b"\x7fELF", &whole[..40]] {
        assert!(matches!(
            executable::find(bytes),
            Err(ImageError::NotAnImage(_))
        ));
        assert!(Stub::new(bytes, "x86_64").is_err());
    }
    let mut object = whole.clone();
    object[16] = 1;
    assert!(matches!(
        executable::find(&object),
        Err(ImageError::NotAnImage(_))
    ));
    for length in 0..whole.len() {
        assert!(Stub::new(&whole[..length], "x86_64").is_err(), "{length}");
    }
}

/// What is found is what was written, or nothing is.
#[test]
fn damage_is_found_or_does_not_matter() {
    let whole = program();
    let right = executable::find(&whole).unwrap().unwrap();
    for length in 0..whole.len() {
        assert!(executable::find(&whole[..length]).is_err(), "{length}");
    }
    let mut bytes = whole.clone();
    // The image has a seal of its own.
    let places = (0..right.image.start).chain(right.image.end..whole.len() as u64);
    for at in places.map(|at| at as usize) {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if let Ok(Some(found)) = executable::find(&bytes) {
                assert_eq!(found.settings, right.settings, "bit {bit} of byte {at}");
                assert!(found.image.end <= whole.len() as u64);
            }
            bytes[at] ^= 1 << bit;
        }
    }
}
