//! Throwing: from wasm, from host functions, and out of wasm.
//!
//! Generated code compares tags itself; what is found here is only the innermost frame that has a
//! handler for the return address of its call. Frames are walked by frame pointers from where wasm
//! was left to its newest entry. Where a return address goes on is found out once per store: throwing
//! over the same frames again costs a look at a small table for each.
//!
//! No Rust frame is jumped over, but for that of the builtin or entry that throws, which owns
//! nothing. An exception that no frame above the newest entry catches is an error of the call that
//! entered; one that a host function returns such an error for is thrown on from there.

use bimetal_abi::{VmContextHeader, VmObject, VmStoreContext};

use super::activation::{exit, stack_backtrace};
use super::code::module_at;
use super::gc::{NewKind, WholeStore};
use super::store::{Pending, StoreOpaque};
use super::tags::TagId;
use crate::error::{Error, Result};
use crate::exception::Exception;
use crate::gc::fields;
use crate::store::StoreContextMut;
use crate::types::{FuncType, StorageType};
use crate::val::Val;

/// Return addresses whose handlers are known.
const KNOWN: usize = 512;

/// Where exceptions go on, by the return addresses of calls that they end. Code that a store runs
/// stays where it is as long as the store lives. Empty before the first one: few stores have any.
#[derive(Default)]
pub(super) struct Handlers(Vec<Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    /// 0 is none.
    return_pc: usize,
    /// 0: exceptions go on in a frame further out.
    handler: usize,
    frame_size: usize,
}

impl Handlers {
    fn of(&mut self, return_pc: usize) -> Known {
        let place = (return_pc ^ return_pc >> 9) % KNOWN;
        match self.0.get(place) {
            Some(known) if known.return_pc == return_pc => *known,
            _ => self.add(place, return_pc),
        }
    }

    #[cold]
    fn add(&mut self, place: usize, return_pc: usize) -> Known {
        self.0.resize(KNOWN, Known::default());
        self.0[place] = look_up(return_pc);
        self.0[place]
    }
}

fn look_up(return_pc: usize) -> Known {
    let found = module_at(return_pc).and_then(|module| {
        let (func, offset) = module.code.find(return_pc)?;
        let handler = module.code.sites(func)?.call_at(offset)?.handler?;
        Some((return_pc - offset as usize, handler))
    });
    match found {
        Some((start, handler)) => Known {
            return_pc,
            handler: start + handler.code_offset as usize,
            frame_size: handler.frame_size as usize,
        },
        None => Known {
            return_pc,
            ..Known::default()
        },
    }
}

/// A handler, and the frame that it is in.
struct Landing {
    pc: usize,
    sp: usize,
    fp: usize,
}

/// The innermost handler above the newest entry.
///
/// # Safety
/// The store's wasm code has exited to us.
unsafe fn find_landing(store: &mut StoreOpaque) -> Option<Landing> {
    let context = store.context().as_ptr();
    // SAFETY: the caller's promise; between an exit and its entry all frames are of generated code,
    // which keeps frame pointers.
    unsafe {
        let entry_fp = (*context).entry_fp;
        let (mut fp, mut pc) = exit((*context).exit_fp, (*context).exit_pc);
        while fp != entry_fp && fp != 0 {
            let known = store.handlers.of(pc);
            if known.handler != 0 {
                return Some(Landing {
                    pc: known.handler,
                    sp: fp - known.frame_size,
                    fp,
                });
            }
            let (caller, return_pc) = bimetal_sys::next_frame(fp);
            if caller == entry_fp {
                break;
            }
            (fp, pc) = (caller, return_pc);
        }
        None
    }
}

/// Goes on where the exception is caught that is `thrown`, or at the newest entry, with `error` or
/// one that is made of it.
///
/// # Safety
/// `context` is of a store whose wasm code has exited to us; our caller and all frames up to that
/// exit own nothing.
unsafe fn throw(context: *mut VmStoreContext) -> ! {
    // SAFETY: the caller's promise. What the block owns is gone at its end.
    unsafe {
        let (landing, exception) = {
            let store = StoreOpaque::from_context(context);
            let landing = find_landing(store);
            let exception = store.thrown;
            match landing {
                Some(_) => {
                    store.thrown = 0;
                    drop(store.take_pending());
                }
                None => store.uncaught(),
            }
            (landing, exception)
        };
        match landing {
            Some(Landing { pc, sp, fp }) => bimetal_sys::resume_at(pc, sp, fp, exception.into()),
            None => bimetal_sys::resume_at_entry(context),
        }
    }
}

/// The builtin.
pub(super) unsafe extern "C" fn throw_ref(vmctx: *mut VmContextHeader, exception: i32) {
    // SAFETY: called by wasm code, with a reference of its store; our frame owns nothing.
    unsafe {
        let context = (*vmctx).store;
        StoreOpaque::from_context(context).thrown = exception as u32;
        throw(context)
    }
}

/// Goes on after a host function or builtin that has left its error in the store: at a handler if it
/// is an exception, else at the newest entry.
///
/// # Safety
/// As for [`throw`].
pub(super) unsafe fn resume(context: *mut VmStoreContext) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        match StoreOpaque::from_context(context).is_throwing() {
            true => throw(context),
            false => bimetal_sys::resume_at_entry(context),
        }
    }
}

impl StoreOpaque {
    /// The exception that is thrown, or that was and nobody has taken, is an error from now on.
    #[cold]
    fn uncaught(&mut self) {
        let error = match self.take_pending() {
            Some(Pending::Exception(error)) => error,
            _ => Exception::error(self, self.thrown),
        };
        self.set_pending(Pending::Error(error.with_backtrace(stack_backtrace())));
    }

    /// What a host function's error is for wasm: an exception if it says so.
    pub(super) fn pending_of(&mut self, error: Error) -> Pending {
        match Exception::thrown_by(self, &error) {
            Some(exception) => {
                self.thrown = exception;
                Pending::Exception(error)
            }
            None => Pending::Error(error),
        }
    }

    /// The tag of an exception.
    pub(crate) fn exception_tag(&self, exception: u32) -> Option<TagId> {
        let address = self.gc_read(exception, VmObject::EXCEPTION_TAG);
        self.tag_at(u64::from_ne_bytes(address))
    }

    /// What an exception carries.
    pub(crate) fn exception_fields(&self, exception: u32) -> Vec<Val> {
        let Some(tag) = self.exception_tag(exception) else {
            return Vec::new();
        };
        let ty = FuncType(self.tag_type(tag).clone());
        let fields = ty.params().zip(offsets(&ty));
        let field = |(ty, &offset)| fields::read(self, exception, offset, &StorageType::from(ty));
        fields.map(field).collect()
    }
}

/// Makes an exception.
///
/// # Errors
/// If the values are not what the tag says, or of another store; or there is no room.
pub(crate) fn new_exception<T: 'static>(
    store: &mut StoreContextMut<'_, T>,
    tag: TagId,
    values: &[Val],
) -> Result<u32> {
    let ty = FuncType(store.opaque().tag_type(tag).clone());
    if values.len() != ty.params().len() {
        return Err(Error::usage(format_args!(
            "an exception with this tag carries {} values, not {}",
            ty.params().len(),
            values.len()
        )));
    }
    let types = || ty.params().map(StorageType::from);
    for (i, (ty, value)) in types().zip(values).enumerate() {
        fields::check(store.opaque(), &ty, value, format_args!("field {i}"))?;
    }
    let exception = WholeStore::new(store.inner_mut()).allocate(&ty.0, NewKind::Exception)?;
    let store = store.opaque();
    let address = store.tags[tag].def.as_ptr().expose_provenance() as u64;
    let address = address.to_ne_bytes();
    store.gc_write(exception, VmObject::EXCEPTION_TAG, address, false);
    for ((field, value), &offset) in types().zip(values).zip(offsets(&ty)) {
        fields::write(store, exception, offset, &field, value, true)?;
    }
    Ok(exception)
}

/// Where exceptions with a tag of this type have what they carry.
fn offsets(ty: &FuncType) -> &[u32] {
    let layout = ty.0.exception_layout().expect("it is a function type");
    &layout.offsets
}
