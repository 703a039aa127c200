//! Finding and opening TensorRT.

use super::calls::{Builder, Network, Owned, Parser};
use super::logger::{Logger, Sink};
use super::runtime::RuntimeObject;
use super::slots::Slots;
use super::table::{Table, supported_versions};
use super::version::{Family, Version};
use crate::engine::library_file;
use libloading::os::unix::{Library as Opened, RTLD_LAZY, RTLD_LOCAL};
use std::error::Error;
use std::ffi::{OsStr, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Environment variable with the TensorRT library to use, a file or the folder that it is in; unset, the names of
/// [`CANDIDATES`] are looked for where the dynamic linker looks.
pub const PATH_VARIABLE: &str = "TFTRT_TENSORRT_LIB";

/// The library of each major, newest first.
const CANDIDATES: &[&str] = &["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libtensorrt_rtx.so.1"];

/// Why there is no TensorRT.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(
        "no TensorRT library was found ({}); install TensorRT 8.6, 10 or 11 (pip install tensorrt-cu12, or NVIDIA's packages) or set \
         {PATH_VARIABLE} to its file or folder", tried.join("; ")
    )]
    NotFound { tried: Vec<String> },
    #[error("{path} is not a TensorRT library: {why}")]
    NotTensorRt { path: String, why: String },
    #[error("{path} is {version}, which this build does not know; it knows {}", known())]
    UnknownVersion { path: String, version: Version },
    #[error(
        "{path} is of a version that it numbers {number}, which this build does not know; it knows {}",
        known()
    )]
    UnknownNumber { path: String, number: i32 },
    #[error("{version} ({path}) cannot {what}: {why}")]
    Incomplete {
        version: Version,
        path: String,
        what: &'static str,
        why: String,
    },
}

fn known() -> String {
    let names: Vec<String> = supported_versions()
        .map(|v| format!("{} {}.{}+", v.family, v.major, v.minor))
        .collect();
    names.join(", ")
}

/// A loaded TensorRT. It stays loaded until the process ends: TensorRT's threads and statics do not take an unload well.
pub struct Library {
    opened: ManuallyDrop<Opened>,
    path: PathBuf,
    /// Whether `path` is a file that was found, so that its folder is where its parser is too.
    at_path: bool,
    version: Version,
    pub(super) table: &'static Table,
    pub(super) slots: Slots,
    logger: &'static Logger,
    /// Opened with the first network to be parsed: a machine that only runs engines needs none.
    parser: OnceLock<Result<CreateParser, LibraryError>>,
}

type GetVersion = unsafe extern "C" fn() -> c_int;
type Create = unsafe extern "C" fn(*const c_void, c_int) -> *mut c_void;
type CreateParser = unsafe extern "C" fn(*mut c_void, *const c_void, c_int) -> *mut c_void;

impl Library {
    /// The library that [`PATH_VARIABLE`] names, else the first of the known names that can be opened and is of a known version.
    ///
    /// # Errors
    /// With each name that was tried, where, and what became of it.
    pub fn find(sink: Sink) -> Result<Arc<Library>, LibraryError> {
        match std::env::var_os(PATH_VARIABLE) {
            Some(path) if !path.is_empty() => Library::open(Path::new(&path), sink),
            _ => first(CANDIDATES.iter().map(|name| Place::Named(name)), sink).map_err(|error| match error {
                LibraryError::NotFound { mut tried } => {
                    let searched = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
                    tried.insert(
                        0,
                        format!("looked where the dynamic linker does, LD_LIBRARY_PATH being \"{searched}\""),
                    );
                    LibraryError::NotFound { tried }
                }
                other => other,
            }),
        }
    }

    /// The library in this file, or in this folder.
    ///
    /// # Errors
    /// As [`Library::find`].
    pub fn open(path: &Path, sink: Sink) -> Result<Arc<Library>, LibraryError> {
        if !path.is_dir() {
            return first(std::iter::once(Place::File(path.to_path_buf())), sink);
        }
        let here: Vec<PathBuf> = CANDIDATES.iter().filter_map(|name| in_folder(path, name)).collect();
        if here.is_empty() {
            let tried = vec![format!("looked in {} for {}", path.display(), CANDIDATES.join(", "))];
            return Err(LibraryError::NotFound { tried });
        }
        first(here.into_iter().map(Place::File), sink)
    }

    /// The version that the library itself says it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was opened: the file, as far as the system tells.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its ABI is.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// `createInferBuilder`; `None` where TensorRT refuses (its log says why).
    ///
    /// # Errors
    /// Where the library cannot build: a lean or dispatch runtime.
    pub fn create_builder(self: &Arc<Library>) -> Result<Option<Owned<'static, Builder>>, LibraryError> {
        // SAFETY: the symbol has had this type in every version.
        let create = unsafe { self.opened.get::<Create>(b"createInferBuilder_INTERNAL\0") }
            .map_err(|error| self.cannot("build engines", words(&error)))?;
        // SAFETY: the logger has the layout of this version and lives as long as the process; the version is one that the
        // library is compatible with; the object returned is ours.
        Ok(unsafe { Owned::adopt(create(self.logger.as_ptr(), self.claim()), self) })
    }

    /// `createInferRuntime`; `None` where TensorRT refuses. The current CUDA device is the one that it is for.
    ///
    /// # Errors
    /// Where the library cannot run engines.
    pub fn create_runtime(self: &Arc<Library>) -> Result<Option<Arc<RuntimeObject>>, LibraryError> {
        // SAFETY: the symbol has had this type in every version.
        let create = unsafe { self.opened.get::<Create>(b"createInferRuntime_INTERNAL\0") }
            .map_err(|error| self.cannot("run engines", words(&error)))?;
        // SAFETY: as for the builder.
        let runtime = unsafe { Owned::adopt(create(self.logger.as_ptr(), self.claim()), self) };
        Ok(runtime.map(RuntimeObject::new))
    }

    /// `createParser` for `network`; `None` where TensorRT refuses.
    ///
    /// # Errors
    /// Where there is no ONNX parser beside the library.
    pub fn create_parser<'n>(self: &Arc<Library>, network: &'n Owned<'_, Network>) -> Result<Option<Owned<'n, Parser>>, LibraryError> {
        let create = self.parser.get_or_init(|| self.open_parser()).clone()?;
        let version = self
            .table
            .argument("NV_ONNX_PARSER_VERSION")
            .ok_or_else(|| self.cannot("parse ONNX", "the parser's version is unknown".to_string()))?;
        // SAFETY: as for the builder; the parser borrows the network, which its lifetime says.
        Ok(unsafe { Owned::adopt(create(network.as_ptr(), self.logger.as_ptr(), version), self) })
    }

    fn open_parser(&self) -> Result<CreateParser, LibraryError> {
        let major = self.version.major;
        let name = match self.version.family {
            Family::TensorRt => format!("libnvonnxparser.so.{major}"),
            Family::Rtx => format!("libtensorrt_onnxparser_rtx.so.{major}"),
        };
        let beside = self
            .path
            .parent()
            .filter(|_| self.at_path)
            .and_then(|folder| in_folder(folder, &name));
        let place = beside.unwrap_or_else(|| PathBuf::from(&name));
        // It names the library that it works with by its soname, which is already in the process.
        library_file::check(&place, PATH_VARIABLE)
            .map_err(|why| self.cannot("parse ONNX", format!("its parser {name} is not usable: {why}")))?;
        let parser = open(place.as_os_str())
            .map_err(|error| self.cannot("parse ONNX", format!("its parser {name} is not usable: {}", words(&error))))?;
        // SAFETY: the symbol has had this type in every version; the library is never unloaded.
        let create = unsafe { parser.get::<CreateParser>(b"createNvOnnxParser_INTERNAL\0") }
            .map(|symbol| *symbol)
            .map_err(|error| self.cannot("parse ONNX", words(&error)))?;
        Ok(create)
    }

    /// The version that this program says it was compiled against: that of the table, which is not newer than the library
    /// but for a patch release.
    fn claim(&self) -> c_int {
        let table = self.table.argument("NV_TENSORRT_VERSION").unwrap_or(self.number());
        table.min(self.number())
    }

    fn number(&self) -> c_int {
        // SAFETY: found when the library was opened.
        unsafe { self.opened.get::<GetVersion>(b"getInferLibVersion\0").map_or(0, |get| get()) }
    }

    fn cannot(&self, what: &'static str, why: String) -> LibraryError {
        LibraryError::Incomplete {
            version: self.version,
            path: self.path.display().to_string(),
            what,
            why,
        }
    }
}

enum Place {
    /// Where the dynamic linker finds it.
    Named(&'static str),
    File(PathBuf),
}

/// `folder/name`, else a file there with a longer version (`libtensorrt_rtx.so.1.7.1` for `libtensorrt_rtx.so.1`).
fn in_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if exact.exists() {
        return Some(exact);
    }
    let prefix = format!("{name}.");
    let mut longer: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|file| file.starts_with(&prefix))
        })
        .collect();
    longer.sort();
    longer.pop()
}

/// The first of `places` that is a TensorRT of a known version. Where there is one alone, its own error is the answer.
fn first(places: impl Iterator<Item = Place>, sink: Sink) -> Result<Arc<Library>, LibraryError> {
    let mut tried = Vec::new();
    let mut unfit = None;
    for place in places {
        let (path, at_path) = match place {
            Place::Named(name) => (PathBuf::from(name), false),
            Place::File(path) => (path, true),
        };
        if let Err(why) = library_file::check(&path, PATH_VARIABLE) {
            tried.push(why);
            continue;
        }
        match open(path.as_os_str()) {
            Err(error) => tried.push(words(&error)),
            Ok(opened) => match fit(opened, path, at_path, sink) {
                Ok(library) => return Ok(Arc::new(library)),
                Err(error) => {
                    tried.push(error.to_string());
                    unfit.get_or_insert(error);
                }
            },
        }
    }
    Err(match unfit {
        Some(error) if tried.len() == 1 => error,
        _ => LibraryError::NotFound { tried },
    })
}

/// Opens without resolving every function at once: the parser of 8.6 needs libraries whose functions it never calls.
fn open(path: &OsStr) -> Result<ManuallyDrop<Opened>, libloading::Error> {
    // SAFETY: a library's constructors run. The names are those of TensorRT; a path is what the user asked to load.
    unsafe { Opened::open(Some(path), RTLD_LAZY | RTLD_LOCAL) }.map(ManuallyDrop::new)
}

/// The file that was opened as `name`, from the process's memory map; symbolic links are followed there.
fn mapped(name: &Path) -> Option<PathBuf> {
    let name = name.to_str()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let of_name = |path: &&str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    maps.lines()
        .filter_map(|line| Some(&line[line.find('/')?..]))
        .find(of_name)
        .map(PathBuf::from)
}

/// What the dynamic linker says, which names the file; `libloading` itself says only which call failed.
fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Asks for the version before anything else, and takes up the table for it.
fn fit(opened: ManuallyDrop<Opened>, path: PathBuf, at_path: bool, sink: Sink) -> Result<Library, LibraryError> {
    let shown = path.display().to_string();
    // SAFETY: `int32_t getInferLibVersion()` in every version; a library that has the symbol is TensorRT.
    let number =
        unsafe { opened.get::<GetVersion>(b"getInferLibVersion\0").map(|get| get()) }.map_err(|error| LibraryError::NotTensorRt {
            path: shown.clone(),
            why: words(&error),
        })?;
    let version = Version::from_number(number).ok_or_else(|| LibraryError::UnknownNumber {
        path: shown.clone(),
        number,
    })?;
    let unknown = || LibraryError::UnknownVersion {
        path: shown.clone(),
        version,
    };
    let table = Table::of(version).ok_or_else(unknown)?;
    let logger = Logger::leak(table, sink).ok_or_else(unknown)?;
    let path = if at_path { path } else { mapped(&path).unwrap_or(path) };
    Ok(Library {
        opened,
        path,
        at_path,
        version,
        table,
        slots: Slots::of(table),
        logger,
        parser: OnceLock::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn ignore(_: super::super::logger::Severity, _: &str) {}

    fn error_of(result: Result<Arc<Library>, LibraryError>) -> String {
        result
            .map(|library| library.version().to_string())
            .expect_err("there is no such library")
            .to_string()
    }

    #[test]
    fn a_folder_without_tensorrt() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = error_of(Library::open(folder.path(), ignore));
        for name in CANDIDATES {
            assert!(text.contains(name), "{name} not in: {text}");
        }
        assert!(text.contains(&folder.path().display().to_string()), "{text}");
        assert!(text.contains(PATH_VARIABLE), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_or_not_a_library() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("libnvinfer.so.10");
        assert!(error_of(Library::open(&absent, ignore)).contains("libnvinfer.so.10"));
        fs::write(&absent, b"not an ELF file").expect("written");
        let text = error_of(Library::open(folder.path(), ignore));
        assert!(text.contains("libnvinfer.so.10"), "{text}");
    }

    /// The C library opens, but it is no TensorRT.
    #[test]
    fn another_library() {
        let text = error_of(Library::open(Path::new("libc.so.6"), ignore));
        assert!(text.contains("libc.so.6 is not a TensorRT library"), "{text}");
        assert!(text.contains("getInferLibVersion"), "{text}");
    }

    /// Real shared libraries whose whole content is a version that is too old, too new, or no version at all.
    #[test]
    fn a_version_out_of_range() {
        let folder = tempfile::tempdir().expect("a folder");
        for (number, says) in [
            (7203, "TensorRT 7.2.3"),
            (120000, "TensorRT 12.0.0"),
            (10300, "TensorRT-RTX 1.3.0"),
            (-5, "numbers -5"),
        ] {
            let source = folder.path().join("version.c");
            let file = folder.path().join(format!("libversion{number}.so"));
            fs::write(&source, format!("int getInferLibVersion(void) {{ return {number}; }}\n")).expect("written");
            let compiled = std::process::Command::new("cc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(&file)
                .arg(&source)
                .status();
            assert!(
                compiled.is_ok_and(|status| status.success()),
                "cc, which building this crate needs too"
            );
            let text = error_of(Library::open(&file, ignore));
            assert!(
                text.contains(says) && text.contains("TensorRT-RTX 1.7+") && text.contains("TensorRT 8.6+"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_library_that_was_cut_short_and_what_is_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let cut = folder.path().join("libnvinfer.so.10");
        let whole = fs::read("/proc/self/exe").expect("this program's file");
        fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
        let text = error_of(Library::open(folder.path(), ignore));
        assert!(
            text.contains("is cut short") && text.contains(&cut.display().to_string()) && text.contains(PATH_VARIABLE),
            "{text}"
        );
        let text = error_of(Library::open(Path::new("/dev/zero"), ignore));
        assert!(text.contains("/dev/zero, from TFTRT_TENSORRT_LIB, is a device"), "{text}");
    }

    #[test]
    fn the_file_behind_a_name() {
        let file = mapped(Path::new("libc.so.6")).expect("every program here has the C library");
        assert!(file.is_absolute() && file.is_file(), "{file:?}");
        assert_eq!(mapped(Path::new("libc.so.7")), None);
        assert_eq!(mapped(Path::new("ibc.so.6")), None);
    }

    #[test]
    fn longer_names_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(in_folder(folder.path(), "libtensorrt_rtx.so.1"), None);
        let long = folder.path().join("libtensorrt_rtx.so.1.7.1");
        fs::write(&long, b"").expect("written");
        assert_eq!(in_folder(folder.path(), "libtensorrt_rtx.so.1"), Some(long));
        let exact = folder.path().join("libtensorrt_rtx.so.1");
        fs::write(&exact, b"").expect("written");
        assert_eq!(in_folder(folder.path(), "libtensorrt_rtx.so.1"), Some(exact));
    }
}
