//! The functions of `tensorflow/c/c_api.h` that are used, found at run time.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

/// An object of the C API; which one is told by the function's own declaration in `tensorflow/c/c_api.h`.
pub type Object = *mut c_void;

/// `TF_Output`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Output {
    pub node: Object,
    pub index: c_int,
}

/// `TF_Buffer`.
#[repr(C)]
pub struct Buffer {
    pub data: *const c_void,
    pub length: usize,
    pub deallocator: Option<unsafe extern "C" fn(*mut c_void, usize)>,
}

/// Declares the table: each function by its name in the C API, with the signature that c_api.h promises to keep.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        pub struct Functions {
            $(pub $field: Symbol<unsafe extern "C" fn($($argument),*) $(-> $result)?>,)*
            // Never closed: TensorFlow's threads and registries stay, and unloading it under them ends the process.
            _library: std::mem::ManuallyDrop<Library>,
        }

        impl Functions {
            fn find(library: Library) -> Result<Functions, String> {
                $(
                    // SAFETY: the signature is c_api.h's.
                    let $field = unsafe { library.get(concat!($name, "\0").as_bytes()) }
                        .map_err(|e| format!("it has no {}: {e}", $name))?;
                )*
                Ok(Functions { $($field,)* _library: std::mem::ManuallyDrop::new(library) })
            }
        }
    };
}

functions! {
    version = "TF_Version": fn() -> *const c_char;
    new_status = "TF_NewStatus": fn() -> Object;
    delete_status = "TF_DeleteStatus": fn(Object);
    get_code = "TF_GetCode": fn(Object) -> c_int;
    message = "TF_Message": fn(Object) -> *const c_char;
    load_library = "TF_LoadLibrary": fn(*const c_char, Object) -> Object;
    delete_library_handle = "TF_DeleteLibraryHandle": fn(Object);
    new_buffer = "TF_NewBuffer": fn() -> *mut Buffer;
    delete_buffer = "TF_DeleteBuffer": fn(*mut Buffer);
    new_graph = "TF_NewGraph": fn() -> Object;
    delete_graph = "TF_DeleteGraph": fn(Object);
    operation_by_name = "TF_GraphOperationByName": fn(Object, *const c_char) -> Object;
    output_count = "TF_OperationNumOutputs": fn(Object) -> c_int;
    new_operation = "TF_NewOperation": fn(Object, *const c_char, *const c_char) -> Object;
    add_input = "TF_AddInput": fn(Object, Output);
    set_type = "TF_SetAttrType": fn(Object, *const c_char, c_int);
    finish_operation = "TF_FinishOperation": fn(Object, Object) -> Object;
    new_session_options = "TF_NewSessionOptions": fn() -> Object;
    delete_session_options = "TF_DeleteSessionOptions": fn(Object);
    set_config = "TF_SetConfig": fn(Object, *const c_void, usize, Object);
    load_session = "TF_LoadSessionFromSavedModel":
        fn(Object, *const Buffer, *const c_char, *const *const c_char, c_int, Object, *mut Buffer, Object) -> Object;
    close_session = "TF_CloseSession": fn(Object, Object);
    delete_session = "TF_DeleteSession": fn(Object, Object);
    session_run = "TF_SessionRun":
        fn(
            Object, *const Buffer,
            *const Output, *const Object, c_int,
            *const Output, *mut Object, c_int,
            *const Object, c_int,
            *mut Buffer, Object
        );
    allocate_tensor = "TF_AllocateTensor": fn(c_int, *const i64, c_int, usize) -> Object;
    delete_tensor = "TF_DeleteTensor": fn(Object);
    tensor_data = "TF_TensorData": fn(Object) -> *mut c_void;
    tensor_bytes = "TF_TensorByteSize": fn(Object) -> usize;
    tensor_type = "TF_TensorType": fn(Object) -> c_int;
    tensor_rank = "TF_NumDims": fn(Object) -> c_int;
    tensor_dim = "TF_Dim": fn(Object, c_int) -> i64;
}

/// Where stock TensorFlow keeps the C API: of the Python package, and of the C library.
const NAMES: [&str; 2] = ["libtensorflow_cc.so.2", "libtensorflow.so.2"];

impl Functions {
    /// From the library at `path`; without one, from where the loader finds it, else from the program itself, which may hold
    /// TensorFlow.
    pub fn open(path: Option<&Path>) -> Result<Functions, String> {
        // SAFETY: running TensorFlow's initializers is what it is opened for.
        let load = |name: &std::ffi::OsStr| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) };
        if let Some(path) = path {
            let library = load(path.as_os_str()).map_err(|e| format!("{}: {e}", path.display()))?;
            return Functions::find(library).map_err(|e| format!("{}: {e}", path.display()));
        }
        let mut tried = Vec::new();
        for name in NAMES {
            match load(name.as_ref()) {
                Ok(library) => return Functions::find(library).map_err(|e| format!("{name}: {e}")),
                Err(e) => tried.push(e.to_string()),
            }
        }
        Functions::find(Library::this()).map_err(|_| {
            format!(
                "TensorFlow was not found ({}); put the folder of libtensorflow_cc.so.2 into LD_LIBRARY_PATH",
                tried.join("; ")
            )
        })
    }
}
