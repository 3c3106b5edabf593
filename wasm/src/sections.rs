//! A module as a list of sections, without looking into them.
//!
//! For what must work, or at least say something, whatever is wrong inside of sections.

use std::ops::Range;

use wasmparser::BinaryReader;

/// A section's place in the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawSection {
    /// Its number in the binary format; 0 is a custom section.
    pub(crate) id: u8,
    /// Its content, after number and size.
    pub(crate) content: Range<usize>,
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
    pub(crate) fn custom<'a>(&self, data: &'a [u8]) -> Option<(&'a str, Range<usize>)> {
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
pub(crate) const CODE: u8 = 10;

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

/// The sections of a binary, up to the first that does not fit into it.
pub(crate) fn sections(data: &[u8]) -> Vec<RawSection> {
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
