//! Validating bodies that are not as they stand in the binary.
//!
//! Whoever instruments a module adds globals ([`Module::add_global`]) and gives compilers other
//! instructions than the binary has. Those are held to the same rules, by the same validator:
//! [`Declarations`] is what it has to know of the module, read again from the binary, for that is
//! cheaper than to keep it for all modules.

use wasmparser::{
    BinaryReader, FuncToValidate, FuncValidator, FuncValidatorAllocations, Parser, ValidPayload,
    Validator, ValidatorResources, WasmModuleResources,
};

use crate::body::Operator;
use crate::error::{Error, ErrorKind, Result};
use crate::module::{ConstExpr, Module};
use crate::types::{DefinedFuncIndex, GlobalIndex, GlobalType, ValType};

impl Module {
    /// Adds a global behind all others; the module's own code cannot name it. `init` must be a
    /// constant of its type.
    ///
    /// What was computed of the module before (layouts, [`Declarations`]) does not know it.
    pub fn add_global(&mut self, ty: GlobalType, init: ConstExpr) -> GlobalIndex {
        self.global_init.push(init);
        self.globals.push(ty)
    }
}

/// What a module declares, for validating instructions.
#[derive(Debug)]
pub struct Declarations {
    module: ValidatorResources,
    features: wasmparser::WasmFeatures,
    /// Globals behind those that the binary declares.
    added: Vec<wasmparser::GlobalType>,
    declared: u32,
}

impl Declarations {
    /// Those of `module`; `None` if it has no functions.
    ///
    /// # Errors
    /// None for a module that was validated, unless an added global is a reference.
    pub fn new(module: &Module) -> Result<Option<Declarations>> {
        let features = module.features.to_wasmparser();
        let mut validator = Validator::new_with_features(features);
        let mut parser = Parser::new(0);
        parser.set_features(features);
        for payload in parser.parse_all(&module.bytes) {
            let payload = payload.map_err(defect)?;
            if let ValidPayload::Func(func, _) = validator.payload(&payload).map_err(defect)? {
                return Declarations::with(module, func.resources, features).map(Some);
            }
        }
        Ok(None)
    }

    fn with(
        module: &Module,
        resources: ValidatorResources,
        features: wasmparser::WasmFeatures,
    ) -> Result<Declarations> {
        let is_added =
            |(index, _): &(GlobalIndex, _)| resources.global_at(index.as_u32()).is_none();
        let added = module
            .globals
            .iter()
            .filter(is_added)
            .map(|(_, ty)| {
                Ok(wasmparser::GlobalType {
                    content_type: val_type(ty.content)?,
                    mutable: ty.mutable,
                    shared: false,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Declarations {
            declared: (module.globals.len() - added.len()) as u32,
            module: resources,
            features,
            added,
        })
    }

    /// Begins to validate other instructions for a defined function, which has the locals of its
    /// body and then `more`.
    ///
    /// # Errors
    /// If there are too many locals.
    pub fn body(
        &self,
        module: &Module,
        func: DefinedFuncIndex,
        more: &[ValType],
    ) -> Result<BodyValidator<'_>> {
        let index = module.func_index(func);
        let range = module.bodies[func].range.clone();
        let mut validator = FuncToValidate {
            resources: self,
            index: index.as_u32(),
            ty: module.functions[index].as_u32(),
            features: self.features,
        }
        .into_validator(FuncValidatorAllocations::default());
        let offset = range.start as u64;
        let mut reader = BinaryReader::new_features(module.body_bytes(func), offset, self.features);
        validator.read_locals(&mut reader).map_err(defect)?;
        for &ty in more {
            validator
                .define_locals(offset, 1, val_type(ty)?)
                .map_err(invalid)?;
        }
        Ok(BodyValidator(validator))
    }
}

/// Validates the instructions of one function, one after the other.
pub struct BodyValidator<'a>(FuncValidator<&'a Declarations>);

impl BodyValidator<'_> {
    /// The next instruction; `offset` is for the error.
    ///
    /// # Errors
    /// If it is not valid here. Then nothing more may be asked.
    pub fn operator(&mut self, offset: u32, operator: &Operator<'_>) -> Result<()> {
        if self.0.control_stack_height() == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an instruction after the end of the function",
                Some(offset as usize),
            ));
        }
        self.0.op(u64::from(offset), operator).map_err(invalid)
    }

    /// The instructions are all.
    ///
    /// # Errors
    /// If the function has not ended.
    pub fn finish(&self, offset: u32) -> Result<()> {
        match self.0.control_stack_height() {
            0 => Ok(()),
            open => Err(Error::new(
                ErrorKind::Invalid,
                format!("{open} `end`s are missing at the end of the function"),
                Some(offset as usize),
            )),
        }
    }
}

impl std::fmt::Debug for BodyValidator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyValidator")
    }
}

fn invalid(error: wasmparser::Error) -> Error {
    Error::new(
        ErrorKind::Invalid,
        error.message(),
        Some(error.offset() as usize),
    )
}

/// Of what was validated before.
fn defect(error: wasmparser::Error) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("a validated module is not valid any more: {error}"),
        Some(error.offset() as usize),
    )
}

fn val_type(ty: ValType) -> Result<wasmparser::ValType> {
    Ok(match ty {
        ValType::I32 => wasmparser::ValType::I32,
        ValType::I64 => wasmparser::ValType::I64,
        ValType::F32 => wasmparser::ValType::F32,
        ValType::F64 => wasmparser::ValType::F64,
        ValType::V128 => wasmparser::ValType::V128,
        ValType::Ref(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "globals and locals for references cannot be added",
                None,
            ));
        }
    })
}

impl WasmModuleResources for Declarations {
    fn table_at(&self, at: u32) -> Option<wasmparser::TableType> {
        self.module.table_at(at)
    }

    fn memory_at(&self, at: u32) -> Option<wasmparser::MemoryType> {
        self.module.memory_at(at)
    }

    fn tag_at(&self, at: u32) -> Option<&wasmparser::FuncType> {
        self.module.tag_at(at)
    }

    fn global_at(&self, at: u32) -> Option<wasmparser::GlobalType> {
        match at.checked_sub(self.declared) {
            Some(added) => self.added.get(added as usize).copied(),
            None => self.module.global_at(at),
        }
    }

    fn sub_type_at(&self, at: u32) -> Option<&wasmparser::SubType> {
        self.module.sub_type_at(at)
    }

    fn sub_type_at_id(&self, id: wasmparser::types::CoreTypeId) -> &wasmparser::SubType {
        self.module.sub_type_at_id(id)
    }

    fn type_id_of_function(&self, at: u32) -> Option<wasmparser::types::CoreTypeId> {
        self.module.type_id_of_function(at)
    }

    fn type_index_of_function(&self, at: u32) -> Option<u32> {
        self.module.type_index_of_function(at)
    }

    fn element_type_at(&self, at: u32) -> Option<wasmparser::RefType> {
        self.module.element_type_at(at)
    }

    fn is_subtype(&self, a: wasmparser::ValType, b: wasmparser::ValType) -> bool {
        self.module.is_subtype(a, b)
    }

    fn is_shared(&self, ty: wasmparser::RefType) -> bool {
        self.module.is_shared(ty)
    }

    fn check_heap_type(
        &self,
        ty: &mut wasmparser::HeapType,
        offset: u64,
    ) -> wasmparser::Result<()> {
        self.module.check_heap_type(ty, offset)
    }

    fn top_type(&self, ty: &wasmparser::HeapType) -> wasmparser::HeapType {
        self.module.top_type(ty)
    }

    fn element_count(&self) -> u32 {
        self.module.element_count()
    }

    fn data_count(&self) -> Option<u32> {
        self.module.data_count()
    }

    fn is_function_referenced(&self, at: u32) -> bool {
        self.module.is_function_referenced(at)
    }

    fn has_function_exact_type(&self, at: u32) -> bool {
        self.module.has_function_exact_type(at)
    }
}
