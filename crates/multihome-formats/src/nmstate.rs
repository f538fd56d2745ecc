//! Routes and rules in nmstate's YAML.

use std::collections::BTreeSet;

use multihome_core::model::Names;
use multihome_core::policy::{Policy, Word};

use crate::{Export, Known, Place, Problem, Statement, Tree};

pub(crate) fn words() -> BTreeSet<Word> {
    BTreeSet::new()
}

pub(crate) fn places() -> Vec<Place> {
    Vec::new()
}

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let _ = (policy, names, there);
    Export::default()
}

pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let _ = (there, known);
    Ok(Vec::new())
}
