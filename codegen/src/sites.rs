//! Sites: the places in machine code that the runtime asks about.
//!
//! A site is a code offset at which wasm can stop (a trapping instruction) or be found in a
//! backtrace (the return address of a call); a call may have a handler, at which an exception goes on. Tables for 100 MB of code must stay small, so a
//! [`SiteTable`] is a delta-coded byte string, decoded from the start when something went wrong
//! and never on a fast path.
//!
//! Encoding of an entry: `varint(code offset delta)`, a byte (trap code, or 0 for a call) whose
//! high bit says that an inline node follows as `varint`, `zigzag varint(wasm offset delta)`. The
//! byte for a call with a handler is `CALL_WITH_HANDLER`; `zigzag varint` of the handler's distance
//! from the call and `varint` of the frame's size end such an entry.

use bimetal_abi::TrapCode;
use bimetal_wasm::FuncIndex;

use crate::stack_maps::StackMapTable;
use crate::varint::{read_varint, write_varint};

/// A function that was inlined, as a node of the tree of inlined calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineNode {
    /// The node it was inlined into; 0 is the function itself, node `i` of the list is `i + 1`.
    pub parent: u32,
    /// Wasm offset of the call in the parent's body.
    pub call_offset: u32,
    /// The function.
    pub func: FuncIndex,
}

/// One site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Offset in the function's code. Of a trapping instruction its first byte, of a call the
    /// byte after it (its return address).
    pub code_offset: u32,
    /// The trap, or `None` for a call.
    pub trap: Option<TrapCode>,
    /// The inline node it belongs to; 0 is the function itself.
    pub node: u32,
    /// Offset of the wasm instruction in the module's binary.
    pub wasm_offset: u32,
    /// Of a call: where an exception goes on that it ends with.
    pub handler: Option<Handler>,
}

/// Where an exception goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Offset in the function's code.
    pub code_offset: u32,
    /// The handler's stack pointer is so many bytes below the frame pointer.
    pub frame_size: u32,
}

/// The sites of one function, in ascending order of `code_offset`. Several may share one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteTable {
    bytes: Box<[u8]>,
    /// The inlined functions.
    pub nodes: Box<[InlineNode]>,
    /// Where references are at the calls.
    pub stack_maps: StackMapTable,
}

/// Builds a [`SiteTable`].
#[derive(Debug, Default)]
pub struct SiteTableBuilder {
    bytes: Vec<u8>,
    code_offset: u32,
    wasm_offset: u32,
}

const HAS_NODE: u8 = 0x80;

/// In the place of a trap code.
const CALL_WITH_HANDLER: u8 = 0x7f;

impl SiteTableBuilder {
    /// Appends a site. Its `code_offset` must not be below that of the one before.
    ///
    /// # Panics
    /// If it is: the compiler sorts its sites.
    pub fn push(&mut self, site: Site) {
        let delta = site
            .code_offset
            .checked_sub(self.code_offset)
            .expect("sites are pushed in ascending order");
        write_varint(&mut self.bytes, delta);
        let code = match (site.trap, site.handler) {
            (Some(trap), _) => trap as u8,
            (None, None) => 0,
            (None, Some(_)) => CALL_WITH_HANDLER,
        };
        self.bytes
            .push(code | if site.node != 0 { HAS_NODE } else { 0 });
        if site.node != 0 {
            write_varint(&mut self.bytes, site.node);
        }
        write_signed(
            &mut self.bytes,
            site.wasm_offset.wrapping_sub(self.wasm_offset),
        );
        if let Some(handler) = site.handler.filter(|_| site.trap.is_none()) {
            let distance = handler.code_offset.wrapping_sub(site.code_offset);
            write_signed(&mut self.bytes, distance);
            write_varint(&mut self.bytes, handler.frame_size);
        }
        self.code_offset = site.code_offset;
        self.wasm_offset = site.wasm_offset;
    }

    /// The table, and this builder empty again.
    pub fn finish(&mut self, nodes: impl Into<Box<[InlineNode]>>) -> SiteTable {
        self.code_offset = 0;
        self.wasm_offset = 0;
        let table = SiteTable {
            bytes: self.bytes.as_slice().into(),
            nodes: nodes.into(),
            stack_maps: StackMapTable::default(),
        };
        self.bytes.clear();
        table
    }
}

impl SiteTable {
    /// The sites in ascending order. Ends early if the bytes are not a table.
    pub fn iter(&self) -> impl Iterator<Item = Site> + '_ {
        let mut bytes = &*self.bytes;
        let mut code_offset = 0u32;
        let mut wasm_offset = 0u32;
        std::iter::from_fn(move || {
            code_offset = code_offset.wrapping_add(read_varint(&mut bytes)?);
            let (&tag, rest) = bytes.split_first()?;
            bytes = rest;
            let node = if tag & HAS_NODE != 0 {
                read_varint(&mut bytes)?
            } else {
                0
            };
            wasm_offset = wasm_offset.wrapping_add(read_signed(&mut bytes)?);
            let code = tag & !HAS_NODE;
            let handler = match code {
                CALL_WITH_HANDLER => Some(Handler {
                    code_offset: code_offset.wrapping_add(read_signed(&mut bytes)?),
                    frame_size: read_varint(&mut bytes)?,
                }),
                _ => None,
            };
            Some(Site {
                code_offset,
                trap: TrapCode::from_u8(code),
                node,
                wasm_offset,
                handler,
            })
        })
    }

    /// The trap site at exactly this offset.
    pub fn trap_at(&self, code_offset: u32) -> Option<Site> {
        self.iter()
            .take_while(|site| site.code_offset <= code_offset)
            .find(|site| site.code_offset == code_offset && site.trap.is_some())
    }

    /// The call whose return address is exactly this offset.
    pub fn call_at(&self, return_offset: u32) -> Option<Site> {
        self.iter()
            .take_while(|site| site.code_offset <= return_offset)
            .find(|site| site.code_offset == return_offset && site.trap.is_none())
    }

    /// The same table for bodies that lie elsewhere in their module: wasm offsets in the function
    /// itself (`None`), or in one that was inlined, are so much more, modulo 2³². `None` if `by` knows
    /// one of them not.
    pub fn moved(&self, mut by: impl FnMut(Option<FuncIndex>) -> Option<u32>) -> Option<SiteTable> {
        // By node.
        let mut distances = Vec::with_capacity(self.nodes.len() + 1);
        distances.push(by(None)?);
        for node in &self.nodes {
            distances.push(by(Some(node.func))?);
        }
        let moved = |node: u32, offset: u32| {
            let distance = distances.get(node as usize)?;
            Some(offset.wrapping_add(*distance))
        };
        let mut builder = SiteTableBuilder::default();
        for site in self.iter() {
            builder.push(Site {
                wasm_offset: moved(site.node, site.wasm_offset)?,
                ..site
            });
        }
        let nodes = self.nodes.iter().map(|node| {
            Some(InlineNode {
                call_offset: moved(node.parent, node.call_offset)?,
                ..*node
            })
        });
        Some(SiteTable {
            stack_maps: self.stack_maps.clone(),
            ..builder.finish(nodes.collect::<Option<Box<[_]>>>()?)
        })
    }

    /// Appends the table's written form, which [`SiteTable::read`] reads.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.nodes.len() as u32);
        for node in &self.nodes {
            write_varint(out, node.parent);
            write_varint(out, node.call_offset);
            write_varint(out, node.func.as_u32());
        }
        let maps = self.stack_maps.as_bytes();
        write_varint(out, maps.len() as u32);
        out.extend_from_slice(maps);
        out.extend_from_slice(&self.bytes);
    }

    /// The table of which `bytes` are the written form; `None` if they are none.
    pub fn read(mut bytes: &[u8]) -> Option<SiteTable> {
        let count = read_varint(&mut bytes)? as usize;
        // A node takes three bytes at least, so that a wrong count cannot ask for much memory.
        if count > bytes.len() / 3 {
            return None;
        }
        let nodes = (0..count)
            .map(|_| {
                Some(InlineNode {
                    parent: read_varint(&mut bytes)?,
                    call_offset: read_varint(&mut bytes)?,
                    func: FuncIndex::from_u32(read_varint(&mut bytes)?),
                })
            })
            .collect::<Option<_>>()?;
        let maps = read_varint(&mut bytes)? as usize;
        let (maps, bytes) = bytes.split_at_checked(maps)?;
        Some(SiteTable {
            bytes: bytes.into(),
            nodes,
            stack_maps: StackMapTable::from_bytes(maps),
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.nodes) + self.stack_maps.as_bytes().len()
    }
}

/// A difference modulo 2³², short whichever its sign.
fn write_signed(bytes: &mut Vec<u8>, value: u32) {
    let value = value as i32;
    write_varint(bytes, ((value << 1) ^ (value >> 31)) as u32);
}

fn read_signed(bytes: &mut &[u8]) -> Option<u32> {
    let zigzag = read_varint(bytes)?;
    Some(((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_round_trip() {
        let site = |code_offset, trap, node, wasm_offset| Site {
            code_offset,
            trap,
            node,
            wasm_offset,
            handler: None,
        };
        let with_handler = Site {
            handler: Some(Handler {
                code_offset: 90,
                frame_size: 4096,
            }),
            ..site(400, None, 0, 13)
        };
        let sites = [
            site(3, Some(TrapCode::MemoryOutOfBounds), 0, 77_000_000),
            site(3, None, 2, 12),
            site(300, Some(TrapCode::Unreachable), 0, u32::MAX),
            with_handler,
            site(70_000, None, 0, 0),
        ];
        let mut builder = SiteTableBuilder::default();
        for round in 0..2 {
            sites.iter().for_each(|&s| builder.push(s));
            let table = builder.finish([]);
            assert_eq!(table.iter().collect::<Vec<_>>(), sites, "round {round}");
            assert_eq!(table.trap_at(3), Some(sites[0]));
            assert_eq!(table.call_at(3), Some(sites[1]));
            assert_eq!(table.trap_at(4), None);
        }
    }

    #[test]
    fn written_tables_are_read() {
        let mut builder = SiteTableBuilder::default();
        builder.push(Site {
            code_offset: 3,
            trap: None,
            node: 1,
            wasm_offset: 77_000_000,
            handler: None,
        });
        let mut table = builder.finish([InlineNode {
            parent: 0,
            call_offset: 400,
            func: FuncIndex::from_u32(70_000),
        }]);
        let mut maps = crate::StackMapTableBuilder::default();
        maps.push(3, &mut vec![8, 16]);
        table.stack_maps = maps.finish();
        let mut bytes = Vec::new();
        table.write(&mut bytes);
        assert_eq!(SiteTable::read(&bytes), Some(table));
        assert_eq!(SiteTable::read(&[]), None);
        assert_eq!(SiteTable::read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), None);
    }

    #[test]
    fn tables_move_with_their_bodies() {
        let site = |code_offset, node, wasm_offset| Site {
            code_offset,
            trap: None,
            node,
            wasm_offset,
            handler: None,
        };
        let node = |parent, call_offset, func| InlineNode {
            parent,
            call_offset,
            func: FuncIndex::from_u32(func),
        };
        let mut builder = SiteTableBuilder::default();
        builder.push(site(3, 0, 100));
        builder.push(site(9, 2, 80));
        builder.push(site(12, 1, 500));
        let table = builder.finish([node(0, 110, 7), node(1, 505, 8)]);
        let distance = |func: Option<FuncIndex>| match func.map(FuncIndex::as_u32) {
            None => Some(5),
            Some(7) => Some(7u32.wrapping_neg()),
            Some(8) => Some(1000),
            _ => None,
        };
        let moved = table.moved(distance).unwrap();
        let sites: Vec<_> = moved.iter().collect();
        assert_eq!(sites, [site(3, 0, 105), site(9, 2, 1080), site(12, 1, 493)]);
        assert_eq!(*moved.nodes, [node(0, 115, 7), node(1, 498, 8)]);
        let others = table.moved(|func| (func != Some(FuncIndex::from_u32(8))).then_some(0));
        assert_eq!(others, None);
    }

    #[test]
    fn garbage_ends_early() {
        let table = SiteTable {
            bytes: vec![0xff; 40].into(),
            nodes: Box::new([]),
            stack_maps: StackMapTable::default(),
        };
        assert_eq!(table.iter().count(), 0);
    }
}
