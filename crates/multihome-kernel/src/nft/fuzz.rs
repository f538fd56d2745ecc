//! For the fuzz targets: every decoder of nf_tables, at any bytes.

use super::table::{self, Parts};
use super::{marks, read};

/// Gives one payload to every decoder, and what comes out to what reads it.
pub fn decode(payload: &[u8]) {
    let mut parts = Parts { table: read::table(payload).ok(), ..Parts::default() };
    parts.chains.extend(read::chain(payload));
    parts.sets.extend(read::set(payload));
    let mut elements = Vec::new();
    let _ = read::elements(payload, &mut elements);
    if let Ok(rule) = read::rule(payload) {
        for asked in marks::used(&rule.exprs).asked {
            let _ = asked.bits(Some(&elements));
        }
        parts.rules.push(rule);
    }
    let _ = (read::generation(payload), table::held(&parts));
}
