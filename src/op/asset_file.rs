//! The engine file of one resource: a local file, or one of TensorFlow's file systems.

use crate::engine::asset::{self, AssetError, EngineInstance};
use crate::engine::place::{self, PlaceError, SAVED_MODEL};
use crate::tf::remote::{self, RemoteFile};
use std::io::{self, BufReader, ErrorKind};
use std::path::Path;

/// Why an engine file gives no engines.
#[derive(Debug)]
pub enum ReadError {
    /// There is no file.
    NoFile(io::Error),
    /// It is not read, or what is in it is of no use. The text names the file.
    Useless(String),
}

/// What is read of a remote file at once.
const CHUNK: usize = 4 << 20;

/// Reads the engines of `engine` from its file.
///
/// # Errors
/// Where there is no file, it is not where a model keeps it, or it is damaged.
pub fn read(file: &Path, engine: &str) -> Result<Vec<EngineInstance>, ReadError> {
    let read = match file.to_str().filter(|path| remote::is_remote(path)) {
        Some(path) => open_remote(path, engine).map(|open| {
            let length = open.length();
            asset::read_records(file, BufReader::with_capacity(CHUNK, open), length)
        }),
        None => {
            let path = asset::local(file);
            place::open(path, engine).map(|open| asset::read_open(path, open))
        }
    };
    match read {
        Ok(read) => read.map_err(|e| ReadError::Useless(e.to_string())),
        Err(PlaceError::Io(e)) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory) => {
            Err(ReadError::NoFile(e))
        }
        Err(PlaceError::Io(e)) => Err(ReadError::Useless(format!("{}: cannot be opened: {e}", file.display()))),
        Err(e @ PlaceError::Elsewhere(_)) => Err(ReadError::Useless(format!("{}: {e}", file.display()))),
    }
}

/// The rule of local files, as far as names tell: these file systems have no links.
fn open_remote(path: &str, engine: &str) -> Result<RemoteFile, PlaceError> {
    let Some((scheme, rest)) = path.split_once("://") else {
        return Err(PlaceError::Elsewhere("it has no scheme".to_string()));
    };
    let model = place::model_of(Path::new(rest), engine)?;
    let folder = format!("{scheme}://{}", model.display());
    for name in SAVED_MODEL {
        if remote::exists(&format!("{folder}/{name}"))? {
            return Ok(RemoteFile::open(path)?);
        }
    }
    Err(place::no_model(Path::new(&folder)))
}

/// Writes `engines` to `file`, all or nothing.
///
/// # Errors
/// Where an engine must not be written, or the file cannot be.
pub fn write(file: &Path, engines: &[EngineInstance]) -> Result<(), AssetError> {
    let Some(path) = file.to_str().filter(|path| remote::is_remote(path)) else {
        return asset::write_assets(file, engines);
    };
    asset::check(file, engines)?;
    remote::replace(path, |out| asset::write_records(out, engines)).map_err(|source| AssetError::Io {
        path: file.to_path_buf(),
        action: "written",
        source,
    })
}
