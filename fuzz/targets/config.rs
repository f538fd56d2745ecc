//! Any text as a configuration file, alone and behind another: an error or a configuration,
//! never a panic; and an error's text can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use multihome_core::Config;

fuzz_target!(|text: &str| {
    match Config::parse([("fuzz.toml", text)]) {
        Ok(config) => {
            let twice = Config::parse([("fuzz.toml", text), ("fuzz.toml", text)]);
            assert_eq!(twice.as_ref(), Ok(&config), "the same file once more changes nothing");
            let _ = config.excludes("ens6");
            let _ = config.number(u32::MAX);
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
