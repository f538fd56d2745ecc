//! The `multihome` command. Everything is in the library, so that the man pages and
//! completions are made from the same definitions.

use std::process::ExitCode;

fn main() -> ExitCode {
    multihome::main()
}
