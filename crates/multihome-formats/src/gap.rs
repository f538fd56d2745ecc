//! What is lost where a format cannot say what the plan has, in a sentence: the same in the file and
//! on the terminal.

use multihome_core::model::Names;
use multihome_core::policy::Gap;

/// What a gap means for whoever uses the host.
#[must_use]
pub fn consequence(gap: &Gap, names: &Names) -> String {
    let _ = names;
    format!("{gap:?}")
}
