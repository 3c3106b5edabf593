//! A module as a list of sections, without looking into them.
//!
//! For what must work, or at least say something, whatever is wrong inside of sections; and for
//! writing a module again of which some sections stay as they are.

use std::ops::Range;

use wasmparser::BinaryReader;

/// A section's place in the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSection {
    /// Its number in the binary format; 0 is a custom section.
    pub id: u8,
    /// Its content in the binary, after number and size.
    pub content: Range<usize>,
}

impl RawSection {
    /// The section's usual name; that of a custom section stands in it.
    pub(crate) fn name(&self) -> &'static str {
        section_name(self.id)
    }

    /// How many items a section that is a vector has.
    pub(crate) fn count(&self, data: &[u8]) -> Option<u32> {
        if !matches!(self.id, 1..=7 | 9..=11 | 13) {
            return None;
        }
        let content = data.get(self.content.clone())?;
        BinaryReader::new(content, 0).read_var_u32().ok()
    }

    /// The name and the content's place of a custom section.
    pub fn custom<'a>(&self, data: &'a [u8]) -> Option<(&'a str, Range<usize>)> {
        if self.id != 0 {
            return None;
        }
        let content = data.get(self.content.clone())?;
        let mut reader = BinaryReader::new(content, self.content.start as u64);
        let name = reader.read_string().ok()?;
        let start = reader.original_position() as usize;
        Some((name, start..self.content.end))
    }
}

/// The number of the code section.
pub const CODE: u8 = 10;

/// The usual name of the sections with this number.
pub(crate) fn section_name(id: u8) -> &'static str {
    match id {
        0 => "custom",
        1 => "type",
        2 => "import",
        3 => "function",
        4 => "table",
        5 => "memory",
        6 => "global",
        7 => "export",
        8 => "start",
        9 => "element",
        CODE => "code",
        11 => "data",
        12 => "data count",
        13 => "tag",
        _ => "unknown",
    }
}

/// The parts of a name section's content, each with its number and as it is with number and size, up
/// to the first that does not fit into it.
pub fn name_parts(content: &[u8]) -> Vec<(u8, Range<usize>)> {
    let mut parts = Vec::new();
    let mut reader = BinaryReader::new(content, 0);
    let mut next = || -> wasmparser::Result<()> {
        while !reader.eof() {
            let start = reader.original_position() as usize;
            let id = reader.read_u8()?;
            reader.read_reader()?;
            parts.push((id, start..reader.original_position() as usize));
        }
        Ok(())
    };
    // As below.
    let _ = next();
    parts
}

/// The sections of a binary, up to the first that does not fit into it.
///
/// ```
/// use bimetal_wasm::sections::{CODE, sections};
///
/// let binary = bimetal_wasm::text::parse("(module (func))", None)?;
/// let ids: Vec<u8> = sections(&binary).iter().map(|section| section.id).collect();
/// assert_eq!(ids, [1, 3, CODE]);
/// # Ok::<(), bimetal_wasm::Error>(())
/// ```
pub fn sections(data: &[u8]) -> Vec<RawSection> {
    let mut sections = Vec::new();
    let mut reader = BinaryReader::new(data, 0);
    let mut next = || -> wasmparser::Result<()> {
        reader.read_bytes(8)?;
        while !reader.eof() {
            let id = reader.read_u8()?;
            let content = reader.read_reader()?.range();
            sections.push(RawSection {
                id,
                content: content.start as usize..content.end as usize,
            });
        }
        Ok(())
    };
    // Ends at the end or where something is wrong; both are all that there is to say.
    let _ = next();
    sections
}
