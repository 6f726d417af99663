//! What an index knows, to be held against what another knows.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

/// All that the index knows, but for the numbers of gaps, which nobody sees.
const TABLES: [&str; 4] = [
    "SELECT id, seq, camera, start_us, end_us, pre_alarm_s, bytes, path, motion_s, complete, reason FROM recordings ORDER BY id",
    "SELECT id, camera, start_us, end_us, reason, max_score, cause, zones, boxes, found FROM events ORDER BY id",
    "SELECT camera, minute, seconds FROM scores ORDER BY camera, minute",
    // Until now, where the process is down.
    "SELECT camera, start_us, iif(cause = 'down', NULL, end_us), cause FROM gaps ORDER BY camera, start_us, cause",
];

/// The rows of the archive's index, a list for each table.
pub fn index_rows(archive: &Path) -> Vec<Vec<Vec<Cell>>> {
    let connection = Connection::open(archive.join("index.db")).unwrap();
    let table = |sql: &&str| {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    };
    TABLES.iter().map(table).collect()
}

/// Rows that only one of the two has, each with the side that has it.
pub fn differences(one: &[Vec<Vec<Cell>>], other: &[Vec<Vec<Cell>>]) -> Vec<String> {
    let mut found = Vec::new();
    for (rows, others) in one.iter().zip(other) {
        let less = |of: &[Vec<Cell>], than: &[Vec<Cell>], side: &str| -> Vec<String> {
            of.iter().filter(|row| !than.contains(row)).map(|row| format!("only {side} has {row:?}")).collect()
        };
        found.extend(less(rows, others, "the first"));
        found.extend(less(others, rows, "the second"));
        if rows.len() != others.len() {
            found.push(format!("{} rows and {}", rows.len(), others.len()));
        }
    }
    found
}

/// Takes the index away, as a disk may.
pub fn lose_index(archive: &Path) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(archive.join(name));
    }
}
