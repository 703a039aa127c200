//! What threads share, and how they take turns: a bounded [`pool`], a [`merge_pool`] whose items learn from each other, and an
//! [`idle_slot`] for one expensive object.

pub mod idle_slot;
pub mod merge_pool;
pub mod pool;
