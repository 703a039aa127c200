//! The converted model as a SavedModel of one signature, without variables.

use super::{INIT_COLLECTIONS, Model, Options, init_op};
use crate::files;
use crate::memory;
use crate::proto::tensorflow as tf;
use prost::Message;
use std::fs;
use std::path::Path;

/// `kSavedModelSchemaVersion` of tensorflow/cc/saved_model/constants.h.
const SCHEMA_VERSION: i64 = 1;

pub fn write(model: Model, options: &Options) -> Result<(), String> {
    let Model {
        graph,
        signature,
        mut meta,
        ..
    } = model;
    meta.graph_def = Some(graph);
    // As models of TensorFlow 1 tell of it: Python loads this one as such, and takes every signature for a function of its inputs, which
    // initialization is not where it reads files.
    let init = init_op(&meta).map(|name| tf::CollectionDef {
        kind: Some(tf::collection_def::Kind::NodeList(tf::collection_def::NodeList {
            value: vec![name],
        })),
    });
    meta.signature_def = [(options.signature.clone(), signature)].into();
    meta.collection_def = init.map(|nodes| (INIT_COLLECTIONS[0].to_string(), nodes)).into_iter().collect();
    // There is nothing to restore, and the objects were those of the old graph.
    meta.saver_def = None;
    meta.object_graph_def = None;
    if let Some(info) = &mut meta.meta_info_def {
        info.stripped_op_list = None;
        info.stripped_default_attrs = false;
        info.function_aliases.clear();
    }
    let saved = tf::SavedModel {
        saved_model_schema_version: SCHEMA_VERSION,
        meta_graphs: vec![meta],
    };
    let size = saved.encoded_len();
    if size > i32::MAX as usize {
        return Err(format!(
            "the converted model has {size} bytes, over protobuf's limit of 2 GB: nothing was written"
        ));
    }
    let (input, output) = (Path::new(&options.input), Path::new(&options.output));
    let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(output).map_err(|e| failed(output, e))?;
    copy_assets(input, output)?;
    let bytes = memory::encode("the converted model", &saved)?;
    // Last: a folder with this file is a whole model.
    files::replace(&output.join("saved_model.pb"), |out| std::io::Write::write_all(out, &bytes)).map_err(|e| e.to_string())?;
    // An older model's variables would be restored into this one.
    let variables = output.join("variables");
    match variables.is_dir() {
        true => fs::remove_dir_all(&variables).map_err(|e| failed(&variables, e)),
        false => Ok(()),
    }
}

/// The files that tables are initialized from.
fn copy_assets(input: &Path, output: &Path) -> Result<(), String> {
    let from = input.join("assets");
    if !from.is_dir() {
        return Ok(());
    }
    let to = output.join("assets");
    let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(&to).map_err(|e| failed(&to, e))?;
    for entry in fs::read_dir(&from).map_err(|e| failed(&from, e))? {
        let path = entry.map_err(|e| failed(&from, e))?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).map_err(|e| failed(&path, e))?;
        }
    }
    Ok(())
}
