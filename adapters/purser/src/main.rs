//! The one binary. Each command is a module of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    purser::command::main()
}
