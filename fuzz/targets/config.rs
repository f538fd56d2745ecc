//! Any text as a configuration file, alone and behind another: an error or a configuration,
//! never a panic; and an error's text can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use multihome_core::Config;
use multihome_core::config::MAX_STEERS;

fuzz_target!(|text: &str| {
    match Config::parse([("fuzz.toml", text)]) {
        Ok(config) => {
            // Steering of several files adds up, as far as there is room for it.
            let steers = config.steers.len();
            match Config::parse([("fuzz.toml", text), ("fuzz.toml", text)]) {
                Ok(mut twice) => {
                    assert_eq!(twice.steers.len(), 2 * steers);
                    twice.steers.truncate(steers);
                    assert_eq!(twice, config, "the same file once more changes nothing else");
                }
                Err(_) => assert!(2 * steers > MAX_STEERS),
            }
            let _ = config.excludes("ens6");
            let _ = config.number(u32::MAX);
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
