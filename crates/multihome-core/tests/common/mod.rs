//! What the tests share: a strict fake kernel, and its look-up.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub(crate) mod kernel;
pub(crate) mod lookup;
