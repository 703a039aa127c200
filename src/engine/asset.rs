//! Asset files: the engines of one TRTEngineOp in a SavedModel (`assets/trt-serialized-engine.<name>`).
//!
//! A file is a sequence of TFRecord records. Each is a length (8 bytes, little-endian), its masked CRC-32C, the data, and the
//! data's masked CRC-32C; the data is one `tensorflow.tensorrt.TRTEngineInstance`. A file of no bytes holds no engines:
//! that is what `save_gpu_specific_engines=false` writes.

use super::place;
use crate::fault::{self, Point};
use crate::files::{self, FileError};
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use prost::Message;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `tensorflow.tensorrt.TRTEngineInstance` of TF-TRT's `trt_engine_instance.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct TrtEngineInstance {
    /// One full shape an input.
    #[prost(message, repeated, tag = "1")]
    pub input_shapes: Vec<tf::TensorShapeProto>,
    #[prost(bytes = "bytes", tag = "2")]
    pub serialized_engine: Bytes,
}

/// One engine of an asset file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInstance {
    /// The input shapes that the engine was made for.
    pub input_shapes: Vec<Vec<i64>>,
    /// The plan, as [`super::plan::Plan::encode`] gives it or as TF-TRT 2.x wrote it.
    pub plan: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    #[error("{}: cannot be {action}: {source}", .path.display())]
    Io {
        path: PathBuf,
        /// What failed, as "opened".
        action: &'static str,
        source: io::Error,
    },
    /// The bytes are not what an asset file holds.
    #[error("{}: record {record} at byte {offset}: {problem}", .path.display())]
    Record {
        path: PathBuf,
        /// Counted from 0.
        record: usize,
        offset: u64,
        problem: String,
    },
    /// An engine that must not be written.
    #[error("{}: engine {engine} cannot be written: {problem}", .path.display())]
    Engine { path: PathBuf, engine: usize, problem: String },
}

impl From<FileError> for AssetError {
    fn from(error: FileError) -> Self {
        AssetError::Io {
            path: error.path,
            action: error.action,
            source: error.source,
        }
    }
}

/// The bytes of a record before its data: length and checksum.
const RECORD_HEADER: u64 = 12;
/// Those after it.
const RECORD_FOOTER: u64 = 4;

/// What is read of one file at most: plans hold all weights, and so have models' sizes.
const MOST_BYTES: u64 = 32 << 30;
/// Engines of a file, inputs of an engine, and dimensions of a shape (TensorFlow's own limit) at most.
const MOST_ENGINES: usize = 1 << 16;
const MOST_INPUTS: usize = 1 << 16;
const MOST_DIMENSIONS: usize = 254;

/// The checksum as TFRecord stores it: rotated and offset, so that data which holds checksums keeps good ones.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Writes `engines` to `path`, all or nothing.
///
/// They are written under another name in the same directory, flushed to the disk, and renamed. On an error (a full disk,
/// say) that file is removed, what `path` held before is untouched, and the error names the file and the cause.
pub fn write_assets(path: impl AsRef<Path>, engines: &[EngineInstance]) -> Result<(), AssetError> {
    let path = local(path.as_ref());
    check(path, engines)?;
    files::replace(path, |file| write_records(file, engines)).map_err(AssetError::from)
}

/// Whether `engines` may be written to `path`.
///
/// # Errors
/// At an engine without a plan, or with a negative size.
pub fn check(path: &Path, engines: &[EngineInstance]) -> Result<(), AssetError> {
    for (engine, instance) in engines.iter().enumerate() {
        let refuse = |problem: String| AssetError::Engine {
            path: path.to_path_buf(),
            engine,
            problem,
        };
        if instance.plan.is_empty() {
            return Err(refuse("its plan is empty".to_string()));
        }
        if let Some(shape) = instance.input_shapes.iter().find(|s| s.iter().any(|&d| d < 0)) {
            return Err(refuse(format!("its input shape {shape:?} has a negative size")));
        }
    }
    Ok(())
}

/// Writes the records of `engines`, in their order.
pub fn write_records(out: &mut (impl Write + ?Sized), engines: &[EngineInstance]) -> io::Result<()> {
    for engine in engines {
        // The message's bytes up to the plan's; so the plan, which may take gigabytes, is not copied.
        let mut start = TrtEngineInstance {
            input_shapes: engine.input_shapes.iter().map(|s| to_proto(s)).collect(),
            serialized_engine: Bytes::new(),
        }
        .encode_to_vec();
        if !engine.plan.is_empty() {
            prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut start);
            prost::encoding::encode_varint(engine.plan.len() as u64, &mut start);
        }
        let length = ((start.len() + engine.plan.len()) as u64).to_le_bytes();
        out.write_all(&length)?;
        out.write_all(&masked(crc32c::crc32c(&length)).to_le_bytes())?;
        out.write_all(&start)?;
        out.write_all(&engine.plan)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&start), &engine.plan);
        out.write_all(&masked(crc).to_le_bytes())?;
    }
    Ok(())
}

/// Reads all engines of a file that a user names, in their order. Each plan is a slice of its record's bytes, not a copy.
pub fn read_assets(path: impl AsRef<Path>) -> Result<Vec<EngineInstance>, AssetError> {
    let path = local(path.as_ref());
    let file = place::open_named(path).map_err(|source| AssetError::Io {
        path: path.to_path_buf(),
        action: "opened",
        source,
    })?;
    read_open(path, file)
}

/// Reads all engines of an open file; `path` is for messages.
pub fn read_open(path: &Path, file: File) -> Result<Vec<EngineInstance>, AssetError> {
    let metadata = file.metadata().map_err(|source| AssetError::Io {
        path: path.to_path_buf(),
        action: "opened",
        source,
    })?;
    let length = metadata.len();
    read_records(path, BufReader::new(file), length)
}

/// Reads records from `reader`, which holds `length` bytes; `name` is for messages. A record's length is held against the
/// bytes that are left before memory is reserved for it.
pub fn read_records(name: &Path, mut reader: impl Read, length: u64) -> Result<Vec<EngineInstance>, AssetError> {
    let mut engines = Vec::new();
    let mut offset = 0u64;
    let too_much = |record: usize, offset: u64, problem: String| AssetError::Record {
        path: name.to_path_buf(),
        record,
        offset,
        problem,
    };
    if length > MOST_BYTES {
        return Err(too_much(
            0,
            0,
            format!("expected a file of at most {MOST_BYTES} bytes, and it has {length}"),
        ));
    }
    while offset < length {
        let left = length - offset;
        let record = engines.len();
        if record == MOST_ENGINES {
            return Err(too_much(
                record,
                offset,
                format!("expected at most {MOST_ENGINES} engines in a file, and there are more"),
            ));
        }
        let (data, used) = read_record(&mut reader, left).map_err(|error| match error {
            RecordError::Io(source) => AssetError::Io {
                path: name.to_path_buf(),
                action: "read",
                source,
            },
            RecordError::Bad(problem) => AssetError::Record {
                path: name.to_path_buf(),
                record,
                offset,
                problem,
            },
        })?;
        engines.push(instance(data).map_err(|problem| AssetError::Record {
            path: name.to_path_buf(),
            record,
            offset,
            problem,
        })?);
        offset += used;
    }
    Ok(engines)
}

enum RecordError {
    Io(io::Error),
    Bad(String),
}

/// The next record's data, and how many of the `left` bytes the record takes.
fn read_record(reader: &mut impl Read, left: u64) -> Result<(Bytes, u64), RecordError> {
    fault::at(Point::Read).map_err(|why| RecordError::Io(why.into()))?;
    if left < RECORD_HEADER {
        return Err(RecordError::Bad(format!(
            "expected the {RECORD_HEADER} bytes of a TFRecord header, and {left} are left in the file: it is truncated, or no asset file"
        )));
    }
    let length_bytes: [u8; 8] = read_array(reader)?;
    let length_crc = u32::from_le_bytes(read_array(reader)?);
    if masked(crc32c::crc32c(&length_bytes)) != length_crc {
        return Err(RecordError::Bad(
            "expected a TFRecord length with its checksum, and they do not agree: the file is damaged, or no asset file".to_string(),
        ));
    }
    let length = u64::from_le_bytes(length_bytes);
    let room = left.saturating_sub(RECORD_HEADER + RECORD_FOOTER);
    if length > room {
        return Err(RecordError::Bad(format!(
            "expected {length} bytes of data, and {room} are left in the file: it is truncated"
        )));
    }
    let mut data = Vec::new();
    usize::try_from(length)
        .ok()
        .and_then(|length| data.try_reserve_exact(length).ok())
        .ok_or_else(|| RecordError::Bad(format!("there is no memory for its {length} bytes of data")))?;
    let read = reader.take(length).read_to_end(&mut data).map_err(RecordError::Io)?;
    if (read as u64) < length {
        return Err(shrunk());
    }
    let data_crc = u32::from_le_bytes(read_array(reader)?);
    if masked(crc32c::crc32c(&data)) != data_crc {
        return Err(RecordError::Bad(format!(
            "expected {length} bytes of data with their checksum, and they do not agree: the file is damaged"
        )));
    }
    Ok((data.into(), RECORD_HEADER + length + RECORD_FOOTER))
}

fn read_array<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], RecordError> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(|why| match why.kind() {
        ErrorKind::UnexpectedEof => shrunk(),
        _ => RecordError::Io(why),
    })?;
    Ok(bytes)
}

fn shrunk() -> RecordError {
    RecordError::Bad("the file ended while it was read: another process has cut it".to_string())
}

fn instance(data: Bytes) -> Result<EngineInstance, String> {
    let message = TrtEngineInstance::decode(data).map_err(|why| format!("expected a TRTEngineInstance, found other data ({why})"))?;
    if message.serialized_engine.is_empty() {
        return Err("expected a TRTEngineInstance with an engine, found none in it: the record is of another kind".to_string());
    }
    if message.input_shapes.len() > MOST_INPUTS || message.input_shapes.iter().any(|shape| shape.dim.len() > MOST_DIMENSIONS) {
        return Err(format!(
            "expected at most {MOST_INPUTS} input shapes of at most {MOST_DIMENSIONS} dimensions, and there are more"
        ));
    }
    let mut input_shapes = Vec::with_capacity(message.input_shapes.len());
    for (input, shape) in message.input_shapes.iter().enumerate() {
        if shape.unknown_rank || shape.dim.iter().any(|d| d.size < 0) {
            return Err(format!("expected full input shapes, and that of input {input} has unknown sizes"));
        }
        input_shapes.push(shape.dim.iter().map(|d| d.size).collect());
    }
    Ok(EngineInstance {
        input_shapes,
        plan: message.serialized_engine,
    })
}

fn to_proto(shape: &[i64]) -> tf::TensorShapeProto {
    tf::TensorShapeProto {
        unknown_rank: false,
        dim: shape
            .iter()
            .map(|&size| tf::tensor_shape_proto::Dim {
                size,
                name: Default::default(),
            })
            .collect(),
    }
}

/// TensorFlow names local files with and without their scheme.
pub fn local(path: &Path) -> &Path {
    let rest = path.as_os_str().as_bytes().strip_prefix(b"file://");
    rest.map_or(path, |rest| Path::new(OsStr::from_bytes(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::fs;

    fn engine(shapes: &[&[i64]], plan: &'static [u8]) -> EngineInstance {
        EngineInstance {
            input_shapes: shapes.iter().map(|s| s.to_vec()).collect(),
            plan: Bytes::from_static(plan),
        }
    }

    fn two() -> Vec<EngineInstance> {
        vec![engine(&[&[8, 128], &[]], b"plan one"), engine(&[&[0, 4], &[7]], b"plan two")]
    }

    fn bytes_of(engines: &[EngineInstance]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_records(&mut bytes, engines).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<EngineInstance>, AssetError> {
        read_records(Path::new("the/asset"), bytes, bytes.len() as u64)
    }

    /// `data` as one record.
    fn record(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend(masked(crc32c::crc32c(&length)).to_le_bytes());
        bytes.extend(data);
        bytes.extend(masked(crc32c::crc32c(data)).to_le_bytes());
        bytes
    }

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The bytes that `tf.io.TFRecordWriter` of TensorFlow 2.21 writes for
    /// `TRTEngineInstance { input_shapes { dim { size: 2 } dim { size: 3 } } serialized_engine: "abc" }`.
    const FROM_TENSORFLOW: &str = "0f000000000000006d532b090a08120208021202080312036162639cee09cd";

    #[test]
    fn a_record_is_byte_for_byte_tensorflows() {
        let hex: String = bytes_of(&[engine(&[&[2, 3]], b"abc")]).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, FROM_TENSORFLOW);
    }

    #[test]
    fn the_plan_written_apart_makes_the_same_message() {
        for engine in two() {
            let message = TrtEngineInstance {
                input_shapes: engine.input_shapes.iter().map(|s| to_proto(s)).collect(),
                serialized_engine: engine.plan.clone(),
            };
            assert_eq!(bytes_of(&[engine]), record(&message.encode_to_vec()));
        }
    }

    #[test]
    fn files_come_back_and_are_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trt-serialized-engine.TRTEngineOp_000_000");
        write_assets(&path, &two()).unwrap();
        assert_eq!(read_assets(&path).unwrap(), two());
        write_assets(&path, &[]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(read_assets(&path).unwrap(), []);
        write_assets(format!("file://{}", path.display()), &two()[..1]).unwrap();
        assert_eq!(read_assets(format!("file://{}", path.display())).unwrap(), two()[..1]);
        assert_eq!(names(directory.path()), ["trt-serialized-engine.TRTEngineOp_000_000"]);
    }

    #[test]
    fn there_is_a_most_of_everything() {
        let nothing = read_records(Path::new("the/asset"), io::empty(), MOST_BYTES + 1);
        assert!(nothing.unwrap_err().to_string().contains("at most 34359738368 bytes"));
        let said = |engine: EngineInstance| read(&bytes_of(&[engine])).unwrap_err().to_string();
        let plan = Bytes::from_static(b"p");
        let input_shapes = vec![vec![1; MOST_DIMENSIONS + 1]];
        assert!(
            said(EngineInstance {
                input_shapes,
                plan: plan.clone()
            })
            .contains("at most 254 dimensions")
        );
        let input_shapes = vec![vec![]; MOST_INPUTS + 1];
        assert!(
            said(EngineInstance {
                input_shapes,
                plan: plan.clone()
            })
            .contains("at most 65536 input shapes")
        );
        let input_shapes = vec![];
        let many = vec![EngineInstance { input_shapes, plan }; MOST_ENGINES + 1];
        assert!(read(&bytes_of(&many)).unwrap_err().to_string().contains("at most 65536 engines"));
    }

    #[test]
    fn plans_are_slices_of_the_record() {
        let data = Bytes::from(
            TrtEngineInstance {
                input_shapes: vec![],
                serialized_engine: Bytes::from(vec![5; 1000]),
            }
            .encode_to_vec(),
        );
        let plan = instance(data.clone()).unwrap().plan;
        assert_eq!(plan.as_ptr(), data[data.len() - 1000..].as_ptr());
    }

    #[test]
    fn every_truncation_between_records_names_the_record_at_fault() {
        let bytes = bytes_of(&two());
        let first = bytes_of(&two()[..1]).len();
        for length in 1..bytes.len() {
            let read = read(&bytes[..length]);
            if length == first {
                assert_eq!(read.unwrap(), two()[..1]);
                continue;
            }
            let message = read.unwrap_err().to_string();
            let record = format!(
                "the/asset: record {} at byte {}",
                (length > first) as u8,
                if length > first { first } else { 0 }
            );
            assert!(message.contains(&record) && message.contains("expected"), "{message}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = bytes_of(&two());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let message = read(&flipped).expect_err("a flipped bit").to_string();
            assert!(message.contains("record"), "{message}");
        }
    }

    #[test]
    fn foreign_records_are_refused() {
        let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(message(b"PK\x03\x04 this is a zip archive, not an asset").contains("no asset file"));
        assert!(message(&[0; 4096]).contains("no asset file"));
        assert!(message(&record(b"not a message at all")).contains("TRTEngineInstance"));
        // A tf.train.Example reads as a TRTEngineInstance of one scalar and no engine.
        assert!(message(&record(&[0x0a, 0x03, 0x0a, 0x01, 0x61])).contains("engine"));
        let open = TrtEngineInstance {
            input_shapes: vec![to_proto(&[1]), to_proto(&[-1])],
            serialized_engine: Bytes::from_static(b"x"),
        };
        assert!(message(&record(&open.encode_to_vec())).contains("input 1"));
    }

    #[test]
    fn a_length_beyond_the_file_reserves_nothing() {
        let length = u64::MAX.to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend(masked(crc32c::crc32c(&length)).to_le_bytes());
        bytes.extend([0; 20]);
        let message = read(&bytes).unwrap_err().to_string();
        assert!(
            message.contains("18446744073709551615") && message.contains("16 are left"),
            "{message}"
        );
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_refused() {
        let bytes = bytes_of(&two());
        let cut = &bytes[..bytes.len() - 7];
        let read = read_records(Path::new("the/asset"), cut, bytes.len() as u64);
        assert!(read.unwrap_err().to_string().contains("another process"));
    }

    #[test]
    fn what_is_no_file_names_itself() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("vanished");
        let message = read_assets(&gone).unwrap_err().to_string();
        assert!(message.contains("vanished") && message.contains("No such file"), "{message}");
        let message = read_assets(directory.path()).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{message}");
        assert!(read_assets("/dev/zero").is_err());
    }

    #[test]
    fn a_full_disk_is_reported() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut out = io::BufWriter::new(full);
        let why = write_records(&mut out, &two()).and_then(|()| out.flush()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("asset");
        write_assets(&path, &two()).unwrap();
        let why = files::replace(&path, |out| {
            out.write_all(&[1; 100_000])?;
            Err(io::Error::from(ErrorKind::StorageFull))
        })
        .unwrap_err()
        .to_string();
        assert!(why.contains("asset: cannot be written"), "{why}");
        assert_eq!(read_assets(&path).unwrap(), two());
        assert_eq!(names(directory.path()), ["asset"]);
    }

    #[test]
    fn a_failed_rename_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        fs::create_dir_all(taken.join("by a directory")).unwrap();
        let why = write_assets(&taken, &two()).unwrap_err().to_string();
        assert!(why.contains("taken: cannot be put in its place"), "{why}");
        assert_eq!(names(directory.path()), ["taken"]);
        let why = write_assets(directory.path().join("no/such/directory"), &two())
            .unwrap_err()
            .to_string();
        assert!(why.contains("no/such/directory"), "{why}");
        assert!(write_assets("/", &two()).is_err());
    }

    #[test]
    fn engines_that_could_not_be_read_back_are_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("asset");
        assert!(
            write_assets(&path, &[engine(&[], b"")])
                .unwrap_err()
                .to_string()
                .contains("engine 0")
        );
        assert!(
            write_assets(&path, &[engine(&[&[-1]], b"x")])
                .unwrap_err()
                .to_string()
                .contains("negative")
        );
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            engines in proptest::collection::vec(
                (proptest::collection::vec(proptest::collection::vec(0i64..i64::MAX, 0..4), 0..4), proptest::collection::vec(any::<u8>(), 1..300)),
                0..5,
            ),
        ) {
            let engines: Vec<_> = engines
                .into_iter()
                .map(|(input_shapes, plan)| EngineInstance { input_shapes, plan: plan.into() })
                .collect();
            prop_assert_eq!(read(&bytes_of(&engines)).unwrap(), engines);
        }

        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
            assert!(read(&bytes).is_err());
        }
    }
}
