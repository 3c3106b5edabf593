//! What instances import and export.

use crate::error::Result;
use crate::func::Func;
use crate::global::Global;
use crate::memory::Memory;
use crate::shared_memory::SharedMemory;
use crate::store::AsContext;
use crate::table::Table;
use crate::tag::Tag;
use crate::types::ExternType;
use crate::vm::{ImportValue, StoreOpaque};

/// A function, memory, table, global or tag of a store, or a shared memory.
///
/// ```
/// use bimetal::{Engine, Extern, Memory, MemoryType, Store};
///
/// let mut store = Store::new(&Engine::default(), ());
/// let item = Extern::from(Memory::new(&mut store, MemoryType::new(1, None))?);
/// assert_eq!(item.ty(&store).to_string(), "memory 1");
/// assert!(item.clone().into_func().is_none());
/// assert!(item.into_memory().is_some());
/// # Ok::<(), bimetal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A global.
    Global(Global),
    /// A table.
    Table(Table),
    /// A memory.
    Memory(Memory),
    /// A memory of no store.
    SharedMemory(SharedMemory),
    /// A tag.
    Tag(Tag),
}

impl Extern {
    pub(crate) fn from_value(store: &StoreOpaque, value: ImportValue) -> Extern {
        match value {
            ImportValue::Func(func) => Extern::Func(Func::from_ptr(store, func)),
            ImportValue::Table(id) => Extern::Table(Table::from_id(store, id)),
            ImportValue::Memory(id) => match store.memory(id).shared() {
                Some(shared) => {
                    let shared = SharedMemory::from_vm(store.engine(), shared.clone());
                    Extern::SharedMemory(shared)
                }
                None => Extern::Memory(Memory::from_id(store, id)),
            },
            ImportValue::Global(id) => Extern::Global(Global::from_id(store, id)),
            ImportValue::Tag(id) => Extern::Tag(Tag::from_id(store, id)),
        }
    }

    /// Refuses what cannot be used with the store.
    pub(crate) fn check(&self, store: &StoreOpaque) -> Result<()> {
        match self {
            Extern::Func(func) => func.checked(store).map(drop),
            Extern::Table(table) => table.checked(store).map(drop),
            Extern::Memory(memory) => memory.checked(store).map(drop),
            Extern::Global(global) => global.checked(store).map(drop),
            Extern::Tag(tag) => tag.checked(store).map(drop),
            Extern::SharedMemory(memory) => memory.checked(store.engine()).map(drop),
        }
    }

    /// For an import in the store.
    pub(crate) fn import(&self, store: &mut StoreOpaque) -> Result<ImportValue> {
        Ok(match self {
            Extern::Func(func) => ImportValue::Func(func.checked(store)?),
            Extern::Table(table) => ImportValue::Table(table.checked(store)?),
            Extern::Memory(memory) => ImportValue::Memory(memory.checked(store)?),
            Extern::Global(global) => ImportValue::Global(global.checked(store)?),
            Extern::SharedMemory(memory) => {
                let memory = memory.checked(store.engine())?.clone();
                ImportValue::Memory(store.add_shared_memory(&memory))
            }
            Extern::Tag(tag) => ImportValue::Tag(tag.checked(store)?),
        })
    }

    pub(crate) fn try_ty(&self, store: &StoreOpaque) -> Result<ExternType> {
        Ok(match self {
            Extern::Func(func) => ExternType::Func(func.try_ty(store)?),
            Extern::Table(table) => ExternType::Table(table.try_ty(store)?),
            Extern::Memory(memory) => ExternType::Memory(memory.try_ty(store)?),
            Extern::SharedMemory(memory) => {
                memory.checked(store.engine())?;
                ExternType::Memory(memory.ty())
            }
            Extern::Global(global) => ExternType::Global(global.try_ty(store)?),
            Extern::Tag(tag) => ExternType::Tag(tag.try_ty(store)?),
        })
    }

    /// Its type; memories and tables with their current size as minimum.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.try_ty(store.as_context().opaque())
            .expect("the item is of this store")
    }

    /// The function, if it is one.
    pub fn into_func(self) -> Option<Func> {
        match self {
            Extern::Func(func) => Some(func),
            _ => None,
        }
    }

    /// The memory, if it is one.
    pub fn into_memory(self) -> Option<Memory> {
        match self {
            Extern::Memory(memory) => Some(memory),
            _ => None,
        }
    }

    /// The shared memory, if it is one.
    pub fn into_shared_memory(self) -> Option<SharedMemory> {
        match self {
            Extern::SharedMemory(memory) => Some(memory),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn into_table(self) -> Option<Table> {
        match self {
            Extern::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The global, if it is one.
    pub fn into_global(self) -> Option<Global> {
        match self {
            Extern::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The tag, if it is one.
    pub fn into_tag(self) -> Option<Tag> {
        match self {
            Extern::Tag(tag) => Some(tag),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($ty:ident)*) => {
        $(impl From<$ty> for Extern {
            fn from(item: $ty) -> Extern {
                Extern::$ty(item)
            }
        })*
    };
}

from!(Func Global Memory SharedMemory Table Tag);

/// An export of an instance, see [`Instance::exports`](crate::Instance::exports).
#[derive(Clone, Debug)]
pub struct Export<'instance> {
    pub(crate) name: &'instance str,
    pub(crate) item: Extern,
}

impl<'instance> Export<'instance> {
    /// Its name.
    pub fn name(&self) -> &'instance str {
        self.name
    }

    /// Its type.
    ///
    /// # Panics
    /// If it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.item.ty(store)
    }

    /// What it is.
    pub fn into_extern(self) -> Extern {
        self.item
    }

    /// The function, if it is one.
    pub fn into_func(self) -> Option<Func> {
        self.item.into_func()
    }

    /// The memory, if it is one.
    pub fn into_memory(self) -> Option<Memory> {
        self.item.into_memory()
    }

    /// The shared memory, if it is one.
    pub fn into_shared_memory(self) -> Option<SharedMemory> {
        self.item.into_shared_memory()
    }

    /// The table, if it is one.
    pub fn into_table(self) -> Option<Table> {
        self.item.into_table()
    }

    /// The global, if it is one.
    pub fn into_global(self) -> Option<Global> {
        self.item.into_global()
    }

    /// The tag, if it is one.
    pub fn into_tag(self) -> Option<Tag> {
        self.item.into_tag()
    }
}
