//! Finds the installed TensorFlow through Python, generates the protobuf messages, and compiles `cpp_shim/` against
//! TensorFlow's headers behind the `cxx` bridge in `src/tf/ffi.rs`.

use prost::Message;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SHIM: &[&str] = &[
    "context.cc",
    "device.cc",
    "files.cc",
    "graph.cc",
    "grappler.cc",
    "kernels.cc",
    "metrics.cc",
    "optimizer.cc",
    "placement.cc",
    "registry.cc",
    "resource.cc",
];

fn main() {
    println!("cargo:rerun-if-env-changed=TFTRT_PYTHON");
    println!("cargo:rerun-if-changed=build_support");
    println!("cargo:rerun-if-changed=cpp_shim");
    println!("cargo:rerun-if-changed=op_defs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let tensorflow = match Tensorflow::find(&out) {
        Ok(found) => found,
        Err(why) => {
            // One sentence: what is missing and the command that brings it.
            println!(
                "cargo::error=TensorFlow was not found ({why}); run `cargo xtask setup`, or set TFTRT_PYTHON to a Python that has tensorflow and onnx"
            );
            std::process::exit(1);
        }
    };
    println!(
        "cargo:rerun-if-changed={}",
        tensorflow.library_dir.join(&tensorflow.framework_library).display()
    );
    println!("cargo:rustc-env=TFTRT_BUILT_FOR_TENSORFLOW={}", tensorflow.version);
    println!("cargo:rustc-env=TFTRT_BUILT_FOR_GRAPH_DEF={}", tensorflow.graph_def_version);
    if tensorflow.number().parse::<u32>().is_ok_and(|number| number < 218) {
        println!(
            "cargo::error=TensorFlow {} has TF-TRT built in and takes no tftrt; install TensorFlow 2.18 or newer",
            tensorflow.version
        );
        std::process::exit(1);
    }
    generate_messages(&out, "tensorflow.fds", true);
    generate_messages(&out, "onnx.fds", false);
    if Path::new("src/tf/ffi.rs").exists() {
        compile_shim(&tensorflow);
    }
}

struct Tensorflow {
    version: String,
    graph_def_version: i64,
    compile_flags: Vec<String>,
    library_dir: PathBuf,
    framework_library: String,
}

impl Tensorflow {
    /// Its line as cpp_shim/versions.h knows it: "218" for 2.18.1.
    fn number(&self) -> String {
        let mut parts = self.version.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{major}{minor:0>2}")
    }

    /// Asks the Python of TFTRT_PYTHON, else `.venv`, else `python3`.
    fn find(out: &Path) -> Result<Self, String> {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
        let venv = root.join(".venv/bin/python");
        let python = match env::var_os("TFTRT_PYTHON") {
            Some(given) => PathBuf::from(given),
            None if venv.exists() => venv,
            None => PathBuf::from("python3"),
        };
        let run = Command::new(&python)
            .arg(root.join("build_support/tensorflow_info.py"))
            .arg(out)
            .output()
            .map_err(|e| format!("{} cannot be started: {e}", python.display()))?;
        if !run.status.success() {
            let stderr = String::from_utf8_lossy(&run.stderr);
            let last = stderr.lines().last().unwrap_or("no message").to_string();
            return Err(format!("{} says: {last}", python.display()));
        }
        let stdout = String::from_utf8_lossy(&run.stdout);
        let line = stdout.lines().last().unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("unreadable answer of {}: {e}", python.display()))?;
        let text = |key: &str| {
            json[key]
                .as_str()
                .map(str::to_string)
                .ok_or_else(|| format!("no {key} in the answer of {}", python.display()))
        };
        Ok(Tensorflow {
            version: text("version")?,
            graph_def_version: json["graph_def_version"].as_i64().ok_or("no graph_def_version")?,
            compile_flags: json["compile_flags"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|f| f.as_str().map(str::to_string))
                .collect(),
            library_dir: PathBuf::from(text("library_dir")?),
            framework_library: text("framework_library")?,
        })
    }
}

/// Rust types for a descriptor set. TensorFlow's byte fields become `Bytes`, so that decoding a graph does not copy
/// the weights that it holds.
fn generate_messages(out: &Path, set: &str, shared_bytes: bool) {
    let bytes = fs::read(out.join(set)).expect("tensorflow_info.py wrote the descriptor set");
    let set = prost_types::FileDescriptorSet::decode(bytes.as_slice()).expect("a FileDescriptorSet");
    let mut config = prost_build::Config::new();
    config.btree_map(["."]);
    if shared_bytes {
        config.bytes(["."]);
    } else {
        config.bytes([".onnx.TensorProto.raw_data"]);
    }
    config.compile_fds(set).expect("prost-build takes the descriptors");
}

fn compile_shim(tensorflow: &Tensorflow) {
    let mut build = cxx_build::bridge("src/tf/ffi.rs");
    for file in SHIM {
        build.file(format!("cpp_shim/{file}"));
    }
    for flag in &tensorflow.compile_flags {
        match flag.strip_prefix("-I") {
            // As system headers: their warnings are not ours.
            Some(dir) => build.flag("-isystem").flag(dir),
            None => build.flag(flag),
        };
    }
    build
        // TensorFlow's checks carry the names of its headers: as they are in the package, not as on this machine.
        .flag_if_supported(format!("-ffile-prefix-map={}=tensorflow", tensorflow.library_dir.display()))
        .flag("-fvisibility=hidden")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Wno-unused-parameter")
        .define("TFTRT_TENSORFLOW", tensorflow.number().as_str())
        .std("c++17");
    build.compile("tftrt_shim");
    let archive = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("libtftrt_shim.a");
    weaken(&archive, &tensorflow.library_dir.join(&tensorflow.framework_library));
    println!("cargo:rustc-link-search=native={}", tensorflow.library_dir.display());
    // After the shim's archive; and kept, though all that is asked of it is asked weakly.
    println!(
        "cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-l:{},--pop-state",
        tensorflow.framework_library
    );
    // tftrt-convert brings the plugin in itself, and TensorFlow's own ops and kernels have to be registered before it.
    println!("cargo:rustc-link-arg-bin=tftrt-convert=-Wl,--push-state,--no-as-needed,-l:libtensorflow_cc.so.2,--pop-state");
    // Test programs and benches find TensorFlow here; so does a program that loads the cdylib before TensorFlow.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", tensorflow.library_dir.display());
}

/// Makes the archive's references to TensorFlow's symbols weak. In a process with another TensorFlow, which lacks some of
/// them, the loader would refuse the library with the name of a symbol; so it loads, finds out which TensorFlow it is in
/// (src/tf/init.rs), and says so.
fn weaken(archive: &Path, framework: &Path) {
    let symbols = |arguments: &[&str], file: &Path| -> BTreeSet<String> {
        let listed = Command::new("nm")
            .args(arguments)
            .arg(file)
            .output()
            .expect("nm, of binutils, which g++ brings");
        assert!(
            listed.status.success(),
            "nm {}: {}",
            file.display(),
            String::from_utf8_lossy(&listed.stderr)
        );
        // A symbol's version, if it has one, is behind an '@'.
        let name = |line: &str| line.split_whitespace().last().map(|n| n.split('@').next().unwrap_or(n).to_string());
        String::from_utf8_lossy(&listed.stdout).lines().filter_map(name).collect()
    };
    let given = symbols(&["--dynamic", "--defined-only"], framework);
    let own = symbols(&["--defined-only"], archive);
    let asked = symbols(&["--undefined-only"], archive);
    let list = archive.with_extension("weak");
    let names: Vec<&str> = asked
        .intersection(&given)
        .filter(|n| !own.contains(*n))
        .map(String::as_str)
        .collect();
    fs::write(&list, names.join("\n")).expect("OUT_DIR can be written");
    let done = Command::new("objcopy")
        .arg(format!("--weaken-symbols={}", list.display()))
        .arg(archive)
        .status()
        .expect("objcopy, of binutils");
    assert!(done.success(), "objcopy failed on {}", archive.display());
}
