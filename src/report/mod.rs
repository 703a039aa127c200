//! What a conversion tells of itself: the report on what stayed native, what is kept of it, and a drawing.

mod advice;
pub mod drawing;
mod nonconversion;
mod record;

pub use advice::advice;
pub use nonconversion::NonConversionReport;
pub use record::{ATTRIBUTE, Record, keep, kept};
