//! Any text as a snapshot from a file: what can be read can be planned for, and the plan names
//! nothing but our own objects. A configuration may stand in front, ended by a NUL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use multihome_core::diff::{diff, revert};
use multihome_core::{Change, Config, Memory, Snapshot, plan};

fuzz_target!(|input: &[u8]| {
    let (config, snapshot) = match input.iter().position(|b| *b == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&[][..], input),
    };
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(snapshot) else { return };
    let Ok(config) = std::str::from_utf8(config) else { return };
    let Ok(config) = Config::parse([("fuzz.toml", config)]) else { return };
    let mut memory = Memory::default();
    memory.update(&snapshot, &config);
    let _ = memory.would_forget(&snapshot);
    let names = snapshot.names();
    let wanted = plan::make(&snapshot, &config, &memory);
    assert_eq!(wanted, plan::make(&snapshot, &config, &memory), "the same in, the same out");
    for plan in [wanted, plan::nothing(&snapshot, &config)] {
        let changes = diff(&snapshot, &plan);
        for change in changes.iter().chain(&revert(&changes)) {
            let ours = match change {
                Change::AddRoute(r) | Change::DelRoute(r) => r.is_ours(),
                Change::ReplaceRoute { from, to } => from.is_ours() && to.is_ours(),
                Change::AddRule(r) | Change::DelRule(r) => r.is_ours(),
                Change::SetGroup { .. }
                | Change::SetReturnPath { .. }
                | Change::SetSysctl { .. } => true,
            };
            assert!(ours, "{}", change.command(&names));
        }
        let removes = changes.iter().any(Change::is_removal);
        assert!(snapshot.is_complete() || !removes, "removed on the strength of half a picture");
    }
});
