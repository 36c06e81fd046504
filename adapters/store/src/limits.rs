//! Every limit of this crate.

use std::time::Duration;

/// Commands waiting in one tenant's lane. Beyond it a caller waits for its place.
pub const LANE_COMMANDS_MAX: usize = 4_096;
/// Commands judged in one unit of work. A unit takes about half of the waiting callers, and gains little past this.
pub const UNIT_COMMANDS_MAX: usize = 512;
/// Judged while those before are written, where another process writes. Few in this crate's tests, whose units are small.
pub const UNIT_PART: usize = if cfg!(test) { 3 } else { 128 };
/// Judged between two looks at whether more can be sent to it.
pub const UNIT_JUDGED_AT_ONCE: usize = if cfg!(test) { 2 } else { 8 };
/// Bytes of documents in one unit, beyond which no further command joins it.
pub const UNIT_DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a unit waits before it runs again, where another was in its way or the connection went away.
pub const UNIT_ATTEMPTS: [Duration; 6] = [
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// The same between searches for a unit whose COMMIT was not answered: a server takes some seconds to come back.
pub const COMMIT_SEARCHES: [Duration; 8] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How far the clocks of this machine and of the database may be apart.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(2);

pub const DOCUMENTS_MAX: usize = 32;
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
pub const DOCUMENT_KIND_BYTES_MAX: usize = 64;

/// Times that loading may name further keys: claims and spends, their leaf, its path, the open purchase, its spend.
pub const LOAD_ROUNDS_MAX: usize = 8;
/// Rows of an insert, largest first. A fixed few, so that each text is prepared once, and powers of two, so that any
/// number of rows is few statements; the largest has 256 rows of 15 columns, far below SQLite's 32,766 variables.
pub const INSERT_ROWS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];
/// Keys of a look-up; what is left over in one repeats its last key.
pub const LOOK_UP_KEYS: [usize; 5] = [1, 4, 16, 64, 256];
/// Prepared statements kept on a connection: twelve tables of nine sizes, nine look-ups of five, and a few.
pub const STATEMENTS_CACHED: usize = 176;

/// Rows that one read returns at most, whatever was asked for.
pub const READ_ROWS_MAX: u32 = 1_000;
/// The same of settlements that are open or young: all that a payer has claimed is added up from one read.
pub const SETTLEMENTS_MAX: u32 = 10_000;
/// Records of one spend: its life has at most a dozen steps, doubts and reports in between.
pub const SPEND_RECORDS_MAX: u32 = 1_000;
/// Journal records read at a time by the verifier.
pub const VERIFY_PAGE_RECORDS: u64 = 4_096;
/// Rows of a table, and documents, copied at a time.
pub const COPY_PAGE_ROWS: u32 = 512;
pub const COPY_PAGE_DOCUMENTS: u32 = 16;

pub const READERS_DEFAULT: u32 = 4;
pub const BUSY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log before it is folded into the database. SQLite's default of 1,000 would do so at
/// nearly every unit; 20,000 pages of 4 KiB are 80 MB of log.
pub const WAL_PAGES: u32 = 20_000;
/// How often a thread looks whether another connection than the writer should fold the log, whether so many commands were
/// written since, and from how many pages on it is worth the two syncs.
pub const FOLD_EVERY: Duration = Duration::from_millis(100);
pub const FOLD_COMMANDS: u64 = 100;
pub const FOLD_PAGES: i64 = 2_000;
/// The writer's page cache, in KiB as SQLite takes it (negative). Claims and spends lie in the order of hashes, so a unit
/// touches pages all over the file: SQLite's default of 2 MB reads most of them again for every unit. A large one costs as
/// well: after a unit that rebalanced a tree SQLite goes through all of it (`pcache1TruncateUnsafe`; the page number that
/// the swap goes by lies behind every real one), a quarter of a millisecond at 128 MiB.
pub const WRITER_CACHE_KIB: i64 = -8 * 1024;
