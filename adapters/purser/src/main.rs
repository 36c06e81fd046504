//! The one binary. Each command is a module of the library.

use std::process::ExitCode;

/// Every command is hundreds of small allocations on two threads; the system's allocator was a sixth of the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    purser::command::main()
}
