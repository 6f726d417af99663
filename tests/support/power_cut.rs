//! What a power cut leaves of a folder: a process's writes and syncs are written down ([`Recorder`]), and of any moment
//! of them a folder is made as a disk might hold it afterwards ([`Log::left_by`]).
//!
//! The model is a file system with a journal: names, folders and lengths get to the disk in their order, so that a cut
//! keeps the first so many of them. What was synced, a file or all, is kept whole. Of what was not, [`Loss`] says what is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::disk_layer::{preload, text};

/// Where a process's deeds are written down.
pub struct Recorder {
    root: PathBuf,
    log: PathBuf,
}

impl Recorder {
    /// Of what happens below `root`, which does not exist yet; the log lies elsewhere.
    pub fn new(root: &Path, log: &Path) -> Self {
        Recorder { root: root.to_owned(), log: log.to_owned() }
    }

    /// What a process has to be started with.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [preload(), ("TARSIER_DISK_ROOT", text(&self.root)), ("TARSIER_DISK_LOG", text(&self.log))]
    }

    pub fn read(&self) -> Log {
        Log::parse(fs::read(&self.log).expect("something was written down"), &self.root)
    }
}

/// How unkind the cut is to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost: as after a kill.
    None,
    /// Everything is.
    All,
    /// As ext4 has it with `data=ordered`: a file never grows by what is not on the disk. What made it longer is there
    /// up to some moment, torn then; what changed it where it was is there page by page, in any order. A sync of any
    /// file takes all names and lengths before it along.
    Tail,
    /// Names and lengths are there, what was written is zeros.
    Zeros,
    /// Worse than any file system should be: some pages, some torn. A sync of a file takes only its own name along, one
    /// of a folder the names in it.
    Some,
}

impl Loss {
    /// Is a file's length never more than what is in it?
    pub fn is_ordered(self) -> bool {
        matches!(self, Loss::None | Loss::All | Loss::Tail)
    }
}

pub struct Log {
    bytes: Vec<u8>,
    pub deeds: Vec<Deed>,
}

pub struct Deed {
    /// By the wall clock, microseconds.
    pub at_us: i64,
    pub what: What,
}

/// Files are numbered in the order in which they were made; paths are relative to the root.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Create { file: usize, path: PathBuf },
    Write { file: usize, offset: u64, data: Range<usize> },
    Truncate { file: usize, length: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    MakeFolder { path: PathBuf },
    Sync { file: usize },
    SyncFolder { path: PathBuf },
    SyncAll,
}

const PAGE: u64 = 4096;
const SECTOR: usize = 512;

impl Log {
    fn parse(bytes: Vec<u8>, root: &Path) -> Self {
        const HEAD: usize = 33;
        let mut deeds = Vec::new();
        // An inode's number is used again when its file is gone.
        let mut files: HashMap<u64, usize> = HashMap::new();
        let mut made = 0;
        let mut at = 0;
        while at + HEAD <= bytes.len() {
            let head = &bytes[at..at + HEAD];
            let number = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().unwrap());
            let length = |from: usize| u32::from_le_bytes(head[from..from + 4].try_into().unwrap()) as usize;
            let first = at + HEAD..at + HEAD + length(25);
            let second = first.end..first.end + length(29);
            at = second.end;
            let path = |of: &Range<usize>| {
                let whole = PathBuf::from(std::str::from_utf8(&bytes[of.clone()]).expect("UTF-8"));
                whole.strip_prefix(root).expect("below the root").to_owned()
            };
            let inode = number(9);
            let file = files.get(&inode).copied();
            let known = || file.unwrap_or_else(|| panic!("inode {inode} was made before"));
            let what = match head[0] {
                1 => {
                    files.insert(inode, made);
                    made += 1;
                    What::Create { file: made - 1, path: path(&first) }
                }
                2 => What::Write { file: known(), offset: number(17), data: first.clone() },
                3 => What::Truncate { file: known(), length: number(17) },
                4 => What::Rename { from: path(&first), to: path(&second) },
                5 => What::Remove { path: path(&first) },
                6 => What::MakeFolder { path: path(&first) },
                7 => What::Sync { file: known() },
                8 => What::SyncFolder { path: path(&first) },
                9 => What::SyncAll,
                kind => panic!("a record of kind {kind}"),
            };
            deeds.push(Deed { at_us: number(1) as i64, what });
        }
        Log { bytes, deeds }
    }

    /// Makes `folder` what a disk may hold after a cut before the deed with this number.
    pub fn left_by(&self, cut: usize, loss: Loss, random: &mut fastrand::Rng, folder: &Path) {
        let kept = Kept::of(&self.deeds[..cut], loss, random);
        let luck = [0.1, 0.5, 0.9][random.usize(..3)];
        // Until which deed a file's writes get to the disk.
        let mut tails: HashMap<usize, usize> = HashMap::new();
        let mut lengths: HashMap<usize, u64> = HashMap::new();
        let mut names: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        let mut contents: HashMap<usize, Vec<u8>> = HashMap::new();
        for (n, deed) in self.deeds[..cut].iter().enumerate() {
            match &deed.what {
                What::Create { file, path } if kept.has_name(n, path) || kept.has_file(n, *file) => {
                    names.insert(path.clone(), Some(*file));
                }
                What::MakeFolder { path } if kept.has_name(n, path) => {
                    names.insert(path.clone(), None);
                }
                What::Remove { path } if kept.has_name(n, path) => {
                    names.remove(path);
                }
                What::Rename { from, to } if kept.has_name(n, to) => {
                    if let Some(what) = names.remove(from) {
                        names.insert(to.clone(), what);
                    }
                }
                What::Truncate { file, length } => {
                    lengths.insert(*file, *length);
                    if n < kept.names || kept.has_file(n, *file) {
                        contents.entry(*file).or_default().resize(*length as usize, 0);
                    }
                }
                What::Write { file, offset, data } => {
                    let content = contents.entry(*file).or_default();
                    let data = &self.bytes[data.clone()];
                    let end = *offset + data.len() as u64;
                    let length = lengths.entry(*file).or_default();
                    let is_within = end <= std::mem::replace(length, end.max(*length));
                    if kept.has_file(n, *file) || loss == Loss::None {
                        put(content, *offset, data);
                    } else if loss == Loss::Zeros {
                        content.resize(content.len().max(end as usize), 0);
                    } else if loss == Loss::Some || (loss == Loss::Tail && is_within) {
                        for (at, page) in pages(*offset, data) {
                            let is_there = random.f64() < luck;
                            // A change in place makes no file longer.
                            let fits = loss == Loss::Some || at as usize + page.len() <= content.len();
                            if is_there && fits {
                                put(content, at, if random.u8(..) < 16 { torn(page, random) } else { page });
                            }
                        }
                    } else if loss == Loss::Tail {
                        let tail = *tails.entry(*file).or_insert_with(|| random.usize(kept.names.min(n)..=cut));
                        match n.cmp(&tail) {
                            Ordering::Less => put(content, *offset, data),
                            Ordering::Equal => put(content, *offset, torn(data, random)),
                            Ordering::Greater => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if loss != Loss::None {
            contents.values_mut().for_each(|content| boot_anew(content));
        }
        fs::create_dir_all(folder).unwrap();
        let last = self.deeds[..cut].last().map_or(0, |deed| deed.at_us);
        let at = UNIX_EPOCH + Duration::from_micros(last as u64);
        for (path, what) in names {
            let path = folder.join(path);
            match what {
                None => fs::create_dir_all(&path).unwrap(),
                Some(file) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, contents.get(&file).map_or(&[][..], |content| content)).unwrap();
                    fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
                }
            }
        }
    }
}

/// What a file says of this boot of the machine it says of another one: after a cut there is a new one.
fn boot_anew(content: &mut [u8]) {
    let this = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let this = this.trim().as_bytes();
    if content.len() < 1000
        && let Some(at) = content.windows(this.len()).position(|window| window == this)
    {
        content[at..at + this.len()].rotate_left(1);
    }
}

/// What of some deeds is on the disk for certain, and which names.
struct Kept {
    /// All names and lengths before this deed.
    names: usize,
    /// Everything before this one.
    all: usize,
    files: HashMap<usize, usize>,
    folders: HashMap<PathBuf, usize>,
}

impl Kept {
    fn of(deeds: &[Deed], loss: Loss, random: &mut fastrand::Rng) -> Self {
        let mut kept = Kept { names: 0, all: 0, files: HashMap::new(), folders: HashMap::new() };
        for (n, deed) in deeds.iter().enumerate() {
            match &deed.what {
                What::SyncAll => (kept.names, kept.all) = (n, n),
                What::Sync { .. } | What::SyncFolder { .. } if loss != Loss::Some => kept.names = n,
                _ => {}
            }
            match &deed.what {
                What::Sync { file } => _ = kept.files.insert(*file, n),
                What::SyncFolder { path } => _ = kept.folders.insert(path.clone(), n),
                _ => {}
            }
        }
        kept.names = match loss {
            Loss::All => kept.names,
            Loss::None | Loss::Zeros => deeds.len(),
            Loss::Tail | Loss::Some => random.usize(kept.names..=deeds.len()),
        };
        kept
    }

    fn has_name(&self, n: usize, path: &Path) -> bool {
        let folder = path.parent().and_then(|folder| self.folders.get(folder));
        n < self.names || folder.is_some_and(|synced| n < *synced)
    }

    fn has_file(&self, n: usize, file: usize) -> bool {
        n < self.all || self.files.get(&file).is_some_and(|synced| n < *synced)
    }
}

fn put(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + data.len());
    content.resize(content.len().max(to), 0);
    content[from..to].copy_from_slice(data);
}

/// The first sectors of a write.
fn torn<'a>(data: &'a [u8], random: &mut fastrand::Rng) -> &'a [u8] {
    &data[..random.usize(..=data.len()) / SECTOR * SECTOR]
}

/// A write in the pieces in which it gets to the disk.
fn pages(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = offset + at as u64;
        let length = ((PAGE - begin % PAGE) as usize).min(data.len() - at);
        let piece = &data[at..at + length];
        at += length;
        (length > 0).then_some((begin, piece))
    })
}
