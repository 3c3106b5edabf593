//! Reads the text form of a graph: the exact inverse of [`print`](super::print).
//!
//! Numbers of values and blocks are kept, so printing what was parsed gives the text again. The
//! parser accepts whatever can be represented: whether it makes sense (types, dominance, numbers
//! of operands) is the verifier's business, so that its tests can be text. Any input gives a graph
//! or an error that says where; `;` begins a comment.

use std::fmt;

use bimetal_abi::TrapCode;
use bimetal_codegen::InlineNode;
use bimetal_wasm::{
    DataIndex, ElemIndex, FuncIndex, GlobalIndex, HeapType, MemoryIndex, RefType, TableIndex,
    TagIndex, TypeIndex,
};
use cranelift_entity::EntityRef;

use super::{Block, Graph, Hint, Imm, ImmKind, Inst, Op, SiteId, SiteInfo, Type, Value, ValueDef};

/// Why a text is not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: u32,
    /// In bytes, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses one function.
///
/// # Errors
/// At the first place that is not as `print` makes it.
///
/// # Examples
/// ```
/// let text = "func (i32) -> (i32) {\nblock0(v0: i32):\n    return v0\n}\n";
/// let graph = bimetal_optimizer::graph::parse(text).unwrap();
/// assert_eq!(graph.to_string(), text);
/// ```
pub fn parse(text: &str) -> Result<Graph> {
    let mut lexer = Lexer::new(text);
    let token = lexer.next();
    let mut parser = Parser {
        lexer,
        token,
        limit: 65_536
            + u32::try_from(text.len())
                .unwrap_or(u32::MAX / 2)
                .min(u32::MAX / 2),
        graph: Graph::new(),
        params: Vec::new(),
        results: Vec::new(),
        value_uses: Vec::new(),
        block_uses: Vec::new(),
        last_site: None,
    };
    parser.function()?;
    parser.connect()?;
    Ok(parser.graph)
}

/// A word (name, entity, number), `->`, or one other character; empty at the end.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    at: Place,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    line: u32,
    column: u32,
}

impl Place {
    fn error(self, message: impl Into<String>) -> ParseError {
        ParseError {
            line: self.line,
            column: self.column,
            message: message.into(),
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Lexer<'a> {
        Lexer {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    fn next(&mut self) -> Token<'a> {
        let mut rest = &self.text[self.at..];
        while let Some(c) = rest.chars().next() {
            if c == '\n' {
                self.line += 1;
                self.line_start = self.at + 1;
            }
            self.at += match c {
                ';' => rest.find('\n').unwrap_or(rest.len()),
                _ if c.is_whitespace() => c.len_utf8(),
                _ => break,
            };
            rest = &self.text[self.at..];
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let len = match rest.chars().next() {
            _ if rest.starts_with("->") => 2,
            _ if word > 0 => word,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        let at = Place {
            line: self.line,
            column: (self.at - self.line_start) as u32 + 1,
        };
        self.at += len;
        Token {
            text: &rest[..len],
            at,
        }
    }
}

/// Values can be used before they are defined, so instructions are made with the numbers as they
/// stand, and [`Parser::connect`] makes the values and checks the numbers in the end.
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token.
    token: Token<'a>,
    /// Numbers of values and blocks are below it, so that a short text makes a small graph.
    limit: u32,
    graph: Graph,
    params: Vec<(Block, Vec<Definition>)>,
    results: Vec<(Inst, Vec<Definition>)>,
    value_uses: Vec<(Value, Place)>,
    block_uses: Vec<(Block, Place)>,
    last_site: Option<(SiteInfo, SiteId)>,
}

#[derive(Clone, Copy)]
struct Definition {
    value: Value,
    ty: Type,
    at: Place,
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Token<'a> {
        let next = self.lexer.next();
        std::mem::replace(&mut self.token, next)
    }

    fn is(&self, text: &str) -> bool {
        self.token.text == text
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.advance();
        }
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match self.token.text {
            "" => "the end",
            text => text,
        };
        Err(self
            .token
            .at
            .error(format!("expected {what}, found `{found}`")))
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        match self.eat(text) {
            true => Ok(()),
            false => self.expected(&format!("`{text}`")),
        }
    }

    fn convert<T>(&mut self, what: &str, convert: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        match convert(self.token.text) {
            Some(value) => {
                self.advance();
                Ok(value)
            }
            None => self.expected(what),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        self.convert(what, |text| text.parse().ok())
    }

    fn hex(&mut self, what: &str) -> Result<u128> {
        self.convert(what, |text| {
            u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        })
    }

    fn ty(&mut self) -> Result<Type> {
        self.convert("a type", Type::from_name)
    }

    /// An entity that the graph only names.
    fn index<T: EntityRef>(&mut self, prefix: &str) -> Result<T> {
        let number = self.convert(&format!("`{prefix}` and a number"), |text| {
            entity(text, prefix).filter(|&number| number < u32::MAX)
        })?;
        Ok(T::new(number as usize))
    }

    /// An entity that the graph is made of.
    fn part<T: EntityRef>(&mut self, prefix: &str) -> Result<T> {
        let at = self.token.at;
        let part: T = self.index(prefix)?;
        match part.index() < self.limit as usize {
            true => Ok(part),
            false => Err(at.error("number too large for a text of this length")),
        }
    }

    /// Items separated by commas up to a closing parenthesis.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect("(")?;
        while !self.eat(")") {
            item(self)?;
            if !self.is(")") {
                self.expect(",")?;
            }
        }
        Ok(())
    }

    fn function(&mut self) -> Result<()> {
        self.expect("func")?;
        let mut params = Vec::new();
        let at = self.token.at;
        self.list(|this| {
            params.push(this.ty()?);
            Ok(())
        })?;
        self.expect("->")?;
        self.list(|this| {
            let ty = this.ty()?;
            this.graph.results.push(ty);
            Ok(())
        })?;
        self.expect("{")?;
        while self.is("inline") {
            self.inline_node()?;
        }
        if self.is("}") {
            return self.expected("a block");
        }
        while !self.eat("}") {
            self.block()?;
        }
        if !self.is("") {
            return self.expected("the end");
        }
        let entry = self.params.first().map_or(&[][..], |(_, params)| params);
        if !entry.iter().map(|param| param.ty).eq(params) {
            return Err(at.error("these are not the parameters of the first block"));
        }
        Ok(())
    }

    /// `inline 1: func7 in 0 @0x120`
    fn inline_node(&mut self) -> Result<()> {
        self.expect("inline")?;
        let at = self.token.at;
        if self.number::<usize>("a number")? != self.graph.inline_nodes.len() + 1 {
            return Err(at.error("inline nodes are numbered from 1 in order"));
        }
        self.expect(":")?;
        let func = self.index("func")?;
        self.expect("in")?;
        let parent = self.number("the number of a node")?;
        self.expect("@")?;
        let call_offset = self.offset()?;
        self.graph.inline_nodes.push(InlineNode {
            parent,
            call_offset,
            func,
        });
        Ok(())
    }

    fn offset(&mut self) -> Result<u32> {
        let at = self.token.at;
        u32::try_from(self.hex("an offset as `0x…`")?)
            .map_err(|_| at.error("an offset has 32 bits"))
    }

    /// A `@0x1f3` or `@1:0x1f3`.
    fn site(&mut self) -> Result<SiteId> {
        self.expect("@")?;
        let node = match self.token.text.starts_with("0x") {
            true => 0,
            false => {
                let node = self.number("a node or an offset as `0x…`")?;
                self.expect(":")?;
                node
            }
        };
        let offset = self.offset()?;
        let info = SiteInfo { node, offset };
        match self.last_site {
            Some((last, site)) if last == info => Ok(site),
            _ => {
                let site = self.graph.make_site(info);
                self.last_site = Some((info, site));
                Ok(site)
            }
        }
    }

    fn block(&mut self) -> Result<()> {
        let at = self.token.at;
        let block: Block = self.part("block")?;
        self.ensure_block(block);
        if self.graph.in_layout(block) {
            return Err(at.error(format!("{block} stands here a second time")));
        }
        self.graph.append_block(block);
        let mut params = Vec::new();
        if self.is("(") {
            self.list(|this| {
                params.push(this.definition(None)?);
                Ok(())
            })?;
        }
        self.params.push((block, params));
        if self.eat("loop") {
            let site = self.site()?;
            self.graph.block_mut(block).loop_site = site.into();
        }
        self.graph.block_mut(block).cold = self.eat("cold");
        self.expect(":")?;
        while !self.is("}") && !self.is("") && entity(self.token.text, "block").is_none() {
            self.inst(block)?;
        }
        Ok(())
    }

    fn ensure_block(&mut self, block: Block) {
        while self.graph.num_blocks() <= block.index() {
            self.graph.make_block();
        }
    }

    /// `v1: i32`, or, if the type is known, `v1`.
    fn definition(&mut self, known: Option<Type>) -> Result<Definition> {
        let at = self.token.at;
        let value = self.part("v")?;
        let ty = match known {
            Some(ty) if !self.is(":") => ty,
            _ => {
                self.expect(":")?;
                self.ty()?
            }
        };
        Ok(Definition { value, ty, at })
    }

    fn inst(&mut self, block: Block) -> Result<()> {
        // Results come before the op, which says their types unless they are written.
        let mut results: Vec<(Value, Option<Type>, Place)> = Vec::new();
        while entity(self.token.text, "v").is_some() {
            let at = self.token.at;
            let value = self.part("v")?;
            let ty = if self.eat(":") {
                Some(self.ty()?)
            } else {
                None
            };
            results.push((value, ty, at));
            if !self.eat(",") {
                break;
            }
        }
        if !results.is_empty() {
            self.expect("=")?;
        }
        let at = self.token.at;
        let op = self.convert("an instruction", Op::from_name)?;
        let imm = self.imm(op.info().imm)?;
        let mut args = Vec::new();
        let mut edges: Vec<(Block, Vec<Value>)> = Vec::new();
        if self.is_operand(at) {
            self.operand(op, &mut args, &mut edges)?;
            while self.eat(",") {
                self.operand(op, &mut args, &mut edges)?;
            }
        }
        let site = if self.is("@") {
            Some(self.site()?)
        } else {
            None
        };
        if args.len().max(results.len()) > usize::from(u16::MAX) {
            return Err(at.error("more than 65,535 operands or results"));
        }
        let inst = self.graph.make_inst(op, &args, imm, site, &[]);
        self.graph.append_inst(inst, block);
        for (target, args) in &edges {
            self.graph.add_edge(inst, *target, args);
        }
        let results = results.into_iter().enumerate().map(|(i, (value, ty, at))| {
            let known = op.info().results.get(i).and_then(|slot| slot.fixed());
            match ty.or(known) {
                Some(ty) => Ok(Definition { value, ty, at }),
                None => Err(at.error(format!("{op} does not say the type of {value}: write it"))),
            }
        });
        self.results.push((inst, results.collect::<Result<_>>()?));
        Ok(())
    }

    /// Whether an operand or an edge follows on the line of the op; on the next line the same
    /// words begin another instruction or block.
    fn is_operand(&self, op: Place) -> bool {
        let text = self.token.text;
        self.token.at.line == op.line
            && (entity(text, "v").is_some() || entity(text, "block").is_some())
    }

    fn operand(
        &mut self,
        op: Op,
        args: &mut Vec<Value>,
        edges: &mut Vec<(Block, Vec<Value>)>,
    ) -> Result<()> {
        if entity(self.token.text, "block").is_none() {
            let value = self.use_value()?;
            args.push(value);
            return Ok(());
        }
        let at = self.token.at;
        if !op.is_terminator() {
            return Err(at.error(format!("{op} has no edges")));
        }
        let target: Block = self.part("block")?;
        self.block_uses.push((target, at));
        let mut values = Vec::new();
        if self.is("(") {
            self.list(|this| {
                values.push(this.use_value()?);
                Ok(())
            })?;
        }
        edges.push((target, values));
        Ok(())
    }

    fn use_value(&mut self) -> Result<Value> {
        let at = self.token.at;
        let value = self.part("v")?;
        self.value_uses.push((value, at));
        Ok(value)
    }

    fn imm(&mut self, kind: ImmKind) -> Result<Imm> {
        Ok(match kind {
            ImmKind::None => Imm::None,
            ImmKind::I32 => Imm::I32(self.number("a 32-bit number")?),
            ImmKind::I64 => Imm::I64(self.number("a 64-bit number")?),
            ImmKind::F32 => match self.nan(31, 23)? {
                Some(bits) => Imm::F32(bits as u32),
                None => Imm::F32(self.number::<f32>("a float")?.to_bits()),
            },
            ImmKind::F64 => match self.nan(63, 52)? {
                Some(bits) => Imm::F64(bits),
                None => Imm::F64(self.number::<f64>("a float")?.to_bits()),
            },
            ImmKind::V128 => {
                let bits = self.hex("128 bits as `0x…`")?;
                Imm::V128(self.graph.make_constant(bits))
            }
            ImmKind::Shuffle => {
                let mut lanes = [0; 16];
                self.expect("[")?;
                for lane in &mut lanes {
                    *lane = self.number("a lane")?;
                }
                self.expect("]")?;
                Imm::Shuffle(self.graph.make_constant(u128::from_le_bytes(lanes)))
            }
            ImmKind::Lane => Imm::Lane(self.lane()?),
            ImmKind::Mem => {
                let (memory, offset) = self.mem()?;
                Imm::Mem { memory, offset }
            }
            ImmKind::MemLane => {
                let (memory, offset) = self.mem()?;
                let lane = self.lane()?;
                Imm::MemLane {
                    memory,
                    offset,
                    lane,
                }
            }
            ImmKind::Memory => Imm::Memory(self.memory()?),
            ImmKind::MemoryPair => Imm::MemoryPair {
                dst: self.memory()?,
                src: self.memory()?,
            },
            ImmKind::MemoryInit => Imm::MemoryInit {
                memory: self.memory()?,
                data: self.data()?,
            },
            ImmKind::Data => Imm::Data(self.data()?),
            ImmKind::Table => Imm::Table(self.table()?),
            ImmKind::TablePair => Imm::TablePair {
                dst: self.table()?,
                src: self.table()?,
            },
            ImmKind::TableInit => Imm::TableInit {
                table: self.table()?,
                elem: self.elem()?,
            },
            ImmKind::Elem => Imm::Elem(self.elem()?),
            ImmKind::Global => Imm::Global(self.index::<GlobalIndex>("global")?),
            ImmKind::Func => Imm::Func(self.index::<FuncIndex>("func")?),
            ImmKind::CallIndirect => Imm::CallIndirect {
                ty: self.type_index()?,
                table: self.table()?,
            },
            ImmKind::Type => Imm::Type(self.type_index()?),
            ImmKind::Field => {
                let ty = self.type_index()?;
                self.expect("field")?;
                self.expect("=")?;
                let field = self.number("the number of a field")?;
                Imm::Field { ty, field }
            }
            ImmKind::TypeData => Imm::TypeData {
                ty: self.type_index()?,
                data: self.data()?,
            },
            ImmKind::TypeElem => Imm::TypeElem {
                ty: self.type_index()?,
                elem: self.elem()?,
            },
            ImmKind::TypePair => Imm::TypePair {
                dst: self.type_index()?,
                src: self.type_index()?,
            },
            ImmKind::Cast => {
                let to = self.ref_type()?;
                self.expect("from")?;
                let from = self.ref_type()?;
                Imm::Cast { to, from }
            }
            ImmKind::Tag => Imm::Tag(self.index::<TagIndex>("tag")?),
            ImmKind::ExnField => {
                let tag = self.index::<TagIndex>("tag")?;
                self.expect("field")?;
                self.expect("=")?;
                let field = self.number("the number of a field")?;
                Imm::ExnField { tag, field }
            }
            ImmKind::Hint => match self.eat("taken") {
                true => {
                    self.expect("=")?;
                    Imm::Hint(Hint::Taken(self.number("a number up to 255")?))
                }
                false => Imm::Hint(Hint::Unknown),
            },
            ImmKind::JumpTable => {
                self.expect("[")?;
                let mut entries = Vec::new();
                while !self.eat("else") {
                    entries.push(self.number("the number of an edge or `else`")?);
                }
                entries.push(self.number("the number of an edge")?);
                self.expect("]")?;
                Imm::JumpTable(self.graph.make_jump_table(entries))
            }
            ImmKind::Trap => {
                let code = TrapCode::ALL
                    .iter()
                    .find(|code| format!("{code:?}") == self.token.text);
                if code.is_some() {
                    self.advance();
                }
                Imm::Trap(code.copied().unwrap_or(TrapCode::Unreachable))
            }
        })
    }

    /// `nan:0x400000`, of a type with this sign bit and so many bits of payload.
    fn nan(&mut self, sign: u32, payload_bits: u32) -> Result<Option<u64>> {
        let negative = match self.token.text {
            "nan" => 0,
            "-nan" => 1,
            _ => return Ok(None),
        };
        self.advance();
        self.expect(":")?;
        let at = self.token.at;
        let payload = self.hex("a payload as `0x…`")?;
        if payload == 0 || payload >> payload_bits != 0 {
            return Err(at.error(format!("a payload is 1 to {payload_bits} bits, not all 0")));
        }
        let exponent = ((1u64 << sign) - 1) >> payload_bits << payload_bits;
        Ok(Some(negative << sign | exponent | payload as u64))
    }

    fn lane(&mut self) -> Result<u8> {
        self.expect("lane")?;
        self.expect("=")?;
        self.number("a lane")
    }

    fn mem(&mut self) -> Result<(MemoryIndex, u64)> {
        let (mut memory, mut offset) = (0u32, 0);
        let at = self.token.at;
        if self.eat("memory") {
            self.expect("=")?;
            memory = self.number("the number of a memory")?;
        }
        if self.eat("offset") {
            self.expect("=")?;
            offset = self.number("a 64-bit number")?;
        }
        match memory < u32::MAX {
            true => Ok((MemoryIndex::from_u32(memory), offset)),
            false => Err(at.error("the number of a memory is below 2^32 - 1")),
        }
    }

    fn memory(&mut self) -> Result<MemoryIndex> {
        self.index("memory")
    }

    fn data(&mut self) -> Result<DataIndex> {
        self.index("data")
    }

    fn table(&mut self) -> Result<TableIndex> {
        self.index("table")
    }

    fn elem(&mut self) -> Result<ElemIndex> {
        self.index("elem")
    }

    fn type_index(&mut self) -> Result<TypeIndex> {
        self.index("type")
    }

    fn ref_type(&mut self) -> Result<RefType> {
        const ABSTRACT: [HeapType; 12] = [
            HeapType::Func,
            HeapType::NoFunc,
            HeapType::Extern,
            HeapType::NoExtern,
            HeapType::Any,
            HeapType::Eq,
            HeapType::I31,
            HeapType::Struct,
            HeapType::Array,
            HeapType::None,
            HeapType::Exn,
            HeapType::NoExn,
        ];
        let nullable = self.eat("null");
        if entity(self.token.text, "type").is_some() {
            let heap = HeapType::Concrete(self.type_index()?);
            return Ok(RefType { nullable, heap });
        }
        let heap = self.convert("a heap type", |text| {
            ABSTRACT.into_iter().find(|heap| heap.to_string() == text)
        })?;
        Ok(RefType { nullable, heap })
    }

    /// Makes the values and gives them their places; checks that what is used is there.
    fn connect(&mut self) -> Result<()> {
        let mut types: Vec<Option<Type>> = Vec::new();
        let params = self.params.iter().flat_map(|(_, params)| params);
        let results = self.results.iter().flat_map(|(_, results)| results);
        for definition in params.chain(results) {
            let i = definition.value.index();
            if types.len() <= i {
                types.resize(i + 1, None);
            }
            if types[i].replace(definition.ty).is_some() {
                let message = format!("{} is defined a second time", definition.value);
                return Err(definition.at.error(message));
            }
        }
        for &ty in &types {
            // A number that is not used in the text is a detached value of some type.
            self.graph.make_value(ty.unwrap_or(Type::I32));
        }
        for (block, params) in &self.params {
            for param in params {
                self.graph.attach_param(*block, param.value);
            }
        }
        for (inst, results) in &self.results {
            let Some(first) = results.first() else {
                continue;
            };
            for (i, result) in results.iter().enumerate() {
                if result.value.index() != first.value.index() + i {
                    let message = "the results of an instruction are numbered consecutively";
                    return Err(result.at.error(message));
                }
            }
            self.graph
                .attach_results(*inst, first.value, results.len() as u16);
        }
        for &(value, at) in &self.value_uses {
            let defined =
                value.index() < types.len() && !matches!(self.graph.def(value), ValueDef::Detached);
            if !defined {
                return Err(at.error(format!("{value} is defined nowhere")));
            }
        }
        for &(block, at) in &self.block_uses {
            if block.index() >= self.graph.num_blocks() || !self.graph.in_layout(block) {
                return Err(at.error(format!("{block} is nowhere")));
            }
        }
        Ok(())
    }
}

/// The number of an entity as the graph prints it; leading zeros and signs are not printed.
fn entity(text: &str, prefix: &str) -> Option<u32> {
    let digits = text.strip_prefix(prefix)?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
