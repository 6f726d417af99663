//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One fault. Prints as `file:line:column: what (what to do)`, on one line, and never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, or the command line's option.
    pub file: PathBuf,
    /// From 1. Of a fault of the whole file: 1. Of the command line: 0.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.file.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", one_line(&self.what))?;
        match &self.hint {
            Some(hint) => write!(f, " ({})", one_line(hint)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The place of a value: a file, a line and a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub file: Arc<Path>,
    pub line: u32,
    pub column: u32,
}

impl Mark {
    /// The whole file.
    pub fn top(file: &Path) -> Self {
        Mark { file: file.into(), line: 1, column: 1 }
    }

    /// A place that is no file: an option of the command line.
    pub fn option(name: &str) -> Self {
        Mark { file: Path::new(name).into(), line: 0, column: 0 }
    }

    pub fn problem(&self, what: impl Into<String>, hint: impl Into<Option<String>>) -> Problem {
        Problem {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.file.to_string_lossy()))?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

/// Control characters (line breaks among them) become spaces.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
