//! The library looks for TensorFlow's version by name: that of src/lib.rs has to be found.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=TF_Version");
}
