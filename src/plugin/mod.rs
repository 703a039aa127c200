//! The plugin: what TensorFlow, Python and C programs call. Everything else is below it.
//!
//! [`registration`] runs when the library is loaded, registers ops, kernels and the optimizer, and installs what TensorFlow calls
//! ([`crate::tf::Hooks`]). [`requests`] and [`convert_api`] are the C functions beside TensorFlow's own interfaces.

mod convert_api;
mod host;
mod metrics;
mod pass;
mod registration;
mod requests;

pub use registration::load_error;
